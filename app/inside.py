"""The Inside tab without any web framework: one photo taken through a model, and the picture of each step."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.databases import PRIVATE
from app.queries import batch_mates_of, known_position, query_place, whole_number
from app.records import Hit, Position
from app.rooms import STABLE, weights_of
from app.services import MAX_COMPANY, Services
from scicevpr.config import STEM_TAP
from scicevpr.datasets import Dataset, Photo
from scicevpr.errors import UsageError
from scicevpr.explanations import KINDS, STEPS, Decision, Explanation, View, deciding_region, region_terms
from scicevpr.files.photos import open_photo

RANKS = 5
REMEMBERED = 12
"""Explanations and views of them kept in memory; one of a batch of 16 takes about 40 MB for the T size."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Inspected:
    """A photo inside a model: its explanation (with its company), the top matches, and the chosen match's explanation.

    terms [14]: the region terms of the chosen match; they add up to its similarity. decision: the chosen match against
    its rival (the best of the others; None when there is only one).
    """

    role: str
    title: str
    place: Photo
    position: Position | None
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
        names = [region.name for region in self.explanation.trace.boxes]
        if self.explanation.model.variant.class_token:
            names[0] = "class token"
        return tuple(names)

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
            "query": self.place.name,
            "batch": [self.place.name, *(place.name for place in self.batch_mates)],
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
        self._kept: OrderedDict[tuple, Any] = OrderedDict()
        self._lock = threading.Lock()
        services.datasets.when_forgotten(self._forget)

    def _forget(self, key: str, dataset: Dataset) -> None:
        with self._lock:
            for identity in [identity for identity in self._kept if key in identity]:
                del self._kept[identity]

    def inspect(
        self,
        photo: Image.Image | Path | bytes,
        name: str = "",
        database: str | None = None,
        role: str = STABLE,
        rank: int = 1,
        batch_mates: int = 0,
        progress: Progress | None = None,
    ) -> Inspected:
        """Take a photo through a model.

        Args:
            photo, name, database: as in :meth:`app.services.Services.find`.
            role: "stable", "teacher" or "baseline". rank: which match to compare with, 1..5.
            company: how many photos after it in the query list share its batch (no matter for SciceVPR).

        Raises:
            SciceVPRError: with a message for the visitor.
        """
        key, dataset = self.services.dataset(database)
        rank = whole_number(rank, "The match", 1, min(RANKS, len(dataset.database)))
        batch_mates = whole_number(batch_mates, "The company", 0, MAX_COMPANY)
        image = open_photo(photo)
        model = self.services.model(role)
        place, row = query_place(dataset, name)
        batch_mates = batch_mates if model.variant.cross_image else 0
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        return self._remembered(
            (digest, name, key, role, weights_of(model), rank, batch_mates),
            lambda: self._inspect(image, digest, place, row, key, role, rank, batch_mates, progress),
        )

    def _inspect(
        self,
        image: Image.Image,
        digest: str,
        place: Photo,
        row: int | None,
        key: str,
        role: str,
        rank: int,
        batch_mates: int,
        progress: Progress | None,
    ) -> Inspected:
        dataset, model = self.services.datasets[key], self.services.model(role)
        neighbours = tuple(batch_mates_of(dataset, row, batch_mates))
        weights = weights_of(model)
        explanation = self._remembered(
            (digest, key, role, weights, row, batch_mates),
            self._quickly(lambda: Explanation(model, [image, *(p.path for p in neighbours)])),
        )
        described = self.services.described(role, key, progress)
        position = known_position(place, dataset, None, None)
        query = explanation.descriptors[0]
        hits = self.services.hits(described, query, RANKS, key, self.services.judgement(key, row, position))
        hit = hits[rank - 1]
        if not hit.place.path.is_file():
            raise UsageError(
                f"{hit.place.name} is not here: this database came as a pack of descriptors without photos, and a "
                "match can only be explained with its photo. Open the pack together with the folder of its photos."
            )
        explained = self._quickly(lambda: Explanation(model, [hit.place.path]))
        match = self._remembered((key, role, weights, hit.row), explained)
        stored = described.descriptors.values
        rival = next((other for other in hits if other.rank != rank), None)
        decision = None if rival is None else deciding_region(query, stored[hit.row], stored[rival.row])
        return Inspected(
            role=role,
            title=model.variant.title,
            place=place,
            position=position,
            batch_mates=neighbours,
            explanation=explanation,
            hits=hits,
            rank=rank,
            match=match,
            terms=region_terms(query, stored[hit.row]),
            decision=decision,
            rival=rival,
        )

    def _quickly(self, make: Callable[[], Explanation]) -> Callable[[], Explanation]:
        def made() -> Explanation:
            with self.services.pace.quick():
                return make()

        return made

    def _remembered(self, key: tuple, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if all(self.services.datasets.is_here(part) for part in key if str(part).startswith(PRIVATE)):
                self._kept[key] = made
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
        return made


def chosen_view(inspected: Inspected, step: str, key: str | None) -> View | None:
    """The view of that key in a step, else the step's first; None when the step has no picture for this model."""
    offered = inspected.views(step)
    return next((view for view in offered if view.key == key), offered[0] if offered else None)


def sentence_of(view: View) -> tuple[str, str, str]:
    """Title, sentence and formula of a view."""
    kind = KINDS[view.kind]
    return kind.title, kind.sentence, kind.formula
