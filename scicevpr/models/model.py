"""The three compositions, CricaVPR, Super-CricaVPR and SciceVPR, and the Trace of everything on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import Variant, get_variant
from scicevpr.models.backbone import BackboneOutput, DinoBackbone
from scicevpr.models.encoders import RegionEncoder
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.regions import GeM, Region, pool_class_token_and_map, pool_fused_map, region_boxes


@dataclass(frozen=True)
class WeightsInfo:
    """Where a model's weights come from. ``sha256`` is 12 hex digits over all tensors with their names.

    ``metadata``: what else their file records, such as command, seed and date."""

    source: str
    sha256: str
    trained_on: str
    trained: bool
    metadata: tuple[tuple[str, str], ...] = field(default=(), compare=False)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Every intermediate of one forward pass of B photos on a rows x columns token grid.

    ``position`` [1, 1+T, C]; ``tokens_in`` and each of ``blocks`` [B, 1+T, C] (before the final norm);
    ``class_token`` [B, C] and ``patch_map`` [B, C, rows, columns] after the final norm (CricaVPR, else None);
    ``layer_maps`` the M tapped maps [B, C, rows, columns] after the final norm; ``fused`` after the 1x1 convolution
    and ReLU; ``mixed`` after each token mixer (empty and None for CricaVPR); ``regions`` [B, R, C] as they enter the
    encoder; ``encoder_layers`` [B, R, C] each; ``attention`` [R, heads, B, B] per layer, cross-image models only;
    ``descriptor`` [B, R*C]; ``boxes`` the R regions.
    """

    grid: tuple[int, int]
    position: Tensor
    tokens_in: Tensor
    blocks: tuple[Tensor, ...]
    class_token: Tensor | None = None
    patch_map: Tensor | None = None
    layer_maps: tuple[Tensor, ...] = ()
    fused: Tensor | None = None
    mixed: tuple[Tensor, ...] = ()
    regions: Tensor
    encoder_layers: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]
    descriptor: Tensor
    boxes: tuple[Region, ...]


class VPRModel(nn.Module):
    """A visual place recognition model: [B, 3, H, W] normalised photos -> [B, R*C] unit descriptors.

    ``weights`` is None until weights are loaded; :func:`scicevpr.descriptors.describe.describe` refuses such a model
    unless ``allow_untrained`` is set.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.weights: WeightsInfo | None = None
        self.allow_untrained = False
        self.backbone = DinoBackbone(variant.backbone)
        if variant.taps:
            self.fusion = LayerFusion(variant.channels, len(variant.taps), variant.mixers, variant.grid)
        self.gem = GeM()
        self.encoder = RegionEncoder(variant.channels, variant.encoder_layers, variant.cross_image)

    def forward(self, x: Tensor) -> Tensor:
        """Describe a batch. For cross-image families the rows depend on which photos share the batch."""
        return self.describe_features(self.backbone(x, self.variant.taps))

    @torch.no_grad()
    def trace(self, x: Tensor) -> Trace:
        """The same computation as :meth:`forward`, with every intermediate kept."""
        blocks = range(len(self.backbone.blocks))
        features = self.backbone(x, (*blocks, *self.variant.taps))
        seen: dict[str, Any] = {"encoder_layers": [], "attention": []}
        descriptor = self.describe_features(features, seen)
        return Trace(
            grid=features.grid,
            position=features.position,
            tokens_in=features.tokens_in,
            blocks=tuple(features.blocks[number] for number in blocks),
            descriptor=descriptor,
            boxes=region_boxes(features.grid),
            **{name: tuple(value) if isinstance(value, list) else value for name, value in seen.items()},
        )

    def describe_features(self, features: BackboneOutput, seen: dict[str, Any] | None = None) -> Tensor:
        """What follows the backbone: unit descriptors [B, R*C]. ``seen`` collects intermediates (see Trace)."""
        seen = {} if seen is None else seen
        seen["regions"] = self.regions_of(features, seen)
        encoded = self.encoder(seen["regions"], seen.get("encoder_layers"), seen.get("attention"))  # (B, R, C)
        return F.normalize(encoded.flatten(1), dim=-1)  # (B, R*C)

    def regions_of(self, features: BackboneOutput, seen: dict[str, Any] | None = None) -> Tensor:
        """Region vectors entering the encoder: [B, R, C]. ``seen`` as above."""
        seen = {} if seen is None else seen
        if self.variant.class_token:
            seen["class_token"] = self.backbone.normed_class_token(features.last)  # (B, C)
            seen["patch_map"] = self.backbone.normed_map(features.last, features.grid)  # (B, C, rows, columns)
            return pool_class_token_and_map(seen["class_token"], seen["patch_map"], self.gem)
        seen["layer_maps"] = self.layer_maps(features)
        x = seen["fused"] = self.fusion.fuse_channels(torch.cat(seen["layer_maps"], dim=1))  # (B, C, rows, columns)
        seen["mixed"] = []
        for mixer in self.fusion.mixers:
            x = mixer(x)  # (B, C, rows, columns)
            seen["mixed"].append(x)
        return pool_fused_map(x, self.gem)

    def layer_maps(self, features: BackboneOutput) -> list[Tensor]:
        """Maps of the tapped blocks, final norm applied, in ascending block order: M tensors [B, C, rows, columns]."""
        taps = sorted(self.variant.taps)
        return [self.backbone.normed_map(features.blocks[tap], features.grid) for tap in taps]


def build_model(variant: Variant | str) -> VPRModel:
    """Build a variant with random weights, in evaluation mode; its ``weights`` is None."""
    return VPRModel(get_variant(variant) if isinstance(variant, str) else variant).eval()
