"""Stability without any web framework: a query, the photos that share its batch, and what the models make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from app.core.limits import WORST_BATCH_S
from app.core.model_slots import BASELINE, STABLE, THIRD, weights_of
from app.core.query_position import known_position
from app.core.query_resolution import query_photo
from app.core.region_store import RegionStore
from app.core.services import Services
from app.tabs.stability.records import Projection, Reaction, Session, checked_batch_mates
from scicevpr.datasets import Dataset
from scicevpr.descriptors.describe import encode_groups, region_vectors
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import TOP, StabilitySetup, iterate_batches, rank_correlations, ranks_of
from scicevpr.evaluation.batch_mates import (
    WorstBatch,
    database_plane,
    pair_statistics,
    paired_queries,
    random_batches,
    search_worst_batch,
    telling_pairs,
)
from scicevpr.explanations.maps import rewriting
from scicevpr.files.photos import open_photo

FAIL, RIGHT = "fail", "right"
"""What a batch is searched for: that CricaVPR's answer changes, or that it becomes right."""
SHOWN = 3
DRAWS = 64
POOL = 24
REMEMBERED = 64
"""Experiments over whole data sets, and planes, that are kept in memory."""
Progress = Callable[[str, int, int], None]
"""Called with (what is described, photos done, in all)."""


@dataclass(frozen=True)
class PairFigure:
    """Figure 1 as data: the chosen queries, the table of answers, and how rare such pairs are."""

    key: str
    dataset: Dataset
    chosen: list[int]
    table: pd.DataFrame
    statistics: dict[str, float]


