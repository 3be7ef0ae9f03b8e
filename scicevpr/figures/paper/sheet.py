"""A sheet of photos and words, placed in inches from the top left, so that nothing is ever clipped or moved."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from PIL import Image, ImageDraw

from scicevpr.figures.inside import colours
from scicevpr.figures.paper.style import SMALLEST, Style

MARGIN = 0.04
GAP = 0.06
INK = "#111111"
SOFT = "#555555"
MISSING = (214, 217, 222)


class Sheet:
    """Collects what is to be drawn; `finish` makes the figure as high as it has become.

    figure: an empty one, as wide as the style says. vector: photos are kept as they are instead of being resampled.
    """

    def __init__(self, figure: Figure, style: Style, vector: bool) -> None:
        self.figure, self.style, self.vector = figure, style, vector
        self.width = style.inches
        self._calls: list[Callable[[], None]] = []

    def picture(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        photo: Image.Image | None,
        right: bool | None = None,
        framed: bool = False,
    ) -> None:
        """A photo as large as fits into a box, centred; framed, with a tick or a cross where the verdict is known."""
        shown = missing_photo() if photo is None else photo
        scale = min(width / shown.width, height / shown.height)
        w, h = shown.width * scale, shown.height * scale
        left, top = x + (width - w) / 2, y + (height - h) / 2
        pixels = (max(1, round(w * self.style.dpi)), max(1, round(h * self.style.dpi)))
        small = shown.convert("RGB")
        if small.width > pixels[0]:
            small = small.resize(pixels, Image.Resampling.LANCZOS)
        self.image(left, top, w, h, np.asarray(toned(small, self.style)))
        if right is not None:
            self._verdict(left, top, w, h, right)
        elif framed:
            self.box(left, top, w, h, SOFT, 0.5)

    def image(self, x: float, y: float, width: float, height: float, pixels: np.ndarray, smooth: bool = True) -> None:
        """An array [rows, columns, 3] stretched over a box."""

        def draw() -> None:
            how = "none" if self.vector else ("antialiased" if smooth else "nearest")
            extent = (x, x + width, y + height, y)
            self._axes.imshow(pixels, aspect="auto", interpolation=how, extent=extent, zorder=1)

        self._calls.append(draw)

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, line: float = 1.0, fill: bool = False
    ) -> None:
        """A rectangle: its outline, or filled."""

        def draw() -> None:
            patch = Rectangle(
                (x, y),
                width,
                height,
                linewidth=line,
                edgecolor="none" if fill else colour,
                facecolor=colour if fill else "none",
                zorder=5,
                joinstyle="miter",
                clip_on=False,
            )
            self._axes.add_patch(patch)

        self._calls.append(draw)

    def line(self, points: list[tuple[float, float]], colour: str, width: float) -> None:
        """A line through points."""

        def draw() -> None:
            xs, ys = zip(*points, strict=True)
            look = {"solid_capstyle": "round", "solid_joinstyle": "round"}
            self._axes.add_line(Line2D(xs, ys, color=colour, linewidth=width, zorder=7, clip_on=False, **look))

        self._calls.append(draw)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float | None = None,
        *,
        ha: str = "left",
        va: str = "top",
        colour: str = INK,
        bold: bool = False,
        rotation: float = 0,
        plate: bool = False,
        fit: float | None = None,
    ) -> None:
        """Words at a point. fit: inches they must fit into, in smaller letters if need be. plate: on white."""
        points = size or self.style.font_size
        if fit is not None:
            points = fitting_size(words, fit, points, bold)
            words = shortened(words, fit, points, bold)

        def draw() -> None:
            self._axes.text(
                x,
                y,
                words,
                fontsize=points,
                ha=ha,
                va=va,
                color=colour,
                rotation=rotation,
                fontweight="bold" if bold else "normal",
                zorder=8,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.7} if plate else None,
            )

        self._calls.append(draw)

    def heading(self, x: float, y: float, width: float, words: str, letter: str = "", bold: bool = False) -> float:
        """A panel's heading, with its letter in front, over as many lines as it needs; returns where it ends."""
        start = x
        if letter:
            self.text(x, y, letter, bold=True)
            start = x + text_width(letter, self.style.font_size, True) + 0.06
        for piece in wrapped(words, x + width - start, self.style.font_size, bold):
            self.text(start, y, piece, bold=bold)
            y += self.line_height()
        return y + 0.03

    def line_height(self, size: float | None = None) -> float:
        """Inches from one line of text to the next."""
        return 1.25 * (size or self.style.font_size) / 72

    def scale_bar(self, x: float, y: float, width: float, low: str, high: str, words: str) -> float:
        """A bar of the colour scale with words at its ends and below; returns where it ends."""
        bar = np.linspace(0, 1, 256)[None]
        self.image(x, y, width, 0.08, toned_colours(bar, 0, 1, self.style))
        self.box(x, y, width, 0.08, SOFT, 0.4)
        size = self.style.small
        self.text(x - 0.05, y + 0.04, low, size, ha="right", va="center")
        self.text(x + width + 0.05, y + 0.04, high, size, va="center")
        y += 0.13
        for piece in wrapped(words, self.width - 2 * MARGIN, size):
            self.text(self.width / 2, y, piece, size, ha="center", colour=SOFT)
            y += self.line_height(size)
        return y

    def finish(self, height: float) -> None:
        """Draw everything on a figure of this height."""
        self.figure.set_size_inches(self.width, height)
        self._axes = self.figure.add_axes((0, 0, 1, 1), frameon=False, autoscale_on=False)
        self._axes.set_axis_off()
        self._axes.set(xlim=(0, self.width), ylim=(height, 0))  # inches from the top left
        for call in self._calls:
            call()

    def _verdict(self, x: float, y: float, width: float, height: float, right: bool) -> None:
        line, colour = 1.6, self.style.right if right else self.style.wrong
        inset = line / 144
        self.box(x + inset, y + inset, width - 2 * inset, height - 2 * inset, colour, line)
        side = min(0.17, 0.3 * width, 0.35 * height)
        left, top = x + width - side, y
        self.box(left, top, side, side, colour, fill=True)
        strokes = (
            [[(0.24, 0.52), (0.43, 0.74), (0.77, 0.28)]]
            if right
            else [[(0.28, 0.28), (0.72, 0.72)], [(0.72, 0.28), (0.28, 0.72)]]
        )
        for stroke in strokes:
            self.line([(left + side * px, top + side * py) for px, py in stroke], "white", max(0.7, 6 * side))


