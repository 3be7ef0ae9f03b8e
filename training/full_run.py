"""A full-size run: epochs of chunked steps, validation, saved states, the best weights."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from scicevpr.errors import UsageError
from scicevpr.models.model import VPRModel
from scicevpr.models.native_checkpoints import save_weights
from training.batches import Draw, keyed_seed
from training.chunked_step import Networks, accumulate_gradients, chunks_in
from training.cross_image import set_training
from training.distributed import Processes
from training.full_parts import Parts
from training.full_size_options import RunOptions
from training.photo_loader import load_chunks
from training.trainer import BestModel, Resumable, RunLog, halving, trainable

BEST = "best.safetensors"
SECONDS_BETWEEN_LINES = 10.0
log = logging.getLogger("training.full_size")


class TrainedPart:
    """The tensors of a model that training moves: parameters that are not frozen, and the adapters' statistics."""

    def __init__(self, model: nn.Module) -> None:
        self.statistics = {name: buffer for name, buffer in model.named_buffers() if ".adapter." in name}
        self._tensors = {name: p for name, p in model.named_parameters() if p.requires_grad} | self.statistics

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return list(self._tensors.values())

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> tensor."""
        return {name: tensor.detach() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the values over."""
        for name, tensor in self._tensors.items():
            tensor.copy_(state[name])


