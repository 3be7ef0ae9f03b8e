"""A visitor's own photos as a database of this session: read, described, searchable by nobody else, gone at its end.

Everything about a visitor lies in one temporary folder. Whoever knows the visit's token may change it; whoever knows
the database's key may search it. Both are random, and only the visitor's page gets them. A visit ends when its page is
closed, when the visitor says so, when it is old, or when it gives way: so many databases fit, and the one
that was idle longest goes first.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.core.incoming import check_depth
from app.core.limits import KEPT_S, VISITORS, VISITS
from app.core.model_slots import BASELINE, STABLE
from app.core.services import Services
from app.core.upload_cache import upload_folder
from app.tabs.my_places.intake_report import IntakeReport, MyDatabase, Visit, as_dataset, chosen_table, no_photo_words
from app.tabs.my_places.own_pack import file_name, unpack, zip_pack
from scicevpr.datasets import Dataset
from scicevpr.datasets.intake import Gathered, Limits, gather, gather_folder
from scicevpr.datasets.positions import place_photos
from scicevpr.errors import ImageError, SciceVPRError, UsageError
from scicevpr.files.photos import open_photo
from scicevpr.packs import open_pack
from scicevpr.packs.build import Content, build_pack, describe_content
from scicevpr.packs.manifest import read_manifest
from scicevpr.packs.pack import Pack

THUMBNAIL = 640
TITLE = "My places"
LONGEST_TITLE = 60
CLOSED = "The page was closed, or it was left alone for long while others needed its memory, so its places are gone."
Progress = Callable[[str, int, int], None]
"""Called with (what is done, done, in all)."""


class MyPlaces:
    """The databases of all visitors, each by its token.

    limits: of what is uploaded. may_read_folders: a visitor may name a folder of this machine (only where visitor and
    machine belong together). visits: how many visitors can have places at once, which bounds the disk they take. kept:
    seconds after which a visit ends. clock: seconds that only go forward. when_ended: called with (session, uploads
    that nobody else was given) whenever a visit ends.
    """

    def __init__(
        self,
        services: Services,
        limits: Limits | None = None,
        may_read_folders: bool = False,
        visits: int = VISITS,
        kept: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.services = services
        self.limits = limits or Limits()
        self.may_read_folders = may_read_folders
        self.when_ended: Callable[[str, set[Path]], None] = lambda session, uploads: None
        self._most, self._kept, self._clock = visits, kept, clock
        self._visits: dict[str, Visit] = {}
        self._lock = threading.RLock()
        self._root: tempfile.TemporaryDirectory | None = None

    def __deepcopy__(self, memo: dict) -> MyPlaces:
        """Itself: gradio copies what its config names, callbacks too, for every visitor who opens the page."""
        return self

    @property
    def root(self) -> Path:
        """The folder of all visits, made on first use and removed when the program ends. It lies in gradio's upload
        cache: photos and packs are served from there, under names that nobody can guess, and no copies stay behind."""
        with self._lock:
            if self._root is None:
                base = upload_folder()
                base.mkdir(parents=True, exist_ok=True)
                self._root = tempfile.TemporaryDirectory(prefix="places-", dir=base, ignore_cleanup_errors=True)
            return Path(self._root.name)

    def welcome(self, token: Any = None, session: str | None = None) -> str:
        """The token of a visit: the given one while it lasts, else the session's, else a new one. It takes no place
        yet, so everybody is welcome."""
        with self._lock:
            token = token if isinstance(token, str) and token in self._visits else self._of_session(session)
            if token is None:
                token, now = secrets.token_urlsafe(32), self._clock()
                self._visits[token] = Visit(self.root / secrets.token_urlsafe(16), session or "", now, now)
                self._visits[token].folder.mkdir()
                crowd = [other for other, visit in self._visits.items() if not visit.holds and other != token]
            else:
                self._visits[token].used, crowd = self._clock(), []
        for other in crowd[: max(0, len(crowd) - VISITORS)]:
            self.forget(other)
        return token

    def token_of(self, session: str | None) -> str | None:
        """The token of a session's visit, if it has one."""
        with self._lock:
            return self._of_session(session)

    def folders(self) -> list[Path]:
        """The folder of all visits, while there is one."""
        with self._lock:
            return [] if self._root is None else [Path(self._root.name)]

    def uploads(self) -> set[Path]:
        """Files that were uploaded for visits that last."""
        with self._lock:
            return set().union(*(visit.uploads for visit in self._visits.values()))

    def remember(self, token: str, uploads: Iterable[Path]) -> None:
        """Note files that were uploaded for a visit, so that they go with it."""
        with self._lock:
            self._visit(token).uploads.update(uploads)

    def database(self, token: Any) -> MyDatabase | None:
        """The visitor's database, if there is one."""
        with self._lock:
            visit = self._visits.get(token) if isinstance(token, str) else None
            if visit is None:
                return None
            visit.used = self._clock()
            return visit.database

    def end_old(self) -> None:
        """End the visits that have lasted too long, whatever else was forgotten of them."""
        now = self._clock()
        with self._lock:
            old = [token for token, visit in self._visits.items() if now - visit.begun > self._kept]
        for token in old:
            self.forget(token)

    def read(
        self,
        token: str,
        brought: Sequence[tuple[Path, str]],
        folder: str = "",
        table: tuple[Path, str] | None = None,
        condition: str = "",
        progress: Progress | None = None,
    ) -> IntakeReport:
        """Take in photos and find their positions.

        brought: uploaded files and zips, each with its name. folder: one of this machine, instead. table: CSV file
        with positions; without it one that came along is used. condition: of photos that say none.

        Raises SciceVPRError: with a message for the visitor; what was there before stays.
        """
        visit, work = self._begin(token)
        with self._kindly(visit):
            gathered = self._gather(visit, brought, folder.strip(), progress)
            chosen = chosen_table(gathered, table, work, self.limits)
            usable, unreadable = self._readable(visit, gathered, progress)
            if not usable:
                raise UsageError(no_photo_words(gathered, unreadable))
            placed, notes = place_photos(usable, chosen, " ".join(condition.split())[:40])
        return IntakeReport(gathered, tuple(placed), (*gathered.left_out, *unreadable), tuple(notes))

    def build(
        self, token: str, report: IntakeReport, title: str = "", hold_back: int = 0, progress: Progress | None = None
    ) -> MyDatabase:
        """Describe what was read with both models and offer it to this visitor; an earlier database of theirs goes.

        hold_back: every so many-th photo is not searched but offered as a query (0: none); photos in a folder called
        queries are queries in any case, and then no others.

        Raises SciceVPRError: with a message for the visitor; what was there before stays.
        """
        visit, started = self._visit(token), time.perf_counter()
        title = " ".join(str(title or "").split())[:LONGEST_TITLE] or TITLE
        with self._kindly(visit):
            work = visit.work
            if work is None:  # the visit ended meanwhile
                raise UsageError(CLOSED)
            dataset = as_dataset(report, title, hold_back)
            pack = build_pack(
                work / "pack", dataset, self._contents(visit, dataset, progress), title=title, thumbnails=THUMBNAIL,
                progress=partial(self._tell, visit, progress),
            )  # fmt: skip
            archive = zip_pack(pack, work / f"{file_name(title)}.zip")
            opened = open_pack(pack.folder, photos=report.gathered.folder)
        return self._offer(visit, opened, archive, title, report.notes, started)

    def reopen(self, token: str, file: Path) -> MyDatabase:
        """Offer the zip of a pack that this tab made earlier; otherwise as `build`."""
        (visit, work), started = self._begin(token), time.perf_counter()
        with self._kindly(visit):
            folder = unpack(file, work / "opened", self.limits)
            manifest = read_manifest(folder)
            count = sum(manifest.counts.values())
            if count > self.limits.photos:
                raise UsageError(f"The pack has {count:,} photos. {self.limits.sentence}")
            if not manifest.entries:
                raise UsageError("The pack has no descriptors, so it cannot be searched. Bring its photos instead.")
            pack = open_pack(folder)
            archive = Path(shutil.copyfile(file, work / f"{file_name(pack.title)}.zip"))
        return self._offer(visit, pack, archive, pack.title, pack.dataset.notes, started)

    def _offer(
        self, visit: Visit, pack: Pack, archive: Path, title: str, notes: Iterable[str], started: float
    ) -> MyDatabase:
        """Make a pack the visit's database, instead of an earlier one."""
        groupings = tuple((entry.variant, entry.protocol["grouping"]) for entry in pack.models)
        with self._lock:
            if visit.gone:
                self._drop_work(visit)
                raise UsageError(CLOSED)
            old = visit.database
            mine = replace(pack.dataset, name=title, notes=tuple(notes))
            key = self.services.add_private(title, mine, pack.searchable, visit.folder)
            visit.database = MyDatabase(key, title, mine, archive, groupings, time.perf_counter() - started)
            visit.work = None
        if old is not None:
            self.services.datasets.remove_private(old.key)
            shutil.rmtree(old.archive.parent, ignore_errors=True)
        return visit.database

    def stop(self, token: str | None) -> None:
        """Let the visitor's running work end at its next step; what was finished before stays."""
        with self._lock:
            if isinstance(token, str) and token in self._visits:
                self._visits[token].stopped = True

    def forget(self, token: Any) -> set[Path]:
        """End a visit: its database and its folder are gone. Unknown tokens are no error.

        Returns the files uploaded for it that no other visit was given as well (a server keeps equal files once); they
        are left to `when_ended`, which knows what else may need them.
        """
        with self._lock:
            visit = self._visits.pop(token, None) if isinstance(token, str) else None
            if visit is None:
                return set()
            visit.stopped = visit.gone = True
            own = visit.uploads - self.uploads()
        if visit.database is not None:
            self.services.datasets.remove_private(visit.database.key)
        self.when_ended(visit.session, own)
        shutil.rmtree(visit.folder, ignore_errors=True)
        return own

    # ---- steps --------------------------------------------------------------------------------------------------

    def _visit(self, token: str) -> Visit:
        with self._lock:
            if token not in self._visits:
                raise UsageError("This session is over. Reload the page and choose the photos again.")
            return self._visits[token]

    def _of_session(self, session: str | None) -> str | None:
        return next((token for token, v in self._visits.items() if session and v.session == session), None)

    def _begin(self, token: str) -> tuple[Visit, Path]:
        """A visit, and an empty folder to work in."""
        visit = self._take_place(token)
        visit.stopped = False
        self._drop_work(visit)
        visit.work = Path(tempfile.mkdtemp(dir=visit.folder, prefix="places-"))
        return visit, visit.work

    def _take_place(self, token: str) -> Visit:
        """Mark a visit as one that makes a database; the longest idle of too many gives way. UsageError when all are
        at work."""
        with self._lock:
            visit = self._visit(token)
            others = [(other.used, name) for name, other in self._visits.items() if other.holds and other is not visit]
            idle = sorted(entry for entry in others if not self._visits[entry[1]].busy)
            if len(others) >= self._most and not idle:
                raise UsageError(
                    f"{self._most} visitors are bringing their places at this moment, and no more fit. Try again in a "
                    "few minutes, or run the studio on your own machine (scripts/demo)."
                )
            visit.busy, visit.used = True, self._clock()
        for _, name in idle[: max(0, len(others) - self._most + 1)]:
            self.forget(name)
        return visit

    def _gather(
        self, visit: Visit, brought: Sequence[tuple[Path, str]], folder: str, progress: Progress | None
    ) -> Gathered:
        if folder and not self.may_read_folders:
            raise UsageError(
                "This server does not read folders. Upload the photos, or start the studio on your own machine with "
                "--my-folder."
            )
        if folder and brought:
            raise UsageError("There are uploaded photos and a folder. Remove one of them.")
        if folder:
            return gather_folder(Path(folder).expanduser().absolute(), self.limits)
        if not brought:
            raise UsageError("There are no photos yet. Choose some, or a zip of them.")
        told = partial(self._tell, visit, progress, "Unpacking the photos")
        return gather(brought, visit.work, self.limits, told)

    def _readable(
        self, visit: Visit, gathered: Gathered, progress: Progress | None
    ) -> tuple[list[Path], list[tuple[str, str]]]:
        """The photos that can be opened, and (name, why not) of the others."""
        usable, unreadable = [], []
        for done, path in enumerate(gathered.photos, 1):
            try:
                check_depth(path, path.name)
                open_photo(path)
                usable.append(path)
            except ImageError as error:
                name = path.relative_to(gathered.folder).as_posix()
                unreadable.append((name, str(error).replace(str(path), "it")))
            self._tell(visit, progress, "Opening the photos", done, len(gathered.photos))
        return usable, unreadable

    def _contents(self, visit: Visit, dataset: Dataset, progress: Progress | None) -> Iterator[Content]:
        for role in (STABLE, BASELINE):
            model = self.services.model(role)

            def tell(what: str, done: int, total: int, title: str = model.variant.title) -> None:
                self._tell(visit, progress, f"{title} describes the {what}", done, total)

            yield describe_content(model, dataset, progress=tell)

    def _tell(self, visit: Visit, progress: Progress | None, what: str, done: int, total: int) -> None:
        if visit.stopped:
            raise UsageError("Stopped. What you chose is still there, and nothing new was made of it.")
        self.services.pace.give_way()
        if progress is not None:
            progress(what, done, total)

    @contextmanager
    def _kindly(self, visit: Visit) -> Iterator[None]:
        """Errors without the server's own paths, and no half-made folder after them; busy meanwhile."""
        visit.busy = True
        try:
            yield
        except BaseException as error:
            self._drop_work(visit)
            if visit.gone:
                raise UsageError(CLOSED) from error
            if isinstance(error, SciceVPRError):
                inner = re.compile(re.escape(str(visit.folder)) + r"/places-[^/]*/(photos/|tables/\w+/)?")
                raise type(error)(inner.sub("", str(error))) from error
            raise
        finally:
            visit.busy, visit.used = False, self._clock()

    @staticmethod
    def _drop_work(visit: Visit) -> None:
        if visit.work is not None:
            shutil.rmtree(visit.work, ignore_errors=True)
            visit.work = None
