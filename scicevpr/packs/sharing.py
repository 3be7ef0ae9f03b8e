"""Packs to and from data set repositories of the Hugging Face Hub, and the card that such a repository shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import DatasetCardData

from scicevpr.datasets.catalogue import BENCHMARKS
from scicevpr.errors import DatasetError, UsageError
from scicevpr.files.writing import bytes_label
from scicevpr.hub.download import HUB, explain_push, explained, hub_endpoint, hub_is_off, is_ours
from scicevpr.hub.sources import HubFile
from scicevpr.hub.web import NoRouteError
from scicevpr.packs.manifest import (
    MANIFEST,
    PATTERNS,
    Entry,
    Manifest,
    cache_folder,
    cached_pack,
    parse_repository,
    read_manifest,
)
from scicevpr.packs.pack import Pack, check_pack, open_pack

LICENCES = (
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odbl", "odc-by"),
)
"""Licences that the Hub knows by these names; any other is written as "other" with its name."""


def write_card(manifest: Manifest) -> str:
    """Markdown with YAML front matter: what the pack holds, under which protocol, and how to open it."""
    return f"""---
{_front_matter(manifest)}
---

# {_line(manifest.title)}

A database pack for visual place recognition: the photos of a data set as records and descriptors, made with
SciceVPR Studio {manifest.versions.get("scicevpr", "")} on {manifest.created}.

{_contents(manifest)}

## Descriptors

{_table(HEADS, _rows(manifest.entries))}

Stored as float16. A program that searches in them must describe its queries with the same architecture, weights and
resize; SciceVPR Studio refuses others. Where the grouping is not "independent of the batch", a descriptor also depends
on the photos that shared its batch.

## Use

```
scicevpr pack pull ORG/NAME
scicevpr pack info ORG/NAME
```

```python
from scicevpr.packs import open_pack

pack = open_pack("ORG/NAME")                # or a folder; photos="DIR" names your own copy of the data set
pack.dataset                                # records: positions, conditions, which answers are right
pack.descriptors(model)                     # memory-mapped float16 [photos, dimensions]
```

`pack.json` holds size and SHA-256 of every file; `scicevpr pack check PATH` compares them.

## Licence and photos

Licence of this pack: {_line(manifest.licence) or "not stated by its maker"}. {_photos(manifest)}
"""


def _front_matter(manifest: Manifest) -> str:
    licence = manifest.licence.strip()
    known = licence.lower() in LICENCES
    named = {"license_name": licence} if licence and not known else {}
    return DatasetCardData(
        license=licence.lower() if known else "other" if licence else "unknown",
        pretty_name=manifest.title,
        tags=["visual-place-recognition", "image-retrieval", "scicevpr-pack"],
        **named,
    ).to_yaml()


def _contents(manifest: Manifest) -> str:
    stated, counts = manifest.dataset, manifest.counts
    truth = stated["truth"]["label"] if stated["use_labels"] else "not known (no labels)"
    size = bytes_label(sum(file.bytes for file in manifest.files.values()))
    rows = [
        ("data set", f"{stated['name']} / {stated['split']}"),
        ("benchmark", stated["benchmark"] or "none that is known to the program"),
        ("database", f"{counts['database']} photos"),
        ("queries", f"{counts['queries']} photos, {stated['query_order']}"),
        ("right within", truth),
        ("size", f"{size} in {len(manifest.files)} files"),
        ("made with", ", ".join(f"{name} {number}" for name, number in manifest.versions.items())),
    ]
    return "\n".join([_table(("what", ""), rows), "", *(f"- {_line(note)}" for note in stated["notes"])]).rstrip()


HEADS = ("model", "weights", "trained", "part", "dimensions", "PCA", "resize", "grouping", "computed in")


def _rows(entries: Iterable[Entry]) -> list[tuple[str, ...]]:
    return [
        (
            entry.variant,
            entry.weights,
            "yes" if entry.trained else "no",
            entry.part,
            str(entry.dimension),
            *(entry.protocol.get(key, "") for key in ("PCA", "resize", "grouping")),
            f"{entry.protocol.get('dtype', '')} on {entry.protocol.get('device', '')}",
        )
        for entry in entries
    ]


def _photos(manifest: Manifest) -> str:
    if manifest.thumbnails is not None:
        return (
            f"It holds thumbnails of at most {manifest.thumbnails} pixels; the photos' own licence holds for them. "
            "Describing thumbnails gives other values than the photos gave."
        )
    known = BENCHMARKS.get(str(manifest.dataset.get("benchmark")))
    where = f"at {known.url} ({known.access})" if known else "where the data set's authors offer them"
    return f"It holds no photos: get them {where}, and name their folder when opening the pack."


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_line(str(cell)).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def push_pack(
    path: Path | str,
    repository: str,
    *,
    private: bool = False,
    photos_may_be_shared: bool = False,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a pack to a data set repository, made if need be. Returns the commit's address.

    Files of an earlier pack in the repository that this one does not have are deleted from it; other files stay.
    photos_may_be_shared: the caller has the right to publish the photos whose thumbnails are inside. Needed unless the
    catalogue says that the data set may be passed on; nothing lifts the catalogue's "may not". token, endpoint: as in
    `fetch`.

    Raises DatasetError for a damaged pack, and for what the Hub refuses; UsageError for photos that must not be shared.
    """
    from huggingface_hub import HfApi

    name, _ = parse_repository(repository)
    pack = open_pack(path)
    check_photos_may_be_shared(pack.manifest, photos_may_be_shared)
    problems = check_pack(path)
    if problems:
        raise DatasetError(
            f"The pack {path} has {len(problems)} problems and was not uploaded; the first: {problems[0].message}"
        )
    hub = hub_endpoint(endpoint)
    api = HfApi(endpoint=hub, token=token, library_name="scicevpr")
    try:
        api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            repo_type="dataset",
            folder_path=pack.folder,
            commit_message=f"Database pack: {pack.title}",
            delete_patterns=list(PATTERNS),
        )
    except Exception as error:  # the Hub's transports raise errors of several libraries
        if is_ours(error):
            raise
        raise DatasetError(str(explain_push(error, name, hub or HUB))) from error
    return commit.commit_url


