"""Folders of reference vectors: what they hold, and the formulas that make their weights and their images.

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

from scicevpr.config import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, Variant
from scicevpr.errors import DatasetError

ARITHMETIC_FILES = ("losses", "eval_protocol", "pca")
FORMAT = 1
IMAGES = 4
IMAGE_SIDE = 224
BLOCK_CELLS = 8
BLOCKS_SEED_OFFSET = 1000
_FAMILIES = {"crica": "cricavpr", "super": "super-cricavpr", "scice": "scicevpr"}

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
        pixels = np.random.Generator(np.random.PCG64(seed)).random((IMAGES, 3, IMAGE_SIDE, IMAGE_SIDE))
        pixels = pixels.astype(np.float32)
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
        facts = (variant.family, size.dim, size.depth, size.heads, variant.encoder_layers)
        if facts == wanted and tuple(sorted(variant.taps)) == taps and variant.mixers == hyper.get("token_num", 0):
            return variant
    raise DatasetError(
        f"{root / 'manifest.json'} describes {name}: family {family}, {wanted[1]} channels, {wanted[2]} blocks, "
        f"{wanted[3]} heads, blocks {list(taps)} fused, {wanted[4]} encoder layers. No variant here is like that "
        f"({', '.join(VARIANTS)})."
    )
