"""What a precision mode costs and gives: measured against float32 on a data set, mode by mode in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scicevpr.datasets import Dataset
from scicevpr.descriptors.describe import describe, require_inside
from scicevpr.descriptors.precision import MODES, obstacle, precision_label, runner, unchanged
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.evaluation.benchmark import score
from scicevpr.evaluation.metrics import hit_matrix
from scicevpr.evaluation.protocols import published_grouping
from scicevpr.evaluation.uncertainty import compare_recalls, score_intervals
from scicevpr.models.model import VPRModel
from scicevpr.progress import StageProgress, of_stage

ROUNDS = 7
TIMED_PHOTOS = 4
PAIRS = 20_000


def available_modes(device: str | torch.device = "cpu") -> tuple[str, ...]:
    """The modes that this machine has on a device, float32 first."""
    return tuple(mode for mode in MODES if obstacle(mode, device) is None)


def measure_modes(
    model: VPRModel,
    dataset: Dataset,
    *,
    modes: Sequence[str] | None = None,
    rounds: int = ROUNDS,
    progress: StageProgress | None = None,
) -> dict[str, Any]:
    """Describe a labelled data set in each mode and compare with float32, photo by photo and query by query.

    Photos share batches as published for the model (queries and database alike). Per mode: "distance" (median and
    largest distance of a photo's descriptor from its float32 one, relative to the median distance between different
    photos), "recall" in percent with its 95 % "interval" over places, "change" in points against float32 with
    "change interval" and "p" (exact McNemar), "ms a photo" (model alone, photo by photo, median of interleaved rounds)
    and "times faster" than float32.
    """
    require_inside(model)
    wanted = tuple(dict.fromkeys(("float32", *(modes or available_modes(next(model.parameters()).device)))))
    paths = [photo.path for part in (dataset.database, dataset.queries) for photo in part]
    grouping = published_grouping(model.variant, dataset)
    reference: tuple[np.ndarray, np.ndarray] | None = None
    rows: dict[str, dict[str, Any]] = {}
    for mode in wanted:
        values = []
        for name, part in (("database", dataset.database), ("queries", dataset.queries)):
            step, files = of_stage(progress, f"{mode}: {name}"), [photo.path for photo in part]
            values.append(describe(model, files, grouping=grouping, precision=mode, progress=step).values)
        result = score(model.variant.title, dataset, *values, ns=(1,))
        hits, places = hit_matrix(result.predictions, result.positives, (1,)), result.places()
        both = np.concatenate(values)
        if reference is None:
            reference = (both, hits)
        intervals = score_intervals(hits, (1,), places)
        [paired] = compare_recalls(hits, reference[1], (1,), places)
        rows[mode] = {
            "protocol": precision_label(mode),
            "device": str(next(model.parameters()).device),
            "distance": relative_distance(both, reference[0]),
            "queries": paired.queries,
            "recall": round(paired.recall_a, 2),
            "interval": None if intervals is None else [round(limit, 2) for limit in intervals.recalls[1]],
            "change": round(paired.difference, 2),
            "change interval": None if paired.low is None else [round(paired.low, 2), round(paired.high, 2)],
            "only this mode": paired.only_a,
            "only float32": paired.only_b,
            "p": paired.p_value,
        }
        rows[mode]["unchanged"] = unchanged(rows[mode])
    for mode, milliseconds in time_modes(model, paths[:TIMED_PHOTOS], wanted, rounds).items():
        rows[mode]["ms a photo"] = round(milliseconds, 1)
    for row in rows.values():
        row["times faster"] = round(rows["float32"]["ms a photo"] / row["ms a photo"], 2)
    return {
        "variant": model.variant.name,
        "weights": model.weights.sha256 if model.weights is not None else "random",
        "grouping": grouping.label if grouping else "independent of the batch",
        "modes": rows,
    }


def relative_distance(values: np.ndarray, reference: np.ndarray, seed: int = 0) -> dict[str, float]:
    """How far descriptors [N, D] moved from reference ones, relative to the median distance of different photos."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, len(reference), (2, PAIRS))
    one, other = one[one != other], other[one != other]
    cosines = np.concatenate(
        [
            np.einsum("ij,ij->i", reference[one[at : at + 1000]], reference[other[at : at + 1000]])
            for at in range(0, len(one), 1000)
        ]
    )
    apart = float(np.median(np.sqrt(np.clip(2 - 2 * cosines, 0, None)))) if len(one) else 1.0
    moved = np.linalg.norm(np.asarray(values, np.float64) - reference, axis=1) / apart
    return {"median": float(np.median(moved)), "largest": float(moved.max()), "between photos": apart}


def time_modes(model: VPRModel, photos: Sequence[Path], modes: Sequence[str], rounds: int) -> dict[str, float]:
    """Milliseconds a photo of the model alone: photos one by one, modes in turn, the median over rounds and photos."""
    device = next(model.parameters()).device
    x = prepare(list(photos), model.variant.preprocessing).to(device)
    runners = {mode: runner(model, mode) for mode in modes}
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    with torch.inference_mode():
        for turn in range(rounds + 1):  # the first warms up
            for photo in x:
                for mode, run in runners.items():
                    started = time.perf_counter()
                    run(photo[None]).cpu()
                    if turn:
                        seconds[mode].append(time.perf_counter() - started)
    return {mode: 1000 * statistics.median(values) for mode, values in seconds.items()}
