"""The one training loop, for size T and for full size: epochs of steps, validation, saved states, the best weights.

A stage is a :class:`Trainer` that says what its batches are, how a batch gives gradients and how the model is measured.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from scicevpr.errors import UsageError
from scicevpr.files.writing import written_whole
from scicevpr.models.model import VPRModel
from training.distributed import Processes
from training.recipes import differences
from training.steps import set_training, trainable

BEST = "best.safetensors"
LAST = "last.safetensors"
"""Names of the weights in a run folder; the last ones are kept at full size."""
FINISHED = "finished"
"""Name of the empty file that marks a run that went to its end."""
STATE = "state.pt"
"""Name of the file from which an interrupted run goes on; removed when the run is finished."""
EXIT_STOPPED = 130
SECONDS_BETWEEN_LINES = 10.0
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam, "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=0.001),
}  # fmt: skip
"""The published ones, with their published settings."""

log = logging.getLogger("training.trainer")


class Trainer:
    """A run from its saved state, if there is one, to its end or to a signal.

    model: in training; what is frozen in it stays as it is. recipe: the run's frozen dataclass, with ``lr``,
    ``epochs``, ``decay`` and ``decay_epochs``. out: the run folder. steps: in an epoch, for the schedule. warmup: steps
    of a growing rate at the start. generator: the one from which batches are drawn; None where they do not come from a
    running generator. processes: default: this one alone. loss_scaling: for float16. validate_every, patience,
    save_every: in epochs, in validations without a better one, and in steps. by: what decides which weights are best,
    as in :data:`training.recipes.BEST_BY`; equals are not better. keep_last: write the last weights too.
    """

    def __init__(
        self, model: VPRModel, recipe: Any, out: Path, steps: int, *, warmup: int = 0,
        generator: np.random.Generator | None = None, processes: Processes | None = None, loss_scaling: bool = False,
        validate_every: int = 1, patience: float = math.inf, save_every: int | None = None,
        by: tuple[tuple[int, ...], ...] = ((1,), (5,)), optim: str = "adam", keep_last: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.recipe, self.out, self.steps = model, recipe, Path(out), steps
        self.processes = processes or Processes(torch.device("cpu"))
        self.optimiser = OPTIMISERS[optim](trainable(model), lr=recipe.lr)
        self.schedule = halving(self.optimiser, steps, recipe.decay_epochs, recipe.decay, warmup)
        self.scaler = torch.amp.GradScaler(self.processes.device.type, enabled=loss_scaling)
        self.step = self.epoch = 0
        self._trained = TrainedPart(model)
        self._generator = generator
        self._validate_every, self._patience, self._save_every = validate_every, patience, save_every
        self._by, self._keep_last = by, keep_last
        self._best, self._waited = [-1.0] * len(by), 0
        self._log: RunLog | None = None  # in the first process
        self._stop = False
        self._begin_epoch()

    def batches(self, first: int) -> Iterator[Any]:
        """The batches of this epoch from the ``first`` on."""
        raise NotImplementedError

    def gradients(self, batch: Any) -> dict[str, float]:
        """Leave the gradients of a batch in the model's parameters; returns the loss and its parts by name."""
        raise NotImplementedError

    def measure(self) -> dict[int, float] | None:
        """Recall@N in percent on the validation set; None: there is none, and the last weights are the best."""
        raise NotImplementedError

    def end(self) -> None:
        """What the first process does after the last epoch, with the last weights in the model: nothing more."""

    def note(self, **values: float) -> None:
        """Log named numbers at this step, in the first process."""
        if self._log is not None:
            self._log.write(self.step, **values)

    def write(self, file: Path, recalls: dict[int, float]) -> None:
        """Write the model: its tensors, and as metadata variant, fingerprint, recipe, step and validation Recall@N."""
        state = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        metadata = {
            "variant": self.model.variant.name,
            "fingerprint": self.model.variant.fingerprint,
            "recipe": json.dumps(asdict(self.recipe)),
            "step": str(self.step),
            "validation_recall": json.dumps(recalls),
        }
        save_file(state, file, metadata)

    def train(self) -> bool:
        """Train to the end: True; or to SIGTERM or Ctrl-C, after which the state is saved: False.

        Raises UsageError: the folder holds an unfinished run of another recipe.
        """
        with self.processes.together():
            self._open()
        new, going_on = self.processes.any(self.step == 0), self.processes.any(self.step > 0)
        if new and going_on:
            raise UsageError(f"Some processes see no state in {self.out}. Put --out where all machines see it.")
        self.processes.take_from_first(self._trained.tensors.values())
        with self._listen_to_signals():
            while self.epoch < self.recipe.epochs and not self.processes.any(self._waited >= self._patience):
                whole = self._train_epoch()
                self.processes.take_from_first(self._trained.statistics.values())
                self._save()  # also before validation, which is long: a run that is stopped in it goes on with it
                if not whole:
                    log.info("stopped after step %d; the state is saved. The same command goes on.", self.step)
                    return False
                with self.processes.together():
                    self._validate()
                self.epoch += 1
                self._begin_epoch()
                self._save()
        with self.processes.together():
            if self._log is not None:
                self.end()
                self._log.close()
        log.info("finished: %s", self.out / BEST)
        return True

    def take_step(self, batch: Any) -> dict[str, float]:
        """One step on a batch; returns the loss and its parts."""
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.gradients(batch)
        with self.processes.together():  # the first step takes memory of its own
            self.scaler.step(self.optimiser)
            self.scaler.update()
        self.schedule.step()
        self.step += 1
        return parts

    def _train_epoch(self) -> bool:
        """The steps of this epoch that are left; False when a signal asks to stop."""
        set_training(self.model)
        started, before, said = time.perf_counter(), self.step, 0.0
        with self._bar() as bar:
            for batch in self.batches(self.step - self._begun):
                parts = self.take_step(batch)
                now = time.perf_counter() - started
                if self._log is not None:
                    self._log.write(self.step, **parts, lr=self.optimiser.param_groups[0]["lr"])
                    pace = self._pace(now / (self.step - before))
                    bar.set_postfix_str(f"loss {parts['loss']:.4f}, {pace}", refresh=False)
                    bar.update()
                    if bar.disable and now - said > SECONDS_BETWEEN_LINES:
                        said, at = now, self.step - self._begun
                        line = "epoch %d, step %d of %d: loss %.4f, %s"
                        log.info(line, self.epoch + 1, at, self.steps, parts["loss"], pace)
                if self.processes.any(self._stop):
                    return False
                if self._save_every and self.step % self._save_every == 0:
                    self._save()
        return True

    def _bar(self) -> Any:
        """A progress bar over this epoch's steps, in the first process, on a terminal."""
        hidden = self._log is None or not sys.stderr.isatty()
        begun = self.step - self._begun
        return tqdm(total=self.steps, initial=begun, desc=f"epoch {self.epoch + 1}", unit="step", disable=hidden)

    def _pace(self, seconds: float) -> str:
        """How fast steps of so many seconds are, and how long those take that are left of the whole run."""
        photos, left = self.recipe.places * self.recipe.photos, self.steps * self.recipe.epochs - self.step
        return f"{photos / seconds:.0f} photos/s, {duration_label(left * seconds)} left"

    def _validate(self) -> None:
        """Measure, log, and keep the weights if none were better so far: in the first process."""
        last = self.epoch + 1 == self.recipe.epochs
        if self._log is None or not (last or (self.epoch + 1) % self._validate_every == 0):
            return
        recalls = self.measure()
        if self._keep_last:
            self.write(self.out / LAST, rounded(recalls))
        if recalls is None:
            self.write(self.out / BEST, {})
            return
        self._log.write(self.step, epoch=self.epoch, **{f"val_recall_{n}": value for n, value in recalls.items()})
        log.info("epoch %d: %s", self.epoch + 1, ", ".join(f"Recall@{n} {value:.2f}" for n, value in recalls.items()))
        found = [sum(recalls[n] for n in values) for values in self._by]
        self._waited += 1
        if found > self._best:
            self._best, self._waited = found, 0
            self.write(self.out / BEST, rounded(recalls))

    def _begin_epoch(self) -> None:
        self._begun = self.step
        self._drawn = None if self._generator is None else self._generator.bit_generator.state

    def _open(self) -> None:
        """The log in the first process, and the saved state in all, if there is one."""
        self.out.mkdir(parents=True, exist_ok=True)
        saved = self._saved_state()
        if self.processes.first:
            self._log = RunLog(self.out, self.recipe, None if saved is None else saved["step"])
        if saved is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(saved["parts"][name])
        torch.set_rng_state(saved["torch"])
        if saved.get("cuda") is not None and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda"], self.processes.device)
        self.step, self.epoch, self._begun = saved["step"], saved["epoch"], saved["begun"]
        self._best, self._waited = saved["best"], saved["waited"]
        if self._generator is not None:  # as it was at the start of the epoch, whose batches it then draws once more
            self._drawn = self._generator.bit_generator.state = json.loads(saved["drawn"])
        log.info("going on after step %d", self.step)

    def _saved_state(self) -> dict[str, Any] | None:
        """The saved state, if there is one. UsageError: it is damaged, or another version of this package wrote it."""
        path = self.out / STATE
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            if saved["parts"].keys() == self._parts().keys():
                return saved
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError):
            pass
        raise UsageError(
            f"{path} is damaged or from another version of this package, so the run cannot go on from it. "
            "Move that file away to begin anew, or give another --out."
        )

    def _save(self) -> None:
        """Write the state in the first process: a whole file or none."""
        if self._log is None:
            return
        state = {
            "step": self.step, "epoch": self.epoch, "begun": self._begun, "best": self._best, "waited": self._waited,
            "parts": {name: part.state_dict() for name, part in self._parts().items()},
            "torch": torch.get_rng_state(), "drawn": json.dumps(self._drawn),
            "cuda": torch.cuda.get_rng_state(self.processes.device) if self.processes.device.type == "cuda" else None,
        }  # fmt: skip
        with written_whole(self.out / STATE) as part:
            torch.save(state, part)

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self._trained, "optimiser": self.optimiser, "schedule": self.schedule, "scaler": self.scaler
        }  # fmt: skip

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


