"""The protocol card of a pack: its README, which a Hub repository shows as the data set card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from huggingface_hub import DatasetCardData

from scicevpr.datasets.catalogue import BENCHMARKS
from scicevpr.files.writing import bytes_label
from scicevpr.packs.manifest import Entry, Manifest

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
