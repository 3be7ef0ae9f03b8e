"""Fetch weights from a source: the path of a checked file on this computer, downloaded first if need be."""

from __future__ import annotations

import os
from pathlib import Path

from scicevpr.errors import WeightsError
from scicevpr.files.checksums import sha256_of
from scicevpr.hub import repository, web
from scicevpr.hub.sources import MODEL_FILE, HubFile, LocalFile, Location, Source, UrlFile, address, parse_source
from scicevpr.hub.web import NoRouteError, Progress


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

    Hub files go to the Hub's own cache, files behind web addresses to torch.hub's checkpoints folder. Where no checksum
    is published, the SHA-256 of the first download is kept beside the file as `<name>.sha256` and compared at every
    later use. A registry name that is in a cache is taken from there without asking the network.

    Args:
        source: a path, a web address, a Hub repository or a registry name; see `scicevpr.hub.sources`.
        local_files_only: never use the network. HF_HUB_OFFLINE=1 does the same for all sources.
        progress: called with (bytes that are here, bytes in all or None).
        token: for private and gated repositories; None takes the one of `hf auth login` or HF_TOKEN.
        cache: folder to use instead of those two caches.
        endpoint: another Hub than huggingface.co; None takes HF_ENDPOINT.

    Raises:
        WeightsError: offline and not here, no such repository, revision or file, gated, a refused token, broken off,
            wrong checksum, a web page, a server error, a full disk. The message says what to do.
    """
    source, folder = parse_source(source), _folder(cache)
    first = source.places[0]
    if isinstance(first, LocalFile):
        return _local(first.path)
    offline = local_files_only or repository.hub_is_off()
    if source.registered or offline:
        for place in source.places:
            found = _find(place, folder)
            if found is not None:
                return _checked(found, place)
    if offline:
        reason = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE is set"
        raise WeightsError(_not_here(source, folder, endpoint, reason))
    try:
        if isinstance(first, HubFile):
            path = repository.download_from_hub(first, progress=progress, token=token, cache=folder, endpoint=endpoint)
        else:
            path = _url_path(first, folder)
            if not path.exists():
                web.download(first.url, path, sha256=first.sha256, progress=progress)
    except NoRouteError as error:
        found = _find(first, folder)
        if found is None:
            raise NoRouteError(_not_here(source, folder, endpoint, str(error))) from error
        path = found
    return _checked(path, first)


def find_cached(source: str | Path | Source, *, cache: str | Path | None = None) -> Path | None:
    """Where the weights lie on this computer, or None. Nothing is downloaded, and nothing is checked."""
    source = parse_source(source)
    found = (_find(place, _folder(cache)) for place in source.places)
    return next((path for path in found if path is not None), None)


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 that was kept beside a downloaded file, or None."""
    record = _record(path)
    return record.read_text(encoding="utf-8").split()[0] if record.is_file() else None


def _find(place: Location, folder: Path | None) -> Path | None:
    if isinstance(place, HubFile):
        return repository.find_in_cache(place, folder)
    if isinstance(place, UrlFile):
        path = _url_path(place, folder)
        return path if path.is_file() else None
    return _weights_in(place.path) if _weights_in(place.path).is_file() else None


def _local(path: Path) -> Path:
    found = _weights_in(path)
    if not found.exists():
        raise WeightsError(f"There is no weights file at {path}. Check the path.")
    return found


def _weights_in(path: Path) -> Path:
    """The file itself, or the one in a folder that `save_pretrained` wrote."""
    return path / MODEL_FILE if (path / MODEL_FILE).is_file() else path


def _checked(path: Path, place: Location) -> Path:
    if isinstance(place, HubFile):
        repository.check_content(path, place)
    elif isinstance(place, UrlFile):
        _check_url_file(path, place)
    return path


def _check_url_file(path: Path, place: UrlFile) -> None:
    found, record = sha256_of(path), _record(path)
    expected = place.sha256 or recorded_sha256(path)
    if expected not in (None, found):
        origin = "the checksum given with the address is" if place.sha256 else "when it was downloaded it had"
        raise WeightsError(
            f"{path} has the wrong checksum: SHA-256 {found}, but {origin} {expected}. Delete the file and get "
            f"{place.url} again; if it really was replaced by its authors, delete the .sha256 file beside it too."
        )
    if not record.is_file():
        draft = record.with_name(f"{record.name}.{os.getpid()}")
        draft.write_text(f"{found}  {path.name}\n", encoding="utf-8")
        os.replace(draft, record)


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _url_path(place: UrlFile, folder: Path | None) -> Path:
    if folder is None:
        import torch

        folder = Path(torch.hub.get_dir()) / "checkpoints"
    return folder / place.file_name


def _folder(cache: str | Path | None) -> Path | None:
    return Path(cache).expanduser() if cache is not None else None


def _not_here(source: Source, folder: Path | None, endpoint: str | None, reason: str) -> str:
    first = source.places[0]
    name = f"{source.text} ({address(first)})" if source.registered else source.text
    if isinstance(first, HubFile):
        url, put = repository.web_address(first, endpoint), ""
    else:
        url, put = first.url, f", or put it at {_url_path(first, folder)}"
    return (
        f"{name} is not on this computer, and it was not downloaded: {reason}. Where there is a connection, download "
        f"{url} and give the file by its path{put}."
    )
