"""The data set, database, pack or query that the options name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scicevpr.cli.chosen_models import chosen_grouping, chosen_preprocessing, dtype_label
from scicevpr.cli.outputs import print_note, show_progress
from scicevpr.config import assets_folder
from scicevpr.datasets import Dataset, Photo, bundled_city, list_photos, parse_name, read_dataset, read_folders
from scicevpr.datasets.photos import left_out_note
from scicevpr.datasets.positions import check_positions
from scicevpr.datasets.readers import find_layout
from scicevpr.datasets.tables import NameIndex
from scicevpr.datasets.zones import in_one_zone
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, find_descriptors
from scicevpr.errors import DatasetError, IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.photos import damaged_photos
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import bundled_weights
from scicevpr.packs import open_pack
from scicevpr.packs.pack import Pack
from scicevpr.retrieval.pca import PCA


def read_data(arguments: argparse.Namespace) -> Dataset:
    """The data set that the options name; the bundled city where they name none."""
    folder, rules = _dataset_folder(arguments), chosen_ground_truth(arguments)
    if arguments.database or arguments.queries:
        if folder or not (arguments.database and arguments.queries):
            raise UsageError("Give either --dataset, or both --database and --queries.")
        return read_folders(arguments.database, arguments.queries, benchmark=arguments.benchmark, **rules)
    if folder:
        return read_dataset(folder, **chosen_layout(arguments), **rules)
    return bundled_city(**rules)


def read_database(arguments: argparse.Namespace) -> tuple[Photo, ...]:
    """The database photos that the options name, without need of queries."""
    _choose_within(arguments)
    folder = _dataset_folder(arguments)
    if arguments.database and folder:
        raise UsageError("Give either --dataset or --database.")
    if arguments.database:
        found = tuple(parse_name(path) for path in list_photos(arguments.database))
    elif folder:
        found = read_dataset(folder, **{**chosen_layout(arguments), "queries": None}, labels=False).database
    else:
        return bundled_city().database
    check_positions(found)
    photos, notes = in_one_zone(found)
    for note in [*filter(None, [left_out_note(arguments.database)] if arguments.database else []), *notes]:
        print_note(f"Note: {note}")
    return tuple(photos)


def _choose_within(arguments: argparse.Namespace) -> None:
    """search --in FOLDER is --dataset for a data set, else --database."""
    folder = getattr(arguments, "within", None)
    if folder is None:
        return
    if arguments.dataset or arguments.database or arguments.eval_dataset_name or arguments.pack:
        raise UsageError(f"--in {folder} and another option both say where to search. Leave one of them out.")
    try:
        find_layout(folder, arguments.split, arguments.layout)
        arguments.dataset = folder
    except (DatasetError, OSError):
        arguments.database = folder


def _dataset_folder(arguments: argparse.Namespace) -> Path | None:
    """--dataset, or what the published codes call --eval_datasets_folder and --eval_dataset_name."""
    name, folder = arguments.eval_dataset_name, getattr(arguments, "folder", None)
    if folder is not None:
        named = ("dataset", "eval_dataset_name", "database", "queries", "pack")
        if any(getattr(arguments, option, None) for option in named):
            raise UsageError(f"The data set is named twice: {folder}, and by an option. Leave one of them out.")
        return folder
    if name is None:
        if arguments.eval_datasets_folder:
            raise UsageError("--eval_datasets_folder needs --eval_dataset_name: which of its folders?")
        return arguments.dataset
    if arguments.dataset:
        raise UsageError("Give either --dataset or --eval_dataset_name.")
    parent = arguments.eval_datasets_folder or os.environ.get("DATASETS_FOLDER")
    if not parent:
        raise UsageError(f"Where is {name}? Give --eval_datasets_folder DIR or set DATASETS_FOLDER.")
    return Path(parent) / name


def chosen_layout(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `read_dataset` that say how a folder is read."""
    return {
        "split": arguments.split,
        "queries": arguments.query_folder,
        "layout": arguments.layout,
        "benchmark": arguments.benchmark,
        "images": arguments.image_root,
    }


