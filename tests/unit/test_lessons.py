"""The lessons: clean files, an answer to every question, and every cell runs and shows what the text says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "lessons"


def _runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lessons_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = _runner()
LESSONS = RUNNER.LESSONS


def _read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_every_notebook_is_a_lesson() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(LESSONS)


@pytest.mark.parametrize("name", LESSONS)
def test_the_file_is_clean_and_needs_neither_paths_nor_the_environment(name: str) -> None:
    notebook = _read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all((cell.outputs, cell.execution_count) == ([], None) for cell in code)
    assert re.match(r"QUERIES = \d+ ", code[0].source), "its size is a number at the top"
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"""["'`(\s](/|~/|[A-Za-z]:\\)\w+/""", text), "a path that exists on one machine only"
    assert "environ" not in text


@pytest.mark.parametrize("name", LESSONS)
def test_every_question_has_a_folded_answer_and_the_guess_comes_before_the_measurement(name: str) -> None:
    cells = _read(name).cells
    questions = [cell.source for cell in cells if "**Question" in cell.source]
    assert questions
    for number, cell in enumerate(questions, start=1):
        assert re.findall(r"\*\*Question (\d)\.\*\*", cell) == [str(number)]
        # without the blank lines GitHub and Jupyter would show the answer's Markdown as it is
        assert re.search(rf"<details><summary>Answer {number}</summary>\n\n(.+)\n\n</details>$", cell, re.DOTALL)
    guess = next(at for at, cell in enumerate(cells) if cell.cell_type == "code" and "my_guess = " in cell.source)
    measured = next(at for at, cell in enumerate(cells) if re.search(r"= (evaluate|describe|described)\(", cell.source))
    assert guess < measured


def test_the_readme_shows_every_lesson() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in LESSONS:
        assert f"({name}.ipynb)" in text
        assert f"({name}.png)" in text
        assert (FOLDER / f"{name}.png").is_file()


def _said(notebook: nbformat.NotebookNode, cell: str) -> str:
    outputs = next(c for c in notebook.cells if c.id == cell).outputs
    return "\n".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in outputs)


def _numbers(text: str, start: str) -> list[float]:
    """All numbers of a row of a printed table, which pandas breaks in two when it is wide."""
    rows = [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]
    return [float(number) for row in rows for number in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]\d+)?", row)]


def _quiet(notebook: nbformat.NotebookNode) -> bool:
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    return not any(out.output_type == "error" or out.get("name") == "stderr" for out in outputs)


@pytest.mark.slow
def test_domain_shift_shows_that_snow_closes_the_gap(tmp_path: Path) -> None:
    notebook = RUNNER.execute("domain_shift", queries=6)
    assert _quiet(notebook)
    RUNNER.write_figure(notebook, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").is_file()
    table = _said(notebook, "similarities")
    (day, day_other), (snow, snow_other) = _numbers(table, "day"), _numbers(table, "snow")
    assert day - day_other > 0.1 > snow - snow_other
    assert day - snow > 1.5 * (day_other - snow_other)
    assert "SciceVPR-T minus HOG" in _said(notebook, "paired")


@pytest.mark.slow
def test_batch_dependence_shows_who_depends_on_the_batch() -> None:
    notebook = RUNNER.execute("batch_dependence")
    assert _quiet(notebook)
    moved = _said(notebook, "setups")
    assert _numbers(moved, "SciceVPR-T") == [0.0, 0.0, 0.0]
    assert min(_numbers(moved, "CricaVPR-T")) > 0
    assert re.search(r"SciceVPR-T: .* the answer stays", _said(notebook, "worst"))
    assert re.search(r"CricaVPR-T: .* the answer CHANGES", _said(notebook, "worst"))


@pytest.mark.slow
def test_distillation_shows_that_the_student_comes_nearer_to_its_teacher() -> None:
    notebook = RUNNER.execute("distillation", queries=12)
    assert _quiet(notebook)
    table = _said(notebook, "after")
    distance = {
        who: _numbers(table, who)[3] for who in ("student, fresh", "student, L_MS alone", "student, both losses")
    }
    assert distance["student, both losses"] < 0.5 * distance["student, fresh"]
    assert distance["student, L_MS alone"] > 0.8 * distance["student, fresh"]
