"""The steps of building an index: what each part of the descriptors gives, and what is made of all parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.files.descriptor_writer import require_space
from scicevpr.retrieval import agreement as agreeing
from scicevpr.retrieval.blocks import in_single, value_problem
from scicevpr.retrieval.builder_parts import WORK, Builder
from scicevpr.retrieval.index_manifest import Manifest, file_facts, write_manifest
from scicevpr.retrieval.int8_exact import PER_ROW, Codes, encode
from scicevpr.retrieval.ivf_pq import (
    ROWS_PER_LIST,
    SCANNED,
    SMALLEST_SAMPLE,
    ListsIndex,
    ShortCodes,
    default_lists,
    fill_lists,
    project,
    read_lists,
    save_rows,
    train_lists,
    write_lists,
)
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.row_files import RowFile, RowFiles

Progress = Callable[[str, int, int], None]  # (stage, done, in all)
PART_BYTES = 88 * 2**20  # of float32 rows
PCA_SAMPLE = 4096


class NotFiniteError(UsageError):
    """Descriptors that no index can be built of; problem: see `value_problem`."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The database descriptors {problem}")


@dataclass(frozen=True)
class Settings:
    """How an index is built. tier: "streamed", "8-bit" or "lists"; the rest is for "lists".

    dimension: values after the PCA. lists: their number (None: by the size). probes, shortlist: None chooses the
    cheapest that reach 99.6 % agreement in the first answer and 95 % in the ten best. questions: rows on which that
    is measured. part_rows: rows a part (None: 88 MiB of float32).
    """

    tier: str
    dimension: int = 512
    lists: int | None = None
    probes: int | None = None
    shortlist: int | None = None
    seed: int = 0
    questions: int = agreeing.QUESTIONS
    part_rows: int | None = None


