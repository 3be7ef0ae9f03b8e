"""Run an entry point of other people's code (a hubconf.py on GitHub or in a folder, a function of a package), and say
in this project's terms what went wrong inside."""

from __future__ import annotations

import importlib
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from scicevpr.errors import WeightsError
from scicevpr.external_models.registry import ExternalSource

ONE_AT_A_TIME = threading.RLock()
"""Held while code of others is loaded: where it prints to, its random numbers and its modules belong to the process."""


_OFFLINE = (URLError, ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
_CUDA = re.compile(r"\bcuda\b|nvidia", re.IGNORECASE)


def request(source: ExternalSource) -> str:
    """What would run, and how to allow it."""
    known, look = source.known, source.place
    if source.kind == "github":
        look = f"https://github.com/{source.place}"
        licence = f" (licence: {known.licence})" if known else ""
        where = f"torch.hub fetches the GitHub repository {source.place}{licence} and runs"
    else:
        thing = "the folder" if source.kind == "folder" else "the module"
        where = f"{thing} {source.place} holds it, and loading runs"
    note = f" Note: {known.note}." if known and known.note else ""
    return (
        f"{source.title} is no part of this project: {where} its code, {source.call}, on this machine with your "
        f"rights.{note} Look at {look} first; then allow it with --trust-remote-code (in Python: trust=True)."
    )


def build(source: ExternalSource, local_files_only: bool) -> Any:
    """Call the entry point and return what it gives. What it prints goes to standard error, where notes belong. Raises
    WeightsError for everything that goes wrong on the way."""
    prefetch = ""
    if source.kind == "github":
        repository = f"{source.place}:{source.ref}" if source.ref else source.place
        call = ", ".join([f"{repository!r}, {source.entry!r}, trust_repo=True", *source.arguments])
        prefetch = f'python -c "import torch; torch.hub.load({call})"'
    try:
        with ONE_AT_A_TIME, redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
            if source.kind == "python":
                return getattr(importlib.import_module(source.place), source.entry)(**source.kwargs)
            folder = _folder(source)
            if folder is None and local_files_only:
                why = "downloading is switched off (local files only)"
                raise absent(source.title, f"the code of {source.place}", torch.hub.get_dir(), why, prefetch)
            if folder is not None and not (folder / "hubconf.py").is_file():
                raise WeightsError(f"There is no hubconf.py in {folder}, so torch.hub has no entry points to load.")
            with _own_imports(source):
                if folder is not None:
                    return torch.hub.load(str(folder), source.entry, source="local", **source.kwargs)
                options = {"trust_repo": True, "verbose": False}
                return torch.hub.load(repository, source.entry, **options, **source.kwargs)
    except WeightsError:
        raise
    except (Exception, SystemExit) as error:  # the code is not ours: it may raise anything
        raise explain(error, source.title, "loaded", prefetch) from error


def _folder(source: ExternalSource) -> Path | None:
    """Where a repository lies on this machine: the given folder, or that in which torch.hub keeps it, if it does. A
    kept repository is loaded from its folder, because torch.hub would ask GitHub for its branch first."""
    if source.kind == "folder":
        return Path(source.place)
    for ref in (source.ref,) if source.ref else ("main", "master"):
        parts = [*source.place.split("/"), ref.replace("/", "_")]
        folder = Path(torch.hub.get_dir()) / "_".join(parts)
        if folder.is_dir():
            return folder
    return None


@contextmanager
def _own_imports(source: ExternalSource) -> Iterator[None]:
    """Let a repository import its own modules, though others here have the same names, and forget them afterwards.
    Research repositories call their modules `model`, `util` or `datasets`; without this, the second one loaded in a
    process would get the modules of the first."""
    hidden = {name: sys.modules.pop(name) for name in _named_as_in(source)}
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(_named_as_in(source)) - before:  # asked again: torch.hub may have fetched it meanwhile
            del sys.modules[name]
        sys.modules.update(hidden)


def _named_as_in(source: ExternalSource) -> list[str]:
    """The loaded modules that have the name of a module or package in a repository's folder."""
    folder = _folder(source)
    if folder is None:
        return []
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/*.py")}
    names.discard("scicevpr")  # its hubconf.py may be ours
    return [name for name in sys.modules if name.partition(".")[0] in names]


def explain(error: BaseException, title: str, doing: str, prefetch: str = "") -> WeightsError:
    """The error to raise instead of one that came out of the code of a model. doing: such as "loaded". prefetch: a
    command that fetches everything on a machine with internet.
    """
    start = f"{title} could not be {doing}: "
    missing = _missing_packages(error)
    if missing:
        return WeightsError(f"{start}its code needs {missing}, which is not installed here. Install it and try again.")
    chain = list(_chain(error))
    refused = next((each for each in chain if isinstance(each, HTTPError)), None)
    if refused is not None:
        return WeightsError(
            f"{start}{refused.url} answered {refused.code} ({refused.reason}). The repository or the file may have "
            "moved: look at its page."
        )
    if any(isinstance(each, _OFFLINE) or "internet connection" in str(each) for each in chain):
        return absent(title, *_wanted(chain), "there is no connection to download it", prefetch)
    if not torch.cuda.is_available() and any(_CUDA.search(f"{type(each).__name__} {each}") for each in chain):
        return WeightsError(
            f"{start}its code needs CUDA, and there is no CUDA device here ({_first_line(error)}). Use a machine with "
            "an NVIDIA GPU and --device cuda."
        )
    return WeightsError(f"{start}its code failed with {type(error).__name__}: {_first_line(error)}.")


def absent(title: str, what: str, where: str, why: str, prefetch: str = "") -> WeightsError:
    """The error for something that is not at `where` on this machine and is not downloaded for the reason `why`."""
    steps = f"On a machine with internet run: {prefetch} and copy" if prefetch else "From a machine that has it copy"
    return WeightsError(
        f"{title} could not be loaded: {what} is not on this machine ({where}) and {why}. {steps} its folder "
        f"~/.cache/torch/hub to {torch.hub.get_dir()} here."
    )


def _missing_packages(error: BaseException) -> str:
    """Names of packages that are not installed, "" if that is not the trouble."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name.partition('.')[0]!r}"
    found = re.fullmatch(r"Missing dependencies: (.+)", str(error))  # torch.hub, about the list in a hubconf.py
    return f"the package(s) {found[1]}" if found else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _wanted(chain: list[BaseException]) -> tuple[str, str]:
    """What torch.hub tried to fetch and where it would have put it, read from the frames of the traceback."""
    what, where = "a file that it needs", torch.hub.get_dir()
    for error in chain:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__") != "torch.hub":
                continue
            if isinstance(frame.f_locals.get("github"), str):
                what = f"the code of {frame.f_locals['github']}"
            url, target = frame.f_locals.get("url"), frame.f_locals.get("dst", frame.f_locals.get("cached_file"))
            if isinstance(url, str) and isinstance(target, str):
                return url, str(Path(target))
    return what, where


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
