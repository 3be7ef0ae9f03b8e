"""The inside of a model on screen: maps laid over photos, bars, and maps as numbers (plotly)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageDraw
from plotly.colors import sequential

from scicevpr.figures.screen import NEUTRAL, QUERY, SECOND, axis, heading, plain_layout
from scicevpr.models.regions import Region

LONGEST = 560
OPACITY = 0.62
MARK = (255, 255, 255)
EDGE = (16, 24, 36)


@lru_cache(maxsize=1)
def _scale() -> np.ndarray:
    """256 colours from dark to bright, [256, 3]: lightness grows evenly, so that it reads in grey too."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in sequential.Inferno], dtype=float)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(np.linspace(0, 1, 256), at, stops[:, i]) for i in range(3)], axis=1)


def value_range(*maps: np.ndarray, without: tuple[int, int] | None = None) -> tuple[float, float]:
    """Lowest and highest value for one colour scale over several maps; ``without`` leaves a cell of the first out.

    (The influence of a cell on itself is so large that nothing else would show.)
    """
    kept = [np.asarray(m, dtype=float).copy() for m in maps]
    if without is not None:
        kept[0][without] = np.nan
    low, high = min(float(np.nanmin(m)) for m in kept), max(float(np.nanmax(m)) for m in kept)
    return low, high if high > low else low + 1e-12


