"""A model's own scale of cosines: where right and wrong first answers were measured, beside the answer of now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from app.core.records import Answer
from app.ui.html import escape
from scicevpr.config import assets_folder

FILE = Path("weights") / "similarities.json"
LOW, HIGH = 10, 90
"""Percentiles between which a bar is drawn."""
NEARBY = 40


@dataclass(frozen=True)
class Scale:
    """Cosines of right and of wrong first answers [n], sorted, and what they were measured on."""

    right: np.ndarray
    wrong: np.ndarray
    measured_on: str

    def right_nearby(self, cosine: float) -> tuple[int, int]:
        """Of the measured first answers whose cosines are nearest: how many were right, and how many there are."""
        away = np.abs(np.concatenate([self.right, self.wrong]) - cosine)
        nearest = np.argsort(away, kind="stable")[:NEARBY]
        return int((nearest < len(self.right)).sum()), len(nearest)


def scale_of(weights: str) -> Scale | None:
    """The scale of the model with these weights (their hash); None where nobody measured it."""
    return _scales(assets_folder() / FILE).get(weights)


@cache
def _scales(path: Path) -> dict[str, Scale]:
    if not path.is_file():
        return {}
    told = json.loads(path.read_text(encoding="utf-8"))
    return {
        weights: Scale(np.array(one["right"]), np.array(one["wrong"]), told["measured_on"])
        for weights, one in told["models"].items()
        if one["right"] and one["wrong"]
    }


def scale_html(answer: Answer) -> str:
    """The bar under a column: right and wrong answers of this model, and where its rank 1 lies; empty if unmeasured."""
    scale = scale_of(answer.weights)
    if scale is None or not answer.hits:
        return ""
    cosine = answer.hits[0].similarity
    bands = {
        kind: np.percentile(values, (LOW, HIGH)) for kind, values in (("right", scale.right), ("wrong", scale.wrong))
    }
    low = min(cosine, *(band[0] for band in bands.values())) - 0.02
    high = max(cosine, *(band[1] for band in bands.values())) + 0.02

    def at(value: float) -> float:
        return 100 * (value - low) / (high - low)

    rows = "".join(
        f'<div class="scale-bar__row"><span>{kind}</span><i class="scale-bar__track"><b class="scale-bar__{kind}" '
        f'style="left:{at(band[0]):.1f}%;width:{at(band[1]) - at(band[0]):.1f}%"></b>'
        f'<u style="left:{at(cosine):.1f}%"></u></i></div>'
        for kind, band in bands.items()
    )
    right, total = scale.right_nearby(cosine)
    words = (
        f"Cosine {cosine:.3f} on this model's own scale: of the {total} measured first answers nearest to it, {right} "
        f"were right. Bars: the middle 80 % of right and of wrong first answers, measured on {scale.measured_on}. "
        "Other models have other scales."
    )
    bars = f'<div aria-hidden="true">{rows}</div>'
    return f'<figure class="scale-bar">{bars}<figcaption>{escape(words)}</figcaption></figure>'
