"""A full-size run: what it is asked for, what it is made of, and the trainer with its chunked steps."""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from scicevpr.datasets import Dataset, read_dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.files.writing import written_whole
from scicevpr.hub.load import load_backbone, load_model
from scicevpr.hub.pretrained import model_card
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import backbone_part, hash_tensors, save_weights
from training.batches import PUBLISHED, BatchPlan, Draw, keyed_seed
from training.distill import inherit, teacher_name
from training.distributed import Processes
from training.gsv_cities import GsvCities, read_gsv_cities
from training.kept_maps import fill_cache
from training.photo_loader import PhotoReader, load_chunks
from training.recipes import BEST_BY, FullSizeRecipe
from training.steps import Networks, accumulate_gradients, chunks_in, freeze_published, start_published
from training.trainer import BEST, FINISHED, LAST, STATE, Trainer

CARD = "card.md"
"""Name of the best weights' model card in a run folder."""
log = logging.getLogger("training.full_size")

Chunks = tuple[list[Tensor], Tensor]
"""What a process loads for a step: its chunks of the batch, and the labels of the whole batch [P*K]."""


@dataclass(frozen=True)
class RunOptions:
    """What a run reads, where it writes, and what does not change its result.

    ``accumulate``: of how many chunks a process holds the graphs at once (0: all). ``resume_only``: refuse to start
    anew. ``arguments``: the command line, to be recorded.
    """

    data: Path
    out: Path
    cities: tuple[str, ...] | None = None
    skip_missing: bool = False
    backbone: str | None = None
    teacher: str | None = None
    validation: Path | None = None
    device: str | None = None
    threads: int | None = None
    workers: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))
    accumulate: int = 0
    feature_cache: Path | None = None
    save_every: int = 200
    resume_only: bool = False
    check: bool = False
    check_seconds: float = 60.0
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What a run consists of. ``recipe`` carries the hashes of data, backbone and teacher. ``test``: the test split of
    the validation set's folder, if there is one."""

    recipe: FullSizeRecipe
    data: GsvCities
    plan: BatchPlan
    networks: Networks
    validation: Dataset | None
    test: Dataset | None = None


def read_photos(recipe: FullSizeRecipe, options: RunOptions) -> tuple[GsvCities, BatchPlan]:
    """The training photos and their batches. DatasetError, UsageError as the two raise them."""
    data = read_gsv_cities(
        options.data, options.cities, min_photos=recipe.min_photos, skip_missing=options.skip_missing
    )
    return data, BatchPlan(data, recipe.places, recipe.photos, recipe.seed, recipe.order)


def read_validation(options: RunOptions) -> tuple[Dataset | None, Dataset | None]:
    """The validation set, if one is named, and the test split beside it, if there is one. DatasetError when it is none,
    or has no positions."""
    folder = options.validation
    if folder is None:
        return None, None
    return read_dataset(folder, "val"), read_dataset(folder, "test") if (folder / "images" / "test").is_dir() else None


def build_networks(
    recipe: FullSizeRecipe, options: RunOptions, device: torch.device
) -> tuple[Networks, FullSizeRecipe]:
    """The model (and its teacher) as training starts; and the recipe with the hashes of what they start from. Raises
    WeightsError: backbone or teacher cannot be loaded, or are of another architecture."""
    torch.manual_seed(keyed_seed(recipe.seed, Draw.FIRST_WEIGHTS))
    model, teacher = build_model(recipe.variant), None
    if options.teacher is not None:
        teacher = load_model(options.teacher, variant=teacher_name(recipe.variant))
        inherit(model, teacher)
        recipe = replace(recipe, teacher=hash_tensors(teacher.state_dict()))
    else:
        load_backbone(model, options.backbone)
        freeze_published(model)
    if recipe.start == "published":
        start_published(model)
    recipe = replace(recipe, backbone=hash_tensors(backbone_part(model.state_dict())))
    networks = Networks(model.to(device), None if teacher is None else teacher.to(device), recipe.precision)
    return networks, recipe


def check_folder(options: RunOptions) -> None:
    """Refuse an --out that holds a finished run, and --resume_run where none is unfinished. UsageError."""
    if (options.out / STATE).exists():
        return
    finished = (options.out / FINISHED).exists()
    if options.resume_only:
        held = "a finished run" if finished else "no run"
        raise UsageError(f"{options.out} holds {held}, so there is nothing to go on with. Give --out to start one.")
    if finished:
        raise UsageError(f"{options.out} holds a finished run. Give another --out, or delete it.")


