"""Figures of a model's inside: the 14 regions of a pair (Figure 4 of the SciceVPR paper), the maps of the fusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset, Photo
from scicevpr.datasets.zones import metres_apart
from scicevpr.errors import UsageError
from scicevpr.explanations import Explanation, region_terms
from scicevpr.figures.inside import fitted, overlay, value_range
from scicevpr.figures.paper.sheet import GAP, MARGIN, SOFT, Sheet, aspect_of, toned, toned_colours
from scicevpr.figures.paper.style import Style
from scicevpr.figures.paper.subjects import Subject, data_sentence, model_sentences, short_name
from scicevpr.files.photos import open_photo
from scicevpr.models.model import VPRModel
from scicevpr.models.regions import Region, region_boxes

FUSION_PANELS = (("contribution", "what each layer adds"), ("fused", "the fused map"), ("mixers", "after the mixers"))


# ---- Figure 4 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionScores:
    """One model's view of a pair of photos. cosines, terms [14]: of each region part, and their part of the sum."""

    title: str
    names: tuple[str, ...]
    cosines: np.ndarray
    terms: np.ndarray

    @property
    def similarity(self) -> float:
        """Similarity of the two photos."""
        return float(self.terms.sum())


@dataclass(frozen=True)
class RegionData:
    """Figure 4 of the paper: the 14 regions on a pair of photos, for several models. verdict: words about the pair."""

    query: Image.Image
    match: Image.Image
    query_name: str
    match_name: str
    verdict: str
    regions: tuple[Region, ...]
    models: tuple[RegionScores, ...]
    protocol: str


def region_data(
    subject: Subject,
    match: Photo,
    models: Sequence[tuple[str, VPRModel]],
    dataset: Dataset | None = None,
    preprocessing: Preprocessing | None = None,
) -> RegionData:
    """Figure 4: the 14 regions of a photo and a database photo; each photo is described alone.

    dataset: says whether the database photo is right. Raises ImageError for a photo that is not here.
    """
    photo = open_photo(match.path)
    scores = []
    for title, model in models:
        one, other = (Explanation(model, [image], preprocessing) for image in (subject.image, photo))
        names, both = one.region_names, (one.descriptors[0], other.descriptors[0])
        parts = [values.astype(np.float64).reshape(len(names), -1) for values in both]  # (14, C)
        lengths = np.maximum(np.linalg.norm(parts[0], axis=1) * np.linalg.norm(parts[1], axis=1), 1e-30)
        cosines = (parts[0] * parts[1]).sum(axis=1) / lengths  # (14,)
        scores.append(RegionScores(title, names, cosines, region_terms(*both)))
    protocol = model_sentences([(title, model, "each photo alone") for title, model in models], preprocessing)
    metres = None
    if dataset is not None:
        protocol, metres = f"{data_sentence(dataset)} {protocol}", metres_apart(subject.utm, match.utm)
    verdict = "distance unknown" if metres is None else f"{metres:.0f} m away"
    return RegionData(subject.image, photo, subject.name, match.name, verdict, region_boxes(), tuple(scores), protocol)


def region_range(data: RegionData) -> tuple[float, float]:
    """Ends of the common colour scale: the cosines of all models, to the next tenth."""
    values = np.concatenate([model.cosines for model in data.models])
    low, high = math.floor(10 * float(values.min())) / 10, math.ceil(10 * float(values.max())) / 10
    return low, max(high, low + 0.1)


