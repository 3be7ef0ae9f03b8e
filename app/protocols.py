"""How an answer of the Find tab was made, as words."""

from __future__ import annotations

from app.store import Described
from scicevpr.datasets import Dataset
from scicevpr.files.descriptor_files import Descriptors


def answer_protocol(
    title: str, query: Descriptors, precision: str, database: Described, name: str, dataset: Dataset
) -> dict[str, str]:
    """What was done, in the order in which it is shown.

    title: of the model. query: descriptors of the query and its company. precision: why it was described in it.
    database, name, dataset: what was searched, and what to call it.
    """
    told, others = query.protocol(), len(query.values) - 1
    return {
        "model": title,
        "weights": told["weights"],
        "input": told["resize"],
        "descriptor": f"{query.values.shape[1]} values, {query.dtype} on {query.device}",
        "precision": precision,
        "query batch": f"with {others} of the query list" if others else "alone",
        "database batches": database.descriptors.grouping,
        "database": f"{name}, {dataset.split}, {len(dataset.database)} photos ({database.source})",
        "search": f"{database.index.label}; {len(database.index):,} descriptors",
        "right within": dataset.truth.label(),
    }
