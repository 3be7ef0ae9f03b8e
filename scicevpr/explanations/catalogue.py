"""What every picture of the model's inside computes: one sentence and one formula each, and the step it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from scicevpr.config import REGION_COUNT, Variant


@dataclass(frozen=True)
class MapKind:
    """One kind of picture: its title, what it computes in one sentence, and the formula."""

    title: str
    sentence: str
    formula: str


KINDS: dict[str, MapKind] = {
    "photo": MapKind(
        "The photo as the model sees it",
        "The photo after resizing to the input size, cut into patches of 14x14 pixels: one token each.",
        "x = resize((photo/255 − mean) / std);  tokens = rows · columns + 1 class token",
    ),
    "attention": MapKind(
        "Backbone attention",
        "How much the class token reads from each patch in one block of the backbone.",
        "a_j = softmax_j(q_class · k_j / √d), of one head or the mean of all; the rest of 1 goes to the class token",
    ),
    "contribution": MapKind(
        "Layer contribution",
        "How strongly one tapped layer alone drives the 1x1 fusion convolution at each position.",
        "e_m(p) = |W_m x_m(p)|²;  share_m = Σ_p e_m(p) / Σ_m Σ_p e_m(p)",
    ),
    "energy": MapKind(
        "Energy of the map", "How long the vector of channels is at each position of the map.", "e(p) = √(Σ_c f_c(p)²)"
    ),
    "sum": MapKind(
        "Sum over the channels",
        "All channels added up at each position of the map, as heat maps of feature maps are often drawn.",
        "s(p) = Σ_c f_c(p)",
    ),
    "influence": MapKind(
        "Influence on the marked cell",
        "How strongly each cell moves the marked cell through the token mixers of this photo.",
        "I(i, j) = |∂out_i / ∂in_j| (Frobenius norm over channels), exact through the ReLU gates and layer norms",
    ),
    "average": MapKind(
        "Average influence",
        "How strongly each cell moves the cells of the map through the mixers, on average.",
        "I(j) = √(mean_i |∂(out − in)_i / ∂in_j|²), estimated without bias from 128 random sign vectors",
    ),
    "pooling": MapKind(
        "Pooling attention",
        "How much each token contributes to the region's vector; the shares of a region sum to 1.",
        "a_j = Σ_c w_c x_cj^p / Σ_k x_ck^p,  w_c = g_c² / |g|²,  g = GeM_p of the region",
    ),
    "cross-image": MapKind(
        "Attention between the photos of the batch",
        "How much each photo (row) reads from each other photo (column) when its region vectors are rewritten.",
        "A(i, j) = softmax_j(q_i · k_j / √d), per region, head and layer, or their mean; rows sum to 1",
    ),
    "rewriting": MapKind(
        "Who rewrote which region",
        "How far each other photo moves each part of the query's descriptor: measured by leaving it out.",
        "m(j, r) = |d_r(batch) − d_r(batch without j)|;  first row: |d_r(batch) − d_r(alone)|",
    ),
    "encoder": MapKind(
        "What the encoder changes",
        "How far each region vector turns on its way through the encoder.",
        "cos(v_r, u_r) of the region vector before and after the encoder",
    ),
    "difference": MapKind(
        "What decided between two matches",
        "The terms of the chosen match minus those of the best other one: the framed region speaks most for the match.",
        "Δ_r = q_r · m_r − q_r · n_r;  Σ_r Δ_r is the lead of m over n",
    ),
    "terms": MapKind(
        "Similarity, region by region",
        "The similarity of two photos is the sum of 14 terms, one for each region of both descriptors.",
        "q · m = Σ_r q_r · m_r",
    ),
    "patches": MapKind(
        "Patch correspondence",
        "Which patches of the match look most like the marked patch of the query.",
        "cos(f_q(i), f_m(j)) of the tokens that are pooled; mutual: each names the other",
    ),
}

STEPS: tuple[tuple[str, str], ...] = (
    ("input", "Input"),
    ("layers", "Layers"),
    ("fusion", "Fusion"),
    ("mixers", "Mixers"),
    ("regions", "Regions"),
    ("encoder", "Encoder"),
    ("descriptor", "Descriptor"),
)
"""The way of the data through the model, in order: key and title."""


NO_MAPS = ("photo", "cross-image", "rewriting", "encoder", "terms", "difference", "patches")
"""Kinds that are no map of one value per cell."""


@dataclass(frozen=True)
class View:
    """One picture on offer in a step. key: what `Explanation.heat_map` understands; kind: a key of KINDS."""

    key: str
    label: str
    kind: str
    needs_cell: bool = False

    @property
    def is_map(self) -> bool:
        """True for pictures with one value per cell of the token grid."""
        return self.kind not in NO_MAPS


def views(variant: Variant, blocks: tuple[int, ...], region_names: tuple[str, ...]) -> dict[str, tuple[View, ...]]:
    """Pictures of every step of a variant; ``blocks``: whose attention is shown; names of the 14 regions."""
    shown: dict[str, tuple[View, ...]] = {"input": (View("photo", "the prepared photo", "photo"),)}
    mean = "mean of the heads"
    attention = [View(f"attention:{b}:mean", f"block {b + 1}, {mean}", "attention") for b in reversed(blocks)]
    heads = range(variant.backbone.heads)
    attention += [
        View(f"attention:{b}:{h}", f"block {b + 1}, head {h + 1}", "attention") for b in reversed(blocks) for h in heads
    ]
    shown["layers"] = tuple(attention)
    if variant.class_token:
        shown["fusion"] = (View("energy:last", "last block, after the final norm", "energy"),)
        shown["mixers"] = ()
    else:
        shown["fusion"] = (
            View("energy:fused", "after the 1x1 convolution and ReLU", "energy"),
            View("sum:fused", "channels added up, after the 1x1 convolution and ReLU", "sum"),
            *(
                View(f"contribution:{tap}", f"what {_the(variant.layer_name(tap))} adds", "contribution")
                for tap in sorted(variant.taps)
            ),
        )
        shown["mixers"] = (
            View("influence", "influence on the marked cell", "influence", needs_cell=True),
            View("average", "average influence", "average"),
            *(View(f"energy:mixer{n}", f"energy after mixer {n}", "energy") for n in range(1, variant.mixers + 1)),
            *(View(f"sum:mixer{n}", f"channels added up after mixer {n}", "sum") for n in range(1, variant.mixers + 1)),
        )
    first = 1 if variant.class_token else 0
    shown["regions"] = tuple(
        View(f"pooling:{r}", f"region {r + 1}: {region_names[r]}", "pooling") for r in range(first, REGION_COUNT)
    )
    if variant.cross_image:
        shown["encoder"] = (
            View("cross-image", "attention between the photos", "cross-image"),
            View("rewriting", "who rewrote which region", "rewriting"),
        )
    else:
        shown["encoder"] = (View("encoder", "what the encoder changes", "encoder"),)
    shown["descriptor"] = (
        View("terms", "similarity, region by region", "terms"),
        View("difference", "chosen match minus the best other one", "difference"),
        View("patches", "patch correspondence", "patches", needs_cell=True),
    )
    return shown


def _the(layer: str) -> str:
    return f"the {layer}" if layer == "stem" else layer