def paint_regions(figure: Figure, data: RegionData, style: Style, vector: bool) -> None:
    """The pair on top; below, for each model, the whole, the 2x2 and the 3x3 regions on the query."""
    sheet = Sheet(figure, style, vector)
    columns = min(len(data.models), 2 if style.double else 1)
    between = 0.2
    space = (sheet.width - 2 * MARGIN - between * (columns - 1)) / columns
    tile = (space - 2 * GAP) / 3
    high, low_high = tile * aspect_of(data.query), region_range(data)
    y, size = 0.03, style.small
    pair = [(data.query, "query"), (data.match, f"database photo, {data.verdict}")]
    width = min(1.5, (min(sheet.width, 3.3) - 2 * MARGIN - GAP) / 2)
    first = (sheet.width - 2 * width - 0.3 * style.double - GAP) / 2
    for position, (photo, words) in enumerate(pair):
        x = first + position * (width + GAP + 0.3 * style.double)
        sheet.text(x + width / 2, y, words, size, ha="center", fit=width + GAP)
        sheet.picture(x, y + sheet.line_height(size) + 0.02, width, width * aspect_of(data.query), photo, framed=True)
    y += sheet.line_height(size) + width * aspect_of(data.query) + 0.12
    for start in range(0, len(data.models), columns):
        bottom = y
        for column, model in enumerate(data.models[start : start + columns]):
            x = MARGIN + column * (space + between)
            words = f"{style.name(model.title)}: similarity {model.similarity:.3f}"
            top = sheet.heading(x, y, space, words, style.letter(start + column), bold=True)
            for level in (1, 2, 3):
                left = x + (level - 1) * (tile + GAP)
                words = (model.names[0], "2×2 regions", "3×3 regions")[level - 1]
                sheet.text(left + tile / 2, top, words, size, ha="center", fit=tile, colour=SOFT)
                _level(sheet, data, model, level, left, top + sheet.line_height(size) + 0.02, tile, high, low_high)
            bottom = max(bottom, top + sheet.line_height(size) + high + 0.1)
        y = bottom
    y += 0.03
    low, up = low_high
    words = "cosine between the region vectors of both photos"
    y = sheet.scale_bar((sheet.width - 1.8) / 2, y, 1.8, f"{low:.1f}", f"{up:.1f}", words)
    sheet.finish(y + 0.03)


def _level(
    sheet: Sheet,
    data: RegionData,
    model: RegionScores,
    level: int,
    x: float,
    y: float,
    width: float,
    height: float,
    ends: tuple[float, float],
) -> None:
    """One level of the pyramid on the query: boxes tinted by their cosine, with the number in them."""
    numbers = [n for n, region in enumerate(data.regions) if region.level == level]
    rows, columns = max(r.bottom for r in data.regions), max(r.right for r in data.regions)
    values = np.zeros((rows, columns))
    for number in numbers:
        region = data.regions[number]
        values[region.top : region.bottom, region.left : region.right] = model.cosines[number]
    scale = min(width / data.query.width, height / data.query.height)
    w, h = data.query.width * scale, data.query.height * scale
    left, top = x + (width - w) / 2, y + (height - h) / 2
    base = fitted(data.query, max(32, round(max(w, h) * sheet.style.dpi)))
    heat = Image.fromarray(toned_colours(values, *ends, sheet.style)).resize(base.size, Image.Resampling.NEAREST)
    grey = np.asarray(base.convert("L").convert("RGB"), dtype=float)
    sheet.image(left, top, w, h, (0.4 * grey + 0.6 * np.asarray(heat, dtype=float)).astype(np.uint8))
    across, down = w / columns, h / rows
    for number in numbers:
        region = data.regions[number]
        box = (left + region.left * across, top + region.top * down)
        size = ((region.right - region.left) * across, (region.bottom - region.top) * down)
        sheet.box(*box, *size, "white", 0.8)
        sheet.text(
            box[0] + size[0] / 2,
            box[1] + size[1] / 2,
            f"{model.cosines[number]:.2f}",
            sheet.style.tiny,
            ha="center",
            va="center",
            plate=True,
            fit=size[0] * 0.8,
        )


def region_table(data: RegionData) -> pd.DataFrame:
    """The plotted numbers."""
    return pd.DataFrame(
        {
            "model": model.title,
            "region": name,
            "cosine": float(cosine),
            "term_of_the_similarity": float(term),
            "query": data.query_name,
            "database_photo": data.match_name,
        }
        for model in data.models
        for name, cosine, term in zip(model.names, model.cosines, model.terms, strict=True)
    )


def region_caption(data: RegionData, style: Style) -> str:
    """What the regions show, with the protocol."""
    has_token = any(model.names[0] == "class token" for model in data.models)
    token = " CricaVPR's first region vector is the class token, not the pooled whole." if has_token else ""
    query, match = short_name(data.query_name), short_name(data.match_name)
    return (
        f"The 14 regions of a pair of photos: the whole, 2×2 and 3×3 cells, drawn on the query {query} and coloured "
        f"by the cosine between the region's vectors of both photos (after the encoder). The database photo is "
        f"{match} ({data.verdict}). The similarity of the pair is the sum of 14 terms, one a region (in the "
        f"CSV).{token} {data.protocol} After Figure 4 of the SciceVPR paper (arXiv 2502.20676)."
    )


# ---- fusion ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapStep:
    """One map of the model's inside. group: the panel it belongs to. values [rows, columns]. share: of the energy."""

    key: str
    label: str
    group: str
    values: np.ndarray
    share: float | None = None


