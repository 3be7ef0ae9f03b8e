"""What a full-size run is made of: photos and their batches, networks as they start, the validation set."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch.utils.data import Dataset as TorchDataset

from scicevpr.datasets import Dataset, read_dataset
from scicevpr.errors import UsageError
from scicevpr.hub.load import load_backbone, load_model
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import backbone_part, hash_tensors
from training.batches import BatchPlan, Draw, keyed_seed
from training.chunked_step import Networks, chunks_in
from training.cross_image import freeze_published
from training.distill import inherit, teacher_name
from training.distributed import Processes
from training.full_size_options import RunOptions
from training.gsv_cities import GsvCities, read_gsv_cities
from training.map_cache import fill_cache
from training.photo_loader import PhotoReader
from training.recipes import FullSizeRecipe
from training.trainer import FINISHED, STATE

log = logging.getLogger("training.full_size")


@dataclass(frozen=True)
class Parts:
    """What a run consists of. ``recipe`` carries the hashes of data, backbone and teacher."""

    recipe: FullSizeRecipe
    data: GsvCities
    plan: BatchPlan
    networks: Networks
    validation: Dataset | None


def read_photos(recipe: FullSizeRecipe, options: RunOptions) -> tuple[GsvCities, BatchPlan]:
    """The training photos and their batches. DatasetError, UsageError as the two raise them."""
    data = read_gsv_cities(
        options.data, options.cities, min_photos=recipe.min_photos, skip_missing=options.skip_missing
    )
    return data, BatchPlan(data, recipe.places, recipe.photos, recipe.seed, recipe.repeat_batches)


def read_validation(options: RunOptions) -> Dataset | None:
    """The validation set, if one is named. DatasetError when it is none, or has no positions."""
    return None if options.validation is None else read_dataset(options.validation, "val")


def build_networks(
    recipe: FullSizeRecipe, options: RunOptions, device: torch.device
) -> tuple[Networks, FullSizeRecipe]:
    """The model (and its teacher) as training starts; and the recipe with the hashes of what they start from.

    Raises:
        WeightsError: backbone or teacher cannot be loaded, or are of another architecture.
    """
    torch.manual_seed(keyed_seed(recipe.seed, Draw.FIRST_WEIGHTS))
    model, teacher = build_model(recipe.variant), None
    if options.teacher is not None:
        teacher = load_model(options.teacher, variant=teacher_name(recipe.variant))
        inherit(model, teacher)
        recipe = replace(recipe, teacher=hash_tensors(teacher.state_dict()))
    else:
        load_backbone(model, options.backbone)
        freeze_published(model)
    recipe = replace(recipe, backbone=hash_tensors(backbone_part(model.state_dict())))
    networks = Networks(model.to(device), None if teacher is None else teacher.to(device), recipe.precision)
    return networks, recipe


def check_folder(options: RunOptions) -> None:
    """Refuse an --out that holds a finished run, and --resume_run where none is unfinished. UsageError."""
    unfinished = (options.out / STATE).exists()
    if options.resume_only and not unfinished:
        held = "a finished run" if (options.out / FINISHED).exists() else "no run"
        raise UsageError(f"{options.out} holds {held}, so there is nothing to go on with. Give --out to start one.")
    if (options.out / FINISHED).exists() and not unfinished:
        raise UsageError(f"{options.out} holds a finished run. Give another --out, or delete it.")


def make_ready(recipe: FullSizeRecipe, options: RunOptions, processes: Processes) -> Parts:
    """Read and build everything, in every process. Raises the errors of the functions above."""
    with processes.together():
        check_folder(options)
        processes.share(chunks_in(recipe))
        data, plan = read_photos(recipe, options)
        validation = read_validation(options)
        networks, recipe = build_networks(recipe, options, processes.device)
    named = "none" if validation is None else f"{validation.name} / {validation.split}"
    return Parts(replace(recipe, data=data.digest, validation=named), data, plan, networks, validation)


def open_reader(parts: Parts, options: RunOptions, processes: Processes) -> tuple[TorchDataset, Networks]:
    """What batches are loaded from: photos, or kept maps, which are made if need be; and the networks that take it."""
    recipe = parts.recipe
    if options.feature_cache is None:
        return PhotoReader(parts.data, recipe.pixels, recipe.operations), parts.networks
    log.info("feature cache in %s", options.feature_cache)
    reader = fill_cache(options.feature_cache, parts.networks, parts.data, recipe, processes, options.workers)
    return reader, replace(parts.networks, kept_maps=True)
