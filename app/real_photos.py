"""Real photos for the page: data sets named by their key are got before it opens, and the first start offers one.

A Space with internet gets a small set whose licence lets it (SPACE_SET), so that visitors see real photos beside the
drawn city; without internet it opens on the city alone.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from scicevpr.config import user_cache_folder
from scicevpr.datasets import Dataset, read_dataset
from scicevpr.datasets.sources import SOURCES, DataSource, find_source
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.hub.datasets import datasets_folder, get_dataset
from scicevpr.progress import StageProgress

logger = logging.getLogger(__name__)

OFFERED = "gardens-point"  # at the first start
SPACE_SET = "corridor"  # MIT; SCICEVPR_DATASET names another, "" none
ASKED_FILE = "first-start-asked"
CHOICE = """
What should the page open on?
  1  the bundled city: drawn, with exactly known positions; works now
  2  real photos: {title}, a download of {needs}; licence: {licence} ({page})
"""


def is_key(text: str) -> bool:
    """True for a set that can be had, where no folder has this name."""
    try:
        return not Path(text).expanduser().exists() and bool(find_source(text).files)
    except UsageError:
        return False


def sets_folder() -> Path:
    """Where the page keeps the sets it gets: beside those of the command line where the environment says, else in the
    user's cache; on a Space, whose home may be read-only, in the temporary folder."""
    if os.environ.get("DATASETS_FOLDER") or os.environ.get("SCICEVPR_CACHE"):
        return datasets_folder()
    base = Path(tempfile.gettempdir()) / "scicevpr" if "SPACE_ID" in os.environ else user_cache_folder()
    return base / "datasets"


def chosen_sets(named: Sequence[str], licence_accepted: bool) -> list[tuple[DataSource, bool]]:
    """The sets to get, each with whether its licence is accepted: those named by key, else what a Space shows, else
    what the first start's answer is."""
    keys = [(find_source(name), licence_accepted) for name in named if is_key(name)]
    if keys or named:
        return keys
    if "SPACE_ID" in os.environ:
        name = os.environ.get("SCICEVPR_DATASET", SPACE_SET)
        return [(find_source(name), True)] if name and is_key(name) else []  # its owner chose it
    return [(SOURCES[OFFERED], True)] if _wants_real_photos() else []


def _wants_real_photos() -> bool:
    """Ask once, at a terminal, at the first start."""
    asked = user_cache_folder() / ASKED_FILE
    if not sys.stdin.isatty() or not sys.stdout.isatty() or asked.exists():
        return False
    source = SOURCES[OFFERED]
    sys.stdout.write(CHOICE.format(**{name: getattr(source, name) for name in ("title", "needs", "licence", "page")}))
    answer = input("1, or 2 to accept that licence and download [1]: ").strip()
    try:
        asked.parent.mkdir(parents=True, exist_ok=True)
        asked.touch()
    except OSError:
        logger.info("the answer cannot be kept in %s", asked.parent)
    return answer == "2"


def get_sets(chosen: Sequence[tuple[DataSource, bool]]) -> tuple[dict[str, Dataset], list[str]]:
    """The sets by display name, got where they are not here yet, and a sentence for each one that could not be had."""
    found, problems = {}, []
    for source, accepted in chosen:
        try:
            found[source.title] = open_set(source, accepted, _log_progress())
        except (SciceVPRError, OSError) as error:
            logger.warning("%s", error)
            problems.append(f"{source.title} is not here, so the page opens without it: {error}")
    return found, problems


def open_set(source: DataSource, licence_accepted: bool, progress: StageProgress | None = None) -> Dataset:
    """One set, got where it is not here yet. SciceVPRError as in `get_dataset` and `read_dataset`."""
    if source.converter == "gsv-cities" or source.key == "tokyo247-queries":
        raise UsageError(f"{source.title} has no database and queries, so the page cannot show it.")
    folder = get_dataset(source, sets_folder(), licence_accepted=licence_accepted, progress=progress)
    return read_dataset(folder, source.split)


def _log_progress() -> Callable[[str, int, int], None]:
    """A line in the log for every tenth of a stage."""
    told: dict[str, int] = {}

    def step(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if stage != "files placed" and told.get(stage, -1) < tenth:
            told[stage] = tenth
            logger.info("%s: %d %%", stage, 10 * tenth)

    return step
