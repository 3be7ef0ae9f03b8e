"""Get a data set: download, check, unpack, convert. And prepare one from what somebody got by hand.

The new folder appears under its name only when everything is in it. Archives lie in NAME.downloads beside it until
then, so that an interrupted download goes on where it was.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

from scicevpr.config import user_cache_folder
from scicevpr.datasets.converters import CONVERTERS, Placer
from scicevpr.datasets.sources import DataSource, RemoteFile
from scicevpr.errors import DatasetError, UsageError, WeightsError
from scicevpr.files.archives import is_archive, unpack
from scicevpr.files.reading import sha256_of
from scicevpr.hub.download import hub_is_off
from scicevpr.hub.web import NoRouteError, download
from scicevpr.progress import StageProgress

SOURCE_FILE = "SOURCE.json"
HERE = "datasets"


def datasets_folder() -> Path:
    """Where data sets go by default: $DATASETS_FOLDER, $SCICEVPR_CACHE/datasets, or datasets/ here."""
    if os.environ.get("DATASETS_FOLDER"):
        return Path(os.environ["DATASETS_FOLDER"]).expanduser()
    return user_cache_folder() / HERE if os.environ.get("SCICEVPR_CACHE") else Path(HERE)


def get_dataset(
    source: DataSource,
    to: Path | str | None = None,
    *,
    licence_accepted: bool = False,
    keep_archives: bool = False,
    progress: StageProgress | None = None,
) -> Path:
    """The folder of a data set, downloaded and converted unless it is there already.

    to: the folder that gets it (default: `datasets_folder`). licence_accepted: the user has read and accepted the
    licence that `source` names. progress: called with (stage, done, in all).

    Raises UsageError for a set that must be got by hand, or a licence not accepted; DatasetError for everything that
    goes wrong on the way, with what is left on the disk and where people ask.
    """
    parent = Path(to) if to is not None else datasets_folder()
    final = parent / source.folder
    if (final / SOURCE_FILE).is_file():
        return final
    if not source.files:
        raise UsageError(
            f"{source.title} cannot be had without its authors' consent: ask for it at {source.page}. Then: scicevpr "
            f"datasets prepare {source.key} --from FOLDER, with {source.wanted}."
        )
    _check_free(final)
    if not licence_accepted:
        raise UsageError(f"The licence of {source.title} was not accepted: {source.licence} ({source.page}).")
    if hub_is_off():
        raise DatasetError(
            f"{source.title} was not downloaded: SCICEVPR_OFFLINE or HF_HUB_OFFLINE forbids all downloads. "
            f"{_by_hand(source)}"
        )
    archives = parent / f"{source.folder}.downloads"
    for file in source.files:
        _download(file, archives / file.name, source, progress)
    digests = {file.url: sha256_of(archives / file.name) for file in source.files}
    final = _build(source, archives, final, own=False, progress=progress, digests=digests)
    if not keep_archives:
        shutil.rmtree(archives, ignore_errors=True)
    return final


def prepare_dataset(
    source: DataSource, given: Path | str, to: Path | str | None = None, *, progress: StageProgress | None = None
) -> Path:
    """As `get_dataset`, from an archive or a folder (of archives, or of what was in them) that is here already, and
    which stays as it is: photos are linked, or copied to another disk."""
    given, parent = Path(given), Path(to) if to is not None else datasets_folder()
    final = parent / source.folder
    _check_free(final)
    if not given.exists():
        raise UsageError(f"There is no {given}. Name the folder or archive with {source.wanted}.")
    return _build(source, given, final, own=False, progress=progress, digests={})


def _check_free(final: Path) -> None:
    if final.exists():
        raise UsageError(f"{final} is there already. Move it away, or name another folder (--to).")


def _by_hand(source: DataSource) -> str:
    return (
        f"People ask about it at {source.page}. With a copy from elsewhere: scicevpr datasets prepare {source.key} "
        "--from FILE_OR_FOLDER."
    )


def _download(file: RemoteFile, target: Path, source: DataSource, progress: StageProgress | None) -> None:
    def tell(done: int, total: int | None) -> None:
        if progress is not None and total:
            progress(f"{file.name} (bytes)", done, total)

    try:
        download(file.url, target, sha256=file.sha256, progress=tell)
    except WeightsError as error:
        moved = "" if isinstance(error, NoRouteError) else " Links move."
        raise DatasetError(f"{source.title} was not downloaded. {error}{moved} {_by_hand(source)}") from error


def _build(
    source: DataSource, given: Path, final: Path, *, own: bool, progress: StageProgress | None, digests: dict[str, str]
) -> Path:
    """Unpack what is packed, convert, and give the folder its name."""
    part = final.with_name(f".{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an earlier, interrupted run
    unpacked, out = part / "unpacked", part / source.folder
    try:
        out.mkdir(parents=True)
        files = [given] if given.is_file() else sorted(path for path in given.rglob("*") if is_archive(path))
        root = given
        if files:
            _unpack_all(files, unpacked, source, progress)
            if given.is_dir():  # what is not packed belongs to it as well, such as a list of names
                others = (
                    p for p in given.rglob("*") if p.is_file() and not is_archive(p) and not p.name.endswith(".lock")
                )
                for path in others:
                    Placer(own=False).place(path, unpacked / path.relative_to(given))
            root, own = unpacked, True
        CONVERTERS[source.converter](root, out, Placer(own, _counter(progress)), source.key)
        record = {
            "dataset": source.title,
            "licence": source.licence,
            "page": source.page,
            "files": digests or {"from": str(given)},
            "made": date.today().isoformat(),
        }
        (out / SOURCE_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(out, final)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DatasetError(
                f"The disk of {final.parent} is full; {source.title} needs {source.needs}. The archives were kept: "
                "make room "
                "and run the same again, or name a folder on another disk (--to)."
            ) from error
        raise DatasetError(f"{source.title} could not be written to {final.parent} ({error}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _unpack_all(files: list[Path], unpacked: Path, source: DataSource, progress: StageProgress | None) -> None:
    """Unpack archives, and the archives in them. Each tar of a season or a panorama set gets a folder of its own name,
    unless it has that folder inside."""
    wanted: Callable[[str], bool] = lambda name: True  # noqa: E731
    if source.converter == "vpr-bench":
        wanted = lambda name: f"/{source.key}/" in name  # noqa: E731
    for file in files:
        name = file.name.partition(".")[0]
        own = unpacked / name if source.converter == "nordland" else unpacked
        tell = (
            None if progress is None else lambda done, total, file=file: progress(f"{file.name} unpacked", done, total)
        )
        unpack(file, own, wanted, tell)
        if own != unpacked and (own / name).is_dir():  # winter.tar.gz holds winter/: one level is enough
            for path in sorted((own / name).iterdir()):
                os.replace(path, own / path.name)
            (own / name).rmdir()
    inner = sorted(path for path in unpacked.rglob("*") if is_archive(path))
    for file in inner:
        unpack(file, file.parent)
        file.unlink()


def _counter(progress: StageProgress | None) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress("files placed", done, done)
