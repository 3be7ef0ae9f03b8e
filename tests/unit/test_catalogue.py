"""The catalogue is consistent with itself and with the readers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import pytest

from scicevpr.datasets import Dataset, parse_name
from scicevpr.datasets.catalogue import BENCHMARKS, PUBLISHED, differences, get, recognise
from scicevpr.datasets.readers import READERS
from scicevpr.errors import UsageError


@pytest.mark.parametrize("key", BENCHMARKS)
def test_entries_are_complete(key):
    benchmark = BENCHMARKS[key]
    assert benchmark.key == key == key.lower()
    for count in (benchmark.database, benchmark.queries):
        assert count is None or (type(count) is int and count > 0)
    assert benchmark.cross_image_batch == (8 if key.startswith("pitts") else 16)
    address = urlparse(benchmark.url)
    assert address.scheme == "https"
    assert address.netloc
    assert benchmark.title
    assert benchmark.truth
    assert benchmark.access
    assert set(benchmark.layouts) <= {*READERS, "gsv-cities"}
    assert benchmark.split in ("train", "val", "test")
    assert all(name == name.lower() and name.isalnum() for name in benchmark.folders)
    assert not (benchmark.gated and benchmark.redistributable)


def test_published_recalls_belong_to_benchmarks_and_rise():
    assert set(PUBLISHED) <= set(BENCHMARKS)
    for rows in PUBLISHED.values():
        for row in rows:
            assert row.source.startswith("https://")
            stated = [value for value in row.recalls if value is not None]
            assert stated == sorted(stated)
            assert all(0 < value <= 100 for value in stated)
            assert row.recalls[0] is not None


def test_the_two_protocols_of_msls_and_the_two_nordlands_warn_of_each_other():
    for first, second in (("msls-val", "msls-val-full"), ("nordland", "nordland-vprbench")):
        assert get(first).twin == get(second).twin != ""
        assert (get(first).queries, get(first).layouts) != (get(second).queries, get(second).layouts)
    with pytest.raises(UsageError, match=r"no benchmark 'msls'; choose one of .*msls-val"):
        get("msls")


def _dataset(name, database, queries, layout="utm-tree", split="test", folder="queries"):
    root = Path("/sets") / name
    places = [
        tuple(parse_name(root / side / f"{number}.jpg") for number in range(count))
        for side, count in (("database", database), (folder, queries))
    ]
    return Dataset(name, split, root, *places, layout=layout)


@pytest.mark.parametrize(
    ("dataset", "key", "differing"),
    [
        (_dataset("sped", 607, 607), "sped", 0),
        (_dataset("SPED", 607, 606, "vpr-bench"), "sped", 1),
        (_dataset("St_Lucia", 5, 6), "st-lucia", 0),
        (_dataset("nordland", 2, 2), "nordland", 2),
        (_dataset("Nordland", 27_592, 2_760, "vpr-bench"), "nordland-vprbench", 0),
        (_dataset("tokyo247", 3, 315), "tokyo247", 1),
        (_dataset("Tokyo 24-7", 3, 315, "folders", "folders"), "tokyo247", 1),
        (_dataset("svox", 17_166, 5, folder="queries_rain"), "svox-rain", 0),
        (_dataset("pitts30k", 3, 3, split="val"), None, 0),
        (_dataset("holiday", 607, 607), None, 0),
    ],
)
def test_recognise_goes_by_name_and_counts(dataset, key, differing):
    found = recognise(dataset)
    assert (found.key if found else None) == key
    if found:
        assert len(differences(found, dataset)) == differing
