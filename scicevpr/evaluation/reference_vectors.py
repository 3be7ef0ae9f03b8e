"""Folders of reference vectors: what they hold, the formulas behind them, and the checks that need no model.

A folder has a `manifest.json` and one npz file a model (see tests/golden/README.md). No weights are stored: every
tensor follows from its published name and its shape, every image from a seed, so a folder of a few megabytes can check
models of any size. The checksums of the manifest say whether the formulas gave the same bits here.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scicevpr.config import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, Variant
from scicevpr.datasets.ground_truth import positives
from scicevpr.errors import DatasetError
from scicevpr.evaluation.metrics import f1_at_n, mean_reciprocal_rank, recall_at_n
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.pca import PCA

ARITHMETIC_FILES = ("losses", "eval_protocol", "pca")
FORMAT = 1
IMAGES = 4
IMAGE_SIDE = 224
BLOCK_CELLS = 8
BLOCKS_SEED_OFFSET = 1000
_FAMILIES = {"crica": "cricavpr", "super": "super-cricavpr", "scice": "scicevpr"}

LOSS_RELATIVE = 1e-5
DISTANCE_RELATIVE = 1e-5
SCORE_ABSOLUTE = 1e-9
PCA_RELATIVE = 1e-6

Arrays = dict[str, np.ndarray]
Keys = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Check:
    """One comparison: how far a computed array is from the stored one, and how far it may be."""

    file: str
    array: str
    error: float
    tolerance: float
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class ReferenceModel:
    """One model of a reference folder: its file, our variant, its published (key, shape) list and its checksums."""

    name: str
    path: Path
    variant: Variant
    keys: Keys
    fill_crc32: int | None
    input_crc32: dict[str, int]


@dataclass(frozen=True)
class ReferenceFolder:
    """What a folder of reference vectors offers to check."""

    root: Path
    input_seed: int
    models: tuple[ReferenceModel, ...]
    arithmetic: tuple[Path, ...]


def read_reference(folder: str | Path) -> ReferenceFolder:
    """Read the manifest of a reference folder.

    Raises DatasetError when the folder or the manifest is missing, is not of this format, or describes a model that is
    not one of this project's variants.
    """
    root = Path(folder)
    path = root / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{root} is not a folder of reference vectors: there is no {path.name} in it. Give the folder that holds "
            "the manifest and its npz files, for instance tests/golden."
        ) from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "configs" not in manifest:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise DatasetError(f"{path} is not a manifest of reference vectors of format {FORMAT} (found: {found}).")
    try:
        models = tuple(_model(root, name, config) for name, config in manifest["configs"].items())
        seed = int(manifest["input_seed"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path} is incomplete: {type(error).__name__} at {error}.") from error
    arithmetic = tuple(root / f"{name}.npz" for name in ARITHMETIC_FILES if (root / f"{name}.npz").is_file())
    return ReferenceFolder(root, seed, models, arithmetic)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, never unpickling anything. DatasetError if it is missing, damaged or no npz file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing, but the manifest lists it. Copy the whole folder again.") from error
    except Exception as error:  # damaged zip archives fail in many ways
        raise DatasetError(f"{path} cannot be read as an npz file of plain arrays: {error}. Copy it again.") from error


def fill_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The reference value of one weight, from its published name and its shape; float32 (int64 for batch counters)."""
    last = key.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros((), dtype=np.int64)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode("utf-8"))))
    v = generator.standard_normal(shape).astype(np.float32)
    f = np.float32
    if last == "running_mean":
        return f(0.05) * v
    if last == "running_var":
        return f(1) + f(0.1) * np.abs(v)
    if last in ("pos_embed", "cls_token", "mask_token"):
        return f(0.2) * v
    if last == "gamma":
        return f(0.2) + f(0.05) * v
    if last == "p":
        return f(3) + f(0.25) * np.abs(v)
    if last == "weight":
        return v / f(math.sqrt(math.prod(shape[1:]))) if len(shape) > 1 else f(1) + f(0.1) * v
    return f(0.05) * v  # biases, and the fused attention projections in_proj_weight and in_proj_bias


def fill_weights(keys: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[dict[str, np.ndarray], int]:
    """The reference weights of a model, and the checksum over them in sorted order of their names."""
    filled: dict[str, np.ndarray] = {}
    checksum = 0
    for key, shape in sorted(keys):
        filled[key] = fill_tensor(key, shape)
        checksum = crc32(filled[key], checksum)
    return filled, checksum


def reference_images(kind: str, seed: int) -> np.ndarray:
    """Four normalised images [4, 3, 224, 224] float32: `noise`, or `blocks` of 28x28 pixels with large structure."""
    if kind == "noise":
        uniform = np.random.Generator(np.random.PCG64(seed)).random((IMAGES, 3, IMAGE_SIDE, IMAGE_SIDE))
        pixels = uniform.astype(np.float32)
    else:
        generator = np.random.Generator(np.random.PCG64(seed + BLOCKS_SEED_OFFSET))
        cells = generator.random((IMAGES, 3, BLOCK_CELLS, BLOCK_CELLS)).astype(np.float32)
        size = IMAGE_SIDE // BLOCK_CELLS
        pixels = cells.repeat(size, axis=2).repeat(size, axis=3)
    mean, std = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return np.ascontiguousarray((pixels - mean) / std)


def crc32(array: np.ndarray, start: int = 0) -> int:
    """CRC-32 of an array's little-endian bytes in C order, continued from `start`."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return zlib.crc32(little.tobytes(), start)


def _model(root: Path, name: str, config: Mapping[str, Any]) -> ReferenceModel:
    keys = tuple((str(key), tuple(int(n) for n in shape)) for key, shape in config["keys_in_order"])
    checksums = {str(kind): int(value) for kind, value in config.get("input_crc32", {}).items()}
    crc = config.get("fill_crc32")
    path = root / Path(config.get("file", f"{name}.npz")).name
    variant = _variant(root, name, config["hyper"])
    return ReferenceModel(name, path, variant, keys, None if crc is None else int(crc), checksums)


def _variant(root: Path, name: str, hyper: Mapping[str, Any]) -> Variant:
    family = _FAMILIES.get(hyper["family"], hyper["family"])
    wanted = (family, hyper["embed_dim"], hyper["depth"], hyper["heads"], hyper["encoder_layers"])
    taps = tuple(sorted(hyper.get("out_indices", ())))
    for variant in VARIANTS.values():
        size = variant.backbone
        ours = (variant.family, size.dim, size.depth, size.heads, variant.encoder_layers)
        if ours == wanted and tuple(sorted(variant.taps)) == taps and variant.mixers == hyper.get("token_num", 0):
            return variant
    raise DatasetError(
        f"{root / 'manifest.json'} describes {name}: family {family}, {wanted[1]} channels, {wanted[2]} blocks, "
        f"{wanted[3]} heads, blocks {list(taps)} fused, {wanted[4]} encoder layers. No variant here is like that "
        f"({', '.join(VARIANTS)})."
    )


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
        utm = stored[f"{name}_db_utm"], stored[f"{name}_q_utm"]
        near = positives(*utm, radius=radius, rounding="float32")
        exact = positives(*utm, radius=radius, rounding="float64")
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
