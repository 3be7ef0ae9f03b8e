"""The Training tab as HTML: the picture of the stages, the text of one, the table of a run."""

from __future__ import annotations

from pathlib import Path

from app.tabs.training.service import Progress
from app.tabs.training.stages import Stage
from app.ui.html import banner_html, counted, escape, hint_html, row_html, table_html, waiting_panel
from training.live_data import Halves

PICTURE = Path(__file__).with_name("stages.svg")
EMPTY_TABLE = waiting_panel("Press Train. Teacher, untrained and trained student will stand here side by side.")
HEADS = (
    ("model", ""),
    ("head learnt from", "where everything after the frozen part was trained"),
    ("R@1, %", "Recall@1 on the held-out half"),
    ("R@5, %", "Recall@5 on the held-out half"),
    ("R@10, %", "Recall@10 on the held-out half"),
    ("descriptor change", "largest change of any value of a descriptor between alone and with 15 others"),
    ("L_D", "squared distance to the teacher's descriptor of the same query, mean over the held-out queries"),
)
NOTHING = "0 (no digit changes)"
EXPLANATION = (
    "Untrained, the student is not at chance: the teacher's frozen part has learnt already, and fresh layers pass on "
    "what it sees. L_D says how far the student still is from saying what its teacher says. The descriptor change is "
    "measured from the frozen part on: other photos in the batch cannot change the student's, and do change the "
    "teacher's."
)


def picture_html() -> str:
    """The stages, each to be chosen; the student's is chosen at first."""
    return (
        f'<figure class="stages"><div class="stages__scroll" tabindex="-1">{PICTURE.read_text(encoding="utf-8")}</div>'
        '<p class="stages__said" role="status" data-said></p></figure>'
    )


def stage_html(stage: Stage) -> str:
    """What a stage does."""
    entries = (
        ("learns", stage.learns),
        ("frozen", stage.frozen),
        ("loss", stage.loss),
        ("the shipped weights", stage.shipped),
    )
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries)
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
    return banner_html("quiet", "A demonstration.", words)


def scores_html(progress: Progress, learn: int) -> str:
    """Teacher, untrained and trained student, and the page's SciceVPR, on the held-out half."""
    teacher, fresh = progress.score("teacher"), progress.score("student", 0)
    last = progress.score("student")
    if teacher is None or fresh is None or last is None:
        return EMPTY_TABLE
    scores = [("Teacher, 16 a batch", "other cities", teacher), ("Student, untrained", "nothing", fresh)]
    if last.epoch:
        scores.append((f"Student after {counted(last.epoch, 'epoch')}", f"{learn} photos of this city", last))
    scores += [
        (f"{score.who}, as shipped", "other cities", score)
        for score in progress.scores
        if score.who not in ("teacher", "student")
    ]
    rows = []
    for name, learnt, score in scores:
        recalls = (f"{value:.1f}" for value in score.recalls.values())
        change = NOTHING if score.descriptor_change == 0 else f"{score.descriptor_change:.1e}"
        rows.append(row_html(name, (learnt, *recalls, change, f"{score.distance:.3f}"), data_model=name))
    return table_html("Teacher and student", HEADS, rows, "panel--numbers") + hint_html(EXPLANATION)
