"""How a figure for paper looks: its width, letters, colours and names, and the settings of the drawing library."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl

from scicevpr.errors import UsageError

WIDTHS = {"single": 3.3, "double": 6.9}
"""Inches of one text column and of two."""
PALETTES = ("colour", "grey")
OKABE_ITO = ("#009E73", "#E69F00", "#CC79A7", "#0072B2", "#56B4E9", "#D55E00", "#000000", "#8C7A00")
"""Eight colours that colour-blind people tell apart (Okabe and Ito, 2008; its yellow darkened for white paper)."""
GREYS = ("#000000", "#8A8A8A", "#4D4D4D", "#B5B5B5", "#2B2B2B", "#6E6E6E", "#9E9E9E", "#C8C8C8")
FAMILIES = {"SciceVPR": 0, "CricaVPR": 1, "Super-CricaVPR": 2}
"""The colour that a family of models has on screen too: green, orange, purple."""
FONT_SIZES = (5.0, 14.0)
DPIS = (72, 1200)
SMALLEST = 4.5

TYPEFACES = {"sans": "DejaVu Sans", "serif": "DejaVu Serif"}
"""They come with matplotlib, so they are the same everywhere, and are embedded in PDF files."""
_LOCK = threading.Lock()  # the drawing library's settings and font caches are global


@dataclass(frozen=True)
class Style:
    """Everything about a figure that is taste and not data.

    width: "single" (3.3 inches) or "double" (6.9). font_size: points of ordinary text. palette: "colour" (safe for
    colour-blind people) or "grey". letters: panel letters a, b, c. labels: pairs (model title, name to print). dpi: of
    photos and of PNG files. panels: which parts of the figure, by key; empty means all. typeface: of
    TYPEFACES. UsageError for other values.
    """

    width: str = "single"
    font_size: float = 8.0
    palette: str = "colour"
    letters: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    dpi: int = 300
    panels: tuple[str, ...] = ()
    typeface: str = "sans"

    def __post_init__(self) -> None:
        if self.width not in WIDTHS:
            raise UsageError(f"The width must be {' or '.join(WIDTHS)}, not {self.width!r}.")
        if self.palette not in PALETTES:
            raise UsageError(f"The palette must be {' or '.join(PALETTES)}, not {self.palette!r}.")
        if self.typeface not in TYPEFACES:
            raise UsageError(f"The typeface must be {' or '.join(TYPEFACES)}, not {self.typeface!r}.")
        if not FONT_SIZES[0] <= self.font_size <= FONT_SIZES[1]:
            raise UsageError(f"The font size must be 5 to 14 points, not {self.font_size:g}.")
        if not DPIS[0] <= self.dpi <= DPIS[1]:
            raise UsageError(f"The resolution must be 72 to 1200 dots per inch, not {self.dpi}.")

    @property
    def inches(self) -> float:
        """Width of the figure in inches."""
        return WIDTHS[self.width]

    @property
    def double(self) -> bool:
        """True over two columns."""
        return self.width == "double"

    @property
    def grey(self) -> bool:
        """True without colours."""
        return self.palette == "grey"

    @property
    def small(self) -> float:
        """Points of notes and tick labels."""
        return max(SMALLEST, self.font_size - 1)

    @property
    def tiny(self) -> float:
        """Points of text within pictures."""
        return max(SMALLEST, self.font_size - 2)

    @property
    def right(self) -> str:
        """Colour of a right answer."""
        return "#000000" if self.grey else OKABE_ITO[0]

    @property
    def wrong(self) -> str:
        """Colour of a wrong answer."""
        return "#8A8A8A" if self.grey else OKABE_ITO[5]

    @property
    def batch(self) -> str:
        """Colour of "one batch"."""
        return "#6E6E6E" if self.grey else OKABE_ITO[1]

    def name(self, title: str) -> str:
        """What a model is called in the figure."""
        return dict(self.labels).get(title, title)

    def colours(self, titles: Sequence[str]) -> dict[str, str]:
        """One colour a model: its family's, as on screen; others, and a second model of a family, the next free one."""
        scale = GREYS if self.grey else OKABE_ITO
        chosen: dict[str, int] = {}
        for title in titles:
            own = next((number for family, number in FAMILIES.items() if title.startswith(family)), None)
            if own is not None and own not in chosen.values():
                chosen[title] = own
        for title in titles:
            if title not in chosen:
                free = (n for n in (*range(3, len(scale)), *range(3)) if n not in chosen.values())
                chosen[title] = next(free, len(chosen) % len(scale))
        return {title: scale[number] for title, number in chosen.items()}

    def letter(self, number: int) -> str:
        """The panel letter of panel ``number`` (from 0), or "" without letters."""
        return "abcdefghijklmnop"[number % 16] if self.letters else ""

    def chosen(self, panels: Sequence[str]) -> list[str]:
        """The panels to draw, in the figure's order. UsageError for one that the figure does not have."""
        unknown = [panel for panel in self.panels if panel not in panels]
        if unknown:
            has = f"It has: {', '.join(panels)}." if panels else "It has one panel only: leave the choice out."
            raise UsageError(f"This figure has no panel {unknown[0]!r}. {has}")
        return [panel for panel in panels if not self.panels or panel in self.panels]


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Names to print from "SciceVPR-T=Ours; CricaVPR-T=Baseline". UsageError for anything else."""
    pairs = []
    for piece in (piece.strip() for piece in text.replace("\n", ";").split(";")):
        if not piece:
            continue
        title, equals, name = (part.strip() for part in piece.partition("="))
        if not (title and equals and name):
            raise UsageError(f"A name for a model is written MODEL=NAME, such as SciceVPR-T=Ours, not {piece!r}.")
        pairs.append((title, name))
    return tuple(pairs)


@contextmanager
def settings(style: Style) -> Iterator[None]:
    """The drawing library's settings for one figure; one thread at a time, and nothing of it stays."""
    with _LOCK, mpl.rc_context():
        mpl.rcdefaults()  # a visitor's own matplotlibrc must not change the bytes
        mpl.rcParams.update(
            {
                "font.family": [TYPEFACES[style.typeface]],
                "font.size": style.font_size,
                "text.parse_math": False,
                "pdf.fonttype": 42,
                "svg.fonttype": "path",
                "svg.hashsalt": "scicevpr",
                "axes.linewidth": 0.6,
                "axes.titlesize": style.font_size,
                "axes.labelsize": style.font_size,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": "#E2E2E2",
                "grid.linewidth": 0.5,
                "xtick.labelsize": style.small,
                "ytick.labelsize": style.small,
                "xtick.major.width": 0.6,
                "ytick.major.width": 0.6,
                "legend.fontsize": style.small,
                "legend.frameon": False,
                "lines.linewidth": 1.3,
                "lines.markersize": 3.6,
                "hatch.linewidth": 0.5,
                "image.composite_image": False,
            }
        )
        yield
