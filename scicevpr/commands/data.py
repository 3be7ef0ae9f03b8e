"""The data set, database or pack that the options name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scicevpr.cli.terminal import open_console, print_line
from scicevpr.commands.models import chosen_grouping, chosen_preprocessing, dtype_words
from scicevpr.config import assets_folder
from scicevpr.datasets import Dataset, Photo, bundled_city, list_photos, parse_name, read_dataset, read_folders
from scicevpr.datasets.photos import left_out_note
from scicevpr.datasets.positions import check_positions
from scicevpr.datasets.zones import in_one_zone
from scicevpr.descriptors.describe import find_descriptors
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.photos import damaged_photos
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import bundled_weights
from scicevpr.packs import Pack, open_pack
from scicevpr.retrieval import PCA


def read_data(arguments: argparse.Namespace) -> Dataset:
    """The data set that the options name; the bundled city where they name none."""
    folder, answers = _dataset_folder(arguments), answers_asked(arguments)
    if arguments.database or arguments.queries:
        if folder or not (arguments.database and arguments.queries):
            raise UsageError("Give either --dataset, or both --database and --queries.")
        return read_folders(arguments.database, arguments.queries, benchmark=arguments.benchmark, **answers)
    if folder:
        return read_dataset(folder, **layout_asked(arguments), **answers)
    return bundled_city(**answers)


def read_database(arguments: argparse.Namespace) -> tuple[Photo, ...]:
    """The database photos that the options name, without need of queries."""
    folder = _dataset_folder(arguments)
    if arguments.database and folder:
        raise UsageError("Give either --dataset or --database.")
    if arguments.database:
        found = tuple(parse_name(path) for path in list_photos(arguments.database))
    elif folder:
        found = read_dataset(folder, **{**layout_asked(arguments), "queries": None}, labels=False).database
    else:
        return bundled_city().database
    check_positions(found)
    places, notes = in_one_zone(found)
    for note in [*filter(None, [left_out_note(arguments.database)] if arguments.database else []), *notes]:
        print_line(open_console(stderr=True), f"Note: {note}")
    return tuple(places)


def sound_photos(dataset: Dataset, arguments: argparse.Namespace) -> Dataset:
    """The data set, with --leave-out-damaged without the photos that cannot be read."""
    if not arguments.leave_out_damaged:
        return dataset
    found = damaged_photos(place.path for place in (*dataset.database, *dataset.queries))
    tell_left_out(found)
    return dataset.without_photos({path for path, _ in found})


def tell_left_out(found: Sequence[tuple[Path, str]]) -> None:
    """A line on standard error for every photo that is left out."""
    for _, reason in found:
        print_line(open_console(stderr=True), f"Left out: {reason}")


def layout_asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `read_dataset` that say how a folder is read."""
    return {
        "split": arguments.split,
        "queries": arguments.query_folder,
        "layout": arguments.layout,
        "benchmark": arguments.benchmark,
        "images": arguments.image_root,
    }


def answers_asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `read_dataset` and `read_folders` that say what is right."""
    return {
        "labels": not arguments.no_labels,
        "ground_truth": arguments.ground_truth,
        "frames": arguments.frames,
        "same_name": arguments.same_name,
        "positions": arguments.positions,
        "query_list": arguments.query_list,
    }


def _dataset_folder(arguments: argparse.Namespace) -> Path | None:
    """--dataset, or what the published codes call --eval_datasets_folder and --eval_dataset_name."""
    name = arguments.eval_dataset_name
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


def stored_descriptors(
    model: VPRModel, database: tuple[Photo, ...], arguments: argparse.Namespace, mode: str | None = None
) -> Descriptors | None:
    """The bundled descriptors, where they are what would be computed now. mode: of --precision."""
    names = [place.name for place in database]
    packs = assets_folder() / "descriptors"
    asked = (chosen_grouping(model, arguments), chosen_preprocessing(model, arguments), dtype_words(model, mode))
    return find_descriptors(packs, model, names, *asked)


def pack_or_dataset(arguments: argparse.Namespace) -> tuple[Dataset, Pack | None]:
    """The data set of `--pack` (see parsers.options.pack_options) with its pack, or what the data options name."""
    if arguments.pack is None:
        if arguments.pack_photos is not None:
            raise UsageError("--photos belongs to --pack; without a pack, name the data set with --dataset.")
        return read_data(arguments), None
    if arguments.dataset or arguments.database:
        raise UsageError("Give either --pack or a data set (--dataset, --database), not both.")
    pack = open_pack(arguments.pack, photos=arguments.pack_photos)
    return pack.dataset, pack


def pack_descriptors(
    model: VPRModel, pack: Pack | None, arguments: argparse.Namespace, mode: str | None = None
) -> Descriptors | None:
    """A pack's database descriptors of a model; None where they must be computed from photos that are here.

    mode: of --precision. Where the pack has reduced ones only, those: see `pack_reduction`.

    Raises IndexMismatchError when the pack has none of this model, or others than the options ask for, and no photos.
    """
    if pack is None:
        return None
    try:
        options = {"preprocessing": chosen_preprocessing(model, arguments), "reduced": pack.only_reduced(model)}
        found = pack.descriptors(model, **options)
        if arguments.grouping and model.variant.cross_image and found.grouping != arguments.grouping.replace(":", " "):
            raise IndexMismatchError(
                f"The pack {pack.title!r} was described with grouping {found.grouping}, not {arguments.grouping}. "
                "Leave --grouping out, or describe the photos again (--photos)."
            )
        if found.dtype != dtype_words(model, mode):
            raise IndexMismatchError(
                f"The pack {pack.title!r} was described in {found.dtype}, the queries would be in "
                f"{dtype_words(model, mode)}. Give the precision (--precision, --dtype) of the pack, or describe the "
                "photos again (--photos)."
            )
    except IndexMismatchError:
        if not all(place.path.is_file() for place in pack.dataset.database):
            raise
        return None
    return found


def pack_reduction(model: VPRModel, pack: Pack | None, stored: Descriptors | None) -> PCA | None:
    """The PCA by which queries must be reduced to be compared with a pack's descriptors; None for full ones."""
    if pack is None or stored is None or not pack.only_reduced(model):
        return None
    return pack.pca(model)


def packed_models(pack: Pack | None) -> tuple[str, ...]:
    """The models whose descriptors a pack holds and whose weights come with the project: what to use by default."""
    if pack is None:
        return ()
    names = dict.fromkeys(entry.variant for entry in pack.models)
    return tuple(name for name in names if name in bundled_weights())
