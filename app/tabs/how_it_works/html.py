"""The How it works tab as HTML: figure, explanation of a part, the three families, glossary, lessons and papers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from app.tabs.how_it_works.architecture import ABSENT, FAMILIES, LESSONS, OWN_BACKBONE, PAPERS, PARTS, family_rows
from app.tabs.how_it_works.service import Code, Explained, Shape, Walk
from app.ui.glossary import TERMS, Term, terms_in
from app.ui.html import Markup, counted, escape, hint_html, row_html, step_html, table_html
from app.ui.tour import go_html

FIGURE = Path(__file__).with_name("architecture.svg")
DIFFERENT = '<span class="families__sign" title="otherwise than the family before it">≠</span> '
ARXIV = "https://arxiv.org/abs/"
NOTES = {
    "photo": {},
    "backbone": {"": "last four blocks", "cricavpr": "adapters, last block"},
    "fusion": {"": "four maps into one", "cricavpr": "not in CricaVPR"},
    "mixers": {"": "positions help each other", "cricavpr": "not in CricaVPR"},
    "regions": {"": "1 + 4 + 9 cells", "cricavpr": "class token + 13 cells"},
    "encoder": {"": "photos read each other", "scicevpr": "every photo alone"},
    "descriptor": {"": "14 vectors in a row"},
    "search": {"": "the nearest answer"},
}


def shape_words(shape: Shape | None) -> str:
    """A shape as "4×14×192"; a dash for none."""
    return "—" if shape is None else "×".join(map(str, shape))


def explained_text(text: str) -> str:
    """Text in which the terms of the glossary carry their meaning as a tooltip and lead to their entry."""
    pieces, last = [], 0
    for start, end, term in terms_in(text):
        pieces.append(escape(text[last:start]))
        pieces.append(
            f'<a class="term" href="#{term.anchor}" title="{escape(term.meaning)}">{escape(text[start:end])}</a>'
        )
        last = end
    return "".join([*pieces, escape(text[last:])])


def figure_html(walked: Walk, chosen: str) -> str:
    """The figure for a model: which parts it has, and the shape of what leaves each. chosen: key of the marked part."""
    variant = walked.variant
    svg = FIGURE.read_text(encoding="utf-8")
    for part in PARTS:
        notes = NOTES[part.key]
        svg = svg.replace(f"@{part.key}@", shape_words(walked.output(part.key)))
        svg = svg.replace(f"@{part.key}-note@", escape(notes.get(variant.family, notes.get("", ""))))
    svg = svg.replace(
        f'data-part="{chosen}" role="button" tabindex="0" aria-pressed="false"',
        f'data-part="{chosen}" role="button" tabindex="0" aria-pressed="true"',
    )
    kind = "cross" if variant.cross_image else "self"
    fused = "last" if variant.class_token else "fused"
    caption = (
        f"{variant.title}, drawn with three photos side by side; the shapes are those of a batch of "
        f"{counted(walked.photos, 'photo')}. "
        + (f"It has learned {walked.total:,} numbers. " if walked.total else "")
        + "Orange: photos meet. Violet: what is special about this family."
    )
    return (
        f'<figure class="arch arch--{kind} arch--{fused}" data-variant="{escape(variant.name)}">'
        f'<div class="arch__scroll">{svg}</div><figcaption>{escape(caption)}</figcaption>'
        '<p class="visually-hidden-text" data-said aria-live="polite"></p></figure>'
    )


def part_html(walked: Walk, explained: Explained) -> str:
    """What a part does, how, with which tensors, and in which file."""
    part, variant = explained.part, walked.variant
    number = [other.key for other in PARTS].index(part.key) + 1
    families = "".join(
        f'<li class="{"part__mine" if family == variant.family else ""}"><strong>{escape(title)}</strong> '
        f"{escape(part.differs[family])}</li>"
        for family, title in FAMILIES.items()
        if part.differs
    )
    differs = f'<ul class="part__families" aria-label="In the three families">{families}</ul>' if families else ""
    look = ""
    if explained.present and part.step:
        moves = [("tab", "Inside"), ("click", f"#stepper input[value={part.step}]")]
        look = go_html("See it on a photo (Inside)", moves)
    if explained.present:
        body = f'<p class="part__what">{explained_text(explained.what)}</p>'
        if part.key == "backbone" and variant.size == "T":
            body += f'<p class="part__what">{explained_text(OWN_BACKBONE)}</p>'
        body += f'<p class="formula">{escape(explained.formula)}</p>{differs}{_tensors(explained)}'
        body += "".join(_code(code) for code in explained.code)
    else:
        body = f'<p class="part__what">{explained_text(ABSENT)}</p>{differs}'
    return (
        f'<section class="part" data-shown="{escape(part.key)}" aria-label="{escape(part.title)}">'
        f'<header class="part__head"><h3>{number} {escape(part.title)} <small>in {escape(variant.title)}</small></h3>'
        f"{look}</header>{body}</section>"
    )


def _tensors(explained: Explained) -> str:
    if not explained.tensors:
        return '<p class="part__what hint">The shapes are being worked out.</p>'
    shapes = ((what, f"<td><code>{escape(shape_words(shape))}</code></td>") for what, shape in explained.tensors)
    rows = [row_html(what, [Markup(cell)]) for what, cell in shapes]
    rows.append(row_html("learned numbers in this part", [f"{explained.learned:,}" if explained.learned else "none"]))
    return table_html("Tensors", (), rows, "part__tensors")


def _code(code: Code) -> str:
    place = f"{code.path}:{code.line}"
    return (
        f'<details class="part__code"><summary><code>{escape(code.name)}</code> in '
        f"{file_link(code.path, place)}</summary>"
        f'<pre tabindex="0" aria-label="Source of {escape(code.name)}"><code>{escape(code.text)}</code></pre></details>'
    )


def file_link(path: str, words: str = "") -> str:
    """A file of the project: on a Space a link to it, elsewhere its path."""
    space, words = os.environ.get("SPACE_ID"), words or path
    if not space:
        return f"<code>{escape(words)}</code>"
    target = f"https://huggingface.co/spaces/{space}/blob/main/{path}"
    return f'<a href="{escape(target)}" target="_blank" rel="noopener">{escape(words)}</a>'


def families_html(size: str, family: str) -> str:
    """The three families side by side; what a family does otherwise than the one before it is marked."""
    rows = []
    for label, cells in family_rows(size):
        marked = []
        for number, cell in enumerate(cells):
            sign = DIFFERENT if number > 0 and cell != cells[number - 1] else ""
            mine = ' class="families__mine"' if list(FAMILIES)[number] == family else ""
            marked.append(Markup(f"<td{mine}>{sign}{escape(cell)}</td>"))
        rows.append(row_html(label, marked))
    heads = ["", *(f"{title}-{size}" for title in FAMILIES.values())]
    note = hint_html("≠ marks what a family does otherwise than the one to its left.")
    return table_html("The three families", heads, rows, "families") + note


def glossary_html(found: Sequence[Term], asked: str = "") -> str:
    """The glossary, or the part of it that was asked for."""
    entries = "".join(
        f'<div id="{term.anchor}"><dt>{escape(term.name)}</dt><dd>{escape(term.meaning)}</dd></div>' for term in found
    )
    words = f"{len(found)} of {len(TERMS)} terms" if asked.strip() else f"{len(TERMS)} terms"
    if not found:
        entries = "<p>No term fits. Try a part of the word, or another word for it.</p>"
    return f'<p class="hint" role="status">{words}</p><dl class="glossary">{entries}</dl>'


def more_html() -> str:
    """Lessons and papers."""
    lessons = "".join(f"<li>{file_link(f'lessons/{name}')}<br>{explained_text(words)}</li>" for name, words in LESSONS)
    papers = "".join(
        f'<li><a href="{ARXIV}{number}" target="_blank" rel="noopener">{escape(title)}</a>, arXiv&nbsp;{number}</li>'
        for title, number in PAPERS
    )
    return (
        f'<div class="more"><section>{step_html(None, "Lessons")}<p class="hint">Notebooks that run offline on the '
        f"bundled city; open them in Jupyter.</p><ul>{lessons}</ul></section>"
        f'<section>{step_html(None, "Papers")}<p class="hint">Where it all comes from.</p><ul>{papers}</ul></section>'
        "</div>"
    )
