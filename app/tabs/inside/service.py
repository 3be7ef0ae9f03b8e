"""The Inside tab without any web framework: one photo taken through a model, and the picture of each step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.core.descriptor_store import Described
from app.core.model_slots import STABLE, weights_of
from app.core.query_position import known_position
from app.core.query_resolution import MOST_BATCH_MATES, Relevance, batch_mates_of, files_of, query_photo
from app.core.records import Hit
from app.core.services import MAX_K, Services
from app.core.values import whole_number
from scicevpr.config import STEM_TAP
from scicevpr.datasets import Photo
from scicevpr.errors import UsageError
from scicevpr.explanations import STEPS, Decision, Explanation, View, deciding_region, region_terms
from scicevpr.files.photos import open_photo

RANKS = MAX_K
FIRST_RIGHT = "first right"
REMEMBERED = 12
"""Explanations and views of them kept in memory; one of a batch of 16 takes about 40 MB for the T size."""
CLASS_TOKEN = "class token"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Inspected:
    """A photo inside a model: its explanation (in its batch), the top matches, and the chosen match's explanation.

    terms [14]: the region terms of the chosen match; they add up to its similarity. decision: the chosen match against
    its rival (the best of the others; None when there is only one).
    """

    role: str
    title: str
    photo: Photo
    batch_mates: tuple[Photo, ...]
    explanation: Explanation
    hits: tuple[Hit, ...]
    rank: int
    match: Explanation
    terms: np.ndarray
    decision: Decision | None
    rival: Hit | None

    @property
    def hit(self) -> Hit:
        """The chosen match."""
        return self.hits[self.rank - 1]

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the 14 regions; CricaVPR's first is its class token."""
        names = tuple(region.name for region in self.explanation.trace.boxes)
        return (CLASS_TOKEN, *names[1:]) if self.explanation.model.variant.class_token else names

    def views(self, step: str) -> tuple[View, ...]:
        """Pictures on offer in a step. UsageError for an unknown step."""
        if step not in dict(STEPS):
            raise UsageError(f"There is no step {step!r}. The steps are: {', '.join(key for key, _ in STEPS)}.")
        return self.explanation.views[step]

    def to_json(self) -> dict[str, Any]:
        """What the tab shows as plain values, for the API."""
        explanation = self.explanation
        fused = not explanation.model.variant.class_token
        contribution = explanation.contribution() if fused else None
        return {
            "model": self.title,
            "query": self.photo.name,
            "batch": [self.photo.name, *(mate.name for mate in self.batch_mates)],
            "tensors": [{"step": s, "what": w, "shape": list(shape)} for s, w, shape in explanation.shapes()],
            "layer_shares": None
            if contribution is None
            else {
                ("stem" if block == STEM_TAP else str(block)): {"energy": float(share), "aligned": float(aligned)}
                for block, share, aligned in zip(
                    sorted(explanation.model.variant.taps), contribution.share, contribution.aligned, strict=True
                )
            },
            "matches": [hit.to_json() for hit in self.hits],
            "match_rank": self.rank,
            "region_terms": dict(zip(self.region_names, map(float, self.terms), strict=True)),
            "similarity": float(self.terms.sum()),
            "deciding_region": None if self.decision is None else self.region_names[self.decision.region],
            "views": [view.key for step in explanation.views.values() for view in step],
        }


class Inspector:
    """Explanations over one Services; the last few are remembered, so that clicking about is quick."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._kept = services.datasets.remembered(REMEMBERED)

    def inspect(
        self,
        photo: Image.Image | Path | bytes,
        name: str = "",
        database: str | None = None,
        role: str = STABLE,
        rank: int | str = 1,
        batch_mates: int = 0,
        progress: Progress | None = None,
        gps: tuple[float, float] | None = None,
    ) -> Inspected:
        """Take a photo through a model.

        photo, name, database, gps: as in :meth:`app.core.services.Services.find`. role: "stable", "teacher" or
        "baseline". rank: which match to compare with, 1..20, or FIRST_RIGHT. batch_mates: how many photos after it in
        the query list share its batch (no matter for SciceVPR). Raises SciceVPRError: with a message for the visitor.
        """
        key, dataset = self.services.dataset(database)
        if rank != FIRST_RIGHT:
            rank = whole_number(rank, "The match", 1, min(RANKS, len(dataset.database)))
        count = whole_number(batch_mates, "The number of other photos in the batch", 0, MOST_BATCH_MATES)
        image, model = open_photo(photo), self.services.model(role)
        count = count if model.variant.cross_image else 0
        digest, weights = hashlib.sha256(image.tobytes()).hexdigest(), weights_of(model)
        known = self._kept.get((digest, name, key, role, weights, rank, count))
        if known is not None:
            return known
        query, row = query_photo(dataset, name)
        neighbours = tuple(batch_mates_of(dataset, row, count))
        sources = [image, *files_of(neighbours)]
        explanation = self._explained((digest, key, role, weights, row, count), key, role, sources)
        described = self.services.described(role, key, progress)
        relevance = self.services.relevance(key, row, known_position(query, dataset, gps=gps))
        descriptor = explanation.descriptors[0]
        wanted = int(rank) if rank != FIRST_RIGHT else first_right(described, descriptor, relevance)
        hits = self.services.hits(described, descriptor, max(RANKS, wanted), key, relevance)
        hit = hits[wanted - 1]
        if not hit.photo.path.is_file():
            raise UsageError(
                f"{hit.photo.name} is not here: this database came as a pack of descriptors without photos, and a "
                "match can only be explained with its photo. Open the pack together with the folder of its photos."
            )
        stored = described.descriptors.values
        rival = next((other for other in hits if other.rank != wanted), None)
        inspected = Inspected(
            role=role,
            title=model.variant.title,
            photo=query,
            batch_mates=neighbours,
            explanation=explanation,
            hits=hits,
            rank=wanted,
            match=self._explained((key, role, weights, hit.row), key, role, [hit.photo.path]),
            terms=region_terms(descriptor, stored[hit.row]),
            decision=None if rival is None else deciding_region(descriptor, stored[hit.row], stored[rival.row]),
            rival=rival,
        )
        return self._kept.put((digest, name, key, role, weights, rank, count), inspected, key)

    def _explained(self, identity: tuple, key: str, role: str, photos: list[Image.Image | Path]) -> Explanation:
        known = self._kept.get(identity)
        if known is not None:
            return known
        with self.services.pace.quick():
            made = Explanation(self.services.model(role), photos)
        return self._kept.put(identity, made, key)


def first_right(described: Described, descriptor: np.ndarray, relevance: Relevance) -> int:
    """The rank of the first right photo. UsageError where none is known or ranked."""
    if not relevance.positives:
        raise UsageError(
            "There is no right match to compare with: the photo's position is unknown, or this database has no photo "
            "of its place. Choose a rank."
        )
    found = relevance.first_positive(described.ranking(descriptor[None]))
    if found is None:
        raise UsageError("No right photo is among those that were ranked. Choose a rank.")
    return found[0]


def chosen_view(inspected: Inspected, step: str, key: str | None) -> View | None:
    """The view of that key in a step, else the step's first; None when the step has no picture for this model."""
    offered = inspected.views(step)
    return next((view for view in offered if view.key == key), offered[0] if offered else None)
