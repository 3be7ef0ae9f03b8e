"""Photos as people bring them: deep pixels, damaged files, queries that are in the database, sizes too small."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from filled_models import filled_model
from PIL import Image
from small_results import street

from scicevpr.cli.main import main
from scicevpr.datasets import GroundTruth, read_dataset, read_folders
from scicevpr.descriptors.describe import describe
from scicevpr.errors import ImageError, UsageError
from scicevpr.evaluation.benchmark import evaluate, score
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.files.photos import damaged_photos, open_photo
from scicevpr.packs.build import describe_content


def _photo(path, seed: int = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def model():
    found = filled_model("scicevpr-t")
    found.allow_untrained = True
    return found


# ---- deep pixels --------------------------------------------------------------------------------------------------

RAMP = np.linspace(0, 4095, 320 * 24).reshape(24, 320)


@pytest.mark.parametrize(
    ("values", "end"),
    [
        (RAMP.astype(np.uint16), "png"),  # a 12-bit camera in a 16-bit file
        ((RAMP * 16).astype(np.uint16), "png"),
        (RAMP.astype(np.int32), "tif"),
        ((RAMP * 20).astype(np.int32), "tif"),  # up to 81,900: neither 16 nor 32 bits
        ((RAMP * 4).astype(np.uint16), "tif"),
    ],
)
def test_deep_pixels_fill_the_range_they_use(tmp_path, values, end, caplog):
    Image.fromarray(values).save(tmp_path / f"ramp.{end}")
    grey = np.asarray(open_photo(tmp_path / f"ramp.{end}"))[..., 0].ravel().astype(int)
    top = values.max() / (2 ** next(bits for bits in (8, 10, 12, 14, 16, 17) if values.max() < 2**bits) - 1)
    np.testing.assert_allclose(grey, np.linspace(0, 255 * top, grey.size), atol=1)
    assert grey.max() >= 150
    assert np.asarray(open_photo(np.array([[0, 65535]], np.uint16)))[0, 1, 0] == 255


def test_the_depth_that_was_taken_is_said(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("scicevpr.files.photos._told_depths", set())
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / "ramp.png")
    open_photo(tmp_path / "ramp.png")
    open_photo(tmp_path / "ramp.png")
    assert caplog.text.count("hold whole numbers up to 4095, so they are taken to have 12 bits") == 1


# ---- damaged files ------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """Three damaged files among eight."""
    for number in range(7):
        _photo(tmp_path / "photos" / f"{number:02d}.jpg", number)
    whole = (tmp_path / "photos" / "03.jpg").read_bytes()
    (tmp_path / "photos" / "03.jpg").write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "photos" / "05.jpg").write_bytes(b"")
    (tmp_path / "photos" / "07.png").write_text("not a picture")
    return tmp_path / "photos"


def test_all_damaged_files_are_named_at_once_before_the_work(damaged, model, monkeypatch):
    paths = sorted(damaged.iterdir())
    assert [path.name for path, _ in damaged_photos(paths)] == ["03.jpg", "05.jpg", "07.png"]
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("the work has begun"))
    dataset = read_folders(damaged, damaged, same_name=True)
    for work in (
        lambda: describe(model, paths),
        lambda: evaluate(model, dataset),
        lambda: describe_content(model, dataset),
    ):
        with pytest.raises(ImageError) as caught:
            work()
        text = str(caught.value)
        assert "--leave-out-damaged" in text
        assert all(
            text.count(name) >= 1 for name in ("03.jpg could not be decoded", "05.jpg is empty", "07.png is not")
        )


def test_damaged_files_are_left_out_on_request(damaged, tmp_path, capsys):
    arguments = ["describe", str(damaged), "--output", str(tmp_path / "d.safetensors"), "--allow-untrained"]
    assert main([*arguments, "--model", "scicevpr-t", "--leave-out-damaged"]) == 0
    assert load_descriptors(tmp_path / "d.safetensors")[1] == ["00.jpg", "01.jpg", "02.jpg", "04.jpg", "06.jpg"]
    assert capsys.readouterr().err.count("Left out: ") == 3
    dataset = read_folders(damaged, damaged, same_name=True)
    sound = dataset.without_photos({path for path, _ in damaged_photos(sorted(damaged.iterdir()))})
    assert [rows.tolist() for rows in sound.positives()] == [[row] for row in range(5)]
    assert "6 damaged photos were left out" in sound.notes[-1]


# ---- queries that are themselves in the database ------------------------------------------------------------------


@pytest.mark.parametrize("copied", [False, True])
def test_queries_that_are_in_the_database_are_told_and_can_be_left_out(tmp_path, model, copied):
    for number in range(4):
        _photo(tmp_path / "all" / f"{number}.jpg", number)
    queries = shutil.copytree(tmp_path / "all", tmp_path / "copy") if copied else tmp_path / "all"
    found = evaluate(model, read_folders(tmp_path / "all", queries, same_name=True), ns=(1,))
    assert found.overall.recalls[1] == 100
    assert any(note.startswith("4 of 4 queries are themselves in the database") for note in found.notes)
    other = evaluate(model, read_folders(tmp_path / "all", queries, same_name=True), ns=(1, 3), without_itself=True)
    assert other.overall.recalls[1] == 0
    assert other.protocol["left out"] == "the photo itself, of 4 queries"
    assert all(row not in answers for row, answers in enumerate(other.predictions.tolist()))
    assert (other.predictions >= 0).all()
    assert other.overall.without_positives == 4


def test_other_photos_of_the_same_name_are_no_news(tmp_path, model):
    for number in range(3):
        _photo(tmp_path / "a" / f"{number}.jpg", number)
        _photo(tmp_path / "b" / f"{number}.jpg", number + 10)
    found = evaluate(model, read_folders(tmp_path / "a", tmp_path / "b", same_name=True), ns=(1,))
    assert not any("themselves" in note for note in found.notes)


# ---- what a score does not show -----------------------------------------------------------------------------------


def test_queries_without_a_right_answer_are_said_beside_the_score(capsys):
    from scicevpr.cli.outputs import open_console, show_evaluation

    city = street()
    city = replace(city, database=city.database[:9])
    values = np.eye(40, dtype=np.float32)
    found = score("model", city, values[:9], values[: len(city.queries)], ns=(1,))
    show_evaluation(open_console(), found)
    words = "9 of 36 queries have no right answer in the database; they count as wrong, so Recall cannot exceed 75.0."
    assert f"Note: {words}" in capsys.readouterr().out


def test_a_truth_that_everything_answers_is_said():
    city = street()
    city = replace(city, truth=GroundTruth(radius=1e5))
    values = np.eye(40, dtype=np.float32)
    notes = score("model", city, values[:12], values[: len(city.queries)], ns=(1,)).notes
    assert any(note.startswith("Every database photo is right for every query") for note in notes)


# ---- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [14, 28])
def test_an_input_too_small_is_refused_before_any_work(tmp_path, side):
    cricavpr = filled_model("cricavpr-s")
    cricavpr.allow_untrained = True
    preprocessing = replace(cricavpr.variant.preprocessing, size=(side, side))
    with pytest.raises(UsageError, match="too small: regions need a grid of at least 3x3 tokens, which is 42 pixels"):
        describe(cricavpr, [tmp_path / "missing.jpg"], preprocessing=preprocessing)
    with pytest.raises(UsageError, match="does not divide into patches of 14x14"):
        describe(cricavpr, [tmp_path / "missing.jpg"], preprocessing=replace(preprocessing, size=(50, 56)))
    tiny = describe(cricavpr, np.zeros((1, 48, 64, 3), np.uint8), preprocessing=replace(preprocessing, size=(42, 42)))
    assert np.isfinite(tiny.values).all()


def test_a_tree_keeps_its_ground_truth_without_damaged_photos(tiny_city):
    dataset = read_dataset(tiny_city)
    gone = {dataset.database[0].path, dataset.queries[2].path}
    kept = dataset.without_photos(gone)
    assert (len(kept.database), len(kept.queries)) == (11, 7)
    assert len(kept.positives()[0]) == 0
