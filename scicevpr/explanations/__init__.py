"""Why this match: pictures of the model's inside, each with a formula and a test against an independent computation.

The short way in is :class:`Explanation`; the functions behind it work on a Trace and on descriptors.
"""

from __future__ import annotations

from scicevpr.explanations.backbone import attention_maps, class_attention, shown_blocks
from scicevpr.explanations.catalogue import KINDS, STEPS, MapKind, View, views
from scicevpr.explanations.cross_image import cross_image_attention, rewriting
from scicevpr.explanations.explanation import Explanation, HeatMap
from scicevpr.explanations.fusion import (
    LayerContribution,
    average_influence,
    influence_on,
    layer_contribution,
    layer_responses,
    map_energy,
)
from scicevpr.explanations.pooling import pooled_map, pooling_attention, region_pooling
from scicevpr.explanations.similarity import (
    Correspondence,
    Decision,
    deciding_region,
    patch_correspondence,
    region_terms,
)

__all__ = [
    "KINDS",
    "STEPS",
    "Correspondence",
    "Decision",
    "Explanation",
    "HeatMap",
    "LayerContribution",
    "MapKind",
    "View",
    "attention_maps",
    "average_influence",
    "class_attention",
    "cross_image_attention",
    "deciding_region",
    "influence_on",
    "layer_contribution",
    "layer_responses",
    "map_energy",
    "patch_correspondence",
    "pooled_map",
    "pooling_attention",
    "region_pooling",
    "region_terms",
    "rewriting",
    "shown_blocks",
    "views",
]
