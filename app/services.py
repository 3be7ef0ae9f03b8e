"""What the app can do, without any web framework: models and databases, loaded once, and the search itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from app.queries import (
    company_of,
    judged,
    known_position,
    query_place,
    spread_over_conditions,
    timed,
    whole_number,
)
from app.records import Answer, BatchView, Found, Hit, ModelState, Position
from app.store import Described, DescriptorStore, Progress
from scicevpr.config import get_variant
from scicevpr.describe import Descriptors, Grouping, describe
from scicevpr.errors import SciceVPRError, UsageError, WeightsError
from scicevpr.models.model import VPRModel
from scicevpr.places import Dataset, Place
from scicevpr.preprocessing import open_photo

logger = logging.getLogger(__name__)

MAX_K = 20
MAX_COMPANY = 31
RADIUS = 25.0
"""Metres within which a database photo shows the query's place (the field's convention)."""

STABLE, BASELINE, TEACHER = "stable", "baseline", "teacher"
ModelLoader = Callable[[], VPRModel]
Hits = tuple[Hit, ...]


@dataclass
class _Room:
    """A model being loaded: the loader, and what came of it."""

    name: str
    load: ModelLoader
    model: VPRModel | None = None
    error: SciceVPRError | None = None


class Services:
    """Models and databases behind the page. Everything is given, so tests can give small stand-ins.

    Args:
        datasets: databases by their display name, in order; the first is the default.
        models: for each role ("stable", "baseline", perhaps "teacher") a variant name and a function that loads it.
        store: where database descriptors come from.
        examples: per database the file names of its example queries; without them some are picked over the conditions.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        models: Mapping[str, tuple[str, ModelLoader]],
        store: DescriptorStore | None = None,
        examples: Mapping[str, Sequence[str]] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.datasets = dict(datasets)
        self.notes = tuple(notes)
        self._rooms = {role: _Room(name, load) for role, (name, load) in models.items()}
        self._store = store or DescriptorStore()
        self._examples = dict(examples or {})
        self._loading = threading.Lock()
        self._warm = threading.Event()

    # ---- models -------------------------------------------------------------------------------------------------

    def model(self, role: str) -> VPRModel:
        """The model of a role, loaded on first use. Raises SciceVPRError (each time) when it cannot be loaded."""
        room = self._rooms.get(role)
        if room is None:
            raise UsageError(f"There is no model {role!r} here. Choose one of: {', '.join(self._rooms)}.")
        with self._loading:
            if room.model is None and room.error is None:
                try:
                    room.model = room.load()
                except SciceVPRError as error:
                    room.error = error
                except (OSError, RuntimeError) as error:  # RuntimeError: torch, about an absent device
                    room.error = WeightsError(f"{get_variant(room.name).title} could not be loaded: {error}.")
        if room.error is not None:
            raise room.error
        return room.model

    def model_states(self) -> list[ModelState]:
        """All models as they are now, without waiting for any loading."""
        return [self._state(role, room) for role, room in self._rooms.items()]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are filled, in order."""
        return tuple(self._rooms)

    @staticmethod
    def _state(role: str, room: _Room) -> ModelState:
        title = get_variant(room.name).title
        if room.error is not None:
            return ModelState(role, room.name, title, "missing", message=str(room.error))
        if room.model is None:
            return ModelState(role, room.name, title, "waiting")
        weights = room.model.weights
        if weights is None:
            return ModelState(role, room.name, title, "ready", weights="random")
        return ModelState(role, room.name, title, "ready", weights.trained, weights.sha256, weights.trained_on)

    def warm_up(self) -> threading.Thread:
        """Load the models and describe the first database in the background; returns the running thread."""
        thread = threading.Thread(target=self._warm_up, name="warm-up", daemon=True)
        thread.start()
        return thread

    def _warm_up(self) -> None:
        try:
            roles = [role for role in self._rooms if role != TEACHER]  # the teacher is loaded when it is asked for
            models = [model for model in map(self._model_or_none, roles) if model is not None]
            for key, dataset in list(self.datasets.items())[:1]:
                for model in models:
                    self._store.get(key, dataset, model)
        except SciceVPRError as error:
            logger.warning("warm-up stopped: %s", error)
        except Exception:
            logger.exception("warm-up failed")
        finally:
            self._warm.set()

    def _model_or_none(self, role: str) -> VPRModel | None:
        try:
            return self.model(role)
        except SciceVPRError as error:
            logger.warning("%s", error)
            return None

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
        if not key:
            return next(iter(self.datasets.items()))
        if key not in self.datasets:
            raise UsageError(f"There is no database {key!r}. Choose one of: {', '.join(self.datasets)}.")
        return key, self.datasets[key]

    def examples(self, key: str | None, count: int = 8) -> list[Place]:
        """Example queries of a database: the named ones that exist, else some spread over conditions and the list."""
        key, dataset = self.dataset(key)
        by_name = {place.name: place for place in dataset.queries}
        named = [by_name[name] for name in self._examples.get(key, ()) if name in by_name]
        return named[:count] if named else spread_over_conditions(dataset.queries, count)

    # ---- the search ---------------------------------------------------------------------------------------------

    def find(
        self,
        photo: Image.Image | Path | bytes,
        name: str = "",
        database: str | None = None,
        k: int = 5,
        company: int = 0,
        east: float | None = None,
        north: float | None = None,
        progress: Progress | None = None,
    ) -> Found:
        """Find the place of a photo with both models.

        Args:
            photo: the query. name: its original file name; a position is read from it where it carries one, and a name
                of the database's own query list makes the photo that query.
            database: display name of the database. k: answers per model, 1..20.
            company: how many photos share the baseline's batch with the query, 0..31: those after it in the query
                list (from the top of the list for a photo that is not in it).
            east, north: the query's UTM position in metres, both or none; replaces the one in the name.
            progress: called with (photos done, photos in all) while a database is described for the first time.

        Raises:
            SciceVPRError: with a message for the visitor.
        """
        key, dataset = self.dataset(database)
        k = whole_number(k, "K", 1, MAX_K)
        company = whole_number(company, "The company", 0, MAX_COMPANY)
        image = open_photo(photo)
        place, row = query_place(dataset, name)
        position = known_position(place, dataset, east, north)
        neighbours = company_of(dataset, row, company)
        stable, baseline = self.model(STABLE), self.model(BASELINE)

        alone = Grouping.alone()
        described, stable_ms = timed(lambda: describe(stable, [image], grouping=alone))
        group = [image, *(neighbour.path for neighbour in neighbours)]
        together = Grouping.explicit([range(len(group))]) if neighbours else alone
        in_batch, baseline_ms = timed(lambda: describe(baseline, group, grouping=together))
        drift = None
        if neighbours:
            drift = float(describe(baseline, [image], grouping=alone).values[0] @ in_batch.values[0])

        answers = {}
        for role, model, result, elapsed in (
            (STABLE, stable, described, stable_ms),
            (BASELINE, baseline, in_batch, baseline_ms),
        ):
            answers[role] = self._answer(role, model, result, elapsed, key, dataset, k, position, progress)
        labelled = dataset.use_labels and all(item.utm is not None for item in dataset.database)
        return Found(
            query=image,
            query_place=place,
            position=position,
            database=key,
            database_utm=np.array([item.utm for item in dataset.database]) if labelled else None,
            drawable=labelled and not any(item.mock_position for item in dataset.database),
            radius=RADIUS,
            stable=answers[STABLE],
            baseline=answers[BASELINE],
            batch=BatchView(tuple(neighbours), drift),
            notes=dataset.notes,
        )

    def described(self, role: str, key: str, progress: Progress | None = None) -> Described:
        """A database as the model of a role describes it, ready to be searched; computed on first use."""
        return self._store.get(key, self.datasets[key], self.model(role), progress)

    def hits(self, database: Described, query: np.ndarray, k: int, key: str, position: Position | None) -> Hits:
        """The k best database photos for one descriptor [D], with metres and verdicts where positions are known."""
        dataset = self.datasets[key]
        matches = database.index.search(query[None], min(k, len(dataset.database)))
        metres, right = judged(dataset, position, RADIUS)
        return tuple(
            Hit(
                rank=rank,
                row=int(index),
                place=dataset.database[index],
                similarity=float(similarity),
                metres=None if metres is None else float(metres[index]),
                right=None if right is None else bool(right[index]),
            )
            for rank, (index, similarity) in enumerate(zip(matches.indices[0], matches.similarities[0], strict=True), 1)
        )

    def _answer(
        self,
        role: str,
        model: VPRModel,
        query: Descriptors,
        describe_ms: float,
        key: str,
        dataset: Dataset,
        k: int,
        position: Position | None,
        progress: Progress | None,
    ) -> Answer:
        database = self._store.get(key, dataset, model, progress)
        hits, search_ms = timed(lambda: self.hits(database, query.values[0], k, key, position))
        metres, right = judged(dataset, position, RADIUS)
        first = first_metres = None
        if right is not None and right.any():
            ranking = database.index.search(query.values, len(dataset.database)).indices[0]
            first = int(np.argmax(right[ranking])) + 1
            first_metres = float(metres[ranking[first - 1]])
        protocol = {
            "model": model.variant.title,
            "weights": query.protocol()["weights"],
            "input": query.protocol()["resize"],
            "descriptor": f"{model.variant.descriptor_dim} values, {query.dtype} on {query.device}",
            "query batch": "alone" if len(query.values) == 1 else f"with {len(query.values) - 1} of the query list",
            "database batches": database.descriptors.grouping,
            "database": f"{key}, {dataset.split}, {len(dataset.database)} photos ({database.source})",
            "search": "exact, L2",
            "right within": f"{RADIUS:.0f} m",
        }
        return Answer(
            role=role,
            title=model.variant.title,
            hits=hits,
            first_right=first,
            first_right_metres=first_metres,
            right_photos=None if right is None else int(right.sum()),
            describe_ms=describe_ms,
            search_ms=search_ms,
            trained=query.trained,
            described=len(query.values),
            protocol=protocol,
        )
