"""The catalogue of benchmarks, `scicevpr datasets`, and the options that choose a data set."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from urllib.parse import urlparse

import pytest
from photo_files import photo, place, stand_in

from scicevpr.cli import chosen_data
from scicevpr.cli.main import build_parser, main
from scicevpr.datasets import Dataset, parse_name
from scicevpr.datasets.catalogue import BENCHMARKS, PUBLISHED, differences, get, recognise
from scicevpr.datasets.check import check_dataset
from scicevpr.datasets.readers import READERS
from scicevpr.errors import DatasetError, UsageError


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
    photos = [
        tuple(parse_name(root / side / f"{number}.jpg") for number in range(count))
        for side, count in (("database", database), (folder, queries))
    ]
    return Dataset(name, split, root, *photos, layout=layout)


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


# ---- commands --------------------------------------------------------------------------------------------------------


def _run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def _read(*arguments):
    return chosen_data.read_data(build_parser().parse_args(["evaluate", *map(str, arguments)]))


@pytest.fixture
def svox(tmp_path):
    base = tmp_path / "sets" / "svox" / "images" / "test"
    for number in range(3):
        place(base / "gallery", 500_000 + 100 * number)
        place(base / "queries_night", 500_010 + 100 * number)
    place(base / "queries_night", 900_000)
    place(base / "queries_rain", 500_000)
    return tmp_path / "sets" / "svox"


def test_list_and_info(capsys):
    assert _run("datasets", "list") == 0
    shown = capsys.readouterr().out
    for words in ("pitts30k", "10,000", "6,816", "msls-val-full", "Nordland"):
        assert words in shown
    assert _run("datasets", "info", "pitts30k") == 0
    shown = capsys.readouterr().out
    for words in ("94.9", "https://arxiv.org/abs/2402.19231", "8 photos", "gated: yes", "(quoted)"):
        assert words in shown
    assert _run("datasets", "info", "pitts") == 2
    assert "no benchmark 'pitts'" in capsys.readouterr().err


def test_check_says_what_is_there_and_what_to_run(svox, tmp_path, capsys):
    assert _run("datasets", "check", svox, "--query-folder", "queries_night", "--json", tmp_path / "check.json") == 0
    shown = capsys.readouterr().out
    for words in (
        "utm-tree", "3 photos, the first is", "4 photos, by path", "night 4", "UTM zone 32U",
        "25 m; median 1 per query",
        "1, the first is @0900000.00", "7 of 7 opened, 0 unreadable", "3 database photos here, 17,166 published",
        "queries_rain",
    ):  # fmt: skip
        assert words in shown
    command = next(line for line in shown.splitlines() if line.startswith("run next:")).partition(":")[2]
    arguments = shlex.split(command)
    assert arguments[:2] == ["scicevpr", "evaluate"]
    assert len(_read(*arguments[2:]).queries) == 4
    content = json.loads((tmp_path / "check.json").read_text())
    assert content["numbers"]["queries without positives"] == 1
    assert content["numbers"]["benchmark"] == "svox-night"


def test_check_names_problems_and_exits_with_2(svox, capsys):
    photo(svox / "images/test/gallery/plain.jpg")
    (svox / "images/test/gallery/a.jpg").write_bytes(b"no photo")
    assert _run("datasets", "check", svox, "--query-folder", "queries_night") == 2
    shown = capsys.readouterr().out
    assert "2 of 9 photos carry no position" in shown
    assert "a.jpg" in shown.split("PROBLEM")[-1]
    assert "1 unreadable" in shown
    assert "run next" not in shown
    assert _run("datasets", "check", svox / "nowhere") == 2
    assert "does not exist" in capsys.readouterr().err
    assert _run("datasets", "check", svox, "--query-folder", "queries_fog") == 2
    assert "queries_night, queries_rain" in capsys.readouterr().err


def test_check_keeps_the_options_in_the_command_it_suggests(tmp_path):
    for number in range(3):
        photo(tmp_path / "set" / "database" / f"{number}.jpg")
        photo(tmp_path / "set" / "queries" / f"{number}.jpg")
    report = check_dataset(tmp_path / "set", frames=0)
    assert report.usable
    assert report.command.endswith("--frames 0")
    assert ("positions", "none") in report.findings
    report = check_dataset(tmp_path / "set", same_name=True, sample=2)
    assert report.command.endswith("--same-name")
    assert report.numbers["photos opened"] == 2
    report = check_dataset(tmp_path / "set", labels=False)
    assert report.command.endswith("--no-labels")


def test_check_tells_stand_in_positions(tmp_path):
    for number in range(3):
        for side in ("database", "queries"):
            stand_in(tmp_path / "sped" / "images/test" / side, 1000 * number, number)
    findings = dict(check_dataset(tmp_path / "sped").findings)
    assert "stand-in" in findings["positions"]
    assert "pairs of the same number" in findings["right answers"]
    assert "607 published" in findings["published table"]


def test_check_counts_gsv_cities(tmp_path, capsys):
    (tmp_path / "Dataframes").mkdir()
    header = "place_id,year,month,northdeg,city_id,lat,lon,panoid\n"
    rows = [f"{place},2015,1,{number},London,51.5,-0.1,p{number}" for place in (1, 2) for number in range(3 + place)]
    (tmp_path / "Dataframes" / "London.csv").write_text(header + "\n".join(rows))
    for number in range(8):
        photo(tmp_path / "Images" / "London" / f"{number}.{'JPG' if number % 2 else 'jpg'}")
    assert _run("datasets", "check", tmp_path) == 2
    shown = capsys.readouterr().out
    assert "9 in the tables, 8 files" in shown
    assert "2, of which 2 have at least 4 photos" in shown
    assert "London: the table lists 9 photos, Images holds 8" in shown
    photo(tmp_path / "Images" / "London" / "8.jpg")
    assert _run("datasets", "check", tmp_path) == 0
    (tmp_path / "Dataframes" / "London.csv").write_text("place_id\n1\n")
    assert _run("datasets", "check", tmp_path) == 2
    assert "no column 'year'" in capsys.readouterr().err


def test_the_names_that_people_type_choose_a_folder(svox, monkeypatch):
    night = ("--query-folder", "queries_night")
    wanted = _read("--dataset", svox, *night)
    assert _read("--eval_datasets_folder", svox.parent, "--eval_dataset_name", "svox", *night) == wanted
    monkeypatch.setenv("DATASETS_FOLDER", str(svox.parent))
    assert _read("--eval_dataset_name", "svox", *night) == wanted
    with pytest.raises(UsageError, match="either --dataset or --eval_dataset_name"):
        _read("--dataset", svox, "--eval_dataset_name", "svox")
    with pytest.raises(UsageError, match="needs --eval_dataset_name"):
        _read("--eval_datasets_folder", svox.parent)
    monkeypatch.delenv("DATASETS_FOLDER")
    with pytest.raises(UsageError, match="Where is svox"):
        _read("--eval_dataset_name", "svox")


def test_every_option_reaches_the_reader(svox, tmp_path):
    base = svox / "images/test"
    names = [path.name for path in sorted((base / "queries_night").iterdir())]
    (tmp_path / "list.txt").write_text("\n".join(names[:2]))
    (tmp_path / "first.csv").write_text(f"{names[0]},0\n{names[1]},2\n")
    dataset = _read(
        "--dataset", svox, "--query-folder", "queries_night", "--ground-truth", tmp_path / "first.csv",
        "--query-list", tmp_path / "list.txt", "--benchmark", "svox-night", "--layout", "utm-tree",
    )  # fmt: skip
    assert [rows.tolist() for rows in dataset.positives()] == [[0], [2]]
    with pytest.raises(DatasetError, match="Frames cannot be matched"):
        _read("--dataset", svox, "--query-folder", "queries_night", "--frames", 1)
    (tmp_path / "gt.csv").write_text(f"{names[0]},2\n")
    folders = ("--database", base / "gallery", "--queries", base / "queries_night")
    listed = _read(*folders, "--ground-truth", tmp_path / "gt.csv")
    assert [rows.tolist() for rows in listed.positives()] == [[2], [], [], []]
    (tmp_path / "p.csv").write_text(
        "name,east,north\n" + "\n".join(f"{path.parent.name}/{path.name},1,2" for path in base.rglob("*.jpg"))
    )
    assert _read(*folders, "--positions", tmp_path / "p.csv").positives()[0].tolist() == [0, 1, 2]
    (tmp_path / "city.csv").write_text("0,0\n1,5\n")
    assert _read("--ground-truth", tmp_path / "city.csv").positives()[1].tolist() == [5]  # the bundled city too


def test_a_search_needs_no_queries(svox):
    arguments = build_parser().parse_args(["search", "photo.jpg", "--dataset", str(svox)])
    assert len(chosen_data.read_database(arguments)) == 3


def test_two_folders_are_checked_as_they_are_evaluated(tiny_city, tmp_path, capsys):
    base = tiny_city / "images" / "test"
    folders = ("--database", base / "database", "--queries", base / "queries")
    assert main([str(word) for word in ("datasets", "check", *folders)]) == 0
    shown = capsys.readouterr().out
    assert "12 photos" in shown
    assert f"scicevpr evaluate --database {base / 'database'} --queries" in shown
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("query,database\n0,99\n")
    assert main([str(word) for word in ("datasets", "check", *folders, "--ground-truth", pairs)]) == 2
    assert "PROBLEM" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["datasets", "check", "--frames", "no"])
    assert main(["datasets", "check"]) == 2
    assert "Give either a data set folder" in capsys.readouterr().err
