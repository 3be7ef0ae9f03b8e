from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small_results import PLACES, result, street

from scicevpr.cli.main import main
from scicevpr.config import VARIANTS
from scicevpr.datasets import GroundTruth, read_dataset
from scicevpr.errors import DatasetError, IndexMismatchError, UsageError
from scicevpr.evaluation.report import write_descriptor_files
from scicevpr.evaluation.stored import MADE_ELSEWHERE, open_descriptors, recorded_dataset, score_stored
from scicevpr.files.descriptor_files import Descriptors, save_descriptors


@pytest.fixture(scope="module")
def found():
    return result({0, 7}, "Our model")


@pytest.fixture
def export(found, tmp_path):
    database, queries, _ = write_descriptor_files(found, tmp_path)
    return database, queries


def _opened(export):
    return tuple(open_descriptors(path) for path in export)


def test_an_export_scores_as_it_did_with_nothing_but_its_files(export, found):
    database, queries = _opened(export)
    assert isinstance(database.values, np.memmap)
    again = score_stored(database, queries, ns=found.ns)
    assert again.title == "Our model"
    assert (again.overall, again.conditions) == (found.overall, found.conditions)
    np.testing.assert_array_equal(again.predictions, found.predictions)
    assert again.ground_truth() == found.ground_truth()
    for key in ("variant", "PCA", "dataset", "right within"):
        assert again.protocol[key] == found.protocol[key]
    assert again.protocol["database file"] == "database_descriptors.npy (12 values, float32)"
    wide = score_stored(database, queries, ns=(1, 12), radius=150)
    assert wide.overall.recalls[12] == 100.0
    assert score_stored(database, queries, recorded_dataset(database, queries, labels=False)).overall is None


def test_what_names_do_not_tell_comes_back_from_the_record(tmp_path, found):
    dataset = street()
    first = replace(dataset.queries[0], condition="fog", utm=(1.0, 2.0), heading=90.0)
    listed = GroundTruth.lists(found.positives, "as listed")
    dataset = replace(
        dataset, queries=(first, *dataset.queries[1:]), truth=listed, benchmark="pitts30k", notes=("Oh.",)
    )
    paths = write_descriptor_files(replace(found, dataset=dataset), tmp_path)
    back = recorded_dataset(*_opened(paths[:2]))
    assert (back.queries[0].condition, back.queries[0].utm, back.queries[0].heading) == ("fog", (1.0, 2.0), 90.0)
    assert back.queries[1].condition == "day"
    assert (back.benchmark, back.notes, back.truth.name) == ("pitts30k", ("Oh.",), "as listed")
    assert [rows.tolist() for rows in back.positives()] == [rows.tolist() for rows in found.positives]


def test_other_peoples_descriptors_have_an_unknown_protocol(found, tmp_path):
    np.save(tmp_path / "db.npy", found.database.values.astype(np.float64))
    np.save(tmp_path / "q.npy", found.queries.values.astype(np.float16))
    database, queries = _opened((tmp_path / "db.npy", tmp_path / "q.npy"))
    again = score_stored(database, queries, street(), ns=found.ns, title="MixVPR")
    assert again.overall.recalls == found.overall.recalls
    assert (again.title, again.protocol["variant"]) == ("MixVPR", MADE_ELSEWHERE)
    assert again.protocol["queries file"] == "q.npy (12 values, float16)"
    with pytest.raises(UsageError, match="Name the data set with --dataset"):
        score_stored(database, queries)


def test_five_crops_are_scored_by_any_method_for_five_crops(found, tmp_path):
    crops = replace(found.queries, values=np.repeat(found.queries.values, 5, axis=0))
    protocol = {**found.protocol, "test method": "nearest_crop (best distance of four corners and middle)"}
    paths = write_descriptor_files(replace(found, queries=crops, protocol=protocol), tmp_path)
    stored = _opened(paths[:2])
    for asked, name in ((None, "nearest_crop"), ("maj_voting", "maj_voting"), ("five_crops", "five_crops")):
        again = score_stored(*stored, ns=found.ns, test_method=asked)
        assert again.protocol["test method"].split()[0] == name
        assert again.overall.recalls == found.overall.recalls
    with pytest.raises(IndexMismatchError, match="180 descriptors, but the data set has 36 queries"):
        score_stored(*stored, test_method="hard_resize")
    with pytest.raises(UsageError, match="no test method 'crops'"):
        score_stored(*stored, test_method="crops")


