"""The Benchmarks tab without any web framework: models on databases, measured one by one, remembered by fingerprint."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from app.core.descriptor_store import file_state
from app.core.model_slots import weights_of
from app.core.services import Services
from app.tabs.benchmarks.results import Cost, Progress, Result, Search, SearchStore
from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.benchmark import DEFAULT_NS, evaluate, evaluate_baseline, score, score_matches
from scicevpr.evaluation.protocols import published_grouping, shuffled_groups
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.models.model import VPRModel

KEPT = 64
LARGEST_SEED = 999
TICK_S = 0.25
FILE, ALONE, SHUFFLED = "file", "alone", "shuffled"
Advance = Callable[[str, int, int], None]
"""Called with ("database" or "queries", photos done, photos in all); may raise to stop the work."""


@dataclass(frozen=True)
class Task:
    """What is to be measured. database: the name that asks for it; database_title: what to call it. grouping: which
    queries share a batch; None where it cannot matter."""

    database: str
    database_title: str
    dataset: Dataset
    role: str
    model: VPRModel
    title: str
    grouping: Grouping | None

    @property
    def key(self) -> str:
        """Fingerprint: what the answers depend on."""
        label = "independent" if self.grouping is None else self.grouping.label
        variant, data = self.model.variant, self.dataset
        parts = [variant.fingerprint, weights_of(self.model), variant.preprocessing.label(), label, str(DEFAULT_NS)]
        parts += [str(data.root.resolve()), data.name, data.split, data.query_order]
        parts += map(file_state, (*data.database, *data.queries))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]

    @property
    def result_key(self) -> str:
        """A result's key: the same model may stand in two columns."""
        return f"{self.key}-{self.role}"


class Stopped(Exception):
    """The visitor does not want the run any more."""


