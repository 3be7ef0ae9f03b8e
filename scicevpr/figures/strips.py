"""A query and its best answers side by side, as the field draws them: framed green where right, red where wrong.

A tick or a cross says the same for people who do not tell green from red. The files of all queries have the layout of
VPR-methods-evaluation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw

from scicevpr.datasets import Photo
from scicevpr.errors import ImageError, UsageError
from scicevpr.evaluation.results import Evaluation
from scicevpr.figures.inside import fitted
from scicevpr.files.photos import open_photo
from scicevpr.progress import Progress
from scicevpr.retrieval.matches import Match, Matches

TILE = 512
FRAME = 20
GAP = 20
LINE = 40
RIGHT = (0, 140, 70)
WRONG = (205, 30, 40)
PAPER = (255, 255, 255)
INK = (20, 24, 32)
GREY = (205, 208, 213)


@dataclass(frozen=True)
class Tile:
    """One photo of a strip. photo: None when it is not here (then `name` is written on grey). correct: None: no frame.

    heading stands above the photo, caption below it.
    """

    photo: Image.Image | None
    name: str
    heading: str
    caption: str = ""
    correct: bool | None = None


def draw_strip(tiles: Sequence[Tile], size: int = TILE) -> Image.Image:
    """Tiles from left to right on white paper; each photo fits into `size` x `size` pixels, shape kept."""
    bilinear = Image.Resampling.BILINEAR
    pictures = [
        _missing(tile.name, size) if tile.photo is None else fitted(tile.photo, size, bilinear) for tile in tiles
    ]
    height, step = max(picture.height for picture in pictures), size + GAP
    strip = Image.new("RGB", (len(tiles) * step + GAP, height + 2 * LINE + 2 * GAP), PAPER)
    draw, top = ImageDraw.Draw(strip), GAP + LINE
    for number, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        left = GAP + number * step
        middle = left + size // 2
        draw.text((middle, top - LINE // 2 - 4), tile.heading, fill=INK, font_size=LINE - 12, anchor="mm")
        draw.text((middle, top + height + LINE // 2 + 4), tile.caption, fill=INK, font_size=LINE - 14, anchor="mm")
        if tile.correct is not None:
            _frame(picture, tile.correct)
        strip.paste(picture, (left + (size - picture.width) // 2, top + (height - picture.height) // 2))
    return strip


def _missing(name: str, size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), GREY)
    text = "\n".join(["photo not here:", *textwrap.wrap(name, 26)[:8]])
    draw = ImageDraw.Draw(picture)
    draw.multiline_text(
        (size // 2, size // 2), text, fill=INK, font_size=max(10, size // 17), anchor="mm", align="center"
    )
    return picture


def _frame(picture: Image.Image, correct: bool) -> None:
    colour, draw = RIGHT if correct else WRONG, ImageDraw.Draw(picture)
    draw.rectangle([0, 0, picture.width - 1, picture.height - 1], outline=colour, width=FRAME)
    side = 3 * FRAME
    right, top = picture.width - 1, 0
    draw.rectangle([right - side, top, right, top + side], fill=colour)

    def stroke(*points: tuple[float, float]) -> None:  # points in the badge, 0..1
        line = [(right - side * (1 - x), top + side * y) for x, y in points]
        draw.line(line, fill=PAPER, width=FRAME // 3, joint="curve")

    if correct:
        stroke((0.22, 0.52), (0.43, 0.74), (0.78, 0.28))
    else:
        stroke((0.27, 0.27), (0.73, 0.73))
        stroke((0.73, 0.27), (0.27, 0.73))


# ---- files of all queries --------------------------------------------------------------------------------------------


def write_prediction_files(
    evaluation: Evaluation,
    folder: Path | str,
    count: int,
    *,
    only_wrong: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write `folder`/preds/NNN.jpg and NNN.txt for every query (NNN: its row) with its `count` best answers.

    only_wrong: only queries whose first answer is wrong. A photo that cannot be read becomes a grey tile. Returns how
    many queries were written. Raises UsageError when fewer answers were searched, or nobody knows what is wrong.
    """
    if not 1 <= count <= max(evaluation.ns):
        raise UsageError(
            f"{count} predictions a query cannot be saved: {max(evaluation.ns)} were searched. Choose fewer, or search "
            "further with a larger recall value."
        )
    if only_wrong and evaluation.positives is None:
        raise UsageError("Without labels nobody knows which predictions are wrong; save all of them instead.")
    target = Path(folder) / "preds"
    target.mkdir(parents=True, exist_ok=True)
    found, written, queries = evaluation.matches, 0, evaluation.dataset.queries
    first = Matches(found.indices[:, :count], found.distances[:, :count], found.similarities[:, :count])
    for row, (query, best) in enumerate(zip(queries, replace(evaluation, matches=first).list_matches(), strict=True)):
        if not (only_wrong and best and best[0].correct):
            _write_paths(target / f"{row:03d}.txt", evaluation, row, best)
            _strip(query, best).save(target / f"{row:03d}.jpg", quality=88)
            written += 1
        if progress is not None:
            progress(row + 1, len(queries))
    return written


def _write_paths(path: Path, evaluation: Evaluation, row: int, best: list[Match]) -> None:
    sections = [
        ("Query path:", [evaluation.dataset.queries[row].path]),
        ("Predictions paths:", [match.place.path for match in best]),
    ]
    if evaluation.positives is not None:
        database = evaluation.dataset.database
        sections.append(("Positives paths:", [database[right].path for right in evaluation.positives[row]]))
    text = "\n".join("\n".join([heading, *map(str, paths)]) + "\n" for heading, paths in sections)
    path.write_text(text, encoding="utf-8")


def _strip(query: Photo, best: list[Match]) -> Image.Image:
    tiles = [Tile(_picture(query), query.name, "Query", query.condition or "")]
    for match in best:
        known = [] if match.metres is None or match.place.mock_position else [f"{match.metres:.1f} m"]
        caption = ", ".join([*known, f"cosine {match.similarity:.3f}"])
        tiles.append(Tile(_picture(match.place), match.place.name, f"Pred{match.rank}", caption, match.correct))
    return draw_strip(tiles)


def _picture(photo: Photo) -> Image.Image | None:
    try:
        return open_photo(photo.path)
    except ImageError:
        return None
