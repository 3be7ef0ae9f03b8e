"""Files of the figures for paper: the same bytes every time, whole, with real fonts, from several threads at once."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from paper_data import DATA
from PIL import Image

from scicevpr.cli.figure import NAMES
from scicevpr.errors import UsageError
from scicevpr.figures.paper import FIGURES, Style, draw
from scicevpr.figures.paper.style import WIDTHS, settings

pytestmark = pytest.mark.slow

SMALL = {"dpi": 80}


def test_every_figure_has_data_here_and_a_name_on_the_command_line():
    assert set(DATA) == set(FIGURES) == set(NAMES)


@pytest.mark.parametrize("name", DATA)
def test_the_same_choices_give_the_same_bytes(name):
    first, second = (draw(name, DATA[name](), Style(**SMALL)) for _ in range(2))
    for form in ("pdf", "svg", "png", "csv", "txt"):
        content = first.render(form)
        assert content == second.render(form), form
        assert len(content) > 100


@pytest.mark.parametrize("name", DATA)
def test_nothing_reaches_beyond_the_paper(name):
    """Everything lies within the figure, whose width is exactly what was asked for."""
    for width, font_size, palette in (("single", 8, "colour"), ("single", 11, "grey"), ("double", 11, "colour")):
        style = Style(width=width, font_size=font_size, palette=palette, **SMALL)
        with settings(style):
            figure = draw(name, DATA[name](), style).figure()
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            assert figure.get_figwidth() == WIDTHS[width]
            assert sum(bool(text.get_text().strip()) for text in figure.findobj(Text)) > 3
            box = figure.get_tightbbox(canvas.get_renderer())  # inches, over all words, axes and legends
            high = figure.get_figheight()
            assert -0.01 <= box.x0 <= box.x1 <= WIDTHS[width] + 0.01, (font_size, box)
            assert -0.01 <= box.y0 <= box.y1 <= high + 0.01, (font_size, box, high)


@pytest.mark.parametrize("name", ["figure-2", "strip"])
def test_pdf_has_real_fonts_no_date_and_the_right_width(name):
    content = draw(name, DATA[name](), Style(**SMALL)).render("pdf")
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content  # TrueType outlines: Type 42
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
    width = float(re.search(rb"/MediaBox \[ 0 0 ([0-9.]+) ", content)[1])
    assert width == pytest.approx(3.3 * 72, abs=0.1)


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext here")
def test_words_in_a_pdf_can_be_selected(tmp_path):
    path = draw("figure-2", DATA["figure-2"](), Style(labels=(("SciceVPR-T", "Ours"),))).write(tmp_path / "two.pdf")
    words = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "queries in a batch" in words
    assert "Ours, any batch" in words
    assert "SciceVPR" not in words


def test_svg_needs_no_font_and_bears_no_date():
    content = draw("figure-2", DATA["figure-2"](), Style()).render("svg").decode()
    assert "<text" not in content
    assert "<dc:date>" not in content
    assert "<path" in content


def test_png_is_as_large_as_its_dpi_says():
    drawing = draw("recall", DATA["recall"](), Style(dpi=100))
    assert abs(Image.open(io.BytesIO(drawing.render("png"))).width - 330) <= 1
    assert abs(Image.open(io.BytesIO(drawing.render("png", 200))).width - 660) <= 1


def test_grey_figures_have_no_colour():
    for name in ("strip", "figure-4", "figure-2", "attention"):
        picture = Image.open(io.BytesIO(draw(name, DATA[name](), Style(palette="grey", dpi=72)).render("png")))
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
        assert (pixels.max(axis=2) - pixels.min(axis=2)).max() <= 2, name


def test_several_threads_draw_at_once_and_leave_nothing_behind():
    before = dict(mpl.rcParams)
    names = ["figure-2", "recall", "figure-2", "recall"]
    alone = {name: draw(name, DATA[name](), Style()).render("svg") for name in set(names)}
    start = Barrier(len(names))  # so that they do draw at once

    def drawn(name: str) -> bytes:
        start.wait()
        return draw(name, DATA[name](), Style()).render("svg")

    with ThreadPoolExecutor(len(names)) as pool:
        together = list(pool.map(drawn, names))
    assert together == [alone[name] for name in names]
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_touched():
    """Its figures are global and must not be used from threads."""
    code = (
        "import sys, paper_data; from scicevpr.figures.paper import draw; "
        "draw('figure-2', paper_data.curves()).render('pdf'); print('matplotlib.pyplot' in sys.modules)"
    )
    folder = Path(__file__).resolve().parent
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_only_the_table_has_latex_and_unknown_things_are_said():
    assert "\\toprule" in draw("table", DATA["table"](), Style()).render("tex").decode()
    with pytest.raises(UsageError, match="not as 'tex'"):
        draw("strip", DATA["strip"]()).render("tex")
    with pytest.raises(UsageError, match="no figure 'figure-3'"):
        draw("figure-3", None)
