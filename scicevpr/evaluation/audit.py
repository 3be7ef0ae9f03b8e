"""The protocol audit: how much each choice that papers leave unsaid moves Recall@1, for one model and one data set.

Every row is a plain evaluation with one thing changed, compared query by query with the plain one. Rows that differ in
scoring only share their descriptors; a run that was interrupted goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.precision import obstacle
from scicevpr.errors import UsageError
from scicevpr.evaluation import benchmark
from scicevpr.evaluation.fits import model_key
from scicevpr.evaluation.metrics import hit_matrix
from scicevpr.evaluation.protocols import published_grouping, shuffled_groups
from scicevpr.evaluation.results import Evaluation
from scicevpr.evaluation.uncertainty import compare_recalls
from scicevpr.files.photos import open_photo
from scicevpr.files.reading import read_json
from scicevpr.files.writing import written_whole
from scicevpr.models.model import VPRModel
from scicevpr.retrieval.pca import PCA

QUALITIES, RADII, PCA_DIMENSIONS, SIZES = (95, 75, 50), (10.0, 25.0, 50.0), (512, 128), (322, 518)
BATCHES = (1, 4, 64)
SUBSET = 0.5  # of the queries


@dataclass(frozen=True)
class Choice:
    """One thing that is done otherwise. what: which choice. setting: what it is. photos: how photos are made ("" as
    they are, "grey", "jpeg 75"). describing, scoring: arguments of `evaluate`. pca: (dimensions, seed), fitted on the
    database. storage: "float16" or "int8", how descriptors are kept. half: seed of a random half of the queries."""

    what: str
    setting: str
    photos: str = ""
    describing: Mapping[str, Any] = field(default_factory=dict)
    scoring: Mapping[str, Any] = field(default_factory=dict)
    pca: tuple[int, int] | None = None
    storage: str = ""
    half: int | None = None

    @property
    def key(self) -> str:
        """What a table calls it."""
        return f"{self.what}: {self.setting}"


@dataclass(frozen=True)
class AuditRow:
    """recall, plain: Recall@1 in percent of the row and of the plain protocol. difference: in points, low and high its
    95 % interval (paired, over places), None where it cannot be had. only_row, only_plain: queries that one alone
    answers rightly. p_value: exact McNemar test."""

    what: str
    setting: str
    recall: float
    plain: float
    difference: float
    low: float | None = None
    high: float | None = None
    only_row: int = 0
    only_plain: int = 0
    p_value: float = 1.0


def choices_for(model: VPRModel, dataset: Dataset) -> list[Choice]:
    """The choices that this model and data set have."""
    variant, found = model.variant, []
    antialias = variant.preprocessing.antialias
    found.append(Choice("antialias", "off" if antialias else "on", describing={"antialias": not antialias}))
    found.append(
        Choice(
            "resize rule of queries",
            "centre of the photo, sides kept in proportion",
            describing={"test_method": "central_crop"},
        )
    )
    if not getattr(variant, "taps", (1,)):  # token mixers fix the grid
        patch = variant.backbone.patch
        found += [
            Choice(
                "input size",
                f"{size // patch * patch}",
                describing={"preprocessing": replace(variant.preprocessing, size=(size // patch * patch,) * 2)},
            )
            for size in SIZES
        ]
    found += [Choice("JPEG quality", str(quality), photos=f"jpeg {quality}") for quality in QUALITIES]
    found.append(Choice("colour", "grey", photos="grey"))
    if variant.cross_image:
        own = published_grouping(variant, dataset)
        found += [
            Choice("photos a batch", str(size), describing={"database_grouping": Grouping.sequential(size)})
            for size in BATCHES
            if own is None or size != own.size
        ]
        size = own.size if own is not None and own.size else 16
        found += [
            Choice(
                "query order",
                f"shuffled with seed {seed}",
                describing={"query_grouping": shuffled_groups(len(dataset.queries), size, seed)},
            )
            for seed in (0, 1)
        ]
        found.append(
            Choice(
                "database order",
                "shuffled with seed 0",
                describing={
                    "database_grouping": shuffled_groups(len(dataset.database), size, 0),
                    "query_grouping": own or Grouping.sequential(size),
                },
            )
        )
    limit = min(len(dataset.database), variant.descriptor_dim)
    found += [
        Choice("PCA, fitted on the database", f"{dims} dimensions, seed {seed}", pca=(dims, seed))
        for dims in PCA_DIMENSIONS
        if dims < limit
        for seed in (0, 1)
    ]
    if isinstance(model, VPRModel):
        device = next(model.parameters()).device
        found += [
            Choice("precision", mode, describing={"precision": mode})
            for mode in ("bfloat16", "int8", "float16")
            if obstacle(mode, device) is None
        ]
    found += [Choice("descriptors kept as", kind, storage=kind) for kind in ("float16", "int8")]
    if dataset.truth.listed is None:
        found.append(Choice("positions", "rounded to float32", scoring={"rounding": "float32"}))
        found += [
            Choice("right within", f"{metres:g} m", scoring={"radius": metres})
            for metres in RADII
            if metres != dataset.truth.radius
        ]
    found += [Choice("queries", f"a random half, seed {seed}", half=seed) for seed in (0, 1)]
    return found


def run_audit(
    model: VPRModel,
    dataset: Dataset,
    choices: Sequence[Choice] | None = None,
    *,
    kept: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[AuditRow]:
    """Evaluate every choice; the first row is the plain protocol. choices: default: `choices_for`.

    kept: a file to which rows are written as they come, and from which they are taken when it belongs to this model
    and data set. progress: called with (what, rows done, rows in all). UsageError for a data set without labels.
    """
    if not dataset.labelled:
        raise UsageError("An audit needs labels: without them there is no Recall.")
    choices = choices_for(model, dataset) if choices is None else list(choices)
    stamp = [*model_key(model), dataset.name, dataset.split, len(dataset.database), len(dataset.queries)]
    done = _read_kept(kept, stamp)
    with tempfile.TemporaryDirectory(prefix="scicevpr-audit-") as folder:
        state = _Evaluations(model, dataset, Path(folder))
        rows: list[AuditRow] = []
        for number, choice in enumerate([Choice("plain", "as published here"), *choices]):
            row = done.get(choice.key)
            if row is None:
                if progress is not None:
                    progress(choice.key, number, len(choices) + 1)
                row = state.row(choice)
                done[choice.key] = row
                _keep(kept, stamp, done)
            rows.append(row)
    return rows


def _read_kept(path: Path | None, stamp: list[Any]) -> dict[str, AuditRow]:
    if path is None or not path.is_file():
        return {}
    remedy = "Give another file, or remove this one."
    content = read_json(path, UsageError, remedy)
    if not isinstance(content, dict) or content.get("of") != stamp:
        raise UsageError(f"{path} holds the audit of another model or data set. {remedy}")
    try:
        rows = [AuditRow(**row) for row in content["rows"]]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no audit ({error!r}). {remedy}") from error
    return {f"{row.what}: {row.setting}": row for row in rows}


def _keep(path: Path | None, stamp: list[Any], done: Mapping[str, AuditRow]) -> None:
    if path is not None:
        text = json.dumps({"of": stamp, "rows": [asdict(row) for row in done.values()]}, indent=1)
        with written_whole(path) as part:
            part.write_text(text + "\n", encoding="utf-8")


class _Evaluations:
    """Evaluations by what was described, made once each. folder: for photos made otherwise."""

    def __init__(self, model: VPRModel, dataset: Dataset, folder: Path) -> None:
        self.model, self.dataset, self.folder = model, dataset, folder
        self._plain: Evaluation | None = None

    @property
    def plain(self) -> Evaluation:
        """The plain protocol."""
        if self._plain is None:
            self._plain = benchmark.evaluate(self.model, self.dataset, ns=(1,))
        return self._plain

    def row(self, choice: Choice) -> AuditRow:
        """One choice against the plain protocol."""
        if choice.what == "plain":
            recall = _recall(self.plain)
            return AuditRow(choice.what, choice.setting, recall, recall, 0.0)
        if choice.half is not None:
            own, plain = _recall(self._half(choice.half)), _recall(self.plain)
            return AuditRow(choice.what, choice.setting, own, plain, own - plain)
        result = self.evaluation(choice)
        hits = [hit_matrix(part.predictions, part.positives, (1,)) for part in (result, self.plain)]
        [paired] = compare_recalls(hits[0], hits[1], (1,), self.plain.places())
        return AuditRow(
            choice.what,
            choice.setting,
            paired.recall_a,
            paired.recall_b,
            paired.difference,
            paired.low,
            paired.high,
            paired.only_a,
            paired.only_b,
            paired.p_value,
        )

    def evaluation(self, choice: Choice) -> Evaluation:
        """A plain evaluation with this one thing changed."""
        if not (choice.photos or choice.describing):
            database, queries = (
                self._kept(part.values, choice)
                for part in (_described(self.plain.database), _described(self.plain.queries))
            )
            return benchmark.score(self.plain.title, self.dataset, database, queries, ns=(1,), **choice.scoring)
        dataset = self._photos(choice.photos) if choice.photos else self.dataset
        database_too = choice.photos or set(choice.describing) - {"test_method", "query_grouping"}
        return benchmark.evaluate(
            self.model,
            dataset,
            ns=(1,),
            database=None if database_too else self.plain.database,
            **choice.describing,
            **choice.scoring,
        )

    def _kept(self, values: np.ndarray, choice: Choice) -> np.ndarray:
        """Descriptors as this choice keeps them."""
        if choice.pca is not None:
            (dimensions, seed), fitted = choice.pca, np.asarray(_described(self.plain.database).values)
            return PCA.fit(fitted, dimensions, solver="randomized", seed=seed).transform(values)
        if choice.storage == "float16":
            return np.asarray(values).astype(np.float16)
        if choice.storage == "int8":  # one scale for each descriptor
            scale = np.abs(values).max(axis=1, keepdims=True) / 127
            return (np.round(values / np.maximum(scale, 1e-12)) * scale).astype(np.float32)
        return values

    def _half(self, seed: int) -> Evaluation:
        count = max(1, round(SUBSET * len(self.dataset.queries)))
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.dataset.queries))[:count])
        dataset = self.dataset.select_queries(rows, f"a random half, seed {seed}")
        values = [_described(part).values for part in (self.plain.database, self.plain.queries)]
        return benchmark.score(self.plain.title, dataset, values[0], np.asarray(values[1])[rows], ns=(1,))

    def _photos(self, kind: str) -> Dataset:
        """The data set with its photos made otherwise, in files of their own."""
        quality = int(kind.split()[1]) if kind.startswith("jpeg") else None
        photos = []
        for number, photo in enumerate((*self.dataset.database, *self.dataset.queries)):
            image = open_photo(photo.path, Preprocessing().max_pixels)
            path = self.folder / f"{kind.replace(' ', '-')}-{number:07d}.{'jpg' if quality else 'png'}"
            if quality:
                image.save(path, "JPEG", quality=quality)
            else:
                image.convert("L").save(path, "PNG")
            photos.append(replace(photo, path=path))
        return self.dataset.with_photos(photos)


def _described(part: Any) -> Any:
    if part is None:
        raise UsageError("The descriptors of the plain evaluation were not kept.")
    return part


def _recall(result: Evaluation) -> float:
    return result.overall.recalls[1] if result.overall is not None else 0.0


def spread(rows: Sequence[AuditRow]) -> float:
    """Points between the best and the worst row of an audit: what the same weights can print."""
    recalls = [row.recall for row in rows]
    return max(recalls) - min(recalls)