@dataclass(frozen=True)
class FusionData:
    """The maps of the fusion steps of one photo in one model."""

    title: str
    photo: Image.Image
    photo_name: str
    steps: tuple[MapStep, ...]
    protocol: str


def fusion_data(
    subject: Subject, title: str, model: VPRModel, preprocessing: Preprocessing | None = None
) -> FusionData:
    """The maps of the fusion steps of a photo. UsageError for CricaVPR, which fuses no layers."""
    if model.variant.class_token:
        raise UsageError(
            f"{model.variant.title} reads its last block alone: it fuses no layers. Choose SciceVPR or Super-CricaVPR."
        )
    explanation = Explanation(model, [subject.image], preprocessing)
    shares = explanation.contribution().share.tolist()
    taps = sorted(model.variant.taps)
    wanted = [(f"contribution:{tap}", f"{model.variant.layer_name(tap)} adds", "contribution") for tap in taps]
    wanted.append(("energy:fused", "1×1 convolution", "fused"))
    wanted += [(f"energy:mixer{n}", f"token mixer {n}", "mixers") for n in range(1, model.variant.mixers + 1)]
    steps = [
        MapStep(key, label, panel, explanation.heat_map(key).values, shares[row] if row < len(taps) else None)
        for row, (key, label, panel) in enumerate(wanted)
    ]
    protocol = model_sentences([(title, model, "")], preprocessing)
    return FusionData(title, subject.image, subject.name, tuple(steps), protocol)


def paint_fusion(figure: Figure, data: FusionData, style: Style, vector: bool) -> None:
    """The photo and a map a step, each on its own colour scale."""
    sheet = Sheet(figure, style, vector)
    chosen = style.chosen([key for key, _ in FUSION_PANELS])
    steps = [step for step in data.steps if step.group in chosen]
    count = 1 + len(steps)
    rows = -(-count // (6 if style.double else 3))
    columns = -(-count // rows)
    tile = (sheet.width - 2 * MARGIN - (columns - 1) * GAP) / columns
    high, size = tile * aspect_of(data.photo), style.small
    longest = max(64, round(max(tile, high) * style.dpi))
    y = sheet.heading(MARGIN, 0.03, sheet.width - 2 * MARGIN, style.name(data.title), bold=True)
    line = sheet.line_height(size)
    for start in range(0, count, columns):
        row = [None if number == 0 else steps[number - 1] for number in range(start, min(count, start + columns))]
        head = (1 + any(step is not None and step.share is not None for step in row)) * line + 0.02
        for column, step in enumerate(row):
            x, letter = MARGIN + column * (tile + GAP), style.letter(start + column)
            words = "the photo" if step is None else step.label
            if letter:
                sheet.text(x, y, letter, size, bold=True)
            sheet.text(x + (0.13 if letter else 0), y, words, size, fit=tile - 0.13)
            if step is None:
                sheet.picture(x, y + head, tile, high, data.photo)
                continue
            if step.share is not None:
                sheet.text(x, y + line, f"{100 * step.share:.0f} % of the energy", size, fit=tile, colour=SOFT)
            picture = toned(overlay(data.photo, step.values, *value_range(step.values), longest=longest), style)
            scale = min(tile / picture.width, high / picture.height)
            w, h = picture.width * scale, picture.height * scale
            sheet.image(x + (tile - w) / 2, y + head + (high - h) / 2, w, h, np.asarray(picture))
        y += head + high + 0.08
    y += 0.03
    space = (sheet.width - 1.5) / 2
    y = sheet.scale_bar(space, y, 1.5, "lowest", "highest", "value of the map (each map has its own scale)")
    sheet.finish(y + 0.03)


def fusion_table(data: FusionData) -> pd.DataFrame:
    """The plotted numbers: every cell of every map."""
    rows = [
        {"map": step.key, "row": r + 1, "column": c + 1, "value": float(step.values[r, c]), "energy_share": step.share}
        for step in data.steps
        for r in range(step.values.shape[0])
        for c in range(step.values.shape[1])
    ]
    return pd.DataFrame(rows)


def fusion_caption(data: FusionData, style: Style) -> str:
    """What the maps are, with the protocol."""
    return (
        f"The fusion of the backbone's layers in {style.name(data.title)} for the photo {short_name(data.photo_name)}. "
        "What a block adds: squared length of what this layer alone sends through the 1×1 convolution at each "
        "position, with its share of the energy of all layers; after the convolution and after a token mixer: length "
        f"of the vector of channels. Each map from its lowest to its highest value. {data.protocol}"
    )
