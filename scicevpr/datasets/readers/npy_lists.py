"""Ground truth as .npy files: photo lists of GSV-Cities, SALAD and OpenVPRLab, and the folders of VPR-Bench.

`<set>_dbImages.npy` and `<set>_qImages.npy` hold relative paths, `<set>_gt.npy` or `<set>_gt_25m.npy` one array of
database rows per query. For MSLS validation `<set>_qIdx.npy` names the queries that count (740 of 747) and
`<set>_pIdx.npy` their positives. Rows count in these lists; here photos are sorted by path and the rows go with them.

VPR-Bench: query/NNNNNNN.jpg, ref/NNNNNNN.jpg and ground_truth_new.npy, a pickled array [Q, 2] of [query row, list of
ref rows]; rows count the photos in the order of the numbers in their names. It is read without running anything (see
`scicevpr.files.reading`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scicevpr.datasets.dataset import BY_PATH, SPLITS, Dataset, Reader, Request
from scicevpr.datasets.ground_truth import GroundTruth
from scicevpr.datasets.ground_truth_files import listed_truth, pair_lists, row_lists
from scicevpr.datasets.photos import Photo, list_photos, parse_name
from scicevpr.errors import DatasetError
from scicevpr.files.reading import read_npy

DATABASE_FILE = "_dbImages.npy"
TRUTH_FILES = ("_gt.npy", "_gt_25m.npy")


def _read_lists(request: Request) -> Dataset:
    """Read photo lists and ground truth. ``split`` chooses among several sets by name or end of the name.

    Raises DatasetError when a list or a photo is missing, or when the rows do not fit the lists.
    """
    files = _files(request.root, request.split)
    database, queries = (_names(files.part(end)) for end in (DATABASE_FILE, "_qImages.npy"))
    images = _image_root(request, database[0], files.part(DATABASE_FILE))
    order, used, counted = BY_PATH, np.arange(len(queries)), _counted(files, len(queries))
    if counted is not None and not request.every_query:
        used = counted
        order = f"{BY_PATH}, {len(used)} of {len(queries)} as listed in {files.name}_qIdx.npy"
    database_paths = _paths(images, database, files.part(DATABASE_FILE))
    query_paths = _paths(images, [queries[row] for row in used], files.part("_qImages.npy"))
    database_rows, query_rows = (_sorted_rows(paths) for paths in (database_paths, query_paths))
    truth = GroundTruth()
    if request.labels:
        path, rows = _positives(files, len(queries), counted)
        listed_truth(path, rows, len(database), len(queries), "")  # the rows must exist before they can be translated
        new_row = np.argsort(database_rows)  # of each entry of the list
        truth = GroundTruth.lists([new_row[rows[used[row]]] for row in query_rows], f"the list in {path.name}")
    split = next((name for name in SPLITS if files.name.endswith(name)), request.split)
    return Dataset(
        name=files.name,
        split=split,
        root=images,
        database=_photos_of(database_paths, database_rows),
        queries=_photos_of(query_paths, query_rows),
        use_labels=request.labels,
        query_order=order,
        truth=truth,
        layout="npy",
    )


@dataclass(frozen=True)
class _Files:
    folder: Path
    name: str

    def part(self, end: str) -> Path:
        return self.folder / (self.name + end)


def _files(root: Path, split: str) -> _Files:
    names = sorted(path.name.removesuffix(DATABASE_FILE) for path in root.glob("*" + DATABASE_FILE))
    fitting = [name for name in names if name == split] or [name for name in names if name.endswith(split)] or names
    if len(fitting) != 1:
        raise DatasetError(
            f"{root} holds the lists of {len(fitting)} sets ({', '.join(fitting)}), and none of them is the split "
            f"{split!r}. Choose one: --split {fitting[0] if fitting else 'NAME'}."
        )
    return _Files(root, fitting[0])


def _names(path: Path) -> list[str]:
    names = read_npy(path).reshape(-1)
    if len(names) == 0 or not all(isinstance(name, (str, np.str_)) for name in names):
        raise DatasetError(f"{path} must hold the paths of photos as text; it holds {len(names)} other values.")
    return [str(name).replace("\\", "/") for name in names]


def _image_root(request: Request, first: str, source: Path) -> Path:
    here = request.root.resolve()
    if request.images is not None:
        tried = [request.images]
    else:
        inside = sorted(path for path in here.iterdir() if path.is_dir())
        tried = [here, *inside, here.parent, *here.parents[1:3]]
    found = next((folder for folder in tried if (folder / first).exists()), None)
    if found is None:
        raise DatasetError(
            f"The first photo of {source}, {first}, is not below {', '.join(map(str, tried[:4]))}"
            + (" or the folders above" if request.images is None else "")
            + ". Name the folder that these paths start from with --image-root."
        )
    return found


def _paths(images: Path, names: Sequence[str], source: Path) -> list[Path]:
    paths = [images / name for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if not path.exists()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the {len(names)} photos of {source} are not below {images}, the first is {missing[0]}. "
            "Download the rest, or name the right folder with --image-root."
        )
    return paths


def _sorted_rows(paths: Sequence[Path]) -> np.ndarray:
    return np.array(sorted(range(len(paths)), key=lambda row: str(paths[row])), dtype=np.int64)


def _photos_of(paths: Sequence[Path], rows: np.ndarray) -> tuple[Photo, ...]:
    return tuple(parse_name(paths[row]) for row in rows)


def _counted(files: _Files, listed: int) -> np.ndarray | None:
    """The queries that count where a file names them, else None."""
    path = files.part("_qIdx.npy")
    if not path.is_file():
        return None
    rows = np.concatenate([np.empty(0, dtype=np.int64), *row_lists(path, read_npy(path))])
    if not len(rows) or rows.min() < 0 or rows.max() >= listed:
        raise DatasetError(f"{path} does not name rows of the {listed} queries of {files.name}_qImages.npy.")
    return rows


def _positives(files: _Files, listed: int, counted: np.ndarray | None) -> tuple[Path, list[np.ndarray]]:
    """The file with the right answers and its rows, one list per query of the whole list."""
    positives = files.part("_pIdx.npy")
    if counted is not None and positives.is_file():
        rows = row_lists(positives, read_npy(positives))
        if len(rows) != len(counted):
            raise DatasetError(
                f"{positives} holds positives of {len(rows)} queries, but {files.name}_qIdx.npy names {len(counted)}."
            )
        full = [rows[0][:0]] * listed
        for query, found in zip(counted, rows, strict=True):
            full[query] = found
        return positives, full
    path = next((files.part(end) for end in TRUTH_FILES if files.part(end).is_file()), None)
    if path is None:
        raise DatasetError(
            f"{files.folder} has no ground truth of {files.name}: looked for "
            f"{', '.join(files.name + end for end in (*TRUTH_FILES, '_pIdx.npy'))}. Download it, name another with "
            "--ground-truth, or use --no-labels (labels=False) for predictions only."
        )
    return path, row_lists(path, read_npy(path))


NPY_LISTS = Reader(
    "SET_dbImages.npy, SET_qImages.npy and SET_gt.npy, with the photos beside them or under --image-root",
    lambda root, split: any(root.glob("*" + DATABASE_FILE)),
    _read_lists,
)


# ---- VPR-Bench -------------------------------------------------------------------------------------------------------


TRUTH_FILE = "ground_truth_new.npy"


def _read_bench(request: Request) -> Dataset:
    """Read a VPR-Bench folder. DatasetError when a folder or the ground truth is missing or does not fit."""
    root = request.root
    database, queries = (tuple(parse_name(path) for path in list_photos(root / side)) for side in ("ref", "query"))
    truth = _truth(root / TRUTH_FILE, database, queries) if request.labels else GroundTruth()
    return Dataset(
        name=root.resolve().name,
        split="test",
        root=root,
        database=database,
        queries=queries,
        truth=truth,
        use_labels=request.labels,
        layout="vpr-bench",
    )


def _truth(path: Path, database: Sequence[Photo], queries: Sequence[Photo]) -> GroundTruth:
    if not path.is_file():
        raise DatasetError(
            f"There is no {path}, the list of right answers of VPR-Bench. Download it, name another with "
            "--ground-truth, or use --no-labels (labels=False) for predictions only."
        )
    values = read_npy(path)
    if len(values) != len(queries):
        raise DatasetError(
            f"{path} holds {len(values)} queries, but query/ has {len(queries)} photos. Download the photos again, or "
            "the file that belongs to them."
        )
    if values.ndim == 2 and values.shape[1] == 2:
        rows = pair_lists(path, values, len(queries))
    elif values.ndim == 1:
        rows = row_lists(path, values)
    else:
        raise DatasetError(f"{path} has the shape {list(values.shape)}; VPR-Bench writes [queries, 2].")
    listed_truth(path, rows, len(database), len(queries), "")  # the rows must exist before they can be translated
    database_rows, query_rows = _by_number(database), _by_number(queries)
    by_path: list[np.ndarray] = [database_rows[:0]] * len(queries)
    for number, found in enumerate(rows):
        by_path[query_rows[number]] = database_rows[found]
    return GroundTruth.lists(by_path, f"the list in {path.name}")


def _by_number(photos: Sequence[Photo]) -> np.ndarray:
    """Rows of photos in the order of the numbers in their names ("2.jpg" before "10.jpg")."""
    keys = [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", photo.name)] for photo in photos]
    return np.array(sorted(range(len(photos)), key=keys.__getitem__), dtype=np.int64)


VPR_BENCH = Reader(
    f"query/, ref/ and {TRUTH_FILE} (VPR-Bench)",
    lambda root, split: (root / "query").is_dir() and (root / "ref").is_dir(),
    _read_bench,
)
