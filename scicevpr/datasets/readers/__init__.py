"""Data set folders on disk, read into Photo records: which layout a folder has, and what all layouts have in common.

One `Reader` per folder layout; the modules here hold them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scicevpr.config import assets_folder
from scicevpr.datasets import catalogue
from scicevpr.datasets.dataset import Dataset, Reader, Request
from scicevpr.datasets.ground_truth_files import GroundTruthOptions, with_ground_truth
from scicevpr.datasets.photos import left_out_note, list_photos, listing, parse_name
from scicevpr.datasets.readers import msls, npy_lists, utm_tree
from scicevpr.errors import DatasetError, UsageError

READERS: dict[str, Reader] = {
    "msls": msls.MSLS,
    "utm-tree": utm_tree.UTM_TREE,
    "vpr-bench": npy_lists.VPR_BENCH,
    "npy": npy_lists.NPY_LISTS,
}
"""In the order in which a folder is tried."""


def read_dataset(
    folder: Path | str,
    split: str = "test",
    *,
    queries: str | None = "queries",
    labels: bool = True,
    layout: str | None = None,
    benchmark: str | None = None,
    images: Path | str | None = None,
    ground_truth: Path | str | None = None,
    frames: int | None = None,
    same_name: bool = False,
    positions: Path | str | None = None,
    query_list: Path | str | None = None,
) -> Dataset:
    """Read a data set folder of any layout in READERS.

    split: train, val or test; for lists of photos also the name of a set, for MSLS also a city. queries: name of the
    query folder, or a pattern for several (SVOX has queries_night, queries_rain, ...), from which queries without a
    note take their condition; for MSLS a selection (see `readers.msls`); None for the database alone. labels: False
    ignores ground truth (predictions only). layout, benchmark: where they should not be recognised. images: the folder
    that photo lists start from. The others: see `GroundTruthOptions`.

    Raises DatasetError when folders, tables or photos are missing or do not fit together, or labels are wanted and
    there are none; UsageError for an unknown layout or benchmark, or choices that contradict each other.
    """
    root, options = Path(folder), GroundTruthOptions(ground_truth, frames, same_name, positions, query_list)
    options.check(labels)
    if benchmark is not None:
        catalogue.get(benchmark)
    if not root.is_dir():
        raise DatasetError(f"The data set folder {root} {'is a file' if root.exists() else 'does not exist'}.")
    request = Request(
        root=root,
        split=split,
        queries=queries,
        labels=labels and not options.elsewhere,
        images=Path(images) if images else None,
        every_query=query_list is not None,
    )
    dataset = READERS[find_layout(root, split, layout)].read(request)
    return _finished(replace(dataset, use_labels=dataset.use_labels or options.elsewhere), options, benchmark)


def read_folders(
    database: Path | str,
    queries: Path | str,
    labels: bool = True,
    *,
    benchmark: str | None = None,
    ground_truth: Path | str | None = None,
    frames: int | None = None,
    same_name: bool = False,
    positions: Path | str | None = None,
    query_list: Path | str | None = None,
) -> Dataset:
    """Read any two folders of photos as database and queries. labels=False: predictions only; else the rest says
    what is right where the names carry no positions (see `GroundTruthOptions`).

    Raises DatasetError when a folder is missing or empty, or when labels are wanted and there are none.
    """
    options = GroundTruthOptions(ground_truth, frames, same_name, positions, query_list)
    options.check(labels)
    database, queries = Path(database), Path(queries)
    note = left_out_note(database, queries)
    shared = database.resolve().parent
    name = shared.name if shared == queries.resolve().parent else f"{database.name} + {queries.name}"
    dataset = Dataset(
        name=name,
        split="folders",
        root=shared,
        use_labels=labels,
        layout="folders",
        notes=(note,) if note else (),
        database=tuple(parse_name(path) for path in list_photos(database)),
        queries=tuple(utm_tree.with_condition(parse_name(path), queries.name) for path in list_photos(queries)),
    )
    return _finished(dataset, options, benchmark)


def bundled_city(**options: Any) -> Dataset:
    """The small procedural city that comes with the project (test split); options are those of `read_dataset`."""
    root = assets_folder() / "procity"
    if not root.is_dir():
        raise DatasetError(f"There is no bundled city at {root}. Set SCICEVPR_ASSETS to the project's assets folder.")
    return read_dataset(root, **options)


def find_layout(root: Path, split: str = "test", layout: str | None = None) -> str:
    """The name of a folder's layout. DatasetError when none is recognised, UsageError for an unknown name."""
    if layout is not None:
        if layout not in READERS:
            raise UsageError(f"The layout {layout!r} is unknown; choose one of {', '.join(READERS)}.")
        return layout
    found = next((name for name, reader in READERS.items() if reader.recognises(root, split)), None)
    if found is not None:
        return found
    if is_gsv_cities(root):
        raise DatasetError(f"{root} is GSV-Cities, which is for training: it has places, but no database and queries.")
    known = "; ".join(reader.looks_like.replace("SPLIT", split) for reader in READERS.values())
    raise DatasetError(
        f"{root} does not look like a data set: looked for {known}; found {listing(root)}. Other splits of the tree: "
        f"{', '.join(utm_tree.splits(root)) or 'none'}. Any two folders can be evaluated with --database and --queries."
    )


def is_gsv_cities(root: Path) -> bool:
    """True for a folder with tables and images of GSV-Cities: training data, read by training/."""
    return (root / "Dataframes").is_dir() and (root / "Images").is_dir()


def _finished(dataset: Dataset, options: GroundTruthOptions, benchmark: str | None) -> Dataset:
    """Ground truth, checks and the benchmark that this is."""
    dataset = with_ground_truth(dataset, options)
    key = benchmark or dataset.benchmark
    found = catalogue.get(key) if key else catalogue.recognise(dataset)
    if found is None:
        return dataset
    notes, differing = [found.twin] if found.twin else [], catalogue.differences(found, dataset)
    if differing and dataset.queries:
        notes.append(f"This is not the published {found.title}: {'; '.join(differing)}.")
    return replace(dataset, benchmark=found.key, notes=(*dataset.notes, *notes))
