"""Reference vectors of the published training: three optimiser steps of each family, recorded from its released code.

What `training.npz` holds, how weights and photos follow from formulas, and tolerances: tests/golden/training.README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scicevpr.config import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, Variant
from scicevpr.errors import DatasetError
from scicevpr.evaluation.reference_vectors import BLOCK_CELLS, IMAGE_SIDE, Arrays, Check, fill_tensor, read_arrays
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.models import key_formats
from scicevpr.models.model import VPRModel, build_model

TRAINING_FILE = "training"
CASES = ("super", "scice", "crica")
STEPS = 3
PLACES, PHOTOS = 2, 4
SEED = 100
RATE = 1e-4
CRICAVPR_BLOCKS = 2
LABELS = torch.arange(PLACES).repeat_interleave(PHOTOS)

LOSS = {"double": 1e-12, "single": 1e-6}  # relative
GRADIENT = {"double": 1e-10, "single": 1e-2}  # of a tensor's largest gradient; in float32 a ReLU's gate may flip
WEIGHTS = {"double": 1e-12, "single": 5e-6}
STATISTICS = {"double": 1e-12, "single": 5e-5}  # in float32 weights of tiny gradients move up to 1e-4 a step elsewhere
RECORDED_IN_FLOAT32 = 1e-6  # losses of the file's own float32 run, relative
NO_GRADIENT = 1e-12  # of a model's largest: below it a gradient is zero but for rounding (biases before a BatchNorm)
ZERO = {"double": 1e-14, "single": 1e-7}  # what may come out there, of the model's largest gradient

TakeStep = Callable[[Tensor, Tensor], dict[str, float]]
"""Photos [8, 3, 224, 224] and labels [8] -> the loss and its parts ``l_ms``, ``l_d``; the weights have then moved, and
the parameters still hold the gradient."""


@dataclass(frozen=True)
class Steps:
    """What three steps gave: the losses of each, and by published name the first gradient, the trained weights before
    and after, and the running statistics after."""

    losses: tuple[dict[str, float], ...]
    gradient: dict[str, Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    statistics: dict[str, Tensor]


def build_networks(case: str) -> tuple[VPRModel, VPRModel | None]:
    """The model of a case (a name in CASES) as its first step finds it, without dropout, and its teacher."""
    if case == "crica":
        like = VARIANTS["cricavpr-b"]
        return _filled(replace(like, backbone=replace(like.backbone, depth=CRICAVPR_BLOCKS))), None
    if case == "super":
        return _filled(VARIANTS["super-cricavpr-s"]), None
    teacher = _filled(VARIANTS["super-cricavpr-s"], "teacher.").eval()
    student = _filled(VARIANTS["scicevpr-s"])
    student.backbone = teacher.backbone
    student.fusion.conv.load_state_dict(teacher.fusion.conv.state_dict())
    return student, teacher


def photos_of(step: int) -> Tensor:
    """The eight photos of a step, normalised: [8, 3, 224, 224] float32."""
    generator = np.random.Generator(np.random.PCG64(SEED + step))
    places = generator.random((PLACES, 1, 3, BLOCK_CELLS, BLOCK_CELLS))
    visits = generator.random((PLACES, PHOTOS, 3, BLOCK_CELLS, BLOCK_CELLS))
    cells = (0.5 * (places + visits)).reshape(-1, 3, BLOCK_CELLS, BLOCK_CELLS).astype(np.float32)
    size = IMAGE_SIDE // BLOCK_CELLS
    pixels = cells.repeat(size, axis=2).repeat(size, axis=3)
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.from_numpy((pixels - mean) / std)


def run_steps(model: VPRModel, take_step: TakeStep) -> Steps:
    """Take the three steps on a model whose trained parameters are those that want a gradient."""
    trained = {_published(model, name): p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: parameter.detach().cpu().clone() for name, parameter in trained.items()}
    place, losses, gradient = next(model.parameters()), [], {}
    for step in range(STEPS):
        losses.append(take_step(photos_of(step).to(place.device, place.dtype), LABELS.to(place.device)))
        if step == 0:
            gradient = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in trained.items()}
    buffers = {_published(model, name): buffer for name, buffer in model.named_buffers() if ".running_" in name}
    after, gradient, buffers = (
        {name: tensor.detach().double().cpu() for name, tensor in part.items()} for part in (trained, gradient, buffers)
    )
    return Steps(tuple(losses), gradient, {n: t.double() for n, t in before.items()}, after, buffers)


def compare_steps(case: str, found: Steps, stored: Arrays, double: bool, file: str = "training.npz") -> list[Check]:
    """Compare with what the file stores; ``double``: by the tolerances of a run in double."""
    kind = "double" if double else "single"
    names = [str(name) for name in stored[f"{case}/names"]]
    different = set(names) ^ set(found.after)
    note = f"{len(names)} trained parameters" + (f"; differing: {sorted(different)[:3]}" if different else "")
    checks = [Check(file, f"{case}/names", float(len(different)), 0.0, not different, note)]
    for step, losses in enumerate(found.losses):
        pairs = [(f"loss64_{step}", losses["loss"], LOSS[kind])]
        for array, name in (("loss", "loss"), ("loss_ms", "l_ms"), ("loss_d", "l_d")):
            pairs.append((f"{array}_{step}", losses.get(name, 0.0), RECORDED_IN_FLOAT32))
        for array, value, tolerance in pairs:
            expected = float(stored[f"{case}/{array}"])
            error = abs(value - expected) / (abs(expected) or 1.0)
            checks.append(Check(file, f"{case}/{array}", error, tolerance, error <= tolerance))
    steepest = max(float(stored[f"{case}/{number:03d}_sums"][1]) for number in range(len(names)))
    for number, name in enumerate(names if not different else ()):
        checks.append(_compare_tensor(file, f"{case}/{number:03d}", found, name, stored, kind, steepest))
    for number, name in enumerate(stored.get(f"{case}/bn_names", ())):
        array = f"{case}/bn_{number:03d}_after"
        error = float(np.abs(found.statistics[str(name)].flatten()[:8].numpy() - stored[array]).max())
        checks.append(Check(file, array, error, STATISTICS[kind], error <= STATISTICS[kind], str(name)))
    return checks


def check_training(path: Path, device: torch.device, dtype: torch.dtype) -> list[Check]:
    """Take the steps with this installation's networks and losses and torch's Adam, in float32, or float64 if that was
    asked for, and compare. DatasetError: the file lacks an array."""
    stored = read_arrays(path)
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    checks = []
    try:
        for case in (name for name in CASES if f"{name}/names" in stored):
            model, teacher = build_networks(case)
            trained = {str(name) for name in stored[f"{case}/names"]}
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(_published(model, name) in trained)
            model.to(device, precision).train()
            if teacher is not None:
                teacher.to(device, precision).requires_grad_(False)
            found = run_steps(model, _plain_step(model, teacher))
            checks += compare_steps(case, found, stored, precision == torch.float64, path.name)
    except KeyError as error:
        raise DatasetError(f"{path} lacks the array {error}. Copy the whole folder again.") from error
    return checks


def _plain_step(model: VPRModel, teacher: VPRModel | None) -> TakeStep:
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE)

    def take_step(photos: Tensor, labels: Tensor) -> dict[str, float]:
        features = model.backbone(photos, model.variant.taps)  # the teacher's as well
        descriptors = model.describe_features(features)
        loss = similarity = multi_similarity_loss(descriptors, labels, mine_pairs(descriptors, labels))
        losses = {"l_ms": similarity.item()}
        if teacher is not None:
            with torch.no_grad():
                target = teacher.describe_features(features)
            distillation = distillation_loss(descriptors, target)
            losses["l_d"], loss = distillation.item(), similarity + distillation
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return {"loss": loss.item(), **losses}

    return take_step


def _compare_tensor(
    file: str, array: str, found: Steps, name: str, stored: Arrays, kind: str, steepest: float
) -> Check:
    """One trained parameter: gradient, weights before and after at the stored positions; in double its sums as well.

    The error is the largest of all, each in units of its own tolerance. ``steepest``: the model's largest gradient."""
    index = stored[f"{array}_index"]
    gradient, before, after = (part[name].flatten().numpy() for part in (found.gradient, found.before, found.after))
    norm, largest, moved, total = stored[f"{array}_sums"]
    zero = largest < NO_GRADIENT * steepest
    allowed = ZERO[kind] * steepest if zero else GRADIENT[kind] * largest
    errors = {
        "gradient": np.abs(gradient[index] - stored[f"{array}_grad"]).max() / allowed,
        "before": np.abs(before[index] - stored[f"{array}_before"]).max() / WEIGHTS[kind],
        "after": np.abs(after[index] - stored[f"{array}_after"]).max() / WEIGHTS[kind],
        "after, float32": np.abs(after[index] - stored[f"{array}_after_float32"]).max() / WEIGHTS["single"],
    }
    if kind == "double":
        errors["sum of weights"] = abs(after.sum() - total) / (WEIGHTS[kind] * np.abs(after).sum())
        if not zero:
            errors |= {
                "gradient's norm": abs(np.linalg.norm(gradient) / norm - 1) / GRADIENT[kind],
                "largest gradient": abs(np.abs(gradient).max() / largest - 1) / GRADIENT[kind],
                "way": abs(np.linalg.norm(after - before) / moved - 1) / GRADIENT[kind],
            }
    worst = max(errors, key=lambda part: errors[part])
    error = float(errors[worst])
    return Check(file, array, error, 1.0, error <= 1, f"{name}: {worst}, in units of its tolerance")


def _filled(variant: Variant, prefix: str = "") -> VPRModel:
    model = build_model(variant)
    for name, tensor in model.state_dict().items():
        tensor.copy_(torch.from_numpy(np.asarray(fill_tensor(prefix + _published(model, name), tuple(tensor.shape)))))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return model


def _published(model: VPRModel, name: str) -> str:
    return key_formats.name_in(key_formats.published_format(model.variant), name)
