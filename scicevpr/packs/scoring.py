"""Score a pack by itself: the descriptors of its queries against those of its database, without model and photos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scicevpr.config import VARIANTS
from scicevpr.errors import DatasetError
from scicevpr.evaluation.results import Evaluation
from scicevpr.evaluation.stored import StoredDescriptors, score_stored
from scicevpr.packs.manifest import Entry
from scicevpr.packs.pack import Pack


def score_pack(pack: Pack, **scoring: Any) -> Iterator[Evaluation]:
    """Search and score every model of a pack that described its queries too, in full and after PCA.

    scoring: ns, radius, rounding as `evaluate` takes them. Values are the pack's float16. Raises DatasetError when the
    pack holds no queries' descriptors.
    """
    pairs = [(entry, other) for entry in pack.models for other in pack.manifest.entries if _belongs(other, entry)]
    if not pairs:
        raise DatasetError(
            f"The pack {pack.title!r} holds no descriptors of queries, so it can only be searched in with new ones."
        )
    for entry, other in pairs:
        title = VARIANTS[entry.variant].title if entry.variant in VARIANTS else entry.variant
        title = f"{title}, PCA {entry.dimension}" if entry.pca else title
        yield score_stored(_stored(pack, entry), _stored(pack, other), pack.dataset, title=title, **scoring)


def _belongs(queries: Entry, database: Entry) -> bool:
    same = all(getattr(queries, name) == getattr(database, name) for name in ("fingerprint", "weights", "pca"))
    return queries.part == "queries" and same


def _stored(pack: Pack, entry: Entry) -> StoredDescriptors:
    return StoredDescriptors(pack.folder / entry.file, pack.read(entry).values, protocol=entry.protocol)
