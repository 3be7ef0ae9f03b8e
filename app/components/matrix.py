"""Matrices as tables with thumbnails on their axes: who read whom, who rewrote which region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.components.pictures import escape
from scicevpr.figures.overlay import colours


def rewriting_html(moved: np.ndarray, pictures: Sequence[str | None], regions: Sequence[str]) -> tuple[str, str]:
    """Who rewrote which region, as a table, and in words.

    moved [B, 14] as :func:`scicevpr.explanations.rewriting` gives it (query first); pictures: data URIs of the batch.
    """
    rows = ["the whole company", *(f"company {i}" for i in range(1, len(moved)))]
    table = matrix_table(moved, [None, *pictures[1:]], rows, None, list(regions), "moved by")
    if len(moved) == 1:
        return table, "Alone there is no company: nothing was rewritten."
    j, r = np.unravel_index(int(moved[1:].argmax()), moved[1:].shape)
    return table, (
        f"{rows[j + 1].capitalize()} rewrites most: it moves “{regions[r]}” by {moved[j + 1, r]:.3f}. All company "
        f"together moves the descriptor, which has length 1, by {float(np.linalg.norm(moved[0])):.3f}."
    )


def matrix_table(
    values: np.ndarray,
    row_pictures: Sequence[str | None],
    rows: Sequence[str],
    column_pictures: Sequence[str | None] | None,
    columns: Sequence[str],
    what: str,
    low: float = 0.0,
    high: float = 1e-12,
) -> str:
    """A matrix as a table with thumbnails on its axes; every cell carries its number.

    Colours run from ``low`` to ``high``, or to the largest value where that is higher.
    """
    high = max(high, float(values.max()))
    tints = colours(values, low, high)

    def head(picture: str | None, name: str, scope: str) -> str:
        image = f'<img src="{picture}" alt="">' if picture else ""
        return f'<th scope="{scope}">{image}<span>{escape(name)}</span></th>'

    top = "".join(
        head(None if column_pictures is None else column_pictures[i], name, "col") for i, name in enumerate(columns)
    )
    body = ""
    for i, name in enumerate(rows):
        cells = ""
        for j, column in enumerate(columns):
            red, green, blue = (int(v) for v in tints[i, j])
            ink = "#111" if red * 0.3 + green * 0.6 + blue * 0.1 > 140 else "#fff"
            words = escape(f"{name}, {column}: {what} {values[i, j]:.4f}")
            cells += (
                f'<td style="background:rgb({red},{green},{blue});color:{ink}" title="{words}">{values[i, j]:.3f}</td>'
            )
        body += f"<tr>{head(row_pictures[i], name, 'row')}{cells}</tr>"
    return f'<table class="matrix"><thead><tr><td></td>{top}</tr></thead><tbody>{body}</tbody></table>'