def pull_pack(
    repository: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    cache: Path | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> Pack:
    """Download a pack into the Hub's own cache, check every checksum, and open it.

    What is there already is not fetched again; an interrupted download goes on. A file that is not what the manifest
    says is deleted from the cache, so that the next pull fetches it anew.

    repository: "org/name" or "org/name@revision". cache: another folder than the Hub's. Raises DatasetError with the
    reason: offline and not here, no such repository or revision, gated, no pack, damaged on the way, a full disk.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download

    name, revision = parse_repository(repository, revision)
    label = name if revision is None else f"{name}@{revision}"
    if local_files_only or hub_is_off():
        return open_pack(cached_pack(label, cache))
    hub = hub_endpoint(endpoint)
    where = {"repo_type": "dataset", "revision": revision, "endpoint": hub}
    options = {**where, "cache_dir": cache_folder(cache), "token": token, "library_name": "scicevpr"}
    try:
        # asked first, because hf_hub_download alone tries for half a minute to reach a Hub that is not there
        get_hf_file_metadata(hf_hub_url(name, MANIFEST, **where), token=token, endpoint=hub)
        manifest = read_manifest(Path(hf_hub_download(name, MANIFEST, **options)).parent)
        folder = Path(snapshot_download(name, allow_patterns=list(PATTERNS), **options))
    except Exception as error:  # the Hub's transports raise errors of several libraries
        if is_ours(error):
            raise
        raise _explained(error, name, revision, hub) from error
    damaged = [problem for problem in check_pack(folder) if problem.file in manifest.files]
    for problem in damaged:
        path = folder / problem.file
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    if damaged:
        raise DatasetError(
            f"{len(damaged)} files of {label} did not arrive as its manifest describes them, the first: "
            f"{damaged[0].message} They were deleted from the cache: pull again. If it is the same then, the "
            "repository itself is damaged."
        )
    return open_pack(folder)


def check_photos_may_be_shared(manifest: Manifest, allowed: bool) -> None:
    """Refuse to publish thumbnails of photos that may not be passed on. UsageError."""
    if manifest.thumbnails is None:
        return
    key = manifest.dataset.get("benchmark")
    known = BENCHMARKS.get(str(key))
    redistributable = known and known.redistributable
    if redistributable is False:
        raise UsageError(
            f"The photos of {key} may not be passed on, and this pack holds thumbnails of them. Build it without: "
            "scicevpr pack build OUT --no-photos"
        )
    if redistributable is None and not allowed:
        raise UsageError(
            f"The pack {manifest.title!r} holds thumbnails, and nothing is known about the right to pass those on. "
            "If you have it, say so with --i-may-share-these-photos; else build the pack with --no-photos."
        )


def _explained(error: Exception, name: str, revision: str | None, hub: str | None) -> DatasetError:
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if isinstance(error, RemoteEntryNotFoundError):
        return DatasetError(
            f"The data set repository {name} at {hub or HUB} is not a database pack: it has no {MANIFEST}. Its maker "
            "uploads one with `scicevpr pack push`."
        )
    reason = explained(error, HubFile(f"datasets/{name}", MANIFEST, revision), hub)
    if not isinstance(reason, NoRouteError):
        return DatasetError(f"The pack {name} was not pulled. {reason}")
    return DatasetError(
        f"The pack {name} was not pulled: {reason}. A copy pulled before can be opened with --local-files-only; "
        f"else get the files of {hub or HUB}/datasets/{name} on another computer and give their folder."
    )