def test_packs_and_described_folders_are_understood_and_kept_apart(found, tmp_path):
    names = {"database": [photo.name for photo in street().database], "queries": [p.name for p in street().queries]}
    variant = VARIANTS["scicevpr-t"]
    options = {"preprocessing": dict(vars(variant.preprocessing)), "variant": variant.name}
    database: Descriptors = replace(found.database, **options)
    queries: Descriptors = replace(found.queries, **options, grouping="sequential 16")
    save_descriptors(tmp_path / "db.safetensors", database, names["database"])
    np.save(tmp_path / "q.npy", queries.values)
    record = {"protocol": queries.protocol(), "names": names["queries"]}
    (tmp_path / "q.npy.json").write_text(json.dumps(record))
    stored = _opened((tmp_path / "db.safetensors", tmp_path / "q.npy"))
    again = score_stored(*stored, street(), ns=found.ns)
    assert again.title == variant.title
    assert again.overall.recalls == found.overall.recalls
    words = again.protocol
    assert (words["database grouping"], words["query grouping"]) == ("alone", "sequential 16")
    assert words["weights"] == f"{'w' * 12} (trained)"
    other = {**record, "protocol": {**record["protocol"], "weights": "another"}}
    (tmp_path / "q.npy.json").write_text(json.dumps(other))
    with pytest.raises(IndexMismatchError, match="different models"):
        score_stored(stored[0], open_descriptors(tmp_path / "q.npy"), street())


def test_descriptors_of_other_photos_are_refused(export, found):
    database, queries = _opened(export)
    dataset = street()
    with pytest.raises(IndexMismatchError, match="holds 12 descriptors, but the data set has 11 database photos"):
        score_stored(database, queries, replace(dataset, database=dataset.database[1:]))
    with pytest.raises(IndexMismatchError, match="row 0 of its queries is 'queries/@0500005"):
        score_stored(database, queries, dataset.shuffle_queries(1))
    with pytest.raises(IndexMismatchError, match="made by different models"):
        score_stored(database, replace(queries, values=queries.values[:, :5]))


def test_unreadable_files_are_named(export, tmp_path):
    database, _ = export
    for name, content, words in (
        ("none.npy", None, "There are no descriptors"),
        ("text.npy", b"hello", "no readable .npy"),
        ("cut.npy", database.read_bytes()[:300], "no readable .npy"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(IndexMismatchError, match=words):
            open_descriptors(tmp_path / name)
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([[1], [2]], dtype=object), allow_pickle=True)
    for name, words in (("flat.npy", r"holds \[3\] float64"), ("objects.npy", "no readable .npy")):
        with pytest.raises(IndexMismatchError, match=words):
            open_descriptors(tmp_path / name)
    np.save(database, np.zeros((4, PLACES)))
    with pytest.raises(IndexMismatchError, match="was changed: its SHA-256"):
        open_descriptors(database)
    (tmp_path / "descriptors.json").write_text('{"database": 3}')
    with pytest.raises(DatasetError, match=r"descriptors\.json is not the record"):
        open_descriptors(database)


def test_score_on_the_command_line(tiny_city, tmp_path, capsys):
    dataset = read_dataset(tiny_city)
    values = np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32)
    np.save(tmp_path / "db.npy", values)
    np.save(tmp_path / "q.npy", values[:8])
    files = ["--database-descriptors", tmp_path / "db.npy", "--query-descriptors", tmp_path / "q.npy"]

    def run(*words) -> int:
        return main(["score", *map(str, files), *map(str, words)])

    assert run("--dataset", tiny_city, "--title", "Theirs", "--json", tmp_path / "r.json", "--recall_values", 1, 4) == 0
    shown = capsys.readouterr().out
    assert "Theirs" in shown
    assert MADE_ELSEWHERE in shown
    content = json.loads((tmp_path / "r.json").read_text())["results"][0]
    assert content["overall"]["recall_percent"]["1"] == 87.5  # the last place has no positive
    assert content["overall"]["intervals"]["units"] == len(dataset.queries)
    folders = ["--database", tiny_city / "images/test/database", "--queries", tiny_city / "images/test/queries"]
    assert run(*folders, "--no-labels") == 0
    assert "predictions only" in capsys.readouterr().out
    for words, said in (
        ([], "Name the data set with --dataset"),
        (["--dataset", tmp_path / "nowhere"], "does not exist"),
        (["--dataset", tiny_city, "--num_preds_to_save", 200], "Add --recall_values 200"),
    ):
        assert run(*words) == 2
        assert said in capsys.readouterr().err
