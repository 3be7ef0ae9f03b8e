"""The stage of the Inside tab: where we are in the model, what is shown, and the pictures themselves."""

from __future__ import annotations

import numpy as np
from PIL import Image

from app.tabs.inside.service import Inspected
from app.ui.html import (
    VERDICTS,
    change_matrix,
    data_uri,
    described,
    escape,
    matrix_table,
    metres_words,
    scale_html,
    thumbnail,
)
from scicevpr.explanations import KINDS, STEPS, View
from scicevpr.figures.inside import fitted, marked, overlay, pyramid, value_range

PICTURE = 560
CORRESPONDING = 3
Part = tuple[int | None, int | None, int | None]
"""Layer, head and region of the attention to look at; None for the mean."""
NO_FUSION = "CricaVPR reads its last block alone: it fuses no layers and mixes no tokens, so there is nothing to see."


def step_choices(inspected: Inspected | None) -> list[tuple[str, str]]:
    """The steps of the way through the model for the stepper, with the tensors' shapes once they are known."""
    shapes = {} if inspected is None else {key: shape for key, _, shape in inspected.explanation.shapes()}
    choices = []
    for number, (key, title) in enumerate(STEPS, 1):
        shape = "×".join(map(str, shapes[key])) if key in shapes else ("skipped" if shapes else "")
        choices.append((f"{number} {title}\n{shape}".strip(), key))
    return choices


def waiting_stage_html() -> str:
    """The stage before there is a photo."""
    return (
        '<section class="stage stage--waiting">'
        "<p>Pick a photo above. You will walk it through the model: what each layer looks at, what the fusion keeps, "
        "which regions decided, and what the other photos of the batch did to it.</p></section>"
    )


def stage_html(
    inspected: Inspected, step: str, view: View | None, cell: tuple[int, int], attention: Part = (None, None, None)
) -> str:
    """Everything about one picture: sentence, formula, tensors, the pictures of the photo and of its match."""
    if view is None:
        return f'<section class="stage" data-step="{escape(step)}"><p>{escape(NO_FUSION)}</p></section>'
    kind = KINDS[view.kind]
    title = kind.title if view.label.lower() in kind.title.lower() else f"{kind.title}: {view.label}"
    tensors = "".join(
        f"<li>{escape(what)}: <code>{escape('×'.join(map(str, shape)))}</code></li>"
        for key, what, shape in inspected.explanation.shapes()
        if key == step
    )
    return (
        f'<section class="stage" data-step="{escape(step)}" data-view="{escape(view.key)}">'
        f'<header class="stage__head"><h3>{escape(title)}</h3><p>{escape(kind.sentence)}</p>'
        f'<details><summary>Formula and tensors</summary><p class="formula">{escape(kind.formula)}</p>'
        f"<ul>{tensors}</ul></details></header>{_pictures(inspected, view, cell, attention)}</section>"
    )


