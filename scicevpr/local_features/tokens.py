"""Patch tokens as local features: the last fused map of a model, one point a token, to compare with learned points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from scicevpr.config import Preprocessing
from scicevpr.descriptors.describe import evaluating, require_inside, require_weights
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.files.photos import open_photo
from scicevpr.local_features.pairs import GeometryOptions
from scicevpr.local_features.points import LocalFeatures
from scicevpr.models.model import VPRModel

TOKEN_GEOMETRY = GeometryOptions(model="homography", min_similarity=0.0, max_error=1.5, longer_side=14)
"""Errors are measured in tokens: half a token of rounding on each side, and half a token of freedom."""


def token_features(
    model: VPRModel, photos: Sequence[Any], preprocessing: Preprocessing | None = None
) -> list[LocalFeatures]:
    """The tokens of each photo as points, row by row: h*w points with C dimensions. They depend on a photo alone, in
    every family: SciceVPR's and its teacher's after the token mixers, CricaVPR's the last block's.

    Raises UsageError for a model of other people, else as `describe`."""
    require_inside(model)
    require_weights(model)
    preprocessing, weight = preprocessing or model.variant.preprocessing, next(model.parameters())
    found = []
    with evaluating(model), torch.inference_mode():
        for photo in photos:
            image = open_photo(photo, preprocessing.max_pixels)
            seen: dict[str, Any] = {}
            x = prepare([image], preprocessing).to(weight.device, weight.dtype)
            model.regions_of(model.backbone(x, model.variant.taps), seen)
            tokens = seen["mixed"][-1] if seen.get("mixed") else seen["patch_map"]  # (1, C, h, w)
            rows, columns = tokens.shape[-2:]
            values = F.normalize(tokens[0].flatten(1).T.float(), dim=-1).cpu().numpy()  # (h*w, C)
            down, across = np.divmod(np.arange(rows * columns), columns)
            cells = np.stack((across, down), axis=1).astype(np.uint16)
            found.append(LocalFeatures(cells, values.astype(np.float16), (columns, rows), image.size))
    return found
