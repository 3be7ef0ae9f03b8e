"""The Training tab without a browser: stages and their commands, a distillation, its student in Find, honest words."""

from __future__ import annotations

import copy
import json
import shlex
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import standin

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

import tiny_family

from app.core.descriptor_store import MOST_OF_VISITORS, DescriptorStore
from app.core.model_slots import BASELINE, STABLE, TEACHER, THIRD
from app.core.services import Services
from app.tabs.training.handlers import TrainingHandlers, recipe_of
from app.tabs.training.html import EMPTY_TABLE, picture_html, scores_html, stage_html
from app.tabs.training.service import Distillations, Progress
from app.tabs.training.stages import STAGES, settings
from scicevpr.datasets import read_dataset
from scicevpr.errors import UsageError
from scicevpr.models.model import WeightsInfo, build_model
from training import recipes
from training.distill import inherit
from training.full_size import read_options
from training.live import LIVE, Loss, Score
from training.recipes import override

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (recipes.SHIPPED_SUPER, recipes.SHIPPED_DISTILL, recipes.SHIPPED_CRICA)


@pytest.fixture(scope="module")
def distillations(city_folder):
    tiny_family.register()
    models = {role: _tiny(f"{name}-x") for role, name in ((STABLE, "scicevpr"), (BASELINE, "cricavpr"))}
    models[TEACHER] = _tiny("super-cricavpr-x")
    inherit(models[STABLE], models[TEACHER])  # as the shipped ones: one backbone and one convolution for both
    services = Services(
        {"Tiny city": read_dataset(city_folder)}, {r: (m.variant.name, lambda m=m: m) for r, m in models.items()}
    )
    yield Distillations(services)
    tiny_family.unregister()


def _tiny(name: str):
    model = build_model(name)
    model.allow_untrained = True
    return model


@pytest.fixture(scope="module")
def handlers(distillations):
    return TrainingHandlers(distillations)


def visitor(name: str = "one") -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("recipe", SHIPPED)
def test_a_command_says_the_whole_recipe(recipe):
    assert override(type(recipe)(), settings(recipe).split()) == recipe


def test_every_stage_has_its_file_its_commands_and_its_part_of_the_picture():
    shown = [words for stage in STAGES for words in commands(stage.command)]
    sets = [words[words.index("--set") + 1 :] if "--set" in words else [] for words in shown]
    assert sets == [[], *(settings(recipe).split() for recipe in SHIPPED)]
    for stage in STAGES:
        assert (ROOT / stage.file).is_file()
        assert stage.file in picture_html()
        assert f'data-part="{stage.key}"' in picture_html()
        assert stage.file.removesuffix(".py").replace("/", ".") in stage.command
        assert "γ·L_MS" in stage_html(stage) or stage.key != "student"


@pytest.mark.parametrize("stage", STAGES[1:], ids=lambda stage: stage.key)
def test_the_full_size_command_is_understood(stage):
    (words,) = commands(stage.full_size)
    recipe, options = read_options(words[3:])
    assert recipe.variant == words[words.index("--model") + 1]
    assert str(options.out) == f"runs/{recipe.variant}"


def test_a_run_tells_everything_and_its_student_is_tried_in_find(distillations):
    steps = list(distillations.run(recipe_of(1, 1, 0.002, 2, 0)))
    kinds = [type(step.new) for step in steps]
    assert kinds[0] is type(None)
    assert kinds.count(Score) == 4  # teacher, untrained student, two epochs
    assert kinds[-1] is Score
    last = steps[-1]
    assert [score.epoch for score in last.scores] == [None, None, 0, 1, 2]
    assert last.scores[0].who == distillations.services.model(STABLE).variant.title
    assert len(last.losses) == kinds.count(Loss)
    table = scores_html(last, 36)
    assert table.count("<tr data-model") == 4
    assert "Student after 2 epochs" in table
    title = distillations.student(last.key).variant.title
    assert title.endswith(", trained here")
    find = partial(distillations.services.find, standin.noise_photo(), "photo.jpg", k=3)
    found = find(student=last.key)
    assert found.third.title == title
    assert found.third.trained
    assert len(found.third.hits) == 3
    assert find().third is None, "nobody else sees it"
    assert find(student="forgotten").third is None
    assert THIRD not in distillations.services.roles


