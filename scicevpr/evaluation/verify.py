"""Check this installation against a folder of reference vectors: every stored array is computed anew and compared.

Tolerances (tests/golden/README.md): descriptors in float32 or float64 agree within 5e-6 (relative L2, every row) and
5e-7 (largest element); intermediates within 1e-5 (relative L2) or `allclose(rtol=1e-4, atol=1e-5)`; SciceVPR describes
a photo alone as in a batch within 5e-7.

In float16 and bfloat16 no absolute limit means anything, because random weights give similar descriptors to all images.
The limit is half the distance between the two nearest different images of the reference array: as long as every
descriptor errs less, each is still nearest to its own reference. Intermediates may err by 8 rounding steps of the type
(relative L2).

Training steps (`training.npz`): losses, first gradients and weights after three steps; see :mod:`.training_vectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.errors import UsageError
from scicevpr.evaluation.reference_vectors import (
    Check,
    ReferenceModel,
    check_arithmetic,
    crc32,
    fill_weights,
    read_arrays,
    read_reference,
    reference_images,
)
from scicevpr.evaluation.training_vectors import TRAINING_FILE, check_training
from scicevpr.models import key_formats
from scicevpr.models.devices import choose_device
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import fill_model
from scicevpr.progress import StageProgress

DESCRIPTOR_ROW_L2 = 5e-6
DESCRIPTOR_MAX_ABS = 5e-7
SLICE_L2 = 1e-5
SLICE_CLOSE = {"rtol": 1e-4, "atol": 1e-5}
REDUCED_SLICE_STEPS = 8
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def verify_folder(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    only: Sequence[str] | None = None,
    progress: StageProgress | None = None,
) -> list[Check]:
    """Recompute every array of a reference folder (with any input seed) and compare; TF32 is switched off.

    only: names of files to check, with or without ".npz". Raises DatasetError for no such folder, or a missing, damaged
    or strange file; UsageError for an unknown name in `only`, a device that is not there, another dtype.
    """
    device, dtype = choose_device(device), _dtype(dtype)
    reference = read_reference(folder)
    jobs: list[tuple[str, Callable[[], list[Check]]]] = []
    for model in reference.models:
        jobs.append((model.path.stem, partial(check_model, model, reference.input_seed, device, dtype)))
    for path in reference.arithmetic:
        jobs.append((path.stem, partial(check_arithmetic, path, device, dtype)))
    training = reference.root / f"{TRAINING_FILE}.npz"
    if training.is_file():
        jobs.append((training.stem, partial(check_training, training, device, dtype)))
    if only is not None:
        names = {Path(name).name.removesuffix(".npz") for name in only}
        unknown = names - {name for name, _ in jobs}
        if unknown:
            known = ", ".join(name for name, _ in jobs)
            raise UsageError(f"{folder} has no file called {', '.join(sorted(unknown))}. It has: {known}.")
        jobs = [job for job in jobs if job[0] in names]
    checks: list[Check] = []
    with _exact_float32():
        for done, (name, job) in enumerate(jobs):
            if progress is not None:
                progress(name, done, len(jobs))
            checks += job()
    if progress is not None:
        progress("done", len(jobs), len(jobs))
    return checks


def check_model(reference: ReferenceModel, seed: int, device: torch.device, dtype: torch.dtype) -> list[Check]:
    """Fill one model by the reference's rule and compare every array of its file."""
    file = reference.path.name
    stored = read_arrays(reference.path)
    filled, checksum = fill_weights(reference.keys)
    checks = []
    if reference.fill_crc32 is not None:
        checks.append(_exact(file, "weights", "checksum", checksum == reference.fill_crc32, "the formula's bits"))
    published = {name: torch.from_numpy(np.asarray(value)) for name, value in filled.items()}
    key_format = key_formats.detect(published, file)
    model = fill_model(reference.variant, key_formats.to_own(published, key_format, file), file, key_format)
    del filled, published
    ours = {name: tuple(tensor.shape) for name, tensor in key_formats.state_to_published(model).items()}
    different = set(ours.items()) ^ set(reference.keys)
    note = f"{len(reference.keys)} published names and shapes"
    checks.append(Check(file, "keys_in_order", float(len(different)), 0.0, not different, note))
    model = model.to(device=device, dtype=dtype)
    images = {}
    for kind in ("noise", "blocks"):
        pixels = reference_images(kind, seed)
        if kind in reference.input_crc32:
            right = crc32(pixels) == reference.input_crc32[kind]
            checks.append(_exact(file, f"{kind} images", "checksum", right, f"seed {seed}"))
        images[kind] = torch.from_numpy(pixels).to(device=device, dtype=dtype)
    computed = compute_arrays(model, images["noise"], images["blocks"], stored)
    for name, expected in stored.items():
        checks.append(_compare(file, name, computed.get(name), expected, dtype))
    if "noise_batch4" not in stored:
        checks.append(Check(file, "noise_batch4", float("nan"), 0.0, False, "the file stores no descriptors"))
    if not model.variant.cross_image and {"noise_alone", "noise_batch4"} <= computed.keys():
        checks.append(_alone_as_in_batch(file, computed["noise_alone"], computed["noise_batch4"], stored, dtype))
    return checks


