"""Models whose every tensor has a value of its own, and checkpoints as the released training code writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scicevpr.evaluation.reference_vectors import fill_weights
from scicevpr.models import key_formats
from scicevpr.models.backbone import resize_position_grid
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.weights import fill_stem

T_VARIANTS = ["scicevpr-t", "super-cricavpr-t", "cricavpr-t"]
INFO = {"trained_on": "nothing (test)", "command": "pytest", "trained": "false"}


def filled_model(name: str) -> VPRModel:
    """A variant filled by the formula of the reference vectors: no tensor keeps its initial value."""
    model = build_model(name)
    shapes = [(key, tuple(tensor.shape)) for key, tensor in key_formats.state_to_published(model).items()]
    published = {key: torch.from_numpy(np.asarray(value)) for key, value in fill_weights(shapes)[0].items()}
    model.load_state_dict(key_formats.to_own(published, key_formats.detect(published, name)))
    if model.variant.backbone.hybrid:
        model.backbone.patch_embed.deviation.abs_().add_(0.5)
    return fill_stem(model)  # a frozen stem is what its package holds


def backbone_file(model: VPRModel, key_format: str, grid: tuple[int, int] | None = None) -> dict[str, torch.Tensor]:
    """A model's backbone as DINOv2's release, "timm" or transformers name it; its positions resampled to a grid."""
    written: dict[str, torch.Tensor] = {}
    for name, tensor in model.backbone.state_dict(prefix="backbone.").items():
        if ".adapter." in name or (key_format == "timm" and name == key_formats.MASK_TOKEN):
            continue
        if name == key_formats.POSITION and grid is not None:
            tensor = resize_position_grid(tensor, grid)
        theirs = key_formats.name_in(key_formats.DINOV2 if key_format == "timm" else key_format, name)
        if "{query,key,value}" in theirs:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                written[theirs.replace("{query,key,value}", part)] = piece.clone()
        else:
            written[theirs] = tensor
    return written


def descriptors(model: VPRModel, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


def random_images(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(seed))


def training_checkpoint(state: dict[str, torch.Tensor]) -> dict:
    """What the released training code saves: `module.` prefixes, optimizer state and NumPy values."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=1e-4)
    weight.sum().backward()
    optimizer.step()
    return {
        "epoch_num": 4,
        "model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "optimizer_state_dict": optimizer.state_dict(),
        "recalls": np.array([88.1, 94.2, 95.9, 98.8]),
        "best_r5": np.float64(94.0),
        "not_improved_num": 0,
    }


def save_checkpoint(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    path = folder / "checkpoint.pth"
    torch.save({"model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return path