class Build:
    """One build. draft: the folder it lies in until it is done; out: the name it will have."""

    def __init__(
        self, draft: Path, out: Path, files: Sequence[RowFile], settings: Settings, progress: Progress | None
    ) -> None:
        self.draft, self.out, self.settings = draft, out, settings
        self.files, self.rows = files, RowFiles(files)
        self.count, self.width = self.rows.shape
        self.part_rows = settings.part_rows or max(1, PART_BYTES // (4 * self.width))
        self.parts = math.ceil(self.count / self.part_rows)
        self.tell = progress or (lambda stage, done, total: None)
        plan = {
            "settings": asdict(settings),
            "sources": [[str(file.path), file.bytes, file.path.stat().st_mtime_ns, file.dtype] for file in files],
            "versions": _versions(),
        }
        self.work = Builder(draft / WORK, plan)
        lists = settings.tier == "lists"
        self.lists = settings.lists or default_lists(self.count)
        self.short = min(settings.dimension, self.width, self.count - 1)
        self.questions = agreeing.choose_questions(self.count, settings.seed, settings.questions) if lists else None
        self.names: list[str] = []

    def run(self) -> None:
        """Do what is not done yet, and write the manifest."""
        tier, facts = self.settings.tier, {}
        agreement: dict[str, Any] = {}
        needed = self.count * {"streamed": 16, "8-bit": self.width + 40, "lists": 3 * self.short + 60}[tier]
        require_space(self.draft, needed)
        if tier == "lists":
            self._projection()
        for part in range(self.parts):
            self._part(part)
            self.tell("descriptors read", min((part + 1) * self.part_rows, self.count), self.count)
        self._gather()
        if tier == "lists":
            index = self._lists()
            measured = self._measure(index)
            agreement = {"first": measured.first, "best": measured.best, "questions": measured.questions}
            facts = {
                "dimension": self.short,
                "lists": self.lists,
                "probes": measured.probes,
                "shortlist": measured.shortlist,
                "seed": self.settings.seed,
            }
        manifest = Manifest(
            tier=tier,
            count=self.count,
            dimension=self.width,
            sources=tuple(self.files),
            files=file_facts(self.draft, self.names),
            settings=facts,
            agreement=agreement,
            versions=_versions(),
        )
        write_manifest(self.draft, manifest, self.out)

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _projection(self) -> None:
        """PCA of a sample of the rows."""

        def make(path: Path) -> None:
            sample = self.rows.take_rows(self._sampled(PCA_SAMPLE, 11))
            problem = value_problem(in_single(sample))
            if problem:
                raise NotFiniteError(problem)
            solver = "randomized" if 4 * self.short <= min(sample.shape) else "auto"
            pca = PCA.fit(sample, self.short, solver=solver, seed=self.settings.seed)
            _save(path, np.concatenate([pca.mean[None], pca.components]).astype(np.float32))

        def range_of_values(path: Path) -> None:
            short = project(self.projection, self.rows.take_rows(self._sampled(PCA_SAMPLE, 11)).astype(np.float32))
            _save(path, ShortCodes.of(short).table)

        self.tell("PCA", 0, 1)
        self.projection = np.load(self.work.step("projection-1.npy", make, keep=True))
        self.short_codes = ShortCodes.of_table(np.load(self.work.step("ranges-1.npy", range_of_values, keep=True)))
        self.names += ["projection-1.npy", "ranges-1.npy"]
        self.tell("PCA", 1, 1)
        if self.questions is not None:
            self.asked = self.rows.take_rows(self.questions).astype(np.float32)

    def _part(self, part: int) -> None:
        """What one part of the rows gives: checksums, and codes, with lists also answers to the questions."""
        from safetensors.numpy import save_file

        if self.settings.tier == "8-bit":
            self.names.append(f"codes-1-{part:05d}.npy")

        @cache
        def block() -> tuple[np.ndarray, np.ndarray]:
            return self.rows.with_checksums(slice(part * self.part_rows, (part + 1) * self.part_rows))

        @cache
        def values() -> np.ndarray:
            found = in_single(block()[0])
            problem = value_problem(found, part * self.part_rows)
            if problem:
                raise NotFiniteError(problem)
            return found

        @cache
        def codes() -> Codes:
            return encode(values())

        def make(path: Path) -> None:
            values()
            arrays = {"checksum": block()[1]}
            if self.settings.tier == "8-bit":
                arrays |= {name: getattr(codes(), name) for name in PER_ROW}
            elif self.settings.tier == "lists":
                products = values() @ self._together().T
                short = products[:, : self.short] - self.projection[1:] @ self.projection[0]
                squares = np.einsum("rd,rd->r", values(), values())
                near = agreeing.nearest_of_block(products[:, self.short :], squares, part * self.part_rows)
                arrays |= {"bytes": self.short_codes.encode(short), "near": near[0], "far": near[1]}
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)

        self.work.step(_part_name(part), make)
        if self.settings.tier == "8-bit":
            self.work.step(self.names[-1], lambda path: _save(path, codes().codes), keep=True)

    def _together(self) -> np.ndarray:
        """Components and questions [K + Q, D]: one matrix product serves both."""
        if not hasattr(self, "_stacked"):
            self._stacked = np.concatenate([self.projection[1:], self.asked])
        return self._stacked

    def _sampled(self, rows: int, number: int) -> np.ndarray:
        """So many rows by chance, in order; another number is another choice."""
        rng = np.random.default_rng([self.settings.seed, number])
        return np.sort(rng.choice(self.count, min(rows, self.count), replace=False))

    def _gather(self) -> None:
        """Checksums of all rows in one file, and what belongs to 8-bit codes, or the bytes of short descriptors."""
        from safetensors.numpy import save_file

        def make_rows(path: Path) -> None:
            checksums = np.concatenate([self._load(part, "checksum") for part in range(self.parts)])
            save_file({"checksum": checksums, "row": np.arange(self.count, dtype=np.int64)}, path)

        def make_scales(path: Path) -> None:
            parts = range(self.parts)
            save_file({name: np.concatenate([self._load(part, name) for part in parts]) for name in PER_ROW}, path)

        def make_bytes(path: Path) -> None:
            save_rows(path, (self._load(part, "bytes") for part in range(self.parts)), self.count, self.short)

        wanted = {"rows-1.safetensors": make_rows}
        if self.settings.tier == "8-bit":
            wanted["scales-1.safetensors"] = make_scales
        elif self.settings.tier == "lists":
            wanted["bytes-1.npy"] = make_bytes
        for name, make in wanted.items():
            self.work.step(name, make, keep=True)
            self.names.append(name)

    def _lists(self) -> Any:
        """Train the lists on a sample of the short descriptors, and put all of them in."""
        found = np.load(self.draft / "bytes-1.npy", mmap_mode="r")

        def train(path: Path) -> None:
            chosen = self._sampled(max(self.lists * ROWS_PER_LIST, SMALLEST_SAMPLE), 13)
            sample = self.short_codes.decode(found[chosen])
            write_lists(train_lists(sample, self.lists, self.settings.seed), path)

        def put(path: Path) -> None:
            index = read_lists(trained)
            fill_lists(index, self.short_codes, [found], lambda done: self.tell("rows in lists", done, self.count))
            write_lists(index, path)

        self.tell(f"{self.lists} lists", 0, 1)
        trained = self.work.step("trained.faiss", train)
        self.tell(f"{self.lists} lists", 1, 1)
        self.names.append("lists-1.faiss")
        return read_lists(self.work.step("lists-1.faiss", put, keep=True))

    def _measure(self, index: Any) -> agreeing.Agreement:
        """Choose how many lists and rows a query looks into, and measure what that gives."""
        self.tell("agreement with exact search", 0, 1)
        blocks = ((self._load(part, "near"), self._load(part, "far")) for part in range(self.parts))
        answers = agreeing.exact_answers(self.rows, self.questions, blocks)
        found = [np.load(self.draft / "bytes-1.npy", mmap_mode="r")]
        search = ListsIndex(self.rows, index, found, self.short_codes, self.projection, probes=1, shortlist=1)
        measured = agreeing.tune(
            lambda probes, length: search.candidates(self.asked, length, 0, probes),
            self.questions,
            answers,
            lists=self.lists,
            list_bytes=self.count / self.lists * index.code_size,
            scanned_bytes=SCANNED * self.short,
            row_bytes=self.files[0].row_bytes,
            probes=self.settings.probes,
            shortlist=self.settings.shortlist,
        )
        self.tell("agreement with exact search", 1, 1)
        return measured

    def _load(self, part: int, name: str) -> np.ndarray:
        from safetensors import safe_open

        with safe_open(self.work.folder / _part_name(part), framework="numpy") as file:
            return file.get_tensor(name)


def _part_name(part: int) -> str:
    return f"part-{part:05d}.safetensors"


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as stream:
        np.save(stream, array)


def _versions() -> dict[str, str]:
    return {name: version(package) for name, package in (("numpy", "numpy"), ("faiss", "faiss-cpu"))}
