"""Maps laid over photos: what the model looks at, in colours that also work without colour vision."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from plotly.colors import sequential

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
    """Lay a map [rows, columns] over a photo that it covers as a whole.

    Args:
        low, high: ends of the colour scale (see :func:`value_range`).
        region: a box on the grid to outline. cell: a (row, column) to mark.
    """
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