def chosen_ground_truth(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `read_dataset` and `read_folders` that say what is right."""
    names = ("ground_truth", "frames", "same_name", "positions", "query_list")
    return {"labels": not arguments.no_labels, **{name: getattr(arguments, name) for name in names}}


def sound_photos(dataset: Dataset, arguments: argparse.Namespace) -> Dataset:
    """The data set, with --leave-out-damaged without the photos that cannot be read."""
    if not arguments.leave_out_damaged:
        return dataset
    found = damaged_photos(photo.path for photo in (*dataset.database, *dataset.queries))
    tell_left_out(found)
    return dataset.without_photos({path for path, _ in found})


def tell_left_out(found: Sequence[tuple[Path, str]]) -> None:
    """A line on standard error for every photo that is left out."""
    for _, reason in found:
        print_note(f"Left out: {reason}")


def query_row(dataset: Dataset, text: str) -> int:
    """Row of a query given by row, file name or the end of its path. UsageError when there is none, or several."""
    if text.isdigit() and int(text) < len(dataset.queries):
        return int(text)
    index = NameIndex(dataset.queries, "query photos")
    for name in (text, Path(text).name):
        if name in index:
            try:
                return index.row(name, Path("the command line"))
            except DatasetError as error:
                raise UsageError(str(error)) from error
    raise UsageError(
        f"There is no query {text!r}; give a file name of the query list, or a row 0..{len(dataset.queries) - 1}."
    )


# ---- descriptors made before -----------------------------------------------------------------------------------------


def stored_descriptors(
    model: VPRModel, database: Sequence[Photo], arguments: argparse.Namespace, mode: str | None = None
) -> Descriptors | None:
    """The bundled descriptors, where they are what would be computed now. mode: of --precision."""
    names = [photo.name for photo in database]
    asked = (chosen_grouping(model, arguments), chosen_preprocessing(model, arguments), dtype_label(model, mode))
    return find_descriptors(assets_folder() / "descriptors", model, names, *asked)


def database_descriptors(
    model: VPRModel,
    database: Sequence[Photo],
    arguments: argparse.Namespace,
    title: str,
    grouping: Grouping | None = None,
) -> Descriptors:
    """The bundled descriptors where they fit, else the database described now, in this grouping."""
    stored = stored_descriptors(model, database, arguments)
    if stored is not None:
        return stored
    with show_progress(title) as step:
        return describe(
            model,
            [photo.path for photo in database],
            grouping=grouping,
            batch_size=arguments.batch_size,
            preprocessing=chosen_preprocessing(model, arguments),
            progress=lambda done, total: step("database", done, total),
        )


def pack_or_dataset(arguments: argparse.Namespace) -> tuple[Dataset, Pack | None]:
    """The data set of `--pack` with its pack, or what the data options name."""
    if arguments.pack is None:
        if arguments.pack_photos is not None:
            raise UsageError("--photos belongs to --pack; without a pack, name the data set with --dataset.")
        return read_data(arguments), None
    if (
        arguments.dataset
        or arguments.database
        or getattr(arguments, "folder", None)
        or getattr(arguments, "within", None)
    ):
        raise UsageError("Give either --pack or a data set (--dataset, --database), not both.")
    pack = open_pack(arguments.pack, photos=arguments.pack_photos)
    return pack.dataset, pack


def pack_descriptors(
    model: VPRModel, pack: Pack | None, arguments: argparse.Namespace, mode: str | None = None
) -> tuple[Descriptors | None, PCA | None]:
    """A pack's database descriptors of a model; None where they must be computed from photos that are here. With them
    the PCA by which queries must be reduced, where the pack has reduced descriptors only. mode: of --precision.

    Raises IndexMismatchError when the pack has none of this model, or others than the options ask for, and no photos.
    """
    if pack is None:
        return None, None
    dtype = dtype_label(model, mode)
    try:
        chosen = pack.searchable(model, preprocessing=chosen_preprocessing(model, arguments))
        if chosen is None:
            return None, None
        found, pca = chosen
        if arguments.grouping and model.variant.cross_image and found.grouping != arguments.grouping.replace(":", " "):
            raise IndexMismatchError(
                f"The pack {pack.title!r} was described with grouping {found.grouping}, not {arguments.grouping}. "
                "Leave --grouping out, or describe the photos again (--photos)."
            )
        if found.dtype != dtype:
            raise IndexMismatchError(
                f"The pack {pack.title!r} was described in {found.dtype}, the queries would be in {dtype}. Give the "
                "precision (--precision, --dtype) of the pack, or describe the photos again (--photos)."
            )
    except IndexMismatchError:
        if not all(photo.path.is_file() for photo in pack.dataset.database):
            raise
        return None, None
    return found, pca


def packed_models(pack: Pack | None) -> tuple[str, ...]:
    """The models whose descriptors a pack holds and whose weights come with the project: what to use by default."""
    names = dict.fromkeys(entry.variant for entry in pack.models) if pack is not None else ()
    return tuple(name for name in names if name in bundled_weights())