def colours(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values [rows, columns] to RGB [rows, columns, 3] uint8; outside low..high they take the ends' colours."""
    share = ((np.asarray(values, dtype=float) - low) / (high - low)).clip(0, 1)
    return _scale()[(share * 255).round().astype(int)].round().astype(np.uint8)


def fitted(
    photo: Image.Image, longest: int = LONGEST, filter: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """The photo at ``longest`` pixels on its longer side, larger or smaller than it was."""
    scale = longest / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.convert("RGB").resize(size, filter)


def overlay(
    photo: Image.Image,
    values: np.ndarray,
    low: float,
    high: float,
    *,
    region: Region | None = None,
    cell: tuple[int, int] | None = None,
    longest: int = LONGEST,
) -> Image.Image:
    """Lay a map [rows, columns] over a photo that it covers as a whole, on the colour scale from low to high (see
    `value_range`), with a region outlined or a cell (row, column) marked."""
    base = fitted(photo, longest)
    grey = np.asarray(base.convert("L").convert("RGB"), dtype=float)
    heat = Image.fromarray(colours(values, low, high)).resize(base.size, Image.Resampling.BICUBIC)
    strength = ((np.asarray(values, dtype=float) - low) / (high - low)).clip(0, 1)
    alpha = Image.fromarray((255 * (0.35 + 0.65 * strength)).astype(np.uint8)).resize(
        base.size, Image.Resampling.BICUBIC
    )
    weight = np.asarray(alpha, dtype=float)[..., None] / 255 * OPACITY
    mixed = Image.fromarray((grey * (1 - weight) * 0.92 + np.asarray(heat, dtype=float) * weight).astype(np.uint8))
    return marked(mixed, values.shape, region=region, cell=cell)


def marked(
    picture: Image.Image,
    grid: tuple[int, int],
    *,
    region: Region | None = None,
    cell: tuple[int, int] | None = None,
    lines: bool = False,
) -> Image.Image:
    """A copy of a picture that covers a token grid, with a region outlined, a cell marked or the grid drawn in."""
    picture = picture.copy()
    draw, rows, columns = ImageDraw.Draw(picture, "RGBA"), grid[0], grid[1]
    across, down = picture.width / columns, picture.height / rows
    if lines:
        for column in range(1, columns):
            draw.line([(column * across, 0), (column * across, picture.height)], fill=(255, 255, 255, 70))
        for row in range(1, rows):
            draw.line([(0, row * down), (picture.width, row * down)], fill=(255, 255, 255, 70))
    if region is not None:
        box = [region.left * across, region.top * down, region.right * across - 1, region.bottom * down - 1]
        _frame(draw, box, 3)
    if cell is not None:
        row, column = cell
        _frame(draw, [column * across, row * down, (column + 1) * across, (row + 1) * down], 2)
    return picture


def pyramid(
    photo: Image.Image,
    terms: np.ndarray,
    regions: tuple[Region, ...],
    low: float,
    high: float,
    framed: int | None = None,
) -> list[Image.Image]:
    """The 14 region terms on a photo: one picture a level, each box tinted by its term and labelled with it; the region
    ``framed`` has a thick frame."""
    pictures, rows, columns = [], max(r.bottom for r in regions), max(r.right for r in regions)
    for level in (1, 2, 3):
        boxes = {number: region for number, region in enumerate(regions) if region.level == level}
        values = np.zeros((rows, columns))
        for number, region in boxes.items():
            values[region.top : region.bottom, region.left : region.right] = terms[number]
        base = fitted(photo, 360)
        grey = np.asarray(base.convert("L").convert("RGB"), dtype=float)
        heat = Image.fromarray(colours(values, low, high)).resize(base.size, Image.Resampling.NEAREST)
        picture = Image.fromarray((grey * 0.5 + np.asarray(heat, dtype=float) * 0.5).astype(np.uint8))
        draw, across, down = ImageDraw.Draw(picture), base.width / columns, base.height / rows
        for number, region in boxes.items():
            box = [region.left * across, region.top * down, region.right * across - 1, region.bottom * down - 1]
            draw.rectangle(box, outline=MARK)
            if number == framed:
                _frame(draw, [box[0] + 3, box[1] + 3, box[2] - 3, box[3] - 3], 4)
            centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            rim = {"stroke_width": 3, "stroke_fill": EDGE}
            draw.text(centre, f"{terms[number]:.3f}", anchor="mm", fill=MARK, font_size=19, **rim)
        pictures.append(picture)
    return pictures


def _frame(draw: ImageDraw.ImageDraw, box: list[float], width: int) -> None:
    """A white frame with a dark rim, visible on bright and dark photos."""
    draw.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline=EDGE, width=width + 2)
    draw.rectangle(box, outline=MARK, width=width)


# ---- bars and numbers ------------------------------------------------------------------------------------------------


def share_bars(labels: Sequence[str], series: dict[str, Sequence[float]], title: str) -> go.Figure:
    """Horizontal bars of shares in percent, one colour a series."""
    figure = go.Figure(layout=plain_layout(300, title=heading(title), barmode="group"))
    for (name, values), colour in zip(series.items(), (QUERY, NEUTRAL), strict=False):
        percent = [100 * float(v) for v in values]
        figure.add_bar(
            y=list(labels),
            x=percent,
            orientation="h",
            name=name,
            marker={"color": colour},
            text=[f"{p:.0f} %" if p >= 1 else f"{p:.2g} %" for p in percent],
            textposition="auto",
            hovertemplate="%{y}: %{x:.3g} %<extra></extra>",
        )
    figure.update_layout(xaxis=axis("percent"), yaxis=axis(autorange="reversed"), showlegend=len(series) > 1)
    return figure


def value_grid(values: np.ndarray, title: str, cell: tuple[int, int] | None = None) -> go.Figure:
    """A map [rows, columns] as numbers under the mouse."""
    figure = go.Figure(layout=plain_layout(360, title=heading(title)))
    figure.add_heatmap(
        z=np.asarray(values, dtype=float).tolist(),
        colorscale="Inferno",
        colorbar={"thickness": 12, "outlinewidth": 0},
        hovertemplate="row %{y}, column %{x}: %{z:.4g}<extra></extra>",
    )
    if cell is not None:
        figure.add_scatter(
            x=[cell[1]],
            y=[cell[0]],
            mode="markers",
            hoverinfo="skip",
            showlegend=False,
            marker={"symbol": "square-open", "size": 16, "color": "white", "line": {"width": 2}},
        )
    figure.update_layout(
        xaxis=axis("column", showgrid=False, constrain="domain", range=[-0.5, values.shape[1] - 0.5]),
        yaxis=axis("row", showgrid=False, scaleanchor="x", constrain="domain", range=[values.shape[0] - 0.5, -0.5]),
    )
    return figure


def turning_bars(cosines: np.ndarray, regions: Sequence[str]) -> go.Figure:
    """Cosine of each region vector before and after the encoder."""
    title = "Cosine before and after the encoder, region by region"
    figure = go.Figure(layout=plain_layout(360, title=heading(title)))
    figure.add_bar(
        y=list(regions),
        x=np.asarray(cosines, dtype=float).tolist(),
        orientation="h",
        marker={"color": QUERY},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.update_layout(xaxis=axis("cosine"), yaxis=axis(autorange="reversed"))
    return figure


def term_bars(
    first: np.ndarray, second: np.ndarray | None, regions: Sequence[str], names: Sequence[str], decided: int | None
) -> go.Figure:
    """The 14 terms of one or two candidates; the region that decided between them is named in the title."""
    title = "Similarity = sum of 14 region terms"
    if decided is not None:
        title += f"<br>“{regions[decided]}” speaks most for {names[0]}"
    figure = go.Figure(layout=plain_layout(430, title=heading(title), barmode="group"))
    for values, name, colour in zip((first, second), names, (QUERY, SECOND), strict=False):
        if values is not None:
            figure.add_bar(
                y=list(regions),
                x=np.asarray(values, dtype=float).tolist(),
                orientation="h",
                name=name,
                marker={"color": colour},
                hovertemplate="%{y}: %{x:.4f}<extra>" + name + "</extra>",
            )
    if decided is not None:
        figure.add_shape(
            type="rect",
            xref="paper",
            x0=0,
            x1=1,
            y0=decided - 0.5,
            y1=decided + 0.5,
            line={"width": 0},
            fillcolor="rgba(128, 128, 128, 0.16)",
            layer="below",
        )
    figure.update_layout(xaxis=axis("part of the similarity"), yaxis=axis(autorange="reversed"))
    return figure
