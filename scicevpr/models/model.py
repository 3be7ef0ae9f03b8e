"""The three compositions: CricaVPR, Super-CricaVPR and SciceVPR, and the Trace of everything on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn

from scicevpr.config import Variant, get_variant
from scicevpr.models.backbone import BackboneOutput, DinoBackbone
from scicevpr.models.encoders import RegionEncoder
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.regions import GeM, Region, pool_class_token_and_map, pool_fused_map, region_boxes


@dataclass(frozen=True)
class WeightsInfo:
    """Where a model's weights come from. ``sha256`` is 12 hex digits over all tensors with their names.

    ``facts``: what else their file records, such as command, seed and date.
    """

    source: str
    sha256: str
    trained_on: str
    trained: bool
    facts: tuple[tuple[str, str], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Trace:
    """Every intermediate of one forward pass of B photos on a rows x columns token grid.

    ``position`` [1, 1+T, C]; ``tokens_in`` and each of ``blocks`` [B, 1+T, C] (before the final norm);
    ``class_token`` [B, C] and ``patch_map`` [B, C, rows, columns] after the final norm (CricaVPR, else None);
    ``layer_maps`` the M tapped maps [B, C, rows, columns] after the final norm; ``fused`` after the 1x1 convolution
    and ReLU; ``mixed`` after each token mixer (empty lists and None for CricaVPR); ``regions`` [B, 14, C] as they enter
    the encoder; ``encoder_layers`` [B, 14, C] each; ``attention`` [14, heads, B, B] per layer, cross-image models only;
    ``descriptor`` [B, 14*C]; ``boxes`` the 14 regions.
    """

    grid: tuple[int, int]
    position: Tensor
    tokens_in: Tensor
    blocks: tuple[Tensor, ...]
    class_token: Tensor | None
    patch_map: Tensor | None
    layer_maps: tuple[Tensor, ...]
    fused: Tensor | None
    mixed: tuple[Tensor, ...]
    regions: Tensor
    encoder_layers: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]
    descriptor: Tensor
    boxes: tuple[Region, ...]


class VPRModel(nn.Module, PyTorchModelHubMixin):
    """A visual place recognition model: [B, 3, H, W] normalised photos -> [B, 14*C] unit descriptors.

    ``weights`` is None until weights are loaded; :func:`scicevpr.describe.describing.describe` refuses such a model unless
    ``allow_untrained`` is set. ``save_pretrained(folder)`` writes model.safetensors, config.json and a model card, for
    :meth:`from_pretrained` and :func:`scicevpr.models.weights.load_model`.
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

    def layer_maps(self, features: BackboneOutput) -> list[Tensor]:
        """Maps of the tapped blocks, final norm applied, in ascending block order: M tensors [B, C, rows, columns]."""
        taps = sorted(self.variant.taps)
        return [self.backbone.normed_map(features.blocks[tap], features.grid) for tap in taps]

    def regions_of(self, features: BackboneOutput) -> Tensor:
        """Region vectors entering the encoder: [B, 14, C]."""
        if self.variant.class_token:
            class_token = self.backbone.normed_class_token(features.last)
            return pool_class_token_and_map(
                class_token, self.backbone.normed_map(features.last, features.grid), self.gem
            )
        return pool_fused_map(self.fusion(torch.cat(self.layer_maps(features), dim=1)), self.gem)

    def forward(self, x: Tensor) -> Tensor:
        """Describe a batch. For cross-image families the rows depend on which photos share the batch."""
        return self.describe_features(self.backbone(x, self.variant.taps))

    def describe_features(self, features: BackboneOutput) -> Tensor:
        """What follows the backbone: unit descriptors [B, 14*C]."""
        return F.normalize(self.encoder(self.regions_of(features)).flatten(1), dim=-1)

    @torch.no_grad()
    def trace(self, x: Tensor) -> Trace:
        """Run the same computation as :meth:`forward` and keep every intermediate."""
        features = self.backbone(x, (*range(len(self.backbone.blocks)), *self.variant.taps))
        class_token = patch_map = fused = None
        layer_maps: list[Tensor] = []
        mixed: list[Tensor] = []
        if self.variant.class_token:
            class_token = self.backbone.normed_class_token(features.last)
            patch_map = self.backbone.normed_map(features.last, features.grid)
            regions = pool_class_token_and_map(class_token, patch_map, self.gem)
        else:
            layer_maps = self.layer_maps(features)
            current = fused = self.fusion.fuse_channels(torch.cat(layer_maps, dim=1))
            for mixer in self.fusion.mixers:
                current = mixer(current)
                mixed.append(current)
            regions = pool_fused_map(current, self.gem)
        outputs: list[Tensor] = []
        attention: list[Tensor] = []
        encoded = self.encoder(regions, outputs, attention)
        return Trace(
            grid=features.grid,
            position=features.position,
            tokens_in=features.tokens_in,
            blocks=tuple(features.blocks[i] for i in range(len(self.backbone.blocks))),
            class_token=class_token,
            patch_map=patch_map,
            layer_maps=tuple(layer_maps),
            fused=fused,
            mixed=tuple(mixed),
            regions=regions,
            encoder_layers=tuple(outputs),
            attention=tuple(attention),
            descriptor=F.normalize(encoded.flatten(1), dim=-1),
            boxes=region_boxes(features.grid),
        )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        local_files_only: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
    ) -> VPRModel:
        """A model from a folder or a Hub repository ("org/name") that `save_pretrained` or `push_to_hub` wrote.

        Raises WeightsError for another architecture, damaged tensors, and a download that fails.
        """
        from scicevpr.hub.pretrained import read_pretrained

        model = read_pretrained(
            pretrained_model_name_or_path, revision, local_files_only=local_files_only, token=token, cache=cache_dir
        )
        return model.to(device=device, dtype=dtype)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        endpoint: str | None = None,
        commit_message: str = "Weights, configuration and model card",
        branch: str | None = None,
        create_pr: bool | None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
        config: Any = None,
    ) -> str:
        """Upload what `save_pretrained` writes to a model repository, made if it is missing.

        model_card_kwargs: `results` and `licence` for the card (scicevpr.hub.card). config: not used; the mixin passes
        it. Returns the commit's address. Raises WeightsError when the Hub cannot be reached or refuses.
        """
        from scicevpr.hub.pretrained import push

        return push(
            self, repo_id, private=private, token=token, endpoint=endpoint, commit_message=commit_message,
            branch=branch, create_pr=create_pr, card=model_card_kwargs or {},
        )  # fmt: skip

    def generate_model_card(self, **about: Any) -> ModelCard:
        """The model card as `save_pretrained` writes it; `about` as in :func:`scicevpr.hub.card.model_card`."""
        from scicevpr.hub.card import model_card

        return ModelCard(model_card(self, **about))

    def _save_pretrained(self, save_directory: Path) -> None:
        from scicevpr.hub.pretrained import write_pretrained

        write_pretrained(self, save_directory)


def build_model(variant: Variant | str) -> VPRModel:
    """Build a variant with random weights, in evaluation mode; its ``weights`` is None."""
    return VPRModel(get_variant(variant) if isinstance(variant, str) else variant).eval()
