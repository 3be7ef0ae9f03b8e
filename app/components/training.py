"""The Training tab as HTML: the picture of the stages, the text of one, the table of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.components.header import hint_html
from app.components.pictures import escape
from app.training_room import Moment
from app.training_stages import Stage
from training.live import Score
from training.live_data import Halves

PICTURE = Path(__file__).resolve().parents[1] / "static" / "stages.svg"
EMPTY_TABLE = (
    '<section class="protocol protocol--waiting">Press Train. Teacher, untrained and trained student will stand here '
    "side by side.</section>"
)
NOTHING = "0 (no digit changes)"
READING = (
    "Untrained, the student is not at chance: the teacher's frozen part has learnt already, and fresh layers pass on "
    "what it sees. L_D says how far the student still is from saying what its teacher says. Movement is measured from "
    "the frozen part on: company cannot move the student, and does move the teacher."
)


def picture_html() -> str:
    """The stages, each to be chosen; the student's is chosen at first."""
    return (
        f'<figure class="stages"><div class="stages__scroll" tabindex="-1">{PICTURE.read_text(encoding="utf-8")}</div>'
        '<p class="stages__said" role="status" data-said></p></figure>'
    )


def stage_html(stage: Stage) -> str:
    """What a stage does."""
    facts = (
        ("learns", stage.learns),
        ("frozen", stage.frozen),
        ("loss", stage.loss),
        ("the shipped weights", stage.shipped),
    )
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return (
        f'<section class="stages__text" aria-label="{escape(stage.title)}"><h3>{escape(stage.title)}</h3>'
        f"<p>{escape(stage.what)}</p><dl>{items}</dl></section>"
    )


def honesty_html(name: str, halves: Halves) -> str:
    """What the demonstration's numbers are worth. name: of the data set on the page."""
    west, east = halves.sides
    held_out = halves.held_out
    words = (
        f"It learns from {len(halves.learn)} photos of {len(set(halves.places.tolist()))} places in the {west} of "
        f"{name} and is measured on the {len(held_out.database)} database photos and {len(held_out.queries)} "
        f"queries in the {east}, {int(halves.gap_m)} m away or more, of which nothing is learnt. One query is "
        f"{100 / len(held_out.queries):.1f} points of Recall, so small differences are chance. The numbers are not "
        "comparable with any table of this project: the shipped weights learnt from other cities, never from this one."
    )
    return f'<div class="banner banner--quiet"><strong>A demonstration.</strong> {escape(words)}</div>'


def scores_html(moment: Moment, learn: int) -> str:
    """Teacher, untrained and trained student, and the page's SciceVPR, on the held-out half."""
    teacher, fresh = moment.score("teacher"), moment.score("student", 0)
    if teacher is None or fresh is None:
        return EMPTY_TABLE
    last = moment.score("student")
    rows = [("Teacher, 16 a batch", "other cities", teacher), ("Student, untrained", "nothing", fresh)]
    if last.epoch:
        epochs = "1 epoch" if last.epoch == 1 else f"{last.epoch} epochs"
        rows.append((f"Student after {epochs}", f"{learn} photos of this city", last))
    rows += [(f"{s.who}, as shipped", "other cities", s) for s in moment.scores if s.who not in ("teacher", "student")]
    heads = (
        ("model", ""),
        ("head learnt from", "where everything after the frozen part was trained"),
        ("R@1, %", "Recall@1 on the held-out half"),
        ("R@5, %", "Recall@5 on the held-out half"),
        ("R@10, %", "Recall@10 on the held-out half"),
        ("movement", "largest change of any value of a descriptor between alone and with 15 others"),
        ("L_D", "squared distance to the teacher's descriptor of the same query, mean over the held-out queries"),
    )
    return _table(heads, rows)


def movement_words(movement: float) -> str:
    """A movement for people: "0 (no digit changes)" or "5.6e-02"."""
    return NOTHING if movement == 0 else f"{movement:.1e}"


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str, Score]]) -> str:
    head = "".join(
        f'<th scope="col"{f""" title="{escape(words)}" """ if words else ""}>{escape(text)}</th>'
        for text, words in heads
    )
    body = ""
    for name, learnt, score in rows:
        cells = [learnt, *(f"{value:.1f}" for value in score.recalls.values()), movement_words(score.descriptor_change)]
        cells.append(f"{score.distance:.3f}")
        body += f'<tr data-model="{escape(name)}"><th scope="row">{escape(name)}</th>'
        body += "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    return (
        '<section class="protocol results" aria-label="Teacher and student"><div class="protocol__scroll" tabindex="0" '
        'role="region" aria-label="Teacher and student, can be scrolled">'
        f'<table class="listing"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
        f"{hint_html(READING)}"
    )
