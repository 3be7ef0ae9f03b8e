"""The Figures tab's service and handlers: the numbers on screen, the bytes of the command line, and kind refusals."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest
import standin

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from small_results import result

from app.core.model_slots import BASELINE, STABLE, TEACHER
from app.tabs.figures.handlers import GROUPS, FigureHandlers
from app.tabs.figures.service import Choices, FigureStudio
from app.tabs.stability.service import Stability
from scicevpr.cli import chosen_models
from scicevpr.cli import main as cli
from scicevpr.errors import UsageError
from scicevpr.figures.paper import FIGURES, Style

VISITOR = SimpleNamespace(session_hash="a visitor")
pytestmark = pytest.mark.slow  # the figures themselves are in tests/unit/test_paper_figures_*.py, which run quickly

BOTH = (STABLE, BASELINE)


def quiet(*values, **words):
    """Stands in for the page's progress bar."""


@pytest.fixture(scope="module")
def city_folder(tmp_path_factory):
    """Few places: every figure is made twice."""
    return standin.write_city(tmp_path_factory.mktemp("small") / "city", places=6)


@pytest.fixture(scope="module")
def services(city_folder):
    return standin.city_services(city_folder)


@pytest.fixture(scope="module")
def studio(services):
    return FigureStudio(services, Stability(services))


@pytest.fixture(scope="module")
def query(services):
    _, dataset = services.dataset(None)
    return dataset.queries[3]


@pytest.fixture
def results_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": [result({1, 2}, "SciceVPR-T").with_intervals().to_json()]}))
    return path


def form(figure, photo=None, **changes):
    """What the page sends, in the order of the form."""
    values = {
        "figure": figure, "photo": photo, "database": None, "results": None, "roles": list(BOTH), "top": 3,
        "batch_mates": 2, "pairs": 1, "sizes": [1, 4], "orders": ["file", "shuffled"], "seeds": 2, "n": None,
        "width": "single", "font": 8, "palette": "colour", "letters": True, "labels": "", "dpi": 80,
        "panels": [key for key, _ in FIGURES[figure].panels] if figure in FIGURES else [], "typeface": "sans",
    }  # fmt: skip
    return [*(values | changes).values()]


def sent(place):
    return {"path": str(place.path), "orig_name": place.name}


def test_the_strip_shows_what_find_shows(studio, services, query):
    choices = Choices("strip", roles=BOTH, photo=query.path, name=query.name, top=3)
    table = studio.draw(choices, Style(dpi=80)).table
    found = services.find(query.path, query.name, k=3)
    hits = [hit for answer in (found.stable, found.baseline) for hit in answer.hits]
    assert list(table["photo"]) == [hit.photo.name for hit in hits]
    assert list(table["similarity"]) == pytest.approx([hit.similarity for hit in hits], abs=2e-6)
    assert list(table["metres"]) == pytest.approx([hit.metres for hit in hits])
    assert list(table["right"]) == [hit.right for hit in hits]


def test_figure_2_shows_what_stability_shows(studio, services):
    choices = Choices("figure-2", roles=BOTH, sizes=(1, 4), orders=("file", "shuffled"), seeds=2)
    table = studio.draw(choices, Style()).table
    *_, screen = studio.stability.curve(None, (1, 4), ("file", "shuffled"), 2)
    screen = screen[screen["model"].isin(table["model"])]
    assert list(table["recall_1"]) == pytest.approx(list(screen["recall_1"]))
    assert list(table["flips"]) == list(screen["flips"])


@pytest.mark.parametrize(
    ("name", "roles", "options"),
    [
        ("strip", BOTH, ("--top", "3")),
        ("figure-4", BOTH, ()),
        ("fusion", (STABLE,), ()),
        ("attention", (BASELINE,), ("--batch-mates", "2")),
        ("figure-2", BOTH, ("--sizes", "1", "4", "--orders", "file", "shuffled", "--seeds", "2")),
    ],
)
def test_the_command_line_makes_the_same_bytes(name, roles, options, studio, services, query, city_folder, tmp_path,
                                               monkeypatch, capsys):  # fmt: skip
    models = [services.model(role) for role in roles]
    titled = [(model.variant.title, model) for model in models]
    monkeypatch.setattr(chosen_models, "load_models", lambda arguments, default: titled)
    forms = ("pdf", "svg", "png", "csv", "txt") if name == "strip" else ("svg", "csv", "txt")
    files = [tmp_path / f"figure.{form}" for form in forms]
    photo = () if name == "figure-2" else ("--photo", query.name)
    looks = ("--width", "single", "--dpi", "80", "--output", *map(str, files))
    code = cli.main(["figure", name, "--dataset", str(city_folder), *photo, *options, *looks])
    assert code == 0, capsys.readouterr().err
    choices = Choices(
        name, roles=roles, photo=query.path, name=query.name, top=3, batch_mates=2, sizes=(1, 4),
        orders=("file", "shuffled"), seeds=2,
    )  # fmt: skip
    drawing = studio.draw(choices, Style(dpi=80))
    for file in files:
        assert file.read_bytes() == drawing.render(file.suffix[1:]), file.suffix