class TrainedPart:
    """The tensors of a model that training moves: parameters that are not frozen, and the adapters' statistics."""

    def __init__(self, model: nn.Module) -> None:
        self.statistics = {name: buffer for name, buffer in model.named_buffers() if ".adapter." in name}
        self.tensors = {name: p for name, p in model.named_parameters() if p.requires_grad} | self.statistics

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> tensor."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the values over."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])


class RunLog:
    """A run folder: ``recipe.json``, ``log.csv`` (one row a step or validation) and TensorBoard events if installed.

    ``step``: of a run that goes on; its rows up to there are kept, and its clock. UsageError: that run has another
    recipe.
    """

    def __init__(self, folder: Path, recipe: Any, step: int | None = None) -> None:
        self.folder = folder
        text, file = json.dumps(asdict(recipe), indent=2) + "\n", folder / "recipe.json"
        if step is not None and file.exists():
            other = differences(json.loads(file.read_text()), json.loads(text))
            if other:
                raise UsageError(
                    f"{folder} holds an unfinished run of another recipe ({other}). Give another --out or delete it."
                )
        file.write_text(text)
        there = folder / "log.csv"
        kept = []
        if step is not None and there.exists():
            kept = [row for row in csv.reader(there.open(newline="")) if int(row[1]) <= step]
        self._started = time.perf_counter() - (float(kept[-1][0]) if kept else 0.0)
        self._csv = there.open("w", newline="")
        self._rows = csv.writer(self._csv)
        self._rows.writerows(kept)
        self._csv.flush()
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder), purge_step=int(kept[-1][1]) + 1 if kept else None)
        except ImportError:
            log.debug("no TensorBoard here: no events are written")

    def write(self, step: int, **values: float) -> None:
        """Log named numbers at a step."""
        for name, value in values.items():
            self._rows.writerow([f"{time.perf_counter() - self._started:.1f}", step, name, f"{value:.6g}"])
            if self._board is not None:
                self._board.add_scalar(name, value, step)
        self._csv.flush()

    def close(self) -> None:
        """Close the files and mark the run as finished."""
        (self.folder / FINISHED).touch()
        (self.folder / STATE).unlink(missing_ok=True)
        self._csv.close()
        if self._board is not None:
            self._board.close()


def duration_label(seconds: float) -> str:
    """A time in words: "90 s", "5 min", "3 h 05 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def rounded(recalls: dict[int, float] | None) -> dict[int, float]:
    """Recall@N as metadata record it."""
    return {n: round(value, 3) for n, value in (recalls or {}).items()}


def halving(
    optimiser: torch.optim.Optimizer, steps_per_epoch: int, epochs: int, factor: float, warmup: int = 0
) -> torch.optim.lr_scheduler.LambdaLR:
    """The published schedule, the rate times ``factor`` every ``epochs`` epochs' worth of steps; before it, if asked
    for, ``warmup`` steps of a growing rate."""
    every = max(1, steps_per_epoch * epochs)
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: factor ** (step // every) * min(1.0, (step + 1) / (warmup + 1))
    )
