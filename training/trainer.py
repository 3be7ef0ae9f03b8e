"""What the stages share: seeding, run folders, CSV and TensorBoard logs, validation, options."""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from scicevpr.evaluation.benchmark import evaluate
from scicevpr.models.model import VPRModel
from scicevpr.places import Dataset

FINISHED = "finished"
"""Name of the empty file that marks a run that went to its end."""


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python, NumPy and torch; return the generator from which batches are drawn."""
    random.seed(seed)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


class RunLog:
    """A run folder: ``recipe.json``, ``log.csv`` (one row a step or validation) and TensorBoard events if installed."""

    def __init__(self, folder: str | Path, recipe: Any) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
        self._csv = (self.folder / "log.csv").open("a", newline="")
        self._rows = csv.writer(self._csv)
        self._started = time.perf_counter()
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder))
        except ImportError:
            self._board = None

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
        self._csv.close()
        if self._board is not None:
            self._board.close()


def validation_recall(model: VPRModel, dataset: Dataset, ns: tuple[int, ...] = (1, 5, 10)) -> dict[int, float]:
    """Recall@N in percent on a labelled dataset; cross-image models in file order, 16 photos a batch."""
    allowed, model.allow_untrained = model.allow_untrained, True
    try:
        return evaluate(model, dataset, ns=ns).overall.recalls
    finally:
        model.allow_untrained = allowed


class BestModel:
    """Validates a model and keeps the best by Recall@5 (then Recall@1) as ``best.safetensors`` in its run folder."""

    def __init__(self, dataset: Dataset, log: RunLog) -> None:
        self._dataset = dataset
        self._log = log
        self._best = (-1.0, -1.0)

    def validate(self, model: VPRModel, step: int, epoch: int) -> None:
        """Measure, log, and save the model if none was better so far."""
        recalls = validation_recall(model, self._dataset)
        self._log.write(step, epoch=epoch, **{f"val_recall_{n}": value for n, value in recalls.items()})
        if (recalls[5], recalls[1]) > self._best:
            self._best = (recalls[5], recalls[1])
            state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
            save_file(state, self._log.folder / "best.safetensors")


def stage_parser(module: str, description: str) -> argparse.ArgumentParser:
    """The options that every stage has: --data, --out, --limit-cities, --threads, --set."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/train and images/val")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--limit-cities", type=int, help="use the first N cities only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="override numbers of the recipe")
    return parser


def halving(optimiser: torch.optim.Optimizer, steps_per_epoch: int, epochs: int, factor: float) -> Any:
    """The published schedule: the rate times ``factor`` every ``epochs`` epochs' worth of steps."""
    return torch.optim.lr_scheduler.StepLR(optimiser, step_size=max(1, steps_per_epoch * epochs), gamma=factor)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen."""
    return [p for p in module.parameters() if p.requires_grad]


def freeze(module: nn.Module) -> None:
    """Stop gradients into a module and keep it in evaluation mode."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.eval()
