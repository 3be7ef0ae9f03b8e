"""Fetch weights from a source: the path of a checked file on this computer, downloaded first if need be.

Files behind web addresses come by `scicevpr.hub.web`; those of Hugging Face Hub repositories by huggingface_hub's own
transfer into its own cache, with this project's messages.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

from scicevpr.config import user_cache_folder
from scicevpr.errors import SciceVPRError, WeightsError, first_line
from scicevpr.files.reading import sha256_of
from scicevpr.files.writing import written_whole
from scicevpr.hub.sources import MODEL_FILE, HubFile, LocalFile, Location, Source, UrlFile, address, parse_source
from scicevpr.hub.web import NoRouteError, Progress, download

HUB = "https://huggingface.co"
LOGIN = "Log in with `hf auth login`, or set HF_TOKEN to a token that may"
ACCESS = f"{LOGIN} read it."
OWN_PACKAGES = ("scicevpr", "app", "training")


def fetch(
    source: str | Path | Source,
    *,
    local_files_only: bool = False,
    progress: Progress | None = None,
    token: str | bool | None = None,
    cache: str | Path | None = None,
    endpoint: str | None = None,
) -> Path:
    """The path of a weights file, downloaded if it is not here yet.

    Hub files go to the Hub's own cache, files behind web addresses to torch.hub's checkpoints folder; both to
    $SCICEVPR_CACHE where it is set. Where no checksum
    is published, the SHA-256 of the first download is kept beside the file as `<name>.sha256` and compared at every
    later use. A registry name that is in a cache is taken from there without asking the network.

    source: see `scicevpr.hub.sources`. local_files_only: never use the network; HF_HUB_OFFLINE=1 does the same.
    progress: called with (bytes that are here, bytes in all or None). token: for private and gated repositories; None
    takes the one of `hf auth login` or HF_TOKEN. cache: folder instead of those two caches. endpoint: another Hub than
    huggingface.co; None takes HF_ENDPOINT.

    Raises WeightsError: offline and not here, no such repository, revision or file, gated, a refused token, broken off,
    wrong checksum, a web page, a server error, a full disk. The message says what to do.
    """
    source, folder = parse_source(source), Path(cache).expanduser() if cache is not None else None
    first = source.places[0]
    if isinstance(first, LocalFile):
        own = _weights_in(first.path)
        if not own.exists():
            raise WeightsError(f"There is no weights file at {first.path}. Check the path.")
        return own
    offline = local_files_only or hub_is_off()
    if source.registered or offline:
        for place in source.places:
            found = _find(place, folder)
            if found is not None:
                return _checked(found, place)
    if offline:
        reason = "local_files_only is set" if local_files_only else "SCICEVPR_OFFLINE or HF_HUB_OFFLINE is set"
        raise WeightsError(_not_here(source, first, folder, endpoint, reason))
    try:
        if isinstance(first, HubFile):
            path = download_from_hub(first, progress=progress, token=token, cache=folder, endpoint=endpoint)
        else:
            path = _url_path(first, folder)
            if not path.exists():
                download(first.url, path, sha256=first.sha256, progress=progress)
    except NoRouteError as error:
        found = _find(first, folder)
        if found is None:
            raise NoRouteError(_not_here(source, first, folder, endpoint, str(error))) from error
        path = found
    return _checked(path, first)


def find_cached(source: str | Path | Source, *, cache: str | Path | None = None) -> Path | None:
    """Where the weights lie on this computer, or None. Nothing is downloaded, and nothing is checked."""
    folder = Path(cache).expanduser() if cache is not None else None
    found = (_find(place, folder) for place in parse_source(source).places)
    return next((path for path in found if path is not None), None)


def _find(place: Location, folder: Path | None) -> Path | None:
    if isinstance(place, HubFile):
        return _find_in_hub_cache(place, folder)
    if isinstance(place, UrlFile):
        path = _url_path(place, folder)
        return path if path.is_file() else None
    path = _weights_in(place.path)
    return path if path.is_file() else None


def _weights_in(path: Path) -> Path:
    """The file itself, or the one in a folder that `save_pretrained` wrote."""
    return path / MODEL_FILE if (path / MODEL_FILE).is_file() else path


def _checked(path: Path, place: Location) -> Path:
    if isinstance(place, HubFile):
        check_content(path, place)
        return path
    if not isinstance(place, UrlFile):
        return path
    found, record = sha256_of(path), path.with_name(path.name + ".sha256")
    expected = place.sha256 or (record.read_text(encoding="utf-8").split()[0] if record.is_file() else None)
    if expected not in (None, found):
        origin = "the checksum given with the address is" if place.sha256 else "when it was downloaded it had"
        raise WeightsError(
            f"{path} has the wrong checksum: SHA-256 {found}, but {origin} {expected}. Delete the file and get "
            f"{place.url} again; if it really was replaced by its authors, delete the .sha256 file beside it too."
        )
    if not record.is_file():
        with written_whole(record) as part:
            part.write_text(f"{found}  {path.name}\n", encoding="utf-8")
    return path


def _url_path(place: UrlFile, folder: Path | None) -> Path:
    if folder is None and os.environ.get("SCICEVPR_CACHE"):
        folder = user_cache_folder() / "weights"
    if folder is None:
        import torch

        folder = Path(torch.hub.get_dir()) / "checkpoints"
    return folder / place.file_name


def _not_here(source: Source, first: HubFile | UrlFile, folder: Path | None, endpoint: str | None, reason: str) -> str:
    name = f"{source.text} ({address(first)})" if source.registered else source.text
    if isinstance(first, HubFile):
        place = f"{first.repo}/resolve/{first.revision or 'main'}/{first.file}"
        url, put = f"{hub_endpoint(endpoint) or HUB}/{place}", ""
    else:
        url, put = first.url, f", or put it at {_url_path(first, folder)}"
    return (
        f"{name} is not on this computer, and it was not downloaded: {reason}. Where there is a connection, download "
        f"{url} and give the file by its path{put}."
    )


def hub_endpoint(endpoint: str | None = None) -> str | None:
    """The Hub to ask: the one given, or $HF_ENDPOINT, or None for huggingface.co."""
    chosen = endpoint or os.environ.get("HF_ENDPOINT")
    return chosen.rstrip("/") if chosen else None


def hub_is_off() -> bool:
    """True where SCICEVPR_OFFLINE or HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids all downloads."""
    texts = (os.environ.get(name, "") for name in ("SCICEVPR_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(text.strip().upper() in ("1", "ON", "YES", "TRUE") for text in texts)


def _find_in_hub_cache(place: HubFile, cache: Path | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(place.repo, place.file, cache_dir=_cache(cache), revision=place.revision)
    except HFValidationError as error:
        raise WeightsError(f"{address(place)} does not name a Hub repository: {error}") from error
    return Path(found) if isinstance(found, str) else None


def download_from_hub(
    place: HubFile,
    *,
    progress: Progress | None = None,
    token: str | bool | None = None,
    cache: Path | None = None,
    endpoint: str | None = None,
) -> Path:
    """Bring a file into the Hub's cache, where it stays under its name only when it is whole. Raises NoRouteError when
    no Hub answers (then a copy in the cache may serve), WeightsError for all else."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    hub = hub_endpoint(endpoint)
    try:
        # asked first, because hf_hub_download alone tries for half a minute to reach a Hub that is not there
        url = hf_hub_url(place.repo, place.file, revision=place.revision, endpoint=hub)
        get_hf_file_metadata(url, token=token, endpoint=hub)
        found = hf_hub_download(
            place.repo, place.file, revision=place.revision, cache_dir=_cache(cache), token=token, endpoint=hub,
            library_name="scicevpr", tqdm_class=_bar(progress),
        )  # fmt: skip
    except Exception as error:  # the Hub's transports raise errors of several libraries
        if is_ours(error):
            raise
        raise explained(error, place, hub) from error
    return Path(found)