def toned(picture: Image.Image, style: Style) -> Image.Image:
    """The picture in the style's colours."""
    return picture.convert("L").convert("RGB") if style.grey else picture


def toned_colours(values: np.ndarray, low: float, high: float, style: Style) -> np.ndarray:
    """Values [rows, columns] on the colour scale of the screen, [rows, columns, 3]; its lightness grows evenly."""
    return np.asarray(toned(Image.fromarray(colours(values, low, high)), style))


def missing_photo() -> Image.Image:
    """Stands where a photo is not on this machine."""
    picture = Image.new("RGB", (320, 240), MISSING)
    text = "\n".join(textwrap.wrap("photo not here", 10))
    ImageDraw.Draw(picture).multiline_text(
        (160, 120), text, fill=(60, 64, 72), font_size=44, anchor="mm", align="center"
    )
    return picture


def aspect_of(photo: Image.Image | None) -> float:
    """Height over width of the box for a row of photos, from its first; very long ones are not followed."""
    return 0.75 if photo is None else min(1.35, max(0.5, photo.height / photo.width))


def text_width(words: str, size: float, bold: bool = False) -> float:
    """Inches that words take. Whoever calls it holds the drawing settings."""
    return _width(words, size, bold, mpl.rcParams["font.family"][0])


@lru_cache(maxsize=4096)
def _width(words: str, size: float, bold: bool, family: str) -> float:
    if not words.strip():
        return 0.3 * len(words) * size / 72
    path = TextPath((0, 0), words, size=size, prop=FontProperties(family=family, weight=700 if bold else 400))
    return 1.03 * float(path.get_extents().x1) / 72  # hinting makes words a little wider on screen


def wrapped(words: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Words broken into lines of at most ``width`` inches; a single word that is longer is shortened."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, width, size, bold))
    return lines or [""]


def shortened(words: str, width: float, size: float, bold: bool = False) -> str:
    """Words cut with "…" where they would be wider than ``width`` inches."""
    if text_width(words, size, bold) <= width:
        return words
    fits, most = 0, len(words)  # letters that fit, and that may fit: measuring is slow
    while fits < most:
        middle = (fits + most + 1) // 2
        if text_width(words[:middle] + "…", size, bold) <= width:
            fits = middle
        else:
            most = middle - 1
    return words[:fits] + "…"


def fitting_size(words: str, width: float, size: float, bold: bool = False) -> float:
    """The largest letters, at most ``size`` points, with which words fit into ``width`` inches."""
    needed = text_width(words, size, bold)
    return size if needed <= width else max(SMALLEST - 0.5, size * width / needed)


def add_legend(figure: Figure, plot: Any, labels: list[str], style: Style, height: float) -> None:
    """A legend below everything, and as much height as both need."""
    columns = _legend_columns(labels, style)
    shown = ["\n".join(wrapped(label, style.inches / columns - 0.55, style.small)) for label in labels]
    lines = sum(text.count("\n") + 1 for text in shown) / columns
    figure.set_size_inches(style.inches, height + 1.45 * math.ceil(lines) * style.small / 72 + 0.1)
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    figure.legend(
        plot.get_legend_handles_labels()[0],
        shown,
        loc="outside lower center",
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.4,
        labelspacing=0.3,
        borderaxespad=0.1,
    )


def _legend_columns(labels: Sequence[str], style: Style) -> int:
    """How many legend entries fit side by side."""
    widest = max((len(label) for label in labels), default=1) * 0.6 * style.small / 72 + 0.5
    most = max(1, min(len(labels), int(style.inches / widest)))
    return math.ceil(len(labels) / math.ceil(len(labels) / most)) if labels else 1