class Stability:
    """Experiments over one Services. Region vectors of photos are computed once."""

    def __init__(self, services: Services, store: RegionStore | None = None) -> None:
        self.services = services
        self.regions = store or RegionStore(services.cache)
        self._kept = services.datasets.remembered(REMEMBERED)
        services.datasets.when_forgotten(
            lambda _key, data: self.regions.forget(photo.path for photo in (*data.queries, *data.database))
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles whose models can be taken apart: a model of others shows descriptors only."""
        return tuple(role for role in self.services.roles if role != THIRD)

    # ---- one query and its batch --------------------------------------------------------------------------------

    def session(
        self, photo: Image.Image | Path | bytes, name: str, database: str | None,
        gps: tuple[float, float] | None = None,
    ) -> Session:  # fmt: skip
        """Open a query for experiments. Raises SciceVPRError with a message for the visitor."""
        key, dataset = self.services.dataset(database)
        query, row = query_photo(dataset, name)
        return Session(open_photo(photo), query, known_position(query, dataset, gps=gps), row, key, dataset)

    def pool(self, session: Session, seed: int = 0) -> list[int]:
        """Photos on offer for the batch: the next ones of the query list, then some from anywhere (by ``seed``)."""
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
        """What each model answers alone and in this batch, and how it fares in random batches from the pool. Raises
        UsageError: a photo that is not in the query list, is the query itself, or stands there twice."""
        batch_mates = checked_batch_mates(session, batch_mates)
        rows = list(dict.fromkeys((*batch_mates, *pool)))
        return [self._react(role, session, batch_mates, rows, progress) for role in (STABLE, BASELINE)]

    def _react(
        self, role: str, session: Session, batch_mates: list[int], rows: list[int], progress: Progress | None
    ) -> Reaction:
        setup = self._photo_setup(role, session, rows, progress)
        group = np.array([[0, *range(1, len(batch_mates) + 1)]])
        with self.services.pace.quick():
            alone = encode_groups(setup.model, setup.queries, np.array([[0]]), first_only=True)
            now = encode_groups(setup.model, setup.queries, group, first_only=True)
        described = self.services.described(role, session.key)
        relevance = self.services.relevance(session.key, session.row, session.position)
        hits = [self.services.hits(described, v[0], SHOWN, session.key, relevance) for v in (alone, now)]
        k = min(TOP, len(setup.index))
        top = setup.index.search(alone, k).indices
        size = min(max(2, len(batch_mates) + 1), len(setup.queries))
        draws = None
        if len(setup.queries) > 1:
            draws = random_batches(setup, 0, size=size, draws=DRAWS, seed=0)
        identity = ("plane", session.key, weights_of(setup.model))
        plane = self._kept.get(identity) or self._kept.put(identity, database_plane(setup), session.key)
        return Reaction(
            role=role,
            title=setup.title,
            alone=hits[0],
            now=hits[1],
            cosine=float(alone[0].astype(np.float64) @ now[0]),
            correlation=float(rank_correlations(top, ranks_of(setup.database, now, top))[0]),
            flip=hits[0][0].row != hits[1][0].row,
            draws=draws.table if draws is not None else pd.DataFrame({"flip": []}),
            projection=Projection(
                database=plane.transform(setup.database),
                cloud=plane.transform(draws.descriptors) if draws is not None else np.zeros((0, 2)),
                alone=plane.transform(alone),
                now=plane.transform(now),
                explained=float(plane.explained_variance_ratio.sum()),
            ),
            rewriting=self._rewriting(setup, len(batch_mates) + 1) if batch_mates else None,
        )

    def _rewriting(self, setup: StabilitySetup, photos: int) -> np.ndarray:
        regions = setup.queries[:photos].to(next(setup.model.parameters()).device)
        return rewriting(setup.model, regions).cpu().numpy()

    def worst(
        self, session: Session, size: int, seed: int = 0, progress: Progress | None = None, aim: str = FAIL
    ) -> Iterator[tuple[WorstBatch, list[int]]]:
        """Search the whole query list for the batch that changes the baseline's answer most (aim FAIL), or that makes
        it right (aim RIGHT; UsageError where nothing can be right, or it is right alone).

        Yields the best so far and its other photos as rows of the query list. size: photos in the batch, the query
        included. It gives way to short questions, and after some minutes the best so far is the answer.
        """
        rows, turn = [int(row) for row in session.others], self.services.pace.long(WORST_BATCH_S)
        setup = self._photo_setup(BASELINE, session, rows, self.giving_way(progress))
        if aim == RIGHT and (setup.positives is None or not len(setup.positives[0])):
            raise UsageError(
                "No answer can be made right: the photo's position is unknown, or this database has no photo of "
                "its place."
            )
        for found in search_worst_batch(setup, 0, size, seed, goal="any" if aim == FAIL else RIGHT):
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

    def _photo_setup(
        self, role: str, session: Session, rows: Sequence[int], progress: Progress | None
    ) -> StabilitySetup:
        """A small setup: query 0 is the session's photo, the others are the given rows of the query list."""
        model, dataset = self.services.model(role), session.dataset
        described = self.services.described(role, session.key)
        own, photos = region_vectors(model, [session.image]), [session.dataset.queries[row] for row in rows]
        vectors = torch.cat([own, self._regions(model, session.key, photos, progress, "photos")]) if photos else own
        right = self.services.relevance(session.key, session.row, session.position).right
        none = np.array([], dtype=np.int64)
        return StabilitySetup(
            model=model,
            dataset=replace(dataset, queries=(session.photo, *photos)),
            queries=vectors,
            database=described.descriptors.values,
            database_grouping=described.descriptors.grouping,
            index=described.index,
            positives=None if right is None else (np.flatnonzero(right), *[none] * len(photos)),
            radius=dataset.truth.radius,
        )

    def _regions(
        self, model: Any, key: str, photos: Sequence[Any], progress: Progress | None, what: str
    ) -> torch.Tensor:
        step = None if progress is None else (lambda done, total: progress(what, done, total))
        return self.regions.get(model, photos, step, self.services.datasets.is_private(key))

    # ---- whole data sets ----------------------------------------------------------------------------------------

    def setup(self, role: str, key: str, progress: Progress | None = None, database: bool = False) -> StabilitySetup:
        """A setup over a whole data set; ``database``: with the database's region vectors, to vary its grouping."""
        model, dataset = self.services.model(role), self.services.datasets[key]
        identity, title = ("setup", key, weights_of(model)), model.variant.title
        kept = self._kept.get(identity)
        if kept is not None and (kept.database_regions is not None or not database):
            return kept
        step = None if progress is None else (lambda done, total: progress(f"{title}: database", done, total))
        described = self.services.described(role, key, step)
        queries = self._regions(model, key, dataset.queries, progress, f"{title}: queries")
        regions = None
        if database:
            regions = self._regions(model, key, dataset.database, progress, f"{title}: database photos")
        made = StabilitySetup(
            model=model,
            dataset=dataset,
            queries=queries,
            database=described.descriptors.values,
            database_grouping=described.descriptors.grouping,
            index=described.index,
            positives=tuple(dataset.positives()) if dataset.labelled else None,
            radius=dataset.truth.radius,
            database_regions=regions,
        )
        return self._kept.put(identity, made, key)

    def settings(
        self, sizes: Sequence[int], orders: Sequence[str], seeds: int, roles: Sequence[str] | None = None
    ) -> int:
        """How many rows `curve` gives: batches of one are the same in every order, and only shuffles have seeds."""
        each = sum(seeds if order == "shuffled" else 1 for order in orders)
        return len(roles or self.roles) * (sum(each for size in sizes if size != 1) + (1 in sizes))

    def curve(
        self, database: str | None, sizes: Sequence[int], orders: Sequence[str], seeds: int,
        roles: Sequence[str] | None = None, progress: Progress | None = None,
    ) -> Iterator[pd.DataFrame]:  # fmt: skip
        """Recall@1 against batch size and order for all models; yields the table after every row. Raises UsageError: a
        data set without labels."""
        key, _ = self._labelled(database)
        rows: list[dict[str, Any]] = []
        turn = self.services.pace.long()
        for role in roles or self.roles:
            setup = self.setup(role, key, self.giving_way(progress))
            for row in iterate_batches(setup, sizes, orders, range(seeds)):
                rows.append(row)
                yield pd.DataFrame(rows)
                turn.step()

    def pairs(self, database: str | None, count: int = 2, progress: Progress | None = None) -> PairFigure:
        """Figure 1 of the paper: queries alone and in pairs, for the baseline and SciceVPR."""
        key, dataset = self._labelled(database)
        baseline = self.setup(BASELINE, key, self.giving_way(progress), database=True)
        stable = self.setup(STABLE, key, self.giving_way(progress))
        chosen = telling_pairs(baseline, count)
        if not chosen:
            raise UsageError(f"No pair of queries was found that changes an answer of {baseline.title}.")
        table = pd.concat([paired_queries(baseline, chosen), paired_queries(stable, chosen)], ignore_index=True)
        return PairFigure(key, dataset, chosen, table, pair_statistics(baseline))

    def _labelled(self, database: str | None) -> tuple[str, Dataset]:
        key, dataset = self.services.dataset(database)
        if not dataset.labelled:
            raise UsageError("Recall needs ground truth: this data set has photos without a position in their names.")
        return key, dataset