class Benchmarks:
    """Benchmark runs over one Services."""

    def __init__(self, services: Services) -> None:
        self.services = services
        cache = services.cache
        self._store = SearchStore(cache / "benchmarks" if cache else None)
        self._results = services.datasets.remembered(KEPT)

    # ---- running ------------------------------------------------------------------------------------------------

    def run(
        self, databases: Sequence[str], roles: Sequence[str], grouping: str = FILE
    ) -> Generator[Progress, None, None]:
        """Measure every model on every database; yields what is going on, each result as soon as it is there.

        grouping: see `grouping_of`. Closing the iterator stops the work after the batch at hand. A model that cannot
        be measured on a database gives a Progress with its problem, and the others go on.

        Raises UsageError when nothing is chosen, or for an unknown name.
        """
        pairs = self._checked(databases, roles, grouping)
        news: SimpleQueue = SimpleQueue()
        stop = threading.Event()
        thread = threading.Thread(target=self._work, args=(pairs, grouping, news, stop), name="benchmark", daemon=True)
        thread.start()
        try:
            while True:
                item = _newest(news)
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()

    def _work(self, pairs: Sequence[tuple[str, str]], grouping: str, news: SimpleQueue, stop: threading.Event) -> None:
        try:
            for database, role in pairs:
                words = f"{self.title(role)} on {self.services.datasets.title(database)}"

                def advance(stage: str, done: int, total: int, words: str = words) -> None:
                    if stop.is_set() and stage == "queries":  # others may be waiting for a database
                        raise Stopped
                    photos = "database photos" if stage == "database" else "queries"
                    news.put(Progress(f"{words}: {done:,} of {total:,} {photos} described"))

                if stop.is_set():
                    return
                news.put(Progress(f"{words}: searching"))
                try:
                    result = self.measure(database, role, grouping, advance)
                    news.put(Progress(f"{words}: {result.source}", new=result))
                except SciceVPRError as error:
                    news.put(Progress(f"{words}: not measured", problem=f"{words}: {error}"))
        except Stopped:
            pass
        except Exception as error:
            news.put(error)
        finally:
            news.put(None)

    def measure(self, database: str | None, role: str, grouping: str = FILE, advance: Advance | None = None) -> Result:
        """One model on one database: remembered, or measured now.

        Raises SciceVPRError: an unknown name, no labels, unreadable photos, or a pack without what is needed.
        """
        if role in BASELINES:
            return self._measure_baseline(database, role, advance)
        task = self._task(database, role, grouping)
        kept = self._results.get(task.result_key)
        if kept is not None:
            evaluation = replace(kept.evaluation, title=task.title)
            return self._remember(replace(kept, database=task.database, database_title=task.database_title, role=role,
                                          evaluation=evaluation, source="remembered"))  # fmt: skip
        search, source = self._store.get(task.key, len(task.dataset.queries), len(task.dataset.database)), "remembered"
        if search is None:
            search, source = self._search(task, self._at_pace(advance)), "measured now"
            if task.model.weights is not None and not self.services.datasets.is_private(task.database):
                self._store.put(task.key, search)
        scored = score_matches(task.title, task.dataset, search.matches, protocol=search.protocol)
        evaluation = replace(scored.with_intervals(), notes=search.notes, seconds=search.seconds)
        cost = Cost(search.dimensions, len(task.dataset.database), search.ms_a_photo)
        names = (task.result_key, task.database, task.database_title, role)
        return self._remember(Result(*names, evaluation, cost, source))

    def _at_pace(self, advance: Advance | None) -> Advance:
        """An advance that lets short questions go first, and ends what takes too long on a shared machine."""
        turn = self.services.pace.long()

        def told(stage: str, done: int, total: int) -> None:
            if advance is not None:
                advance(stage, done, total)
            if stage == "database":  # others may be waiting for it
                self.services.pace.give_way()
            else:
                turn.step()

        return told

    def results(self, keys: Sequence[str]) -> list[Result]:
        """Results by their fingerprints; those that are forgotten are left out."""
        return [result for result in map(self._results.get, keys) if result is not None]

    def title(self, role: str) -> str:
        """A model's name for tables, with its role where two models have the same name."""
        if role in BASELINES:
            return BASELINES[role].title
        titles = {state.role: state.title for state in self.services.model_states()}
        title = titles.get(role, role)
        return f"{title} ({role})" if list(titles.values()).count(title) > 1 else title

    # ---- one measurement ----------------------------------------------------------------------------------------

    def _checked(self, databases: Sequence[str], roles: Sequence[str], grouping: str) -> list[tuple[str, str]]:
        if not databases:
            raise UsageError("Choose at least one database.")
        if not roles:
            raise UsageError("Choose at least one model.")
        names = [self.services.dataset(name)[0] for name in databases]
        for role in roles:
            self._check_role(role)
        split_grouping(grouping)
        return [(name, role) for name in names for role in roles]

    def _check_role(self, role: str) -> None:
        if not isinstance(role, str):
            raise UsageError(f"A model is named by its role, a text, not by {type(role).__name__}.")
        known = (*self.services.roles, *BASELINES)
        if role not in known:
            raise UsageError(f"There is no model {role!r} here. Choose one of: {', '.join(known)}.")

    def _labelled(self, database: str | None) -> tuple[str, str, Dataset]:
        """Name, title and photos of a database that can be measured on; UsageError for another."""
        key, dataset = self.services.dataset(database)
        title = self.services.datasets.title(key)
        if not dataset.queries:
            raise UsageError(f"{title} has no query photos, so there is nothing to ask it.")
        if not dataset.labelled:
            raise UsageError(
                f"Recall needs ground truth: {title} has photos without a position, and no list of right answers."
            )
        return key, title, dataset

    def _measure_baseline(self, database: str | None, name: str, advance: Advance | None) -> Result:
        """A baseline on one database: remembered, or measured now."""
        key, title, dataset = self._labelled(database)
        fingerprint = f"{key}-{name}"
        for kept in self.results([fingerprint]):
            return replace(kept, source="remembered")
        found = evaluate_baseline(name, dataset, progress=advance).with_intervals()
        photos = len(dataset.database) + len(dataset.queries)
        cost = Cost(BASELINES[name].dimensions, len(dataset.database), 1000 * found.seconds / photos)
        return self._remember(Result(fingerprint, key, title, name, found, cost, "measured now"))

    def _task(self, database: str | None, role: str, grouping: str) -> Task:
        key, title, dataset = self._labelled(database)
        self._check_role(role)
        model = self.services.model(role)
        return Task(key, title, dataset, role, model, self.title(role), grouping_of(grouping, model, dataset))

    def _search(self, task: Task, advance: Advance) -> Search:
        started = time.perf_counter()

        def step(done: int, total: int) -> None:
            advance("database", done, total)

        described = self.services.described(task.role, task.database, step, reduced=True)
        pca = described.pca
        queries = self._pack_queries(task)
        if queries is None:
            self._check_photos(task)
            found = evaluate(
                task.model,
                task.dataset,
                database=described.descriptors,
                pca=pca,
                query_grouping=task.grouping,
                preprocessing=Preprocessing(**described.descriptors.preprocessing),  # a pack may have its own
                progress=advance,
            )
            protocol, made = dict(found.protocol), found.queries
            speed = None if made is None else 1000 * made.seconds / len(made.values)
        else:
            protocol = queries.protocol()
            protocol |= {
                "database grouping": described.descriptors.grouping,
                "query grouping": protocol.pop("grouping"),
            }
            found = score(
                task.title,
                task.dataset,
                described.descriptors.values,
                queries.values,
                protocol=protocol | {"PCA": "none" if pca is None else pca.label},
            )
            protocol = found.protocol | {"query descriptors": f"of the pack, {queries.values.dtype}"}
            speed = None
        protocol["database descriptors"] = f"{described.source}, searched as {described.descriptors.values.dtype}"
        dimensions, seconds = described.descriptors.values.shape[1], time.perf_counter() - started
        return Search(found.matches, protocol, found.notes, dimensions, speed, seconds)

    def _pack_queries(self, task: Task) -> Descriptors | None:
        """The query descriptors of an opened pack, where they were made under the grouping that is asked for and the
        photos are not the visitor's own (a pack has small copies of them at most)."""
        paths = [query.path for query in task.dataset.queries]
        if all(path.is_file() and not path.is_relative_to(task.dataset.root) for path in paths):
            return None
        found = self.services.pack_queries(task.role, task.database)
        fits = found is not None and (task.grouping is None or task.grouping.label == found.grouping)
        return found if fits else None

    def _check_photos(self, task: Task) -> None:
        missing = sum(not query.path.is_file() for query in task.dataset.queries)
        if not missing:
            return
        in_pack = self.services.pack_queries(task.role, task.database)
        if in_pack is not None and task.grouping is not None:
            raise UsageError(
                f"{missing} query photos are not here, and the pack describes its queries under the grouping "
                f"{in_pack.grouping!r} only, not {task.grouping.label!r}. Choose file order, or open the pack with "
                "the folder of its photos."
            )
        raise UsageError(
            f"{missing} query photos of {task.database_title} are not here, and it comes without descriptors of its "
            f"queries by {task.title}. Open it with the folder of its photos, or choose a model that described them."
        )

    def _remember(self, result: Result) -> Result:
        return self._results.put(result.key, result, result.database)