def test_the_photos_pass_once_for_all_runs(distillations):
    list(distillations.run(recipe_of(1, 1, 0.002, 1, 0)))
    words = [step.label for step in distillations.run(recipe_of(1, 1, 0.002, 1, 3))]
    assert not any("frozen backbone" in text for text in words)


def test_visitors_models_are_not_written_and_only_the_last_few_remembered(services, tmp_path, monkeypatch):
    key, dataset = services.dataset(None)
    store = DescriptorStore(cache=tmp_path / "cache")
    for number in range(MOST_OF_VISITORS + 2):
        model = copy.copy(standin.recorded("scicevpr-t"))
        model.weights = WeightsInfo("test", f"student {number}", "nothing", trained=True)
        store.get(key, dataset, model, visitors=True)
    assert len(store._jobs) == MOST_OF_VISITORS
    assert not (tmp_path / "cache").exists()


def test_a_forgotten_student_is_said_to_be(distillations):
    with pytest.raises(UsageError, match="Train one first"):
        distillations.student("nothing")


def test_the_page_stops_after_the_step_at_hand(handlers):
    rows = handlers.train(1, 1, 0.002, 20, 0, visitor())
    for row in rows:
        if "Epoch 1 of 20 measured" in str(row[0]):
            assert handlers.stop(visitor()) == "Stopping …", "said at once"
            break
    rest = list(rows)
    assert len(rest) == 1
    assert rest[0][0].startswith("Stopped after step")
    assert rest[0][5] == gr.update(interactive=True)
    assert "Student after 1 epoch" in rest[0][3]


def test_the_last_row_says_what_was_done(handlers):
    *_, last = handlers.train(0, 1, 0.002, 1, 0, visitor())
    assert last[0].startswith("Done: ")
    assert last[1]["value"].data[1].name.startswith("L_MS")
    assert list(last[2]["value"].data[-1].x) == [0, 1]


def test_words_on_the_halves_are_counted(handlers, distillations):
    words = handlers.honesty()
    halves = distillations.halves()
    assert f"{len(halves.learn)} photos" in words
    assert f"{len(halves.held_out.queries)} queries" in words
    assert "not comparable" in words
    assert scores_html(Progress(""), 3) == EMPTY_TABLE


def test_two_runs_through_the_endpoint_are_the_same(handlers):
    answers = [handlers.api_distill_demo(1.0, 1.0, 0.002, 1, 5) for _ in range(2)]
    assert json.loads(json.dumps(answers[0])) == answers[0]  # whole numbers as keys would come back as text
    assert answers[0] == answers[1]
    assert answers[0]["recipe"]["seed"] == 5


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ((11, 1, 0.001, 1, 0), "γ must be"),
        ((1, "x", 0.001, 1, 0), "η must be"),
        ((1, 1, 0, 1, 0), "learning rate"),
        ((1, 1, 0.001, 1.5, 0), "epochs must be"),
        ((1, 1, 0.001, 1, None), "seed must be"),
    ],
)
def test_impossible_numbers_are_named(form, words):
    with pytest.raises(UsageError, match=words):
        recipe_of(*form)


def test_a_large_teacher_is_refused(distillations):
    large = SimpleNamespace(variant=SimpleNamespace(channels=768, title="Super-CricaVPR-B"))
    services = SimpleNamespace(model=lambda role: large)
    with pytest.raises(UsageError, match="size T"):
        next(Distillations(services).run(LIVE))


def test_as_shipped_is_the_model_that_stands_in_the_column_now(monkeypatch):
    def model(title: str) -> SimpleNamespace:
        return SimpleNamespace(variant=SimpleNamespace(name="x", title=title), weights=SimpleNamespace(sha256=title))

    standing = [model("first")]
    distillations = Distillations(SimpleNamespace(model=lambda role: standing[0]))
    measured = []
    fits = lambda model, teacher: model.variant.title != "stranger"  # noqa: E731
    monkeypatch.setattr("app.tabs.training.service._same_frozen_part", fits)
    monkeypatch.setattr("app.tabs.training.service.head_of", lambda model: model)
    monkeypatch.setattr("app.tabs.training.service.measure", lambda title, head, maps: measured.append(title) or title)
    maps = SimpleNamespace(whole=None)
    assert distillations._shipped_score(maps) == distillations._shipped_score(maps) == ("first",)
    standing[0] = model("second")
    assert distillations._shipped_score(maps) == ("second",)
    standing[0] = model("stranger")
    assert distillations._shipped_score(maps) == ()
    assert measured == ["first", "second"]