def check_content(path: Path, place: HubFile) -> None:
    """Compare a cached file with the SHA-256 by which the Hub names it; small files carry none. WeightsError."""
    blob = path.resolve()
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name) or sha256_of(blob) == blob.name:
        return
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)
    raise WeightsError(
        f"{address(place)} has the wrong checksum: the Hub states SHA-256 {blob.name}, the file that came has another. "
        "It was deleted. Try again; if it is the same then, a proxy on the way changes files."
    )


def is_ours(error: BaseException) -> bool:
    """True for an error of this project, or one that was raised in its own code: a progress bar that fails, a mistake.
    The Hub's libraries are not to blame for it."""
    if isinstance(error, SciceVPRError):
        return True
    trace, packages = error.__traceback__, []
    while trace is not None:
        packages.append(str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0])
        trace = trace.tb_next
    theirs = next((row for row, name in enumerate(packages) if name not in OWN_PACKAGES), len(packages))
    return theirs == len(packages) or any(name in OWN_PACKAGES for name in packages[theirs:])


def explained(error: Exception, place: HubFile, endpoint: str | None) -> WeightsError:
    """This project's error for one of huggingface_hub's."""
    from huggingface_hub import errors

    page, name = f"{endpoint or HUB}/{place.repo}", address(place)
    response = error.response if isinstance(error, errors.HfHubHTTPError) else None
    status = None if response is None else response.status_code
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(f"{place.repo} is gated: accept its terms on {page}. {ACCESS}")
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(f"{place.repo} has no revision {place.revision!r}; branches and tags: {page}/tree/main.")
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        return WeightsError(
            f"{place.repo} has no file {place.file!r}. Its files stand on {page}/tree/main; name one of them as "
            f"hf:{place.repo}/FILE."
        )
    refusal = "" if response is None else response.headers.get("X-Error-Message", "")
    unknown = status == 401 and "Invalid credentials" not in refusal
    if isinstance(error, errors.RepositoryNotFoundError) or unknown:  # the Hub does not tell strangers which it is
        return WeightsError(
            f"There is no repository {place.repo} at {endpoint or HUB}, or it is private. Check the name. {ACCESS}"
        )
    if status in (401, 403):
        return WeightsError(f"The Hub refuses the token for {place.repo} ({status}). {ACCESS}")
    if status is not None:
        return NoRouteError(f"{endpoint or HUB} answers {status}; try again later")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return NoRouteError("HF_HUB_OFFLINE forbids it")
    if isinstance(error, errors.HFValidationError):
        return WeightsError(f"{name} does not name a Hub repository: {error}")
    if isinstance(error, errors.FileMetadataError) or isinstance(error.__cause__, errors.FileMetadataError):
        return NoRouteError(
            f"what answers at {endpoint or HUB} is not a Hub ({first_line(error)}); check HF_ENDPOINT and your proxy"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsError(f"The disk of the Hub's cache is full; nothing of {name} was kept. Free some space there.")
    if type(error).__name__ in ("ConnectError", "ConnectTimeout", "ReadTimeout", "PoolTimeout", "ProxyError"):
        return NoRouteError(f"{endpoint or HUB} cannot be reached ({first_line(error)})")
    return WeightsError(
        f"The download of {name} broke off ({first_line(error)}). Nothing incomplete was left. Run the same again."
    )


def explain_push(error: Exception, repo: str, hub: str) -> WeightsError:
    """This project's error for a failed upload."""
    from huggingface_hub import errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401:
        return WeightsError(f"{hub} does not know you, so nothing was uploaded to {repo}. {LOGIN} write to it.")
    if status == 403:
        return WeightsError(f"{hub} does not let you write to {repo}; nothing was uploaded. {LOGIN} write to it.")
    if status is not None:
        return WeightsError(f"{repo} was not uploaded: {hub} answers {status} ({first_line(error)}).")
    if isinstance(error, errors.HFValidationError):
        return WeightsError(f"{repo!r} does not name a Hub repository: {error}")
    return WeightsError(f"{repo} was not uploaded: {hub} cannot be reached ({first_line(error)}).")


def _bar(progress: Progress | None) -> type:
    """A progress bar that draws nothing and tells `progress` how far it is."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if progress is not None:
                progress(int(self.n), int(self.total) if self.total else None)

    return Bar


def _cache(cache: Path | None) -> str | None:
    if cache is not None or os.environ.get("HF_HUB_CACHE"):
        return str(cache or os.environ["HF_HUB_CACHE"])
    return str(user_cache_folder() / "hub") if os.environ.get("SCICEVPR_CACHE") else None
