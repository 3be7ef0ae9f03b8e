"""The model family in words: the parts of the way from photo to place, and in what the three families differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scicevpr.config import STEM_TAP, VARIANTS, Variant
from scicevpr.descriptors.preprocessing import to_tensor
from scicevpr.models import backbone, encoders, fusion, model, regions
from scicevpr.models import backbone as adapters
from scicevpr.retrieval.exact import ExactIndex

FAMILIES = {"cricavpr": "CricaVPR", "super-cricavpr": "Super-CricaVPR", "scicevpr": "SciceVPR"}
"""In the order of their making: each takes over from the one before it."""
SIZES = ("T", "S", "B", "L")
FUSED = ("super-cricavpr", "scicevpr")
OWN_BACKBONE = (
    "The T size is this project's own, a hybrid: maps of a frozen network that learned to name things in photos "
    "(EfficientNet-Lite0, ImageNet) are the tokens of four transformer blocks, which learned on drawn cities. The "
    "other sizes are DINOv2's."
)
ABSENT = (
    "CricaVPR has no such part. It reads its last block alone, so there are no layers to fuse and no fused map to mix."
)


@dataclass(frozen=True)
class Part:
    """One part of the way. step: of the Inside tab, where it can be watched ("" for none).

    what, formula: for all families, unless `whats` and `formulas` say otherwise; families: those that have the part.
    code: the classes and functions that implement it. module: its name in the model, to count what it has learned.
    """

    key: str
    title: str
    step: str
    what: str
    formula: str
    code: tuple[Callable, ...]
    module: str = ""
    families: tuple[str, ...] = tuple(FAMILIES)
    whats: dict[str, str] = field(default_factory=dict)
    formulas: dict[str, str] = field(default_factory=dict)
    codes: dict[str, tuple[Callable, ...]] = field(default_factory=dict)
    differs: dict[str, str] = field(default_factory=dict)


PARTS = (
    Part(
        "photo",
        "Photo",
        "input",
        "The photo's colours are brought to the range the backbone was trained on (mean and spread). Then "
        "it is stretched or shrunk to 224×224 pixels, whatever its shape was.",
        "x = resize((photo / 255 − mean) / std)",
        (to_tensor,),
    ),
    Part(
        "backbone",
        "DINOv2 backbone",
        "layers",
        "A vision transformer cuts the photo into 16×16 patches (size T: 14×14) and lets them read each other, block "
        "after block, with one class token that sums the photo up. The outputs of its last four blocks are tapped, "
        "because they describe the same patches in different ways.",
        "x ← x + LS₁(Attention(LN(x)));  x ← x + LS₂(MLP(LN(x)))",
        (backbone.DinoBackbone, backbone.Block),
        "backbone",
        whats={
            "cricavpr": "A vision transformer cuts the photo into 16×16 patches (size T: 14×14) and lets them read "
            "each other, block after block, with one class token that sums the photo up. Small trained adapters stand "
            "beside the MLP of every block, and only the last block's output is used."
        },
        formulas={"cricavpr": "x ← x + LS₁(Attention(LN(x)));  n = LN(x);  x ← x + LS₂(MLP(n) + 0.2 · Adapter(n))"},
        codes={"cricavpr": (backbone.DinoBackbone, adapters.MultiScaleAdapter)},
        differs={
            "cricavpr": "adapters in every block; reads the last block",
            "super-cricavpr": "frozen, without adapters; reads the last four blocks",
            "scicevpr": "frozen, without adapters; reads the last four blocks",
        },
    ),
    Part(
        "fusion",
        "1×1 convolution",
        "fusion",
        "The tapped maps (size T: the stem's too) are stacked, and at every position a small linear map blends their "
        "channels into one map. It decides, channel by channel, which layer to believe.",
        "f(p) = ReLU(W · [x₁(p); x₂(p); …] + b)",
        (fusion.LayerFusion,),
        "fusion.conv",
        FUSED,
        differs={"cricavpr": "none", "super-cricavpr": "trained", "scicevpr": "a frozen copy of the teacher's"},
    ),
    Part(
        "mixers",
        "Token mixers",
        "mixers",
        "A token mixer lets every position of the map take something from every other position, with the same "
        "weights for all channels. Two of them let the parts of a view support each other: a roof line here, a "
        "doorway there.",
        "x ← x + W₂ · ReLU(W₁ · LN(x)), W₁ and W₂ over the positions",
        (fusion.TokenMixer,),
        "fusion.mixers",
        FUSED,
        differs={"cricavpr": "none", "super-cricavpr": "two, trained", "scicevpr": "two, trained"},
    ),
    Part(
        "regions",
        "14 regions",
        "regions",
        "The map is cut into 14 regions: the whole, 2×2 and 3×3 cells. GeM pooling boils each down to one vector in "
        "which strong responses count more than weak ones, and each vector is brought to length 1.",
        "g_r = (mean over p in region r of max(f(p), 10⁻⁶)^q)^(1/q), q learned (3 at first);  v_r = g_r / |g_r|",
        (regions.region_boxes, regions.GeM, regions.pool_fused_map),
        "gem",
        whats={
            "cricavpr": "Thirteen cells of the map (2×2 and 3×3) are each boiled down to one vector by GeM pooling, in "
            "which strong responses count more than weak ones. The class token takes the place of the whole-map "
            "region."
        },
        formulas={
            "cricavpr": "t(p) = x(p) / |x(p)|;  v_0 = class token;  v_r = (mean over p in region r of "
            "max(t(p), 10⁻⁶)^q)^(1/q), q learned (3 at first)"
        },
        codes={"cricavpr": (regions.region_boxes, regions.GeM, regions.pool_class_token_and_map)},
        differs={
            "cricavpr": "first vector: the class token; tokens brought to length 1 before pooling",
            "super-cricavpr": "first vector: the whole map; vectors brought to length 1 after pooling",
            "scicevpr": "first vector: the whole map; vectors brought to length 1 after pooling",
        },
    ),
    Part(
        "encoder",
        "Encoder",
        "encoder",
        "Two transformer layers let the photos of a batch read each other, region by region: the top left cell of "
        "this photo looks at the top left cells of the others. That helps when the others show the same place, and "
        "it makes the answer depend on whoever happens to be in the batch.",
        "sequence = the B photos, for each region r:  u_r = Layer₂(Layer₁([v_r of photo 1 … v_r of photo B]))",
        (encoders.RegionEncoder, encoders.EncoderLayer),
        "encoder",
        whats={
            "scicevpr": "One transformer layer of the same kind improves every region vector by itself: each is a "
            "sequence of length 1, so there is nobody else to read. It has learned from the teacher what the other "
            "photos of a batch would have added, so a photo is described the same in any batch."
        },
        formulas={
            "scicevpr": "sequence = one vector:  u_r = Layer(v_r);  softmax of a single value is 1, so "
            "Attention(v) = W_out (W_v v + b_v) + b_out"
        },
        differs={
            "cricavpr": "cross-image: two layers across the photos of the batch",
            "super-cricavpr": "cross-image: two layers across the photos of the batch",
            "scicevpr": "self-enhanced: one layer, every vector alone",
        },
    ),
    Part(
        "descriptor",
        "Descriptor",
        "descriptor",
        "The 14 region vectors are put one after another and brought to length 1. Photos of one place should get "
        "nearly the same list of numbers, by day and by night.",
        "d = [u_1; …; u_14] / |[u_1; …; u_14]|",
        (model.VPRModel.forward,),
        differs={
            "cricavpr": "depends on the batch",
            "super-cricavpr": "depends on the batch",
            "scicevpr": "depends on its own photo alone",
        },
    ),
    Part(
        "search",
        "Search",
        "",
        "The descriptor is compared with those of all database photos, and the most similar photos answer where the "
        "query was taken. Nothing is skipped: the search is exact.",
        "similarity = d_query · d_photo (cosine, both have length 1);  |d_query − d_photo|² = 2 − 2 · similarity",
        (ExactIndex,),
    ),
)

PAPERS = (
    ("SciceVPR: Stable Cross-Image Correlation Enhanced Model for Visual Place Recognition", "2502.20676"),
    ("CricaVPR: Cross-image Correlation-aware Representation Learning for Visual Place Recognition", "2402.19231"),
    ("DINOv2: Learning Robust Visual Features without Supervision (the backbone)", "2304.07193"),
    ("Fine-tuning CNN Image Retrieval with No Human Annotation (GeM pooling)", "1711.02512"),
    ("MLP-Mixer: An all-MLP Architecture for Vision (mixing tokens)", "2105.01601"),
    ("GSV-Cities: Toward Appropriate Supervised Visual Place Recognition (training data)", "2210.10239"),
)
"""Title and arXiv number."""

LESSONS = (
    ("domain_shift.ipynb", "Domain shift: what night, fog and snow do to a descriptor, and who survives it."),
    ("batch_dependence.ipynb", "Batch dependence: how other photos change CricaVPR's answer, and why not SciceVPR's."),
    ("distillation.ipynb", "Distillation: how SciceVPR learns from a teacher that sees the whole batch."),
)


def get_part(key: str) -> Part:
    """The part of that key; KeyError for none."""
    return {part.key: part for part in PARTS}[key]


def family_rows(size: str) -> list[tuple[str, tuple[str, ...]]]:
    """What tells the families apart at a size: label, and one cell for each of FAMILIES."""
    variants = [VARIANTS[f"{family}-{size.lower()}"] for family in FAMILIES]
    return [
        ("Idea", IDEAS),
        ("Backbone", _differences("backbone")),
        ("Blocks that are read", tuple(_blocks(variant) for variant in variants)),
        ("1×1 convolution", _differences("fusion")),
        ("Token mixers", _differences("mixers")),
        ("Regions", _differences("regions")),
        ("Encoder", _differences("encoder")),
        ("A descriptor", _differences("descriptor")),
        ("Learns from", LOSSES),
        ("Dimensions of a descriptor", tuple(f"14 × {v.channels:,} = {v.descriptor_dim:,}" for v in variants)),
        ("Weights", tuple(variant.weights_note for variant in variants)),
    ]


IDEAS = (
    "let the photos of a batch help each other",
    "the same, from several layers of the backbone: the teacher",
    "learn what the others would have added, then do without them: the student",
)
LOSSES = (
    "multi-similarity loss (photos of one place together, others apart)",
    "multi-similarity loss (photos of one place together, others apart)",
    "multi-similarity loss + distance to the teacher's descriptors (distillation)",
)


def _differences(key: str) -> tuple[str, ...]:
    return tuple(get_part(key).differs[family] for family in FAMILIES)


def _blocks(variant: Variant) -> str:
    read = variant.taps or (variant.backbone.depth - 1,)
    names = ", ".join("stem" if tap == STEM_TAP else str(tap) for tap in read)
    return f"{names} of 0–{variant.backbone.depth - 1}"