def _pictures(inspected: Inspected, view: View, cell: tuple[int, int], attention: Part) -> str:
    explanation, match = inspected.explanation, inspected.match
    grid, boxes = explanation.trace.grid, explanation.trace.boxes
    mine, other = _captions(inspected)
    if view.kind == "photo":
        both = [marked(fitted(e.photos[0], PICTURE), grid, lines=True) for e in (explanation, match)]
        return _pair(_figure(both[0], mine), _figure(both[1], other))
    if view.kind in ("terms", "difference"):
        decision = inspected.decision
        if view.kind == "difference" and decision is None:
            return '<p class="stage__numbers">There is only one match, so there is nothing to take it from.</p>'
        values, framed, words = inspected.terms, int(inspected.terms.argmax()), _sum_words(inspected)
        if view.kind == "difference" and decision is not None:
            values, framed, words = decision.differences, decision.region, lead_words(inspected)
        low, high = value_range(values[None])
        sheets = [pyramid(e.photos[0], values, boxes, low, high, framed) for e in (explanation, match)]
        rows = "".join(_row_of(levels, caption) for levels, caption in zip(sheets, (mine, other), strict=True))
        scale = scale_html(low, high)
        return f'<p class="stage__numbers">{escape(words)}</p><div class="stage__stack">{rows}</div>{scale}'
    if view.kind == "patches":
        return _patches(inspected, cell)
    if view.kind in ("cross-image", "rewriting"):
        return _batch(inspected, view, attention)
    if view.kind == "encoder":
        return (
            '<p class="stage__numbers">In this model no region vector sees another: each is a sequence of length 1 and '
            "its attention weight is 1. That is why its answer cannot depend on the batch.</p>"
        )
    maps = [explanation.heat_map(view.key, cell=cell), match.heat_map(view.key, cell=cell)]
    alone = view.kind == "influence"
    low, high = value_range(*(m.values for m in maps), without=cell if alone else None)
    region = None if maps[0].region is None else boxes[maps[0].region]
    drawn = [
        overlay(e.photos[0], m.values, low, high, region=region, cell=m.cell)
        for e, m in zip((explanation, match), maps, strict=True)
    ]
    figures = [
        _figure(picture, caption, m.values, pick=view.needs_cell, cell=cell)
        for picture, caption, m in zip(drawn, (mine, other), maps, strict=True)
    ]
    words = influence_words(maps[0].values, cell) if alone else ""
    return f"{words}{_pair(*figures)}{scale_html(low, high)}"


def _sum_words(inspected: Inspected) -> str:
    """That the terms add up, which is largest, and where the lead over the best other match comes from."""
    terms, hit = inspected.terms, inspected.hit
    largest = int(terms.argmax())
    return (
        f"The 14 terms add up to {terms.sum():.5f}; the similarity shown is {hit.similarity:.5f}. The largest term "
        f"(framed) is that of “{inspected.region_names[largest]}” ({terms[largest]:.4f}). {lead_words(inspected)}"
    ).strip()


def lead_words(inspected: Inspected) -> str:
    """By how much the chosen match leads the best other one, or lies behind it, and which region says so most."""
    decision, rival = inspected.decision, inspected.rival
    if decision is None or rival is None:
        return ""
    name, part = inspected.region_names[decision.region], decision.differences[decision.region]
    leads = decision.gap >= 0
    place = f"{'leads' if leads else 'lies behind'} rank {rival.rank} by {abs(decision.gap):.4f}"
    return (
        f"Rank {inspected.rank} {place}. The region “{name}” speaks most for it ({part:+.4f}); the other 13 add up to "
        f"{decision.gap - part:+.4f}."
    )


def influence_words(values: np.ndarray, cell: tuple[int, int]) -> str:
    """What the numbers of the influence mean, in one sentence with this picture's own."""
    others = values.copy()
    others[cell] = -np.inf
    row, column = map(int, np.unravel_index(int(others.argmax()), others.shape))
    return (
        '<p class="stage__numbers">'
        f"Besides itself, the marked cell listens most to row {row + 1}, column {column + 1}: a small change there "
        f"comes out {values[row, column]:.3g} times as large here. All numbers are such factors, change out per change "
        "in.</p>"
    )


def _captions(inspected: Inspected) -> tuple[str, str]:
    about = described(inspected.photo)
    hit = inspected.hit
    words = [
        f"match, rank {hit.rank}", f"similarity {hit.similarity:.3f}", metres_words(hit.metres),
        "" if hit.right is None else VERDICTS[hit.right],
        described(hit.photo),
    ]  # fmt: skip
    return "your photo" + (f" · {about}" if about else ""), " · ".join(word for word in words if word)


def _pair(left: str, right: str) -> str:
    return f'<div class="stage__pair">{left}{right}</div>'


