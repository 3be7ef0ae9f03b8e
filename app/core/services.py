"""What the app can do, without any web framework: models and databases, loaded once, and the search itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.core.databases import PRIVATE, Databases, Remembered
from app.core.descriptor_store import Described, DescriptorStore, PackDescriptors, Progress
from app.core.model_slots import (
    BASELINE,
    FULL_PRECISION,
    STABLE,
    THIRD,
    ModelLoader,
    ModelSlots,
    ModelState,
    chosen_mode,
)
from app.core.outgoing import Outgoing
from app.core.pace import Pace
from app.core.query_position import known_position
from app.core.query_resolution import (
    MOST_BATCH_MATES,
    Relevance,
    batch_mates_of,
    drawable_positions,
    files_of,
    lead_of,
    query_photo,
    relevance_to,
    spread_over_conditions,
)
from app.core.records import Answer, Found, Hit, Position
from app.core.values import whole_number
from scicevpr.datasets import Dataset, Photo
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import Choice, SharedPasses
from scicevpr.errors import IndexMismatchError, SciceVPRError, UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.photos import open_photo
from scicevpr.files.reading import forget_below
from scicevpr.models.model import VPRModel

logger = logging.getLogger(__name__)

MAX_K = 20
MOST_STUDENTS = 8
LOOKED_AT = 50
"""Best matches among which the best photo of another place is looked for."""
MOST_POSITIVES = 100
"""Databases whose positives are remembered."""


class Services:
    """Models and databases behind the page. Everything is given, so tests can give small stand-ins.

    Args:
        datasets: databases by their display name, in order; the first is the default.
        models: for each role ("stable", "baseline", perhaps "teacher") a variant name and a function that loads it.
        store: where database descriptors come from.
        examples: per database the file names of its example queries; without them some are picked over the conditions.
        notes: sentences for the page's head. precision: what the Find tab describes in: "float32", "auto", "bfloat16",
            "int8" (see `scicevpr.descriptors.precision`).
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        models: Mapping[str, tuple[str, ModelLoader]],
        store: DescriptorStore | None = None,
        examples: Mapping[str, Sequence[str]] | None = None,
        notes: Sequence[str] = (),
        precision: str = FULL_PRECISION,
    ) -> None:
        self.datasets = Databases(datasets)
        self.outgoing = Outgoing(self.datasets)
        self.pace = Pace()
        self.notes = tuple(notes)
        self.precision = precision
        self.slots = ModelSlots(models)
        self.students = Remembered(MOST_STUDENTS)  # models that visitors trained here, each for whoever has its key
        self._store = store or DescriptorStore()
        self._examples = dict(examples or {})
        self._positives = self.datasets.remembered(MOST_POSITIVES)
        self._warm = threading.Event()
        self.datasets.when_forgotten(self._forget)

    # ---- models -------------------------------------------------------------------------------------------------

    def model(self, role: str) -> VPRModel:
        """The model of a role, loaded on first use. Raises SciceVPRError (each time) when it cannot be loaded."""
        return self.slots.model(role)

    def model_states(self) -> list[ModelState]:
        """All models as they are now, without waiting for any loading."""
        return self.slots.states()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are filled, in order."""
        return self.slots.roles

    def warm_up(self) -> threading.Thread:
        """Load the models and describe the first database in the background; returns the running thread."""
        thread = threading.Thread(target=self._warm_up, name="warm-up", daemon=True)
        thread.start()
        return thread

    def _warm_up(self) -> None:
        for role in (STABLE, BASELINE):  # others are loaded when asked for
            try:
                model = self.model(role)
                for key, dataset in list(self.datasets.items())[:1]:
                    self._store.get(key, dataset, model, mode=self.mode(key, model).mode)
            except SciceVPRError as error:
                logger.warning("warm-up: %s", error)
            except Exception:
                logger.exception("warm-up failed")
        self._warm.set()

    @property
    def cache(self) -> Path | None:
        """This user's cache folder, or None when nothing is to be kept between runs."""
        return self._store.cache

    @property
    def warm(self) -> bool:
        """True once the warm-up is over, however it went."""
        return self._warm.is_set()

    # ---- databases ----------------------------------------------------------------------------------------------

    def dataset(self, key: str | None) -> tuple[str, Dataset]:
        """A database by its display name (None or "": the first). UsageError lists the names that exist."""
        if not self.datasets:
            raise UsageError(
                "There is no database to search. Put the bundled city into assets/procity, or start the app with "
                "--dataset FOLDER (a folder with images/test/database and images/test/queries)."
            )
        if key is None or key == "":
            return next(iter(self.datasets.items()))
        self.datasets.check(key)
        return key, self.datasets[key]

    def add_database(self, name: str, dataset: Dataset, descriptors: PackDescriptors | None = None) -> str:
        """Offer one more database. descriptors: from a pack (see DescriptorStore.attach). Returns its display name,
        with a number behind it where the name is taken by another database."""
        name = f"Pack {name}" if name.startswith(PRIVATE) else name
        key, number = name, 2
        while key in self.datasets and self.datasets[key].root != dataset.root:
            key, number = f"{name} ({number})", number + 1
        if descriptors is not None:
            self._store.attach(key, descriptors)
        self._positives.forget((key,))
        self.datasets[key] = dataset
        return key

    def add_private(
        self, title: str, dataset: Dataset, descriptors: PackDescriptors, folder: Path | None = None
    ) -> str:
        """Offer a database to whoever knows its key, which is returned; it is listed nowhere (see Databases), and
        what is made of it lies in its visit's folder alone."""
        key = self.datasets.add_private(title, dataset, folder)
        self._store.attach(key, descriptors)
        return key

    def _forget(self, key: str, dataset: Dataset) -> None:
        self._store.forget(key)
        forget_below(dataset.root)

    def examples(self, key: str | None, count: int = 8) -> list[Photo]:
        """Example queries of a database whose photos are here: the named ones, else some spread over conditions and the
        list; a pack may have none."""
        key, dataset = self.dataset(key)
        by_name = {photo.name: photo for photo in dataset.queries}
        named = [by_name[name] for name in self._examples.get(key, ()) if name in by_name]
        picked = named[:count] if named else spread_over_conditions(dataset.queries, count)
        return [photo for photo in picked if photo.path.is_file()]

    # ---- the search ---------------------------------------------------------------------------------------------

    def find(
        self,
        photo: Image.Image | Path | bytes,
        name: str = "",
        database: str | None = None,
        k: int = 5,
        batch_mates: int = 0,
        east: float | None = None,
        north: float | None = None,
        progress: Progress | None = None,
        where: str = "",
        gps: tuple[float, float] | None = None,
        gps_problem: str = "",
        student: str = "",
    ) -> Found:
        """Find the place of a photo with both models.

        Args:
            photo: the query. name: its original file name; a position is read from it where it carries one, and a name
                of the database's own query list makes the photo that query.
            database: display name of the database. k: answers per model, 1..20.
            batch_mates: how many photos share the baseline's batch with the query, 0..31: those after it in the query
                list (from the top of the list for a photo that is not in it).
            east, north: the query's UTM position in metres, both or none; replaces the one in the name.
            where: the position as a text (see `read_position`); replaces both. gps: latitude and longitude that the
                camera wrote, used when nothing else says where; gps_problem: why it wrote none that can be used.
            student: key of a visitor's own model for the third column (see `students`); a forgotten one is left out.
            progress: called with (photos done, photos in all) while a database is described for the first time.

        Raises:
            SciceVPRError: with a message for the visitor.
        """
        key, dataset = self.dataset(database)
        k = whole_number(k, "K", 1, MAX_K)
        batch_mates = whole_number(batch_mates, "The number of other photos in the batch", 0, MOST_BATCH_MATES)
        image = open_photo(photo)
        query, row = query_photo(dataset, name)
        position = known_position(query, dataset, east, north, where, gps)
        neighbours = batch_mates_of(dataset, row, batch_mates)
        group = [image, *files_of(neighbours)]
        relevance = self.relevance(key, row, position)
        prepared = SharedPasses(group)
        answers, cosine = {}, None
        own = self.students.get(student) if student else None
        for role in (STABLE, BASELINE, THIRD):
            if role not in self.slots.roles and not (role == THIRD and own):
                continue
            model = own if own is not None and role == THIRD else self.slots.model(role)
            precision = self.mode(key, model).mode
            batch = prepared.batch(model, precision)[: len(group) if model.variant.cross_image else 1]
            together = Grouping.explicit([range(len(batch))]) if len(batch) > 1 else Grouping.alone()
            with self.pace.quick():
                described, elapsed = timed(partial(describe, model, batch, grouping=together, precision=precision))
                if role == BASELINE and len(batch) > 1:
                    alone = describe(model, batch[:1], grouping=Grouping.alone(), precision=precision)
                    cosine = float(alone.values[0] @ described.values[0])
            answers[role] = self._answer(role, model, described, elapsed, key, k, relevance, progress)
        return Found(
            query=image,
            query_photo=query,
            position=position,
            database=key,
            positions=drawable_positions(dataset),
            radius=dataset.truth.radius if dataset.truth.listed is None else None,
            stable=answers[STABLE],
            baseline=answers[BASELINE],
            third=answers.get(THIRD),
            batch_mates=tuple(neighbours),
            cosine_to_alone=cosine,
            notes=dataset.notes,
            drawn=dataset.drawn,
            position_problem=gps_problem if position is None else "",
        )

    def mode(self, key: str, model: VPRModel) -> Choice:
        """In which precision the Find tab describes for a database, and why."""
        return chosen_mode(self.precision, model, self._store.is_attached(key))

    def described(self, role: str, key: str, progress: Progress | None = None, reduced: bool = False) -> Described:
        """A database as the model of a role describes it, ready to be searched; computed on first use. reduced: whether
        it may be after a PCA, as in some packs. UsageError where it is, and may not."""
        found = self._store.get(key, self.datasets[key], self.model(role), progress)
        if found.pca is not None and not reduced:
            raise UsageError(
                f"{self.datasets.title(key)} came as a pack with descriptors after PCA alone, and regions cannot be "
                "told apart in those. Find and Benchmarks take it; for this, open a pack with the full descriptors."
            )
        return found

    def pack_queries(self, role: str, key: str) -> Descriptors | None:
        """Descriptors of a database's queries that came with its pack; None where there are none of this model."""
        return self._store.queries(key, self.model(role))

    def relevance(self, key: str, row: int | None, position: Position | None) -> Relevance:
        """Which database photos are right answers for a query: by the data set's rule for one of its own queries
        (``row``), within its radius for another photo at a known position."""
        dataset, rows = self.datasets[key], None
        if row is not None and dataset.labelled and (position is None or position.known_from != "entered"):
            rows = (self._positives.get(key) or self._positives.put(key, dataset.positives(), key))[row]
        return relevance_to(dataset, position, rows)

    def hits(self, database: Described, query: np.ndarray, k: int, key: str, relevance: Relevance) -> tuple[Hit, ...]:
        """The k best database photos for one descriptor [D], with metres and verdicts where they are known."""
        dataset, metres, right = self.datasets[key], relevance.metres, relevance.right
        matches = database.search(query[None], min(k, len(dataset.database)))
        return tuple(
            Hit(
                rank=rank,
                row=int(index),
                photo=dataset.database[index],
                similarity=float(similarity),
                metres=None if metres is None else float(metres[index]),
                right=None if right is None else bool(right[index]),
            )
            for rank, (index, similarity) in enumerate(zip(matches.indices[0], matches.similarities[0], strict=True), 1)
        )

    def _answer(
        self, role: str, model: VPRModel, query: Descriptors, describe_ms: float, key: str, k: int,
        relevance: Relevance, progress: Progress | None,
    ) -> Answer:  # fmt: skip
        dataset, mode, others = self.datasets[key], self.mode(key, model), len(query.values) - 1
        answer = Answer(
            role=role,
            title=model.variant.title,
            hits=(),
            first_positive=None,
            first_positive_metres=None,
            positives=relevance.positives,
            describe_ms=describe_ms,
            search_ms=0.0,
            trained=query.trained,
            encoded=others + 1,
            outside=relevance.outside,
            weights=query.weights,
        )
        try:
            visitors = role == THIRD and model is not self.slots.peek(THIRD)
            database = self._store.get(key, dataset, model, progress, mode.mode, visitors)
        except IndexMismatchError as error:  # a pack without this model's descriptors: the other columns still answer
            return replace(answer, problem=str(error))
        hits, search_ms = timed(lambda: self.hits(database, query.values[0], max(k, LOOKED_AT), key, relevance))
        first = relevance.first_positive(database.ranking(query.values[:1])) if relevance.positives else None
        rank, metres = first or (None, None)
        told = query.protocol()
        protocol = {
            "model": model.variant.title,
            "weights": told["weights"],
            "input": told["resize"],
            "descriptor": f"{query.values.shape[1]} dimensions, {query.dtype} on {query.device}",
            "precision": mode.reason,
            "query batch": f"with {others} of the query list" if others else "alone",
            **database.protocol(self.datasets.title(key), dataset),
        }
        return replace(
            answer, hits=hits[:k], first_positive=rank, first_positive_metres=metres, search_ms=search_ms,
            protocol=protocol, lead=lead_of(hits, dataset),
        )  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What work returns, and how long it took in milliseconds."""
    started = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - started) * 1000.0
