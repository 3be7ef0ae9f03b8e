"""What the stages share: seeding, run folders, CSV and TensorBoard logs, validation, options."""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scicevpr.datasets import Dataset
from scicevpr.descriptors.describe import evaluating
from scicevpr.errors import UsageError
from scicevpr.evaluation.benchmark import evaluate, score
from scicevpr.models.model import VPRModel
from training.stem_maps import KeptSet

FINISHED = "finished"
"""Name of the empty file that marks a run that went to its end."""


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python, NumPy and torch; return the generator from which batches are drawn."""
    random.seed(seed)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


STATE = "state.pt"
"""Name of the file from which an interrupted run goes on; removed when the run is finished."""


class RunLog:
    """A run folder: ``recipe.json``, ``log.csv`` (one row a step or validation) and TensorBoard events if installed.

    Args:
        folder: made if need be.
        recipe: the run's frozen dataclass. A folder with an unfinished run of another recipe is refused (UsageError).
    """

    def __init__(self, folder: str | Path, recipe: Any) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        text, file = json.dumps(asdict(recipe), indent=2) + "\n", self.folder / "recipe.json"
        if (self.folder / STATE).exists() and file.exists() and file.read_text() != text:
            raise UsageError(
                f"{self.folder} holds an unfinished run of another recipe ({_differences(file.read_text(), text)}). "
                "Give another --out or delete it."
            )
        file.write_text(text)
        self._started = time.perf_counter()
        log = self.folder / "log.csv"
        unfinished = (self.folder / STATE).exists() and log.exists()
        self._earlier = list(csv.reader(log.open(newline=""))) if unfinished else []
        self._open(self._earlier)

    def _open(self, kept: list[list[str]]) -> None:
        self._csv = (self.folder / "log.csv").open("w", newline="")
        self._rows = csv.writer(self._csv)
        self._rows.writerows(kept)
        self._csv.flush()
        try:
            from torch.utils.tensorboard import SummaryWriter

            purge = int(kept[-1][1]) + 1 if kept else None
            self._board = SummaryWriter(str(self.folder), purge_step=purge)
        except ImportError:
            self._board = None

    def go_on(self, step: int) -> None:
        """Take up the log of an interrupted run: keep its rows up to a step, and its clock."""
        kept = [row for row in self._earlier if int(row[1]) <= step]
        self._csv.close()
        if self._board is not None:
            self._board.close()
        self._started -= float(kept[-1][0]) if kept else 0.0
        self._open(kept)

    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._started

    def write(self, step: int, **values: float) -> None:
        """Log named numbers at a step."""
        for name, value in values.items():
            self._rows.writerow([f"{self.seconds():.1f}", step, name, f"{value:.6g}"])
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


def _differences(there: str, here: str) -> str:
    """What two recipes differ in: ``lr 0.0001 there, 0.0002 here``."""
    old, new = json.loads(there), json.loads(here)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return "; ".join(f"{name} {old.get(name)} there, {new.get(name)} here" for name in names) or "written differently"


class Resumable:
    """Saves and restores all that a run needs to go on exactly where it was: parts, random numbers, step, log.

    Args:
        folder: the run folder.
        generator: the one from which batches are drawn; None where they do not come from a running generator.
        parts: whatever has ``state_dict`` and ``load_state_dict``: model, optimiser, schedule, averages.
    """

    def __init__(self, folder: str | Path, generator: np.random.Generator | None, **parts: Any) -> None:
        self._file = Path(folder) / STATE
        self._generator = generator
        self._parts = parts

    def save(self, step: int, epoch: int = 0) -> None:
        """Write the state after ``step`` steps and ``epoch`` whole epochs: a whole file or none."""
        state = {name: part.state_dict() for name, part in self._parts.items()}
        numbers: dict[str, Any] = {"torch": torch.get_rng_state()}
        if self._generator is not None:
            numbers["numpy"] = json.dumps(self._generator.bit_generator.state)
        part_file = self._file.with_suffix(".part")
        torch.save({"step": step, "epoch": epoch, "parts": state, "random": numbers}, part_file)
        part_file.replace(self._file)

    def restore(self, log: RunLog | None) -> tuple[int, int]:
        """Load the saved state, if there is one, and take up the log; returns steps and epochs done (0, 0 if new).

        ``log`` is None in processes that keep none.
        """
        if not self._file.exists():
            return 0, 0
        saved = torch.load(self._file, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(saved["parts"][name])
        torch.set_rng_state(saved["random"]["torch"])
        if self._generator is not None:
            self._generator.bit_generator.state = json.loads(saved["random"]["numpy"])
        if log is not None:
            log.go_on(saved["step"])
        return int(saved["step"]), int(saved["epoch"])


def validation_recall(model: VPRModel, dataset: Dataset, ns: tuple[int, ...] = (1, 5, 10)) -> dict[int, float]:
    """Recall@N in percent on a labelled dataset; cross-image models in file order, 16 photos a batch."""
    allowed, model.allow_untrained = model.allow_untrained, True
    try:
        return evaluate(model, dataset, ns=ns).overall.recalls
    finally:
        model.allow_untrained = allowed


@torch.no_grad()
def kept_recall(
    model: VPRModel, kept: KeptSet, describe: Callable[[VPRModel, Tensor], Tensor], ns: tuple[int, ...] = (1, 5, 10)
) -> dict[int, float]:
    """Recall@N in percent on a data set whose stem maps are kept; in file order, 16 photos a batch."""
    with evaluating(model):
        values = [
            torch.cat([describe(model, maps[start : start + 16]) for start in range(0, len(maps), 16)]).numpy()
            for maps in (kept.database, kept.queries)
        ]
    return score(model.variant.title, kept.dataset, *values, ns=ns, protocol={}).overall.recalls


class BestModel:
    """Validates a model and keeps the best as ``best.safetensors`` in its run folder.

    Args:
        measure: what gives the Recall@N of a model, or the data set to measure it on.
        by: the values of N whose Recall@N decides, the first one first.
        write: called with (model, file, step, recalls) to write the best; default: the tensors, and as metadata
            variant, architecture fingerprint, recipe, step and the Recall that made it the best.
    """

    def __init__(
        self,
        measure: Dataset | Callable[[VPRModel], dict[int, float]],
        log: RunLog,
        recipe: Any,
        *,
        by: tuple[int, ...] = (1, 5),
        write: Callable[[VPRModel, Path, int, dict[int, float]], None] | None = None,
    ) -> None:
        self._measure = measure
        self._log = log
        self._recipe = recipe
        self._by = by
        self._write = write or self._write_tensors
        self._best = [-1.0] * len(by)
        self.waited = 0
        """How many validations in a row were no better than the best."""

    def validate(self, model: VPRModel, step: int, epoch: int) -> dict[int, float]:
        """Measure, log, and save the model if none was better so far; returns its Recall@N."""
        measure = self._measure
        recalls = measure(model) if callable(measure) else validation_recall(model, measure)
        self._log.write(step, epoch=epoch, **{f"val_recall_{n}": value for n, value in recalls.items()})
        found = [recalls[n] for n in self._by]
        self.waited += 1
        if found > self._best:
            self._best, self.waited = found, 0
            self._write(model, self._log.folder / "best.safetensors", step, recalls)
        return recalls

    def _write_tensors(self, model: VPRModel, file: Path, step: int, recalls: dict[int, float]) -> None:
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, file, run_facts(model.variant, self._recipe, step, recalls))

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted run needs to know."""
        return {"best": self._best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it up again."""
        self._best, self.waited = list(state["best"]), state["waited"]


def run_facts(variant: Any, recipe: Any, step: int, recalls: dict[int, float]) -> dict[str, str]:
    """Metadata of a run's weights: variant, fingerprint, recipe, step, validation Recall."""
    return {
        "variant": variant.name,
        "fingerprint": variant.fingerprint,
        "recipe": json.dumps(asdict(recipe)),
        "step": str(step),
        "validation_recall": json.dumps({str(n): round(value, 3) for n, value in recalls.items()}),
    }


def stage_parser(module: str, description: str) -> argparse.ArgumentParser:
    """The options that every stage has: --data, --out, --limit-cities, --threads, --set."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with images/train and images/val")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--limit-cities", type=int, help="use the first N cities only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="override numbers of the recipe")
    return parser


def halving(
    optimiser: torch.optim.Optimizer, steps_per_epoch: int, epochs: int, factor: float, warmup: int = 0
) -> torch.optim.lr_scheduler.LambdaLR:
    """The published schedule, the rate times ``factor`` every ``epochs`` epochs' worth of steps; before it, if asked
    for, ``warmup`` steps of a growing rate."""
    every = max(1, steps_per_epoch * epochs)
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: factor ** (step // every) * min(1.0, (step + 1) / (warmup + 1))
    )


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen."""
    return [p for p in module.parameters() if p.requires_grad]


def freeze(module: nn.Module) -> None:
    """Stop gradients into a module and keep it in evaluation mode."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.eval()
