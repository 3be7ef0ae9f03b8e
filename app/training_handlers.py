"""Between the Training tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.components.pictures import escape
from app.components.training import honesty_html, scores_html, stage_html
from app.handlers import PageHandlers, toasts
from app.queries import whole_number
from app.stops import Stops
from app.training_room import Moment, TrainingRoom
from app.training_stages import STAGES, Stage, stage
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.figures.scores import epoch_curve, loss_curves
from training.live import LIVE, Loss, Score
from training.recipes import DistillRecipe

ROOT = Path(__file__).resolve().parents[1]
FIRST = STAGES[2]
MOST_EPOCHS = 20
LARGEST_WEIGHT = 10.0
TICK_S = 0.5
SKIPPED = (gr.skip(),) * 4
EAST_ONLY = "It has learnt from the photos in the {0} of {1}: only its answers to photos from the {2} mean anything."


class TrainingHandlers(PageHandlers):
    """The events of the Training tab and its API endpoint."""

    def __init__(self, room: TrainingRoom) -> None:
        super().__init__(room.services)
        self.room = room
        self.stops = Stops()
        self.choose = toasts(self._choose)
        self.train = toasts(self._train)
        self.try_it = toasts(self._try_it)
        self.api_distill_demo = toasts(self._api_distill_demo)

    # ---- the stages ---------------------------------------------------------------------------------------------

    def _choose(self, event: gr.EventData) -> tuple:
        """The stage that was clicked: values for (text, command, command at full size, source)."""
        data = event._data if isinstance(event._data, dict) else {}
        return self.stage_view(stage(str(data.get("part"))))

    def stage_view(self, chosen: Stage) -> tuple:
        """Values for (text, command, command at full size, source)."""
        path = ROOT / chosen.file
        source = path.read_text(encoding="utf-8") if path.is_file() else f"{chosen.file} is not here."
        return stage_html(chosen), chosen.command, chosen.full_size, gr.update(value=source, label=chosen.file)

    def honesty(self) -> str:
        """What the demonstration's numbers are worth, as HTML."""
        try:
            return honesty_html(self.services.dataset(None)[0], self.room.halves())
        except SciceVPRError as error:
            return f'<div class="banner banner--alarm" role="status">{escape(error)}</div>'

    # ---- the distillation ---------------------------------------------------------------------------------------

    def _train(self, gamma: Any, eta: Any, rate: Any, epochs: Any, seed: Any, request: gr.Request) -> Iterator[tuple]:
        """Distil, to the end or until stopped; yields values for (words, losses, Recall, table, key, the button that
        tries the student)."""
        recipe, key = recipe_of(gamma, eta, rate, epochs, seed), ""
        started, told, moment = time.perf_counter(), 0.0, None
        work = self.room.run(recipe)
        yield (
            "Getting ready …",
            gr.update(visible=False),
            gr.update(visible=False),
            "",
            "",
            gr.update(interactive=False),
        )
        with self.stops.running(request) as stop, closing(work):
            for moment in work:
                if stop.is_set():
                    break
                key = moment.key
                seconds = time.perf_counter() - started
                words = f"{moment.words}, {seconds:.0f} s"
                if moment.new is None or isinstance(moment.new, Loss):
                    if seconds - told < TICK_S:
                        continue
                    told = seconds
                    losses = gr.skip() if moment.new is None else shown(losses_of(moment, recipe))
                    yield words, losses, *SKIPPED
                else:
                    yield words, *self._view(moment, recipe), key, self._button(key)
        ended = f"{time.perf_counter() - started:.0f} s"
        if moment is None or not moment.losses:
            yield f"Stopped after {ended}, before the first step.", *SKIPPED, gr.skip()
            return
        done = moment.losses[-1].step
        words = f"Stopped after step {done}, {ended}." if stop.is_set() else f"Done: {done} steps in {ended}."
        yield words, *self._view(moment, recipe), key, self._button(key)

    def _view(self, moment: Moment, recipe: DistillRecipe) -> tuple:
        """Values for (losses, Recall, table)."""
        learn = len(self.room.halves().learn)
        losses = shown(losses_of(moment, recipe)) if moment.losses else gr.skip()
        recall = shown(recall_of(moment, recipe)) if moment.score("student") else gr.skip()
        return losses, recall, scores_html(moment, learn)

    def _button(self, key: str) -> dict:
        return gr.update(interactive=bool(key) and not self.room.sources.locked)

    def _try_it(self, key: Any) -> str:
        """Put the student into Find's third column; says what it can be asked."""
        state = self.room.try_student(str(key or ""))
        halves = self.room.halves()
        words = EAST_ONLY.format(halves.sides[0], self.services.dataset(None)[0], halves.sides[1])
        return f"{state.title} stands in Find's third column, until another model is put there. {words}"

    # ---- endpoint -----------------------------------------------------------------------------------------------

    def _api_distill_demo(
        self, gamma: Any = 1.0, eta: Any = 1.0, rate: Any = LIVE.lr, epochs: Any = LIVE.epochs, seed: Any = 0
    ) -> dict:
        """Distil a small student on one half of the first database and measure it on the other (about a minute).

        Args:
            gamma: Weight of the multi-similarity loss L_MS, 0 to 10.
            eta: Weight of the distance to the teacher L_D, 0 to 10.
            rate: Learning rate, above 0 and at most 0.1.
            epochs: How often every place is shown, 1 to 20.
            seed: Of first weights, batches and dropout; the same seed gives the same student.

        Returns:
            Losses of every step, and Recall@1/5/10 in %, movement and L_D of teacher and student on the held-out half.
        """
        recipe, moment = recipe_of(gamma, eta, rate, epochs, seed), Moment("")
        for moment in self.room.run(recipe):  # noqa: B007
            pass
        student = self.room.student(moment.key)
        return {
            "recipe": asdict(recipe),
            "losses": [asdict(loss) for loss in moment.losses],
            "scores": [score_record(score) for score in moment.scores],
            "weights": student.weights.sha256,
        }


