"""The live distillation on a toy city: honest halves, one student a seed, frozen parts, true scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scicevpr.datasets import Dataset, Photo, format_name, read_dataset
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.models.model import build_model
from training.live import LIVE, LiveDistillation, Loss, Score
from training.live_data import LiveMaps, MapKeeper, keep_maps, number_places, split_in_halves

PLACES = 5
QUICK = replace(LIVE, places=4, epochs=2, lr=2e-3)


def write_towns(root: Path, gap: float = 300.0) -> Path:
    """Two rows of places, one west and one east of a gap: two database photos and a query each, 40 m apart."""
    dice = np.random.default_rng(4)
    for folder in ("database", "queries"):
        (root / "images" / "test" / folder).mkdir(parents=True)
    for town in range(2):
        for place in range(PLACES):
            picture = np.kron(dice.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1)))
            for shot, folder in enumerate(("database", "database", "queries")):
                noisy = np.clip(picture + dice.normal(0, 25, picture.shape), 0, 255).astype(np.uint8)
                name = format_name(
                    east=450_000 + gap * town, north=5_400_000 + 40 * place + 3 * shot, zone_number=32, zone_letter="U",
                    pano_id=f"t{town}p{place}s{shot}", heading=90, timestamp="20240101_120000",
                    note="night" if folder == "queries" else "day",
                )  # fmt: skip
                Image.fromarray(noisy).save(root / "images" / "test" / folder / name, quality=90)
    return root


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_towns(tmp_path_factory.mktemp("towns") / "towns"))


@pytest.fixture
def maps(towns: Dataset, tiny_variants: None, one_thread: None) -> LiveMaps:
    torch.manual_seed(3)
    return keep_maps(build_model("super-cricavpr-x"), split_in_halves(towns))


def finished(maps: LiveMaps, **changes: float) -> LiveDistillation:
    run = LiveDistillation(maps, replace(QUICK, **changes))
    for _ in run.steps():
        pass
    return run


def test_nothing_of_the_measured_half_is_learnt(towns: Dataset) -> None:
    halves = split_in_halves(towns)
    measured = {*halves.held_out.database, *halves.held_out.queries}
    assert halves.sides == ("west", "east")
    assert halves.gap_m == pytest.approx(300, abs=1)
    assert len(halves.learn) == 3 * PLACES
    assert len(measured) == 3 * PLACES
    assert not measured & set(halves.learn)
    assert all(place.utm[0] > 450_200 for place in measured)
    assert sorted(np.bincount(halves.places)) == [3] * PLACES
    assert {place.condition for place in halves.learn} == {"day", "night"}
    assert all(len(rows) for rows in halves.held_out.positives())


def test_photos_near_the_border_are_left_out(tmp_path: Path) -> None:
    halves = split_in_halves(read_dataset(write_towns(tmp_path / "close", gap=20.0)))
    assert halves.sides == ("south", "north")  # 20 m apart from west to east, 40 m from place to place
    north = np.array([place.utm[1] for place in halves.held_out.database]).min()
    assert all(place.utm[1] < north - 25 for place in halves.learn)


def test_a_data_set_that_cannot_be_cut_is_refused(towns: Dataset) -> None:
    with pytest.raises(DatasetError, match="position"):
        split_in_halves(replace(towns, use_labels=False))
    with pytest.raises(DatasetError, match="too small"):
        split_in_halves(replace(towns, queries=towns.queries[:1]))


def test_places_are_spots_and_directions() -> None:
    def photo(north: float, heading: float) -> Photo:
        return Photo(Path("x.jpg"), "x.jpg", utm=(0.0, north), heading=heading)

    row = [photo(n, h) for h in (0, 180) for n in (0, 5, 10)] + [photo(18, 0), photo(60, 350), photo(62, 10)]
    assert list(number_places(row)) == [0, 0, 0, 1, 1, 1, 0, -1, -1]
    assert list(number_places(row, 2)[-2:]) == [2, 2]


def test_the_same_seed_gives_the_same_student(maps: LiveMaps) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = finished(maps)
    assert torch.equal(before, torch.get_rng_state()), "others' random numbers were moved"
    torch.manual_seed(99)
    again, other = finished(maps), finished(maps, seed=1)
    states = [run.student.state_dict() for run in (first, again, other)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert first.losses == again.losses
    assert first.scores == again.scores
    assert first.student.weights == again.student.weights
    assert not torch.equal(states[0]["fusion.mixers.0.mix.0.weight"], states[2]["fusion.mixers.0.mix.0.weight"])


def test_the_teacher_stays_and_the_student_is_whole(maps: LiveMaps) -> None:
    kept = {name: tensor.clone() for name, tensor in maps.whole.state_dict().items()}
    run = finished(maps)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in maps.whole.state_dict().items())
    student = run.student
    assert student.backbone is maps.whole.backbone
    assert torch.equal(student.fusion.conv.weight, maps.whole.fusion.conv.weight)
    assert not student.training
    assert student.weights.trained
    photo = torch.zeros(1, 3, 56, 56)
    assert student(photo).shape == (1, student.variant.descriptor_dim)


def test_scores_are_those_of_an_ordinary_evaluation(maps: LiveMaps) -> None:
    run = finished(maps)
    held_out = maps.halves.held_out
    last, teacher = run.scores[-1], run.scores[0]
    assert evaluate(run.student, held_out, ns=(1, 5, 10)).overall.recalls == last.recalls
    maps.whole.allow_untrained = True
    assert evaluate(maps.whole, held_out, ns=(1, 5, 10)).overall.recalls == teacher.recalls
    assert teacher.distance == 0
    assert last.descriptor_change < 1e-6 < teacher.descriptor_change


def test_the_student_comes_nearer_to_the_teacher(maps: LiveMaps) -> None:
    run = LiveDistillation(maps, replace(QUICK, epochs=6, gamma=0.0))
    news = list(run.steps())
    assert [type(item) for item in news[:4]] == [Score, Score, Loss, Score]
    assert [score.epoch for score in run.scores] == [None, *range(7)]
    distances = [score.distance for score in run.scores[1:]]
    assert distances[-1] < 0.8 * distances[0]
    assert all(loss.total == pytest.approx(loss.l_d) for loss in run.losses)
    assert run.losses[-1].lr == QUICK.lr / 2  # halved after three epochs


def test_a_closed_run_keeps_its_student(maps: LiveMaps) -> None:
    run = LiveDistillation(maps, QUICK)
    with pytest.raises(UsageError, match="no student yet"):
        _ = run.student
    steps = run.steps()
    while not run.losses:
        next(steps)
    steps.close()
    assert "1 step)" in run.student.weights.trained_on


def test_stopped_passes_go_on(towns: Dataset, tiny_variants: None, one_thread: None, maps: LiveMaps) -> None:
    keeper = MapKeeper(maps.whole, split_in_halves(towns))
    stopped = keeper.steps()
    assert next(stopped) == (8, 30)
    stopped.close()
    assert [done for done, _ in keeper.steps()] == [16, 24, 30]
    assert torch.equal(keeper.maps.maps, maps.maps)
    assert torch.equal(keeper.maps.queries, maps.queries)


@pytest.mark.parametrize("changes", [{"gamma": 0.0, "eta": 0.0}, {"gamma": -1.0}, {"lr": 0.0}, {"epochs": 0}])
def test_impossible_recipes_are_refused(maps: LiveMaps, changes: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        LiveDistillation(maps, replace(QUICK, **changes))


def test_only_a_super_cricavpr_teaches(towns: Dataset, tiny_variants: None) -> None:
    with pytest.raises(UsageError, match="Super-CricaVPR"):
        MapKeeper(build_model("cricavpr-x"), split_in_halves(towns))