def compute_arrays(model: VPRModel, noise: Tensor, blocks: Tensor, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of a reference file that are called `names`, computed by this installation (as float64).

    noise, blocks: [4, 3, 224, 224] normalised, on the model's device. A name that no model array has is left out.
    """
    wanted = set(names)
    arrays: dict[str, Tensor] = {}
    with torch.inference_mode():
        if "noise_batch4" in wanted or any(name.startswith("mid_") for name in wanted):
            with _first_block(model) as raw:
                slices = _slices(model, noise)
            arrays["noise_batch4"] = slices.pop("descriptor")
            slices |= {f"block0_{part}": _tokens(output) for part, output in raw.items()}
            arrays |= {f"mid_{name}": slice_ for name, slice_ in slices.items()}
        if "noise_alone" in wanted:
            arrays["noise_alone"] = torch.cat([model(image[None]) for image in noise])
        if "noise_reversed" in wanted:
            arrays["noise_reversed"] = model(noise.flip(0))
        if "blocks_alone" in wanted:
            arrays["blocks_alone"] = torch.cat([model(image[None]) for image in blocks])
        if "blocks_batch4" in wanted or any(name.startswith("midblocks_") for name in wanted):
            slices = _slices(model, blocks)
            arrays["blocks_batch4"] = slices.pop("descriptor")
            arrays |= {f"midblocks_{name}": slice_ for name, slice_ in slices.items()}
    return {name: arrays[name].cpu().double().numpy() for name in wanted if name in arrays}


def _slices(model: VPRModel, images: Tensor) -> dict[str, Tensor]:
    trace = model.trace(images)
    slices = {
        "descriptor": trace.descriptor,
        "pos_embed": trace.position[0, :, :8],
        "tokens_in": _tokens(trace.tokens_in),
        "block0_out": _tokens(trace.blocks[0]),
        "blocklast_out": _tokens(trace.blocks[-1]),
        "regions": trace.regions[:, :, :16],
        "regions_norm": trace.regions.norm(dim=-1),
        "encoder_layer0": trace.encoder_layers[0][:, :, :16],
        "encoder_out": trace.encoder_layers[-1][:, :, :16],
    }
    if trace.class_token is not None:
        slices["cls_norm"] = trace.class_token[:, :16]
        slices["patch_norm"] = _map(trace.patch_map)
        slices["l2_first_quadrant"] = _map(F.normalize(trace.patch_map, dim=1))
    else:
        slices["layer_maps"] = torch.stack([_map(tapped) for tapped in trace.layer_maps], dim=1)
        slices["fused_relu"] = _map(trace.fused)
        slices |= {f"tokenmix{number}": _map(mixed) for number, mixed in enumerate(trace.mixed)}
    return slices


def _tokens(x: Tensor) -> Tensor:
    return x[:, :5, :16]


def _map(x: Tensor) -> Tensor:
    return x[:, :8, :4, :4]


@contextmanager
def _first_block(model: VPRModel) -> Iterator[dict[str, Tensor]]:
    """Collect the raw outputs of the first block's attention, MLP and adapter while the model runs."""
    raw: dict[str, Tensor] = {}
    block = next(model.backbone.blocks.children())
    parts = {name: part for name, part in block.named_children() if name in ("attn", "mlp", "adapter")}
    hooks = [
        part.register_forward_hook(lambda _module, _inputs, output, key=key: raw.__setitem__(key, output))
        for key, part in parts.items()
    ]
    try:
        yield raw
    finally:
        for hook in hooks:
            hook.remove()


def _compare(file: str, name: str, computed: np.ndarray | None, expected: np.ndarray, dtype: torch.dtype) -> Check:
    descriptor = not name.startswith("mid")
    reduced = dtype in (torch.float16, torch.bfloat16)
    if computed is None:
        return Check(file, name, float("nan"), 0.0, False, "no such array in this model")
    if computed.shape != expected.shape:
        return Check(file, name, float("nan"), 0.0, False, f"shape {computed.shape}, stored {expected.shape}")
    difference, expected = computed - expected.astype(np.float64), expected.astype(np.float64)
    if not descriptor:
        error = _relative(difference, expected)
        tolerance = REDUCED_SLICE_STEPS * torch.finfo(dtype).eps if reduced else SLICE_L2
        if error > tolerance and np.allclose(computed, expected, **SLICE_CLOSE):
            return Check(file, name, error, tolerance, True, "passes by allclose(rtol 1e-4, atol 1e-5)")
        return Check(file, name, error, tolerance, error <= tolerance)
    error = max(_relative(d, row) for d, row in zip(difference, expected, strict=True))
    if reduced:
        tolerance = nearest_images(expected) / 2
        return Check(file, name, error, tolerance, error <= tolerance, "half the way to the nearest other image")
    largest = float(np.abs(difference).max())
    passed = error <= DESCRIPTOR_ROW_L2 and largest <= DESCRIPTOR_MAX_ABS
    return Check(file, name, error, DESCRIPTOR_ROW_L2, passed, f"largest {largest:.1e} of {DESCRIPTOR_MAX_ABS:.0e}")


def nearest_images(descriptors: np.ndarray) -> float:
    """Smallest relative L2 distance between two different rows [N, D]; 0 for a single row."""
    pairs = [(a, b) for i, a in enumerate(descriptors) for b in descriptors[i + 1 :]]
    return min((float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs), default=0.0)


def _alone_as_in_batch(
    file: str, alone: np.ndarray, batch: np.ndarray, stored: dict[str, np.ndarray], dtype: torch.dtype
) -> Check:
    name = "alone vs batch"
    if dtype in (torch.float16, torch.bfloat16):
        error = max(_relative(a - b, b) for a, b in zip(alone, batch, strict=True))
        tolerance = nearest_images(stored["noise_batch4"].astype(np.float64)) / 2
        return Check(file, name, error, tolerance, error <= tolerance, "relative L2; reduced precision")
    error = float(np.abs(alone - batch).max())
    return Check(file, name, error, DESCRIPTOR_MAX_ABS, error <= DESCRIPTOR_MAX_ABS, "largest difference")


def _exact(file: str, array: str, what: str, right: bool, note: str) -> Check:
    return Check(file, array, 0.0 if right else 1.0, 0.0, right, f"{what}: {note}")


def _relative(difference: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(difference) / max(np.linalg.norm(expected), np.finfo(np.float64).tiny))


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise UsageError(f"Precision {name!r} is not one that can be verified. Choose one of: {', '.join(_DTYPES)}.")
    return _DTYPES[name]


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Full float32 in matrix products and convolutions: on CUDA the default may be TF32, with 10-bit fractions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