def _figure(
    picture: Image.Image, caption: str, values: np.ndarray | None = None, *, pick: bool = False,
    cell: tuple[int, int] | None = None,
) -> str:  # fmt: skip
    """A picture; with values it answers the mouse, with ``pick`` also clicks and arrow keys (see stage.js)."""
    image = f'<img src="{data_uri(picture.convert("RGB"), 1000)}" alt="{escape(caption)}" draggable="false">'
    data = ""
    if values is not None:
        rows, columns = values.shape
        numbers = ",".join(f"{v:.4g}" for v in values.ravel())
        data = f' data-rows="{rows}" data-columns="{columns}" data-values="{numbers}"'
    if pick and cell is not None:
        data += (
            f' data-pick="1" data-row="{cell[0]}" data-column="{cell[1]}" tabindex="0" role="application" '
            f'aria-label="{escape(caption)}: click a cell, or move the mark with the arrow keys"'
        )
    readout = '<output class="map__value" aria-live="off"></output>' if values is not None else ""
    return (
        f'<figure class="map"><div class="map__picture"{data}>{image}{readout}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _row_of(levels: list[Image.Image], caption: str) -> str:
    """The three levels of a pyramid side by side."""
    images = "".join(
        f'<img src="{data_uri(picture, 360)}" alt="{escape(f"{caption}, level {level}")}" draggable="false">'
        for level, picture in enumerate(levels, 1)
    )
    return f'<figure class="map"><div class="levels">{images}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _patches(inspected: Inspected, cell: tuple[int, int]) -> str:
    found = inspected.explanation.correspondence(inspected.match)
    mine, other = _captions(inspected)
    grid = found.grid
    row = cell[0] * grid[1] + cell[1]
    similarities = found.similarity[row].reshape(grid)
    best = found.best_of(*cell, CORRESPONDING)
    low, high = float(similarities.min()), float(similarities.max())
    left = marked(fitted(inspected.explanation.photos[0], PICTURE), grid, cell=cell, lines=True)
    right = overlay(inspected.match.photos[0], similarities, low, max(high, low + 1e-9))
    for r, c, _ in reversed(best):
        right = marked(right, grid, cell=(r, c))
    words = ", ".join(f"row {r + 1} column {c + 1} ({value:.3f})" for r, c, value in best)
    mutual = "and that patch names yours in return" if found.mutual[row] else "but that patch looks more like another"
    both = f"{found.mutual.sum()} of {len(found.mutual)} patches agree both ways"
    text = f"Nearest patches of the match: {words}; {mutual}. {both}."
    nearest = found.similarity.max(axis=1).reshape(grid)  # under the mouse: how well each patch finds a partner
    pair = _pair(
        _figure(left, mine + " · click a patch", nearest, pick=True, cell=cell), _figure(right, other, similarities)
    )
    return f'{pair}{scale_html(low, high)}<p class="stage__numbers">{escape(text)}</p>'


def _batch(inspected: Inspected, view: View, chosen: Part) -> str:
    explanation = inspected.explanation
    pictures = [data_uri(explanation.photos[0], 120), *(thumbnail(mate.path, 120) for mate in inspected.batch_mates)]
    names = ["your photo", *(f"photo {i}" for i in range(1, len(pictures)))]
    if view.kind == "cross-image":
        values = explanation.attention(*chosen)
        even = 1 / len(names)
        table = matrix_table(values, pictures, names, pictures, names, "attention", around=even)
        text = "Rows read, columns are read."
        if len(names) > 1:
            other = int(values[0, 1:].argmax()) + 1
            text += (
                f" Without any preference each photo would read 1/{len(names)} = {even:.3f} from every photo: orange "
                f"is more than that, blue less. Your photo reads {values[0, 0]:.3f} from itself, and of the others "
                f"most from {names[other]} ({values[0, other]:.3f}). Attention says where a photo looks, not how far "
                "it is moved: for that see “who rewrote which region”."
            )
    else:
        table, text = change_matrix(explanation.rewriting(), pictures, inspected.region_names)
    return f'<div class="matrix__scroll batch">{table}</div><p class="stage__numbers">{escape(text)}</p>'
