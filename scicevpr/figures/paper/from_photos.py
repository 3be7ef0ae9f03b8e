"""Figures about one photo: its answers, its regions, its maps, its batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset, Photo
from scicevpr.errors import UsageError
from scicevpr.explanations import Explanation, region_terms
from scicevpr.figures.paper.data import (
    Answer,
    AttentionData,
    FusionData,
    MapStep,
    RegionData,
    RegionScores,
    StripData,
)
from scicevpr.figures.paper.from_parts import (
    Described,
    Subject,
    data_words,
    grouped,
    models_words,
    photo_of,
    right_rows,
)
from scicevpr.files.photos import open_photo
from scicevpr.models.model import VPRModel
from scicevpr.models.regions import region_boxes

MOST_ANSWERS = 10
MOST_COMPANY = 15


def strip_data(subject: Subject, dataset: Dataset, models: Sequence[Described], top: int = 5) -> StripData:
    """The best ``top`` (1..10) answers of each model to a photo that is described alone."""
    if not 1 <= top <= MOST_ANSWERS:
        raise UsageError(f"A strip shows 1 to {MOST_ANSWERS} answers, not {top}.")
    right = right_rows(dataset, subject)
    rows = []
    for entry in models:
        found = entry.index.search(entry.query(subject.image)[None], min(top, len(dataset.database)))
        answers = tuple(
            _answer(dataset, subject, int(row), float(similarity), right)
            for row, similarity in zip(found.indices[0], found.similarities[0], strict=True)
        )
        rows.append((entry.title, answers))
    words = [(e.title, e.model, f"query alone, database {grouped(e.model, e.descriptors.grouping)}") for e in models]
    protocol = f"{data_words(dataset)} {models_words(words, models[0].preprocessing)}"
    return StripData(subject.image, subject.name, tuple(rows), protocol)


def best_match(subject: Subject, models: Sequence[Described]) -> int:
    """Database row that the first model answers first."""
    return int(models[0].index.search(models[0].query(subject.image)[None], 1).indices[0, 0])


def region_data(
    subject: Subject, match: Photo, models: Sequence[tuple[str, VPRModel]], dataset: Dataset | None = None,
    preprocessing: Preprocessing | None = None,
) -> RegionData:  # fmt: skip
    """Figure 4: the 14 regions of a photo and a database photo; each photo is described alone.

    dataset: says whether the database photo is right. Raises ImageError for a photo that is not here.
    """
    photo = open_photo(match.path)
    scores = []
    for title, model in models:
        both = [Explanation(model, [image], preprocessing).descriptors[0] for image in (subject.image, photo)]
        names = [region.name for region in region_boxes()]
        if model.variant.class_token:
            names[0] = "class token"
        parts = [values.astype(np.float64).reshape(len(names), -1) for values in both]
        lengths = np.maximum(np.linalg.norm(parts[0], axis=1) * np.linalg.norm(parts[1], axis=1), 1e-30)
        cosines = (parts[0] * parts[1]).sum(axis=1) / lengths
        scores.append(RegionScores(title, tuple(names), cosines, region_terms(*both)))
    words = models_words([(title, model, "each photo alone") for title, model in models], preprocessing)
    protocol = words if dataset is None else f"{data_words(dataset)} {words}"
    verdict = _verdict(subject, match, dataset)
    return RegionData(
        subject.image, photo, subject.name, match.name, verdict, region_boxes(), tuple(scores),
        protocol,
    )  # fmt: skip


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
    steps = [
        MapStep(
            key := f"contribution:{tap}", f"{model.variant.layer_name(tap)} adds", "contribution",
            _map(explanation, key), share,
        )
        for tap, share in zip(sorted(model.variant.taps), shares, strict=True)
    ]
    steps.append(MapStep("energy:fused", "1×1 convolution", "fused", _map(explanation, "energy:fused")))
    for number in range(1, model.variant.mixers + 1):
        key = f"energy:mixer{number}"
        steps.append(MapStep(key, f"token mixer {number}", "mixers", _map(explanation, key)))
    words = models_words([(title, model, "")], preprocessing)
    return FusionData(title, subject.image, subject.name, tuple(steps), words)


def attention_data(
    subject: Subject, dataset: Dataset, title: str, model: VPRModel, batch_mates: int = 7,
    preprocessing: Preprocessing | None = None,
) -> AttentionData:  # fmt: skip
    """Attention in a batch of a photo and the ``company`` queries after it in the list (a photo of one's own: the top).

    Raises:
        UsageError: a model without attention between photos, or more company than there is.
    """
    if not model.variant.cross_image:
        raise UsageError(
            f"{model.variant.title} looks at one photo at a time: there is no attention between photos. Choose "
            "CricaVPR or Super-CricaVPR."
        )
    most = min(MOST_COMPANY, len(dataset.queries) - (subject.row is not None))
    if not 1 <= batch_mates <= most:
        raise UsageError(f"The company must be 1 to {most} photos, not {batch_mates}.")
    start = 0 if subject.row is None else subject.row + 1
    others = [dataset.queries[(start + step) % len(dataset.queries)] for step in range(batch_mates)]
    explanation = Explanation(model, [subject.image, *(place.path for place in others)], preprocessing)
    names = [region.name for region in region_boxes(explanation.trace.grid)]
    if model.variant.class_token:
        names[0] = "class token"
    words = models_words([(title, model, "the query with the queries after it in the list")], preprocessing)
    return AttentionData(
        title=title,
        photos=explanation.photos,
        names=(subject.name, *(place.name for place in others)),
        regions=tuple(names),
        attention=explanation.attention(),
        rewriting=explanation.rewriting(),
        protocol=f"{dataset.name} ({dataset.split}). {words}",
    )


def _map(explanation: Explanation, key: str) -> np.ndarray:
    return explanation.heat_map(key).values


def _answer(dataset: Dataset, subject: Subject, row: int, similarity: float, right: np.ndarray | None) -> Answer:
    place = dataset.database[row]
    return Answer(
        photo=photo_of(place),
        name=place.name,
        similarity=similarity,
        metres=_metres(subject.utm, place.utm if dataset.use_labels else None),
        right=None if right is None else bool(np.isin(row, right)),
    )


def _verdict(subject: Subject, match: Photo, dataset: Dataset | None) -> str:
    metres = None if dataset is None else _metres(subject.utm, match.utm)
    if metres is None:
        return "distance unknown"
    return f"{metres:.0f} m away"


def _metres(one: tuple[float, float] | None, other: tuple[float, float] | None) -> float | None:
    return None if one is None or other is None else float(np.hypot(one[0] - other[0], one[1] - other[1]))