class FullSizeRun:
    """A run from its saved state, if there is one, to its end or to a signal.

    Args:
        reader: what batches are loaded from. networks: take what it gives.
    """

    def __init__(
        self, parts: Parts, options: RunOptions, processes: Processes, reader: TorchDataset, networks: Networks
    ) -> None:
        self.parts, self.options, self.processes = parts, options, processes
        self._reader, self.networks, recipe = reader, networks, parts.recipe
        self.optimiser = torch.optim.Adam(trainable(networks.model), lr=recipe.lr)
        self._schedule = halving(self.optimiser, parts.plan.steps, recipe.decay_epochs, recipe.decay)
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=recipe.precision == "fp16")
        self._trained = TrainedPart(networks.model)
        self._chunks = chunks_in(recipe)
        self._own = processes.share(self._chunks)
        self.step = self.epoch = 0
        self._log: RunLog | None = None
        self._best: BestModel | None = None
        self._stop = False

    def train(self) -> bool:
        """Train to the end: True; or to SIGTERM or Ctrl-C, after which the state is saved: False."""
        recipe = self.parts.recipe
        with self.processes.together():
            self._open_state()
        new, going_on = self.processes.any(self.step == 0), self.processes.any(self.step > 0)
        if new and going_on:
            raise UsageError(f"Some processes see no state in {self.options.out}. Put --out where all machines see it.")
        self.processes.take_from_first(self._trained.tensors())
        with self._listen_to_signals():
            while self.epoch < recipe.epochs and not self.processes.any(self._enough()):
                whole = self._train_epoch()
                self.processes.take_from_first(self._trained.statistics.values())
                self._save()  # also before validation, which is long: a run that is stopped in it goes on with it
                if not whole:
                    return False
                with self.processes.together():
                    self._finish_epoch()
                self.epoch += 1
                self._save()
        if self._log is not None:
            self._log.close()
        return True

    def take_step(self, chunks: list[Tensor], labels: Tensor) -> dict[str, float]:
        """One step on this process's chunks of a batch [P*K]; returns the loss and its parts."""
        recipe = self.parts.recipe
        seeds = [keyed_seed(recipe.seed, Draw.DROPOUT, self.step, chunk) for chunk in range(self._chunks)]
        self.optimiser.zero_grad(set_to_none=True)
        parts = accumulate_gradients(
            self.networks, chunks, labels, seeds, recipe, self.processes,
            at_once=self.options.accumulate, scale=self._scaler.scale,
        )  # fmt: skip
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self._schedule.step()
        self.step += 1
        return parts

    def load(self, epoch: int, first_step: int) -> Iterator[tuple[list[Tensor], Tensor]]:
        """This process's chunks and the labels of every batch of an epoch, from a step on."""
        loaded = load_chunks(
            self._reader, self.parts.plan, epoch, first_step, chunk=self.parts.recipe.chunk, own=self._own,
            workers=self.options.workers, pin=self.processes.device.type == "cuda",
        )  # fmt: skip
        for batch in self.parts.plan.batches(epoch, first_step):
            with self.processes.together():
                chunks = next(loaded)
            yield chunks, torch.from_numpy(batch.labels)

    def _train_epoch(self) -> bool:
        """The steps of this epoch that are left; False when a signal asks to stop."""
        set_training(self.networks.model)
        steps = self.parts.plan.steps
        started, before, said = time.perf_counter(), self.step, 0.0
        for chunks, labels in self.load(self.epoch, self.step - self.epoch * steps):
            parts = self.take_step(chunks, labels)
            now = time.perf_counter() - started
            if self._log is not None:
                self._log.write(self.step, **parts, lr=self.optimiser.param_groups[0]["lr"])
                if now - said > SECONDS_BETWEEN_LINES:
                    said, at = now, self.step - self.epoch * steps
                    rate = now / (self.step - before)
                    words = "epoch %d, step %d of %d: loss %.4f, %.2f s a step"
                    log.info(words, self.epoch + 1, at, steps, parts["loss"], rate)
            if self.processes.any(self._stop):
                return False
            if self.step % self.options.save_every == 0:
                self._save()
        return True

    def _finish_epoch(self) -> None:
        """Validate and keep the best weights, in the first process."""
        if self._log is None:
            return
        model = self.networks.model
        if self._best is None:
            self._write(model, self.options.out / BEST, self.step, {})
            return
        recalls = self._best.validate(model, self.step, self.epoch)
        log.info("epoch %d: %s", self.epoch + 1, ", ".join(f"Recall@{n} {value:.2f}" for n, value in recalls.items()))

    def _enough(self) -> bool:
        """True when validation has not been better for the recipe's patience."""
        return self._best is not None and self._best.waited >= self.parts.recipe.patience

    def _open_state(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        moving: dict[str, Any] = {"optimiser": self.optimiser, "schedule": self._schedule, "scaler": self._scaler}
        if self.processes.first:
            self._log = RunLog(self.options.out, self.parts.recipe)
            if self.parts.validation is not None:
                recipe, validation = self.parts.recipe, self.parts.validation
                self._best = moving["best"] = BestModel(validation, self._log, recipe, by=(5, 1), write=self._write)
        self._keeper = Resumable(self.options.out, None, model=self._trained, **moving)
        self.step, self.epoch = self._keeper.restore(self._log)
        if self.step:
            log.info("going on after step %d", self.step)

    def _save(self) -> None:
        if self._log is not None:
            self._keeper.save(self.step, self.epoch)

    def _write(self, model: VPRModel, file: Path, step: int, recalls: dict[int, float]) -> None:
        """The weights with all the facts, whole or not at all."""
        part = file.with_suffix(".part")
        save_weights(model, part, info=self._facts(step, recalls))
        part.replace(file)
        model.weights = None  # it goes on changing

    def _facts(self, step: int, recalls: dict[int, float]) -> dict[str, Any]:
        recipe, data = self.parts.recipe, self.parts.data
        return {
            "trained_on": f"GSV-Cities: {len(data.cities)} cities, {data.places} places, {len(data)} photos",
            "cities": " ".join(data.cities),
            "recipe": json.dumps(vars(recipe)),
            "command": self.options.command,
            "seed": recipe.seed,
            "step": step,
            "epoch": self.epoch + 1,
            "processes": self.processes.count,
            "validation": recipe.validation,
            "validation_recall": json.dumps({str(n): round(value, 3) for n, value in recalls.items()}),
            "date": datetime.now(UTC).date().isoformat(),
            "torch": torch.__version__,
        }

    @contextmanager
    def _listen_to_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C ask the run to stop after the step under way; a second Ctrl-C ends it at once."""

        def stop(number: int, _: Any) -> None:
            if self._stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