def make_ready(recipe: FullSizeRecipe, options: RunOptions, processes: Processes) -> Parts:
    """Read and build everything, in every process. Raises the errors of the functions above."""
    with processes.together():
        check_folder(options)
        processes.share(chunks_in(recipe))
        data, plan = read_photos(recipe, options)
        validation, test = read_validation(options)
        networks, recipe = build_networks(recipe, options, processes.device)
    named = "none" if validation is None else f"{validation.name} / {validation.split}"
    cities = " ".join(data.listed) if recipe.order == PUBLISHED else ""
    recipe = replace(recipe, data=data.digest, cities=cities, validation=named)
    return Parts(recipe, data, plan, networks, validation, test)


def open_reader(parts: Parts, options: RunOptions, processes: Processes) -> tuple[TorchDataset, Networks]:
    """What batches are loaded from: photos, or kept maps, which are made if need be; and the networks that take it."""
    recipe = parts.recipe
    if options.feature_cache is None:
        return PhotoReader(parts.data, recipe.pixels, recipe.operations), parts.networks
    log.info("feature cache in %s", options.feature_cache)
    reader = fill_cache(options.feature_cache, parts.networks, parts.data, recipe, processes, options.workers)
    return reader, replace(parts.networks, kept_maps=True)


class FullSizeRun(Trainer):
    """A run in this process. reader: what batches are loaded from. networks: take what it gives."""

    def __init__(
        self, parts: Parts, options: RunOptions, processes: Processes, reader: TorchDataset, networks: Networks
    ) -> None:
        recipe = parts.recipe
        super().__init__(
            networks.model, recipe, options.out, parts.plan.steps, processes=processes,
            loss_scaling=recipe.precision == "fp16", patience=recipe.patience, save_every=options.save_every,
            by=BEST_BY[recipe.best], optim=recipe.optim, keep_last=True,
        )  # fmt: skip
        self.parts, self.options, self.networks, self._reader = parts, options, networks, reader
        self.model.allow_untrained = True  # its validation is no claim about a trained model
        self._chunks = chunks_in(recipe)
        self._own = processes.share(self._chunks)

    def batches(self, first: int) -> Iterator[Chunks]:
        """This process's chunks and the labels of every batch of this epoch, from a step on."""
        loaded = load_chunks(
            self._reader, self.parts.plan, self.epoch, first, chunks=self._chunks, own=self._own,
            workers=self.options.workers, pin=self.processes.device.type == "cuda",
        )  # fmt: skip
        for batch in self.parts.plan.batches(self.epoch, first):
            with self.processes.together():
                chunks = next(loaded)
            yield chunks, torch.from_numpy(batch.labels)

    def gradients(self, batch: Chunks) -> dict[str, float]:
        """Of this process's chunks, summed over all processes."""
        seeds = [keyed_seed(self.recipe.seed, Draw.DROPOUT, self.step, chunk) for chunk in range(self._chunks)]
        return accumulate_gradients(
            self.networks, *batch, seeds, self.recipe, self.processes,
            at_once=self.options.accumulate, scale=self.scaler.scale,
        )  # fmt: skip

    def measure(self) -> dict[int, float] | None:
        """Recall@N on the validation set, if there is one; cross-image models in file order, as published."""
        if self.parts.validation is None:
            return None
        scores = evaluate(self.model, self.parts.validation, ns=(1, 5, 10)).overall
        return None if scores is None else scores.recalls

    def end(self) -> None:
        """Write the best weights' card, and test them and the last ones, as published, where the validation set has a
        test split."""
        (self.out / CARD).write_text(model_card(load_model(self.out / BEST)), encoding="utf-8")
        for name in (BEST, LAST) if self.parts.test is not None else ():
            model = load_model(self.out / name, device=self.processes.device)
            scores = evaluate(model, self.parts.test, ns=(1, 5, 10)).overall
            recalls = {} if scores is None else scores.recalls
            which = name.partition(".")[0]
            self.note(**{f"test_{which}_recall_{n}": value for n, value in recalls.items()})
            said = ", ".join(f"Recall@{n} {value:.2f}" for n, value in recalls.items())
            log.info("test, %s weights: %s", which, said or "the test split has no queries")

    def write(self, file: Path, recalls: dict[int, float]) -> None:
        """The weights with all their metadata, whole or not at all."""
        data = self.parts.data
        metadata = {
            "trained_on": f"GSV-Cities: {len(data.cities)} cities, {data.places} places, {len(data)} photos",
            "cities": " ".join(data.cities),
            "recipe": json.dumps(vars(self.recipe)),
            "command": shlex.join(["python", "-m", "training.full_size", *self.options.arguments]),
            "seed": self.recipe.seed,
            "step": self.step,
            "epoch": self.epoch + 1,
            "processes": self.processes.count,
            "validation": self.recipe.validation,
            "validation_recall": json.dumps(recalls),
            "date": datetime.now(UTC).date().isoformat(),
            "torch": torch.__version__,
        }
        with written_whole(file) as part:
            save_weights(self.model, part, info=metadata)
        self.model.weights = None  # it goes on changing
