"""The Stability tab without any web framework: a query, the company it keeps, and what both models make of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from app.lab_records import PairFigure, Projection, Reaction, Session, checked_batch_mates
from app.limits import WORST_CASE_S
from app.queries import known_position, query_place
from app.regions import RegionStore
from app.rooms import BASELINE, STABLE, THIRD, weights_of
from app.services import Services
from scicevpr.datasets import Dataset
from scicevpr.descriptors.describe import encode_groups, region_vectors
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import (
    TOP,
    Lab,
    iterate_batches,
    rank_correlations,
    ranks_of,
)
from scicevpr.evaluation.batch_mates import random_batches
from scicevpr.evaluation.plane import database_plane
from scicevpr.evaluation.worst_batch import WorstCase, search_worst_batch
from scicevpr.explanations import rewriting
from scicevpr.figures.paper.export import figure_1, pair_statistics, telling_pairs
from scicevpr.files.photos import open_photo
from scicevpr.retrieval import PCA

SHOWN = 3
DRAWS = 64
POOL = 24
Progress = Callable[[str, int, int], None]


class Laboratory:
    """Experiments over one Services. Region vectors of photos are computed once."""

    def __init__(self, services: Services, store: RegionStore | None = None) -> None:
        self.services = services
        self.regions = store or RegionStore()
        self._planes: dict[tuple[str, str], PCA] = {}
        self._labs: dict[tuple[str, str], Lab] = {}
        self._lock = threading.Lock()
        services.datasets.when_forgotten(self._forget)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles whose models can be taken apart: a model of others shows descriptors only."""
        return tuple(role for role in self.services.roles if role != THIRD)

    # ---- one query and its company ------------------------------------------------------------------------------

    def session(self, photo: Image.Image | Path | bytes, name: str, database: str | None) -> Session:
        """Open a query for experiments. Raises SciceVPRError with a message for the visitor."""
        key, dataset = self.services.dataset(database)
        place, row = query_place(dataset, name)
        position = known_position(place, dataset, None, None)
        return Session(open_photo(photo), place, position, row, key, dataset)

    def pool(self, session: Session, seed: int = 0) -> list[int]:
        """Photos on offer as company: the next ones of the query list, then some from anywhere (by ``seed``)."""
        others = session.others
        start = 0 if session.row is None else session.row
        following = np.roll(others, -start)[: POOL // 3]
        rest = np.setdiff1d(others, following)
        random = np.random.default_rng(seed)
        drawn = random.choice(rest, min(POOL - len(following), len(rest)), replace=False)
        return [int(row) for row in (*following, *drawn)]

    def react(
        self, session: Session, batch_mates: Sequence[int], pool: Sequence[int], progress: Progress | None = None
    ) -> list[Reaction]:
        """What each model answers alone and in this company, and how it fares in random companies from the pool.

        Raises:
            UsageError: a companion that is not in the query list, is the query itself, or stands there twice.
        """
        batch_mates = checked_batch_mates(session, batch_mates)
        rows = list(dict.fromkeys((*batch_mates, *pool)))
        return [self._react(role, session, batch_mates, rows, progress) for role in (STABLE, BASELINE)]

    def _react(
        self, role: str, session: Session, batch_mates: list[int], rows: list[int], progress: Progress | None
    ) -> Reaction:
        lab = self._bench(role, session, rows, progress)
        group = np.array([[0, *range(1, len(batch_mates) + 1)]])
        with self.services.pace.quick():
            alone = encode_groups(lab.model, lab.queries, np.array([[0]]), first_only=True)
            now = encode_groups(lab.model, lab.queries, group, first_only=True)
        described = self.services.described(role, session.key)
        judgement = self.services.judgement(session.key, session.row, session.position)
        hits = [self.services.hits(described, v[0], SHOWN, session.key, judgement) for v in (alone, now)]
        k = min(TOP, len(lab.index))
        top = lab.index.search(alone, k).indices
        size = min(max(2, len(batch_mates) + 1), len(lab.queries))
        draws = None
        if len(lab.queries) > 1:
            draws = random_batches(lab, 0, size=size, draws=DRAWS, seed=0)
        plane = self._plane(role, session.key, lab)
        return Reaction(
            role=role,
            title=lab.title,
            alone=hits[0],
            now=hits[1],
            cosine=float(alone[0].astype(np.float64) @ now[0]),
            correlation=float(rank_correlations(top, ranks_of(lab.database, now, top))[0]),
            flip=hits[0][0].row != hits[1][0].row,
            draws=draws.table if draws is not None else pd.DataFrame({"flip": []}),
            projection=Projection(
                database=plane.transform(lab.database),
                cloud=plane.transform(draws.descriptors) if draws is not None else np.zeros((0, 2)),
                alone=plane.transform(alone),
                now=plane.transform(now),
                explained=float(plane.explained_variance_ratio.sum()),
            ),
            rewriting=rewriting(lab.model, lab.queries[: len(batch_mates) + 1]).numpy() if batch_mates else None,
        )

    def worst(
        self, session: Session, size: int, seed: int = 0, progress: Progress | None = None
    ) -> Iterator[tuple[WorstCase, list[int]]]:
        """Search the whole query list for the company that changes the baseline's answer most.

        Yields the best so far and its company as rows of the query list. size: photos in the batch, the query included.
        It gives way to short questions, and after some minutes the best so far is the answer.
        """
        rows, turn = [int(row) for row in session.others], self.services.pace.long(WORST_CASE_S)
        lab = self._bench(BASELINE, session, rows, self.giving_way(progress))
        for found in search_worst_batch(lab, 0, size, seed):
            last = replace(found, done=True) if turn.over else found
            yield last, [rows[member - 1] for member in found.batch_mates]
            if turn.over:
                return
            self.services.pace.give_way()

    def giving_way(self, progress: Progress | None) -> Progress:
        """A progress that lets short questions go first, after every batch of photos."""

        def told(stage: str, done: int, total: int) -> None:
            self.services.pace.give_way()
            if progress is not None:
                progress(stage, done, total)

        return told

    def _bench(self, role: str, session: Session, rows: Sequence[int], progress: Progress | None) -> Lab:
        """A small lab: query 0 is the session's photo, the others are the given rows of the query list."""
        model, dataset = self.services.model(role), session.dataset
        step = None if progress is None else (lambda done, total: progress("photos", done, total))
        own = region_vectors(model, [session.image])
        places = [dataset.queries[row] for row in rows]
        private = self.services.datasets.is_private(session.key)
        vectors = torch.cat([own, self.regions.get(model, places, step, private)]) if places else own
        described = self.services.described(role, session.key)
        right = self.services.judgement(session.key, session.row, session.position).right
        if right is not None:
            none = np.array([], dtype=np.int64)
            right = (np.flatnonzero(right), *[none] * len(places))
        values = described.descriptors.values
        return Lab(
            model=model,
            dataset=replace(dataset, queries=(session.place, *places)),
            queries=vectors,
            database=values,
            database_grouping=described.descriptors.grouping,
            index=described.index,
            right=right,
            radius=dataset.truth.radius,
        )

    def _forget(self, key: str, dataset: Dataset) -> None:
        with self._lock:
            for kept in (self._planes, self._labs):
                for identity in [identity for identity in kept if identity[0] == key]:
                    del kept[identity]
        self.regions.forget(place.path for place in (*dataset.queries, *dataset.database))

    def _keep(self, kept: dict, identity: tuple[str, str], value: Any) -> Any:
        with self._lock:
            if self.services.datasets.is_here(identity[0]):
                kept[identity] = value
        return value

    def _plane(self, role: str, key: str, lab: Lab) -> PCA:
        identity = (key, weights_of(lab.model))
        with self._lock:
            known = self._planes.get(identity)
        return known if known is not None else self._keep(self._planes, identity, database_plane(lab))

    # ---- whole data sets ----------------------------------------------------------------------------------------

    def lab(self, role: str, key: str, progress: Progress | None = None, database: bool = False) -> Lab:
        """A lab over a whole data set; ``database``: with the database's region vectors, to vary its grouping."""
        model, dataset = self.services.model(role), self.services.datasets[key]
        with self._lock:
            kept = self._labs.get((key, weights_of(model)))
        if kept is not None and (kept.database_regions is not None or not database):
            return kept
        title = model.variant.title

        def step(what: str) -> Callable[[int, int], None] | None:
            return None if progress is None else lambda done, total: progress(f"{title}: {what}", done, total)

        described = self.services.described(role, key, step("database"))
        private = self.services.datasets.is_private(key)
        queries = self.regions.get(model, dataset.queries, step("queries"), private)
        regions = self.regions.get(model, dataset.database, step("database photos"), private) if database else None
        right = None
        if dataset.labelled:
            right = tuple(dataset.positives())
        values = described.descriptors.values
        grouping, reach = described.descriptors.grouping, dataset.truth.radius
        made = Lab(model, dataset, queries, values, grouping, described.index, right, reach, regions)
        return self._keep(self._labs, (key, weights_of(model)), made)

    def curve(
        self, database: str | None, sizes: Sequence[int], orders: Sequence[str], seeds: int,
        roles: Sequence[str] | None = None, progress: Progress | None = None,
    ) -> Iterator[pd.DataFrame]:  # fmt: skip
        """Recall@1 against batch size and order for all models; yields the table after every row.

        Raises:
            UsageError: a data set without labels.
        """
        key, dataset = self.services.dataset(database)
        if not dataset.labelled:
            raise UsageError("Recall needs ground truth: this data set has photos without a position in their names.")
        rows: list[dict[str, Any]] = []
        turn = self.services.pace.long()
        for role in roles or self.roles:
            lab = self.lab(role, key, self.giving_way(progress))
            for row in iterate_batches(lab, sizes, orders, range(seeds)):
                rows.append(row)
                yield pd.DataFrame(rows)
                turn.step()

    def pairs(self, database: str | None, count: int = 2, progress: Progress | None = None) -> PairFigure:
        """Figure 1 of the paper: queries alone and in pairs, for the baseline and SciceVPR."""
        key, dataset = self.services.dataset(database)
        if not dataset.labelled:
            raise UsageError("Right and wrong need positions: this data set has photos without one in their names.")
        baseline = self.lab(BASELINE, key, self.giving_way(progress), database=True)
        stable = self.lab(STABLE, key, self.giving_way(progress))
        chosen = telling_pairs(baseline, count)
        if not chosen:
            raise UsageError(f"No pair of queries was found that changes an answer of {baseline.title}.")
        table = pd.concat([figure_1(baseline, chosen), figure_1(stable, chosen)], ignore_index=True)
        return PairFigure(key, dataset, chosen, table, pair_statistics(baseline))