def recipe_of(gamma: Any, eta: Any, rate: Any, epochs: Any, seed: Any) -> DistillRecipe:
    """The demonstration's recipe with a visitor's numbers. UsageError says what is allowed."""
    return replace(
        LIVE,
        gamma=real_number(gamma, "γ", 0.0, LARGEST_WEIGHT),
        eta=real_number(eta, "η", 0.0, LARGEST_WEIGHT),
        lr=real_number(rate, "The learning rate", 1e-6, 0.1),
        epochs=whole_number(epochs, "The number of epochs", 1, MOST_EPOCHS),
        seed=whole_number(seed, "The seed", 0, 10**6),
    )


def real_number(value: Any, what: str, low: float, high: float) -> float:
    """A number between low and high from whatever a form sent. UsageError says what is allowed."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise UsageError(f"{what} must be a number from {low:g} to {high:g}, not {repr(value)[:60]}.")
    return number


def losses_of(moment: Moment, recipe: DistillRecipe) -> go.Figure:
    """The losses so far."""
    losses = moment.losses
    parts = ([getattr(loss, name) for loss in losses] for name in ("step", "total", "l_ms", "l_d"))
    return loss_curves(*parts, f"{recipe.gamma:g}·L_MS + {recipe.eta:g}·L_D")


def recall_of(moment: Moment, recipe: DistillRecipe) -> go.Figure:
    """The student's Recall@1 so far, beside the teacher's and the page's SciceVPR's."""
    own = [score for score in moment.scores if score.who == "student"]
    level = {score.who: score.recalls[1] for score in moment.scores if score.who not in ("teacher", "student")}
    names = {"Super-CricaVPR, the teacher": moment.score("teacher").recalls[1]} | {
        f"{name}, as shipped": value for name, value in level.items()
    }
    return epoch_curve([score.epoch for score in own], [score.recalls[1] for score in own], names, recipe.epochs)


def shown(figure: go.Figure) -> dict:
    """A figure that becomes visible."""
    return gr.update(value=figure, visible=True)


def score_record(score: Score) -> dict[str, Any]:
    """A score as plain JSON values; JSON knows text keys only."""
    return asdict(score) | {"recalls": {str(n): value for n, value in score.recalls.items()}}
