"""One photo (and its batch) taken through a model, with every picture of its inside on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from scicevpr.config import Preprocessing, Variant
from scicevpr.descriptors.describe import evaluating, require_inside, require_weights
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.errors import UsageError
from scicevpr.explanations.catalogue import KINDS, View, views
from scicevpr.explanations.maps import (
    Correspondence,
    LayerContribution,
    attention_maps,
    average_influence,
    cross_image_attention,
    influence_on,
    layer_contribution,
    map_energy,
    patch_correspondence,
    pooled_map,
    present,
    region_pooling,
    rewriting,
    shown_blocks,
)
from scicevpr.files.photos import open_photo
from scicevpr.models.model import Trace, VPRModel
from scicevpr.models.regions import region_boxes


@dataclass(frozen=True)
class HeatMap:
    """A picture of the model's inside: values [rows, columns] on the token grid, and the words that go with it.

    region: number of the region it belongs to, or None. cell: the marked cell (row, column), or None.
    """

    key: str
    kind: str
    label: str
    values: np.ndarray
    region: int | None = None
    cell: tuple[int, int] | None = None

    @property
    def sentence(self) -> str:
        """What it computes."""
        return KINDS[self.kind].sentence

    @property
    def formula(self) -> str:
        """How it is computed."""
        return KINDS[self.kind].formula


class Explanation:
    """The trace of a batch through a model, and the pictures that can be made of it.

    model: a loaded one. photos: paths, PIL images or arrays; they share one batch, and the first is the query.
    preprocessing: replaces the variant's own.

    Raises WeightsError without weights, ImageError for a photo that cannot be read, UsageError for no photo and for a
    model of other people, whose inside is not known.
    """

    def __init__(self, model: VPRModel, photos: Sequence[Any], preprocessing: Preprocessing | None = None) -> None:
        require_inside(model)
        require_weights(model)
        if not photos:
            raise UsageError("There is no photo to explain.")
        self.model = model
        self.photos: tuple[Image.Image, ...] = tuple(open_photo(photo) for photo in photos)
        self.preprocessing = preprocessing or model.variant.preprocessing
        weight = next(model.parameters())
        x = prepare(list(self.photos), self.preprocessing).to(weight.device, weight.dtype)
        with evaluating(model):
            self.trace: Trace = model.trace(x)
        self.input_shape = tuple(x.shape)

    @cached_property
    def views(self) -> dict[str, tuple[View, ...]]:
        """The pictures on offer, by step."""
        names = tuple(region.name for region in region_boxes(self.trace.grid))
        return views(self.model.variant, shown_blocks(self.model), names)

    @property
    def region_names(self) -> tuple[str, ...]:
        """What the 14 parts of a descriptor are; CricaVPR's first is the class token, not the pooled whole."""
        names = tuple(region.name for region in region_boxes(self.trace.grid))
        return ("class token", *names[1:]) if self.model.variant.class_token else names

    @property
    def descriptors(self) -> np.ndarray:
        """Descriptors of the batch, [B, D] float32."""
        return self.trace.descriptor.float().cpu().numpy()

    def heat_map(self, key: str, photo: int = 0, cell: tuple[int, int] | None = None) -> HeatMap:
        """One picture on the token grid. key: of `views`, of a map. photo: which one of the batch. cell: (row, column),
        for the influence on a cell.

        Raises UsageError for no such picture of this model, no such photo or cell, or a missing cell.
        """
        view = next((v for step in self.views.values() for v in step if v.key == key), None)
        if view is None or not view.is_map:
            maps = [v.key for step in self.views.values() for v in step if v.is_map]
            raise UsageError(f"{self.model.variant.title} has no map {key!r}. It has: {', '.join(maps)}.")
        if not 0 <= photo < len(self.photos):
            raise UsageError(f"There is no photo {photo} in this batch of {len(self.photos)}.")
        if key == "influence" and cell is None:
            raise UsageError("The influence is the influence on a cell: say which, as (row, column).")
        values, region = self._values(key, photo, cell)
        array = values.detach().float().cpu().numpy()
        return HeatMap(key, view.kind, view.label, array, region, cell if view.needs_cell else None)

    def _values(self, key: str, photo: int, cell: tuple[int, int] | None) -> tuple[torch.Tensor, int | None]:
        kind, _, rest = key.partition(":")
        if kind == "attention":
            block, _, head = rest.partition(":")
            maps = attention_maps(self.model, self.trace, int(block), photo)
            return (maps.mean(dim=0) if head == "mean" else maps[int(head)]), None
        if kind == "contribution":
            return self.contribution(photo).energy[sorted(self.model.variant.taps).index(int(rest))], None
        if kind == "pooling":
            return region_pooling(self.model, self.trace, photo)[int(rest)], int(rest)
        if kind in ("energy", "sum"):
            shown = {"last": self.trace.patch_map, "fused": self.trace.fused}
            shown |= {f"mixer{n}": mixed for n, mixed in enumerate(self.trace.mixed, start=1)}
            return map_energy(present(shown[rest])[photo], "sum" if kind == "sum" else "norm"), None
        fused = present(self.trace.fused)[photo]
        if kind == "influence" and cell is not None:
            return influence_on(self.model.fusion, fused, *cell), None
        return average_influence(self.model.fusion, fused), None

    def contribution(self, photo: int = 0) -> LayerContribution:
        """The 1x1 convolution split into its layers. UsageError for CricaVPR, which has no fusion."""
        if self.model.variant.class_token:
            raise UsageError(f"{self.model.variant.title} reads its last block alone: it fuses no layers.")
        return layer_contribution(self.model.fusion, self.trace, photo)

    def attention(self, layer: int | None = None, head: int | None = None, region: int | None = None) -> np.ndarray:
        """Attention between the photos of the batch, [B, B]; None means the mean over all."""
        return cross_image_attention(self.trace, layer, head, region).float().cpu().numpy()

    def rewriting(self, photo: int = 0) -> np.ndarray:
        """How far each other photo moves each region part of one photo's descriptor, [B, 14]."""
        return rewriting(self.model, self.trace.regions, photo).float().cpu().numpy()

    def turning(self, photo: int = 0) -> np.ndarray:
        """Cosine of each region vector before and after the encoder, [14]."""
        after = self.trace.encoder_layers[-1][photo]
        return F.cosine_similarity(self.trace.regions[photo], after, dim=-1).float().cpu().numpy()

    def correspondence(self, other: Explanation, photo: int = 0, other_photo: int = 0) -> Correspondence:
        """Patches of this photo and the most similar ones in a photo of another explanation by the same model."""
        if other.model.variant.fingerprint != self.model.variant.fingerprint or other.trace.grid != self.trace.grid:
            raise UsageError("Patches can be compared within one model and one input size only.")
        query = pooled_map(self.model, self.trace, photo)
        return patch_correspondence(query, pooled_map(other.model, other.trace, other_photo))

    def shapes(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """The tensors on the way: (step, what, shape) in order."""
        return tensor_shapes(self.trace, self.model.variant, self.input_shape)


def tensor_shapes(
    trace: Trace, variant: Variant, input_shape: tuple[int, ...]
) -> list[tuple[str, str, tuple[int, ...]]]:
    """The tensors of a trace: (step, what, shape) in order. input_shape: (B, 3, rows, columns) of the photos."""
    rows = [
        ("input", "photos, normalised", input_shape),
        ("layers", f"tokens after each of {len(trace.blocks)} blocks", tuple(trace.blocks[-1].shape)),
    ]
    if variant.class_token:
        rows.append(("fusion", "map of the last block (nothing is fused)", tuple(present(trace.patch_map).shape)))
    else:
        batch, channels, height, width = trace.layer_maps[0].shape
        stacked = (batch, channels * len(trace.layer_maps), height, width)
        layers = ", ".join(variant.layer_name(tap) for tap in sorted(variant.taps))
        rows.append(("fusion", f"maps of {layers}, stacked", stacked))
        rows.append(("fusion", "after the 1x1 convolution and ReLU", tuple(present(trace.fused).shape)))
        rows.append(("mixers", f"after {len(trace.mixed)} token mixers", tuple(trace.mixed[-1].shape)))
    rows.append(("regions", "region vectors", tuple(trace.regions.shape)))
    rows.append(("encoder", f"after {len(trace.encoder_layers)} encoder layer(s)", tuple(trace.regions.shape)))
    rows.append(("descriptor", "unit descriptors", tuple(trace.descriptor.shape)))
    return rows
