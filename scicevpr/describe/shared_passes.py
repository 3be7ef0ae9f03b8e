"""Several models on the same few photos: each is prepared once, and passes once through a stem that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scicevpr.describe.precision import runner
from scicevpr.describe.preprocessing import prepare
from scicevpr.models.fused_parts import FoldedStem
from scicevpr.models.model import VPRModel


class SharedPasses:
    """Photos prepared once for all models that view them alike, and passed once through a stem that several share."""

    def __init__(self, photos: Sequence[Any]) -> None:
        self._photos = photos
        self._tensors: dict[object, Tensor] = {}

    def batch(self, model: VPRModel, mode: str) -> Tensor:
        """What a model in a precision mode takes: photos [N, 3, rows, columns], or their maps of its stem."""
        preprocessing = model.variant.preprocessing
        if preprocessing not in self._tensors:
            self._tensors[preprocessing] = prepare(self._photos, preprocessing)
        stem = getattr(getattr(runner(model, mode), "trunk", None), "embed", None)
        if not isinstance(stem, FoldedStem):
            return self._tensors[preprocessing]
        key = (preprocessing, stem.key)
        if key not in self._tensors:
            with torch.inference_mode():
                self._tensors[key] = stem.maps(self._tensors[preprocessing])
        return self._tensors[key]
