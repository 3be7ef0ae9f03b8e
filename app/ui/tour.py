"""The guided tour: its steps as data, the invitation to it, and buttons that do a visitor's clicks.

The browser's side is tour.js. Nothing starts by itself, and nothing is blocked while the tour is open.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from app.ui.html import escape

EXAMPLE = 2
"""Number of the example, from 1. In the bundled city CricaVPR-T finds its place alone, and no longer with seven other
photos in its batch, while SciceVPR-T finds it always; both are tested with the bundled weights."""

Move = tuple[str, ...]
"""What to do for the visitor: ("tab", name), ("click", selector), ("wait", selector), or ("pick", there, selector): a
click unless something matches `there`."""
PICKED = f".gallery-item:is(:nth-child({EXAMPLE}), :last-child) button"


@dataclass(frozen=True)
class Step:
    """One step. tab: where it plays. look_at: what to outline and bring into view. moves: what the button `offer` does.

    done: a selector that matches once the step's result is there; until then `before` is said instead of the text,
    where the text speaks of the result. read: sentences of the page (name, selector) that are repeated in the panel
    then; an empty name stands for none. follow: a sentence that tells how far the work is.
    """

    title: str
    text: str
    look_at: str
    tab: str = "Find"
    offer: str = ""
    moves: tuple[Move, ...] = ()
    done: str = ""
    read: tuple[tuple[str, str], ...] = ()
    follow: str = ""
    before: str = ""


VERDICTS = (("SciceVPR", "#answer-stable p.verdict"), ("CricaVPR", "#answer-baseline p.verdict"))
REACTIONS = (("SciceVPR", "#stability-stable p.verdict"), ("CricaVPR", "#stability-baseline p.verdict"))
STEPS = (
    Step(
        "Find a place",
        "Pick a photo: two models search the city for the same place. Any example will do, or one of your own.",
        "#examples",
        offer="Pick one for me",
        moves=(("click", f"#examples {PICKED}"),),
        done="#answer-baseline .card[data-verdict]",
    ),
    Step(
        "Two answers, side by side",
        "Each column shows the most similar database photos, best first. A green frame with ✓ shows the place of your "
        "photo, a red dashed one with ✕ another place.",
        "#answers",
        done="#answer-baseline .card[data-verdict]",
        read=VERDICTS,
        before="Here both models' answers will stand side by side. There is no photo yet: go back a step and pick one.",
    ),
    Step(
        "See why",
        "The Inside tab takes the same photo through a model. Its last step splits the similarity into 14 regions: "
        "which part of the view decided?",
        "#stage",
        tab="Inside",
        offer="Show me why",
        moves=(
            ("pick", "#inside-photo img", f"#inside-examples {PICKED}"),
            ("wait", "#stage [data-view]"),
            ("click", "#stepper input[value=descriptor]"),
        ),
        done="#stage [data-view=terms]",
        read=(("", "#stage .stage__numbers"),),
    ),
    Step(
        "Break the baseline",
        "CricaVPR describes photos in batches. Put seven other photos beside yours, in the orange frame, and its "
        "description of your photo changes; often its answer too.",
        "#strip",
        offer="Add seven photos",
        moves=(
            ("pick", "#photo img", f"#examples {PICKED}"),
            ("wait", "#answer-baseline .card[data-verdict]"),
            ("click", "#batch-mates input[value='7']"),
        ),
        done="#strip .tile:nth-child(8)",
        read=VERDICTS,
    ),
    Step(
        "Break it on purpose",
        "The Stability tab searches the whole query list for the batch that changes CricaVPR's answer most. That "
        "can take a minute.",
        "#tray",
        tab="Stability",
        offer="Make CricaVPR fail",
        moves=(
            ("pick", "#stability-photo img", f"#stability-examples {PICKED}"),
            ("wait", "#stability-baseline .reaction"),
            ("click", "#stability-worst"),
        ),
        done="#stability-words strong",
        follow="#stability-words",
    ),
    Step(
        "SciceVPR holds",
        "The same batch beside both models. SciceVPR's answer cannot change: it describes every photo alone, and has "
        "learned from a teacher that compares photos.",
        "#stability-answers",
        tab="Stability",
        done="#stability-baseline .reaction:not([data-flip=alone])",
        read=REACTIONS,
        before="Here both models' answers alone and in the batch will stand. The batch is still empty: go back a step, "
        "or wait until the search is done.",
    ),
    Step(
        "Three things to try",
        "1. A photo of your own in Find: its GPS is read, and matches open beside it.\n"
        "2. Your own street in My places: a dozen photos become a database that only you can search.\n"
        "3. A figure for your paper in Figures. And this tab explains every part and every word.",
        "#learn-figure",
        tab="How it works",
    ),
)


def tour_html() -> str:
    """The invitation (hidden once the visitor has seen it) and the closed panel of the tour."""
    steps = escape(json.dumps([asdict(step) for step in STEPS], ensure_ascii=False))
    return (
        '<aside class="invitation" aria-label="Guided tour"><p><strong>New here?</strong> A tour of two minutes: find '
        "a place, see why, break the baseline, see SciceVPR hold.</p>"
        '<button type="button" class="tour__button tour__button--main" data-tour-start>Take the tour</button>'
        '<button type="button" class="tour__button" data-tour-dismiss>No, thanks</button></aside>'
        f'<section class="tour" data-steps="{steps}" aria-label="Guided tour" hidden>'
        '<header><p class="tour__count"></p>'
        '<button type="button" class="tour__close" data-tour-close aria-label="Close the tour">✕</button></header>'
        '<h2 class="tour__title" tabindex="-1"></h2><p class="tour__words"></p>'
        '<div class="tour__told" role="status"></div>'
        '<footer><button type="button" class="tour__button" data-tour-back>Back</button>'
        '<button type="button" class="tour__button" data-tour-do></button>'
        '<button type="button" class="tour__button" data-tour-next>Next</button></footer></section>'
    )


def start_html() -> str:
    """The button for the head of the page that starts the tour (again)."""
    return '<button type="button" class="masthead__tour" data-tour-start>Tour</button>'


def go_html(words: str, moves: Sequence[Move]) -> str:
    """A button that does clicks for the visitor: opens tabs, presses what is in them."""
    return f'<button type="button" class="go" data-go="{escape(json.dumps(list(moves)))}">{escape(words)}</button>'