def _newest(news: SimpleQueue) -> Progress | BaseException | None:
    """The next thing to tell: of several counts that came at once the last one; results and ends are never skipped."""
    item = news.get()
    deadline = time.monotonic() + TICK_S
    while isinstance(item, Progress) and item.new is None and not item.problem:
        try:
            item = news.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return item
    return item


def split_grouping(text: str) -> tuple[str, int]:
    """The order and the seed in "file", "alone", "shuffled" or "shuffled 3". UsageError for anything else."""
    kind, _, seed = str(text or "").strip().partition(" ")
    plain = kind in (FILE, ALONE) and not seed
    number = not seed or (seed.isascii() and seed.isdigit() and len(seed) < 10 and int(seed) <= LARGEST_SEED)
    if not plain and not (kind == SHUFFLED and number):
        raise UsageError(
            f'The grouping must be "file", "alone", "shuffled" or "shuffled SEED" (up to {LARGEST_SEED}), not '
            f"{str(text)[:60]!r}."
        )
    return kind, int(seed or 0)


def grouping_of(text: str, model: VPRModel, dataset: Dataset) -> Grouping | None:
    """Which queries share a batch: "file" (as the model was published), "alone", or "shuffled SEED" in batches of the
    published size. None for a model that does not feel it."""
    kind, seed = split_grouping(text)
    published = published_grouping(model.variant, dataset)
    if published is None or kind == FILE:
        return published
    return Grouping.alone() if kind == ALONE else shuffled_groups(len(dataset.queries), published.size, seed)