def test_a_press_of_the_button_gives_picture_caption_and_files(studio, query):
    steps = list(FigureHandlers(studio).draw(*form("figure-4", sent(query)), request=VISITOR, progress=quiet))
    words, sheet, files = steps[-1]
    assert "is ready: 5 files" in words
    assert 'src="data:image/png;base64,' in sheet
    assert "14 regions" in sheet
    assert [Path(file).suffix for file in files] == [".pdf", ".svg", ".png", ".csv", ".txt"]
    assert len(pd.read_csv(files[3])) == 28
    assert steps[0][0] == "Measuring…"


def test_figure_1_needs_a_model_that_feels_its_batch(studio):
    handlers = FigureHandlers(studio)
    with pytest.raises(gr.Error, match="answers depend on the batch"):
        list(handlers.draw(*form("figure-1", roles=[STABLE]), request=VISITOR, progress=quiet))


def test_results_become_curves_and_latex(studio, results_file):
    named = (results_file.with_suffix(".csv").name, results_file.name)
    payload = [{"path": str(standin.upload(results_file, name))} for name in named]
    *_, (_, _, files) = FigureHandlers(studio).draw(*form("table", results=payload), request=VISITOR, progress=quiet)
    assert "\\toprule" in next(Path(file) for file in files if file.endswith(".tex")).read_text()


@pytest.mark.parametrize(
    ("figure", "changes", "words"),
    [
        ("strip", {}, "no photo yet"),
        ("recall", {}, "drawn from results"),
        ("recall", {"results": [{"path": "/tmp/a.pdf"}]}, "not one that was uploaded here"),
        ("figure-2", {"sizes": []}, "at least one batch size"),
        ("figure-2", {"panels": []}, "at least one panel"),
        ("figure-2", {"roles": []}, "at least one model"),
        ("figure-2", {"roles": ["nobody"]}, "no model"),
        ("figure-2", {"dpi": 5}, "resolution"),
        ("figure-2", {"font": "big"}, "font size"),
        ("figure-2", {"labels": "Ours"}, "MODEL=NAME"),
        ("figure-9", {}, "no figure"),
    ],
)
def test_what_cannot_be_drawn_is_said(figure, changes, words, studio):
    with pytest.raises(gr.Error, match=words):
        list(FigureHandlers(studio).draw(*form(figure, **changes), request=VISITOR, progress=quiet))


def test_figures_of_the_inside_say_which_model_they_need(studio, query):
    for name, roles, words in (
        ("fusion", (BASELINE,), "fuses no layers"),
        ("attention", (STABLE,), "one photo at a time"),
    ):
        with pytest.raises(UsageError, match=words):
            studio.draw(Choices(name, roles=roles, photo=query.path, name=query.name), Style())


def test_the_form_shows_what_a_figure_needs(studio):
    handlers = FigureHandlers(studio)
    for name in FIGURES:
        sentence, panels, *groups = handlers.form_for(name)
        shown = {group for group, update in zip(GROUPS, groups, strict=True) if update["visible"]}
        assert ("results" in shown) == (FIGURES[name].needs == "results")
        assert ("models" in shown) == (FIGURES[name].needs != "results")
        assert panels["visible"] == bool(FIGURES[name].panels)
        assert FIGURES[name].sentence.split("'")[0][:30] in sentence
    assert handlers.refresh([STABLE, "gone"])["value"] == [STABLE]
    assert (TEACHER in [role for _, role in handlers.refresh([])["choices"]]) is True


def test_a_photo_of_nowhere_has_no_verdicts(studio):
    file = io.BytesIO()
    standin.noise_photo().save(file, "PNG")
    table = studio.draw(Choices("strip", roles=BOTH, photo=file.getvalue(), name="mine.png"), Style(dpi=80)).table
    assert table["right"].isna().all()
    assert table["metres"].isna().all()
