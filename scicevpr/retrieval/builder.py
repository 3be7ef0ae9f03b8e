"""Build an index on disk: in bounded memory, with progress, resumable at any moment.

The work lies in OUT.building until it is done; then the folder gets its name. One pass over the descriptors, a part of
them at a time; every part's result is a file with a checksum, so a build that was killed goes on with the next part and
gives the same index, byte for byte (on the same machine with the same library versions and number of threads).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.numpy import save_file

from scicevpr.errors import UsageError
from scicevpr.files.writing import require_space, save_npy
from scicevpr.progress import StageProgress
from scicevpr.retrieval import agreement as agreeing
from scicevpr.retrieval.exact import PER_ROW, Codes, encode
from scicevpr.retrieval.ivf_pq import (
    ROWS_PER_LIST,
    SCANNED,
    SMALLEST_SAMPLE,
    IVFPQIndex,
    ShortCodes,
    default_nlist,
    fill_lists,
    project,
    read_lists,
    save_rows,
    train_lists,
    write_lists,
)
from scicevpr.retrieval.manifest import (
    LOCK,
    MANIFEST,
    STORED_TIERS,
    WORK,
    Manifest,
    ResumableSteps,
    describe_files,
    is_own,
    read_manifest,
    remove_steps,
    remove_unlisted,
    write_manifest,
)
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.rows import RowFile, RowFiles, check_block, find_rows, in_single, one_model

PART_BYTES = 88 * 2**20  # of float32 rows
PCA_SAMPLE = 4096


class NotFiniteError(UsageError):
    """Descriptors that no index can be built of."""


@dataclass(frozen=True)
class Settings:
    """How an index is built. tier: "streamed", "int8" or "ivf-pq"; the rest is for "ivf-pq".

    dimension: of the descriptors after the PCA. nlist: number of inverted lists (None: by the size). nprobe, rerank_k:
    lists that a query looks into and rows that are compared in full; None chooses the cheapest that reach 99.6 %
    agreement in the first answer and 95 % in the ten best. questions: rows on which that is measured. part_rows: rows a
    part (None: 88 MiB of float32).
    """

    tier: str
    dimension: int = 512
    nlist: int | None = None
    nprobe: int | None = None
    rerank_k: int | None = None
    seed: int = 0
    questions: int = agreeing.QUESTIONS
    part_rows: int | None = None


def build_files(
    out: Path | str,
    sources: Sequence[Path | str | np.memmap],
    settings: Settings,
    *,
    restart: bool = False,
    progress: StageProgress | None = None,
) -> Path:
    """Build an index of the rows of some descriptor files, one after the other. Returns its folder. Raises UsageError
    when ``out`` exists or is being built, for settings that do not fit, or values that are not finite;
    IndexMismatchError for descriptor files that cannot be read or differ in width.
    """
    out = Path(out)
    taken = UsageError(f"{out} exists already. Remove it, or name another folder for the index.")
    if out.exists():
        raise taken
    files = [find_rows(source) for source in sources]
    _check(files, settings)
    draft = out.with_name(out.name + ".building")
    for place in (draft, out):
        if any(file.path.is_relative_to(os.path.abspath(place)) for file in files):
            raise UsageError(f"A descriptor file lies in {place}, where the index will be made. Move it elsewhere.")
    try:
        draft.mkdir(parents=True, exist_ok=True)
        with FileLock(draft / LOCK, timeout=0):
            if restart:
                _clear(draft)
            late = out.exists()  # another process has finished it just now
            try:
                if not late and not (draft / MANIFEST).is_file():  # else it was complete, only not yet in its place
                    Build(draft, out, files, settings, progress).run()
            except NotFiniteError:
                _clear(draft)  # of no use
                raise
            if not late:
                remove_unlisted(draft, read_manifest(draft))
                remove_steps(draft / WORK)
    except NotFiniteError:
        _leave(draft)
        raise
    except FileExistsError as error:
        raise UsageError(f"{draft} is in the way of the build. Move it, or name another folder.") from error
    except Timeout as error:
        raise UsageError(f"{out} is being built by another process. Wait for it.") from error
    if late:
        _leave(draft)
        raise taken
    (draft / LOCK).unlink(missing_ok=True)
    draft.rename(out)
    return out


def _check(files: Sequence[RowFile], settings: Settings) -> None:
    if settings.tier not in STORED_TIERS:
        raise UsageError(f"An index on disk is one of {', '.join(STORED_TIERS)}, not {settings.tier!r}.")
    if not files:
        raise UsageError("An index needs at least one descriptor file.")
    widths = {file.width for file in files}
    if len(widths) > 1:
        raise UsageError(f"The descriptor files have {sorted(widths)} dimensions; an index needs one length.")
    one_model(files)
    count = sum(file.rows for file in files)
    if settings.tier == "ivf-pq" and (count < 2 or (settings.nlist or 1) > count):
        raise UsageError(f"{settings.nlist or 'Inverted'} lists need at least as many rows; there are {count}.")


def _clear(draft: Path) -> None:
    """Take away what a build has made; the caller holds the lock. Files of other names stay where they are."""
    remove_steps(draft / WORK)
    for path in draft.iterdir():
        if path.is_file() and (is_own(path.name) or path.name == MANIFEST):
            path.unlink()


def _leave(draft: Path) -> None:
    """Remove a draft in which nothing but the lock is left."""
    if draft.is_dir() and {path.name for path in draft.iterdir()} <= {LOCK}:
        (draft / LOCK).unlink(missing_ok=True)
        draft.rmdir()


class Build:
    """One build. draft: the folder it lies in until it is done; out: the name it will have."""

    def __init__(
        self, draft: Path, out: Path, files: Sequence[RowFile], settings: Settings, progress: StageProgress | None
    ) -> None:
        self.draft, self.out, self.settings, self.tier = draft, out, settings, settings.tier
        self.files, self.rows = files, RowFiles(files)
        self.count, self.width = self.rows.shape
        self.part_rows = settings.part_rows or max(1, PART_BYTES // (4 * self.width))
        self.parts = range(math.ceil(self.count / self.part_rows))
        self.tell = progress or (lambda stage, done, total: None)
        self.versions = {name: version(package) for name, package in (("numpy", "numpy"), ("faiss", "faiss-cpu"))}
        plan = {
            "settings": asdict(settings),
            "sources": [[str(file.path), file.bytes, file.path.stat().st_mtime_ns, file.dtype] for file in files],
            "versions": self.versions,
        }
        self.work = ResumableSteps(draft / WORK, plan)
        self.nlist = settings.nlist or default_nlist(self.count)
        self.short = min(settings.dimension, self.width, self.count - 1)
        self.names: list[str] = []

    def run(self) -> None:
        """Do what is not done yet, and write the manifest."""
        settings: dict[str, Any] = {}
        agreement: dict[str, Any] = {}
        needed = self.count * {"streamed": 16, "int8": self.width + 40, "ivf-pq": 3 * self.short + 60}[self.tier]
        require_space(self.draft, needed)
        if self.tier == "ivf-pq":
            self._projection()
        for part in self.parts:
            self._part(part)
            self.tell("descriptors read", min((part + 1) * self.part_rows, self.count), self.count)
        self._gather()
        if self.tier == "ivf-pq":
            measured = self._measure(self._lists())
            agreement = {"first": measured.first, "best": measured.best, "questions": measured.questions}
            settings = {
                "dimension": self.short,
                "nlist": self.nlist,
                "nprobe": measured.nprobe,
                "rerank_k": measured.rerank_k,
                "seed": self.settings.seed,
            }
        manifest = Manifest(
            tier=self.tier,
            count=self.count,
            dimension=self.width,
            sources=tuple(self.files),
            files=describe_files(self.draft, self.names),
            settings=settings,
            agreement=agreement,
            versions=self.versions,
        )
        write_manifest(self.draft, manifest, self.out)

    def _projection(self) -> None:
        """PCA of a sample of the rows, what the bytes of short descriptors mean, and the questions."""

        def make(path: Path) -> None:
            sample = self.rows.take_rows(self._sampled(PCA_SAMPLE, 11))
            check_block(in_single(sample), "database descriptors", error=NotFiniteError)
            solver = "randomized" if 4 * self.short <= min(sample.shape) else "auto"
            pca = PCA.fit(sample, self.short, solver=solver, seed=self.settings.seed)
            save_npy(path, np.concatenate([pca.mean[None], pca.components]).astype(np.float32))

        def range_of_values(path: Path) -> None:
            short = project(self.projection, self.rows.take_rows(self._sampled(PCA_SAMPLE, 11)).astype(np.float32))
            save_npy(path, ShortCodes.of(short).table)

        self.tell("PCA", 0, 1)
        self.projection = np.load(self._kept("projection-1.npy", make))
        self.short_codes = ShortCodes(*np.load(self._kept("ranges-1.npy", range_of_values)))
        self.tell("PCA", 1, 1)
        self.questions = agreeing.choose_questions(self.count, self.settings.seed, self.settings.questions)
        self.asked = self.rows.take_rows(self.questions).astype(np.float32)

    def _part(self, part: int) -> None:
        """What one part of the rows gives: checksums, and codes, with "ivf-pq" also answers to the questions."""
        first = part * self.part_rows

        @cache
        def block() -> tuple[np.ndarray, np.ndarray]:
            """The rows as float32, and their checksums."""
            stored, checksums = self.rows.with_checksums(slice(first, first + self.part_rows))
            values = in_single(stored)
            check_block(values, "database descriptors", first, NotFiniteError)
            return values, checksums

        @cache
        def codes() -> Codes:
            return encode(block()[0])

        def make(path: Path) -> None:
            values, checksums = block()
            arrays = {"checksum": checksums}
            if self.tier == "int8":
                arrays |= {name: getattr(codes(), name) for name in PER_ROW}
            elif self.tier == "ivf-pq":
                products = values @ self._components_and_questions.T  # (R, K + Q)
                short = products[:, : self.short] - self.projection[1:] @ self.projection[0]
                squares = np.einsum("rd,rd->r", values, values)
                near = agreeing.nearest_of_block(products[:, self.short :], squares, first)
                arrays |= {"bytes": self.short_codes.encode(short), "near": near[0], "far": near[1]}
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)

        self.work.step(_part_name(part), make)
        if self.tier == "int8":
            self._kept(f"codes-1-{part:05d}.npy", lambda path: save_npy(path, codes().codes))

    @cached_property
    def _components_and_questions(self) -> np.ndarray:
        """[K + Q, D]: one matrix product serves both."""
        return np.concatenate([self.projection[1:], self.asked])

    def _sampled(self, rows: int, number: int) -> np.ndarray:
        """So many rows by chance, in order; another number is another choice."""
        rng = np.random.default_rng([self.settings.seed, number])
        return np.sort(rng.choice(self.count, min(rows, self.count), replace=False))

    def _gather(self) -> None:
        """Checksums of all rows in one file, and what belongs to 8-bit codes, or the bytes of short descriptors."""

        def make_rows(path: Path) -> None:
            checksums = np.concatenate([self._load(part, "checksum") for part in self.parts])
            save_file({"checksum": checksums, "row": np.arange(self.count, dtype=np.int64)}, path)

        def make_scales(path: Path) -> None:
            save_file({name: np.concatenate([self._load(part, name) for part in self.parts]) for name in PER_ROW}, path)

        def make_bytes(path: Path) -> None:
            save_rows(path, (self._load(part, "bytes") for part in self.parts), self.count, self.short)

        self._kept("rows-1.safetensors", make_rows)
        if self.tier == "int8":
            self._kept("scales-1.safetensors", make_scales)
        elif self.tier == "ivf-pq":
            self._kept("bytes-1.npy", make_bytes)

    def _lists(self) -> Any:
        """Train the lists on a sample of the short descriptors, and put all of them in."""
        found = np.load(self.draft / "bytes-1.npy", mmap_mode="r")

        def train(path: Path) -> None:
            chosen = self._sampled(max(self.nlist * ROWS_PER_LIST, SMALLEST_SAMPLE), 13)
            write_lists(train_lists(self.short_codes.decode(found[chosen]), self.nlist, self.settings.seed), path)

        def put(path: Path) -> None:
            index = read_lists(trained)
            fill_lists(index, self.short_codes, [found], lambda done: self.tell("rows in lists", done, self.count))
            write_lists(index, path)

        self.tell(f"{self.nlist} lists", 0, 1)
        trained = self.work.step("trained.faiss", train)
        self.tell(f"{self.nlist} lists", 1, 1)
        return read_lists(self._kept("lists-1.faiss", put))

    def _measure(self, index: Any) -> agreeing.Agreement:
        """Choose how many lists and rows a query looks into, and measure what that gives."""
        self.tell("agreement with exact search", 0, 1)
        blocks = ((self._load(part, "near"), self._load(part, "far")) for part in self.parts)
        answers = agreeing.exact_answers(self.rows, self.questions, blocks)
        found = [np.load(self.draft / "bytes-1.npy", mmap_mode="r")]
        search = IVFPQIndex(self.rows, index, found, self.short_codes, self.projection, nprobe=1, rerank_k=1)
        measured = agreeing.tune(
            lambda nprobe, length: search.candidates(self.asked, length, 0, nprobe),
            self.questions,
            answers,
            nlist=self.nlist,
            list_bytes=self.count / self.nlist * index.code_size,
            scanned_bytes=SCANNED * self.short,
            row_bytes=self.files[0].row_bytes,
            nprobe=self.settings.nprobe,
            rerank_k=self.settings.rerank_k,
        )
        self.tell("agreement with exact search", 1, 1)
        return measured

    def _kept(self, name: str, make: Any) -> Path:
        """A step whose file becomes one of the index."""
        self.names.append(name)
        return self.work.step(name, make, keep=True)

    def _load(self, part: int, name: str) -> np.ndarray:
        with safe_open(self.work.folder / _part_name(part), framework="numpy") as file:
            return file.get_tensor(name)


def _part_name(part: int) -> str:
    return f"part-{part:05d}.safetensors"
