"""What went wrong inside code of other people, as a message of this project that says what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError

import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from scicevpr.errors import WeightsError

_OFFLINE = (URLError, ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
_CUDA = re.compile(r"\bcuda\b|nvidia", re.IGNORECASE)


def explain(error: BaseException, title: str, doing: str, prefetch: str = "") -> WeightsError:
    """The error to raise instead of one that came out of foreign code.

    Args:
        title: the model. doing: what was being done, e.g. "loaded". prefetch: a command that fetches everything on a
            machine with internet.
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
