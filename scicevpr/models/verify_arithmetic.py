"""The reference checks that need no model: losses, evaluation protocol and descriptor reduction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scicevpr.datasets.ground_truth import positives
from scicevpr.errors import DatasetError
from scicevpr.evaluation.metrics import f1_at_n, mean_reciprocal_rank, recall_at_n
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.models.reference import Check, read_arrays
from scicevpr.retrieval.index import ExactIndex
from scicevpr.retrieval.pca import PCA

LOSS_RELATIVE = 1e-5
DISTANCE_RELATIVE = 1e-5
SCORE_ABSOLUTE = 1e-9
PCA_RELATIVE = 1e-6

Arrays = dict[str, np.ndarray]


def check_arithmetic(path: Path, device: torch.device, dtype: torch.dtype) -> list[Check]:
    """Compare losses.npz, eval_protocol.npz or pca.npz. DatasetError if an input or every result is missing."""
    stored = read_arrays(path)
    try:
        if path.stem == "losses":
            return _check_losses(path.name, stored, device, dtype)
        return (_check_evaluation if path.stem == "eval_protocol" else _check_pca)(path.name, stored)
    except KeyError as error:
        raise DatasetError(f"{path} lacks the array {error}. Copy the whole folder again.") from error


def _check_losses(file: str, stored: Arrays, device: torch.device, dtype: torch.dtype) -> list[Check]:
    """Losses are training arithmetic: computed on the device in float32, or float64 if that was asked for."""
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    labels = torch.from_numpy(stored["labels"]).to(device)
    teacher = torch.from_numpy(stored["teacher"]).to(device, precision)
    checks = []
    for name in _cases(stored, "_desc"):
        batch = torch.from_numpy(stored[f"{name}_desc"]).to(device, precision).requires_grad_()
        kept = mine_pairs(batch, labels)
        similarity = multi_similarity_loss(batch, labels, kept)
        distillation = distillation_loss(batch, teacher)
        total = similarity + distillation
        similarity_gradient = torch.autograd.grad(similarity, batch, retain_graph=True)[0]
        computed = {
            "ms_loss": similarity,
            "ms_grad": similarity_gradient,
            "ms_loss_nominer": multi_similarity_loss(batch, labels),
            "distill_loss": distillation,
            "total_loss": total,
            "total_grad": torch.autograd.grad(total, batch)[0],
        }
        for key, value in computed.items():
            array = f"{name}_{key}"
            checks.append(_close(file, array, value.detach().double().cpu().numpy(), stored[array], LOSS_RELATIVE))
        mined = kept[0].to(torch.uint8) + 2 * kept[1].to(torch.uint8)
        counts = {"mined": mined, "n_pos_pairs": kept[0].sum(), "n_neg_pairs": kept[1].sum()}
        for key, value in counts.items():
            checks.append(_same(file, f"{name}_{key}", value.cpu().numpy(), stored[f"{name}_{key}"]))
    return checks


def _check_evaluation(file: str, stored: Arrays) -> list[Check]:
    radius = float(stored["radius_m"])
    checks = []
    for name in _cases(stored, "_db"):
        database, queries = stored[f"{name}_db"], stored[f"{name}_q"]
        places = stored[f"{name}_db_utm"], stored[f"{name}_q_utm"]
        near = positives(*places, radius=radius, rounding="float32")
        exact = positives(*places, radius=radius, rounding="float64")
        checks.append(_same(file, f"{name}_positives", _table(near, len(database)), stored[f"{name}_positives"]))
        checks.append(
            _same(file, f"{name}_positives_float64", _table(exact, len(database)), stored[f"{name}_positives_float64"])
        )
        index = ExactIndex(database)
        for suffix in ("", "_over100"):
            ns = [int(n) for n in stored[f"recall_values{suffix}"]]
            matches = index.search(queries, max(ns))
            scores = {
                "recalls": np.array(list(recall_at_n(matches.indices, near, ns).values())),
                "mrr": np.array(mean_reciprocal_rank(matches.indices, near, ns)),
                "f1": np.array(list(f1_at_n(matches.indices, near, ns).values())),
            }
            rows = f"{name}_predictions{suffix}"
            checks.append(_same(file, rows, matches.indices, stored[rows]))
            if not suffix:
                array = f"{name}_distances"
                checks.append(_close(file, array, matches.distances, stored[array], DISTANCE_RELATIVE, each=True))
            for key, value in scores.items():
                array = f"{name}_{key}{suffix}"
                tolerance = 0.0 if key == "recalls" else SCORE_ABSOLUTE
                error = float(np.abs(value - stored[array]).max())
                checks.append(Check(file, array, error, tolerance, error <= tolerance))
    return checks


def _check_pca(file: str, stored: Arrays) -> list[Check]:
    fit, new = stored["fit"].astype(np.float64), stored["new"].astype(np.float64)
    pca = PCA.fit(fit, len(stored["singular_values"]))
    reduced_new, reduced_fit = pca.transform(new), pca.transform(fit)
    computed = {
        "mean": pca.mean,
        "explained_variance": pca.explained_variance,
        "explained_variance_ratio": pca.explained_variance_ratio,
        "singular_values": pca.singular_values,
        "dist_new_new": _distances(reduced_new, reduced_new),
        "dist_new_fit": _distances(reduced_new, reduced_fit),
        "norm_new": np.linalg.norm(reduced_new, axis=1),
        "projector": pca.components.T @ pca.components,
        "abs_coords_new": np.abs(reduced_new),
    }
    return [_close(file, name, value, stored[name], PCA_RELATIVE) for name, value in computed.items()]


def _cases(stored: Arrays, ending: str) -> list[str]:
    cases = [name.removesuffix(ending) for name in stored if name.endswith(ending)]
    if not cases:
        raise KeyError(f"<case>{ending}")
    return cases


def _close(
    file: str, array: str, computed: np.ndarray, expected: np.ndarray, tolerance: float, each: bool = False
) -> Check:
    """Relative L2 over the array, or the largest relative error of an element; exact where zeros are expected."""
    difference, expected = np.abs(computed - expected.astype(np.float64)), expected.astype(np.float64)
    size = np.linalg.norm(expected)
    if size == 0:
        error = float(np.linalg.norm(difference))
        return Check(file, array, error, 0.0, error == 0, "exactly zero expected")
    if each:
        error = float((difference / np.maximum(np.abs(expected), np.finfo(np.float64).tiny)).max())
    else:
        error = float(np.linalg.norm(difference) / size)
    return Check(file, array, error, tolerance, error <= tolerance)


def _same(file: str, array: str, computed: np.ndarray, expected: np.ndarray) -> Check:
    if computed.shape != expected.shape:
        return Check(file, array, float("nan"), 0.0, False, f"shape {computed.shape}, stored {expected.shape}")
    different = int(np.count_nonzero(computed != expected))
    return Check(file, array, float(different), 0.0, different == 0, "entries that differ")


def _table(rows: list[np.ndarray], width: int) -> np.ndarray:
    table = np.zeros((len(rows), width), dtype=np.uint8)
    for query, found in enumerate(rows):
        table[query, found] = 1
    return table


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=-1)
