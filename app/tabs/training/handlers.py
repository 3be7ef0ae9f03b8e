"""Between the Training tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.core.values import real_number, whole_number
from app.tabs.training.html import honesty_html, scores_html, stage_html
from app.tabs.training.service import Distillations, Progress
from app.tabs.training.stages import STAGES, Stage, stage
from app.ui.events import Handlers, Stops, event_data, toasts
from app.ui.html import banner_html
from scicevpr.errors import SciceVPRError
from scicevpr.figures.scores import epoch_curve, loss_curves
from training.live import LIVE, Loss
from training.recipes import DistillRecipe

ROOT = Path(__file__).resolve().parents[3]
FIRST = STAGES[2]
MOST_EPOCHS = 20
LARGEST_WEIGHT = 10.0
TICK_S = 0.5
SKIPPED = (gr.skip(),) * 4
EAST_ONLY = "It has learnt from the photos in the {0} of {1}: only its answers to photos from the {2} mean anything."


class TrainingHandlers(Handlers):
    """The events of the Training tab and its endpoint."""

    def __init__(self, distillations: Distillations) -> None:
        super().__init__(distillations.services)
        self.distillations = distillations
        self.stops = Stops()

    # ---- the stages ---------------------------------------------------------------------------------------------

    @toasts
    def choose(self, event: gr.EventData) -> tuple:
        """The stage that was clicked: values for (text, command, command at full size, source)."""
        return self.stage_view(stage(str(event_data(event).get("part"))))

    def stage_view(self, chosen: Stage) -> tuple:
        """Values for (text, command, command at full size, source)."""
        path = ROOT / chosen.file
        source = path.read_text(encoding="utf-8") if path.is_file() else f"{chosen.file} is not here."
        return stage_html(chosen), chosen.command, chosen.full_size, gr.update(value=source, label=chosen.file)

    def honesty(self) -> str:
        """What the demonstration's numbers are worth, as HTML."""
        try:
            return honesty_html(self.services.dataset(None)[0], self.distillations.halves())
        except SciceVPRError as error:
            return banner_html("alarm", "", error)

    # ---- the distillation ---------------------------------------------------------------------------------------

    @toasts
    def train(self, gamma: Any, eta: Any, rate: Any, epochs: Any, seed: Any, request: gr.Request) -> Iterator[tuple]:
        """Distil, to the end or until stopped; yields values for (words, losses, Recall, table, key, the button that
        tries the student)."""
        recipe, key = recipe_of(gamma, eta, rate, epochs, seed), ""
        started, told, progress = time.perf_counter(), 0.0, None
        work = self.distillations.run(recipe)
        hidden = gr.update(visible=False)
        yield "Getting ready …", hidden, hidden, "", "", gr.update(interactive=False)
        with self.stops.running(request) as stop, closing(work):
            for progress in work:
                if stop.is_set():
                    break
                key = progress.key
                seconds = time.perf_counter() - started
                words = f"{progress.label}, {seconds:.0f} s"
                if progress.new is None or isinstance(progress.new, Loss):
                    if seconds - told < TICK_S:
                        continue
                    told = seconds
                    losses = gr.skip() if progress.new is None else shown(losses_of(progress, recipe))
                    yield words, losses, *SKIPPED
                else:
                    yield words, *self._view(progress, recipe), key, self._button(key)
        ended = f"{time.perf_counter() - started:.0f} s"
        if progress is None or not progress.losses:
            yield f"Stopped after {ended}, before the first step.", *SKIPPED, gr.skip()
            return
        done = progress.losses[-1].step
        words = f"Stopped after step {done}, {ended}." if stop.is_set() else f"Done: {done} steps in {ended}."
        yield words, *self._view(progress, recipe), key, self._button(key)

    def _view(self, progress: Progress, recipe: DistillRecipe) -> tuple:
        """Values for (losses, Recall, table)."""
        learn = len(self.distillations.halves().learn)
        losses = shown(losses_of(progress, recipe)) if progress.losses else gr.skip()
        recall = shown(recall_of(progress, recipe)) if progress.score("student") else gr.skip()
        return losses, recall, scores_html(progress, learn)

    def _button(self, key: str) -> dict:
        return gr.update(interactive=bool(key))

    @toasts
    def try_it(self, key: Any) -> str:
        """What the student can be asked, which stands in the third column of this visitor's Find from now on."""
        model, halves = self.distillations.student(str(key or "")), self.distillations.halves()
        words = EAST_ONLY.format(halves.sides[0], self.services.dataset(None)[0], halves.sides[1])
        return f"{model.variant.title} stands in the third column of your Find. {words}"

    @toasts
    def stop(self, request: gr.Request) -> str:
        """End a visitor's run after the step that is going on; says so at once."""
        return "Stopping …" if self.stops.stop(request) else gr.skip()

    # ---- endpoint -----------------------------------------------------------------------------------------------

    @toasts
    def api_distill_demo(
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
            Losses of every step, and Recall@1/5/10 in %, descriptor change and L_D of teacher and student on the
            held-out half.
        """
        recipe, progress = recipe_of(gamma, eta, rate, epochs, seed), Progress("")
        for progress in self.distillations.run(recipe):  # noqa: B007
            pass
        student = self.distillations.student(progress.key)
        return {
            "recipe": asdict(recipe),
            "losses": [asdict(loss) for loss in progress.losses],
            "scores": [  # JSON knows text keys only
                asdict(score) | {"recalls": {str(n): value for n, value in score.recalls.items()}}
                for score in progress.scores
            ],
            "weights": student.weights.sha256 if student.weights else None,
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


def losses_of(progress: Progress, recipe: DistillRecipe) -> go.Figure:
    """The losses so far."""
    losses = progress.losses
    steps, total, l_ms, l_d = ([getattr(loss, name) for loss in losses] for name in ("step", "total", "l_ms", "l_d"))
    return loss_curves(steps, total, l_ms, l_d, f"{recipe.gamma:g}·L_MS + {recipe.eta:g}·L_D")


def recall_of(progress: Progress, recipe: DistillRecipe) -> go.Figure:
    """The student's Recall@1 so far, beside the teacher's and the page's SciceVPR's."""
    own = {score.epoch or 0: score.recalls[1] for score in progress.scores if score.who == "student"}
    lines = {
        "Super-CricaVPR, the teacher" if score.who == "teacher" else f"{score.who}, as shipped": score.recalls[1]
        for score in sorted(progress.scores, key=lambda score: score.who != "teacher")
        if score.who != "student"
    }
    return epoch_curve(list(own), list(own.values()), lines, recipe.epochs)


def shown(figure: go.Figure) -> dict:
    """A figure that becomes visible."""
    return gr.update(value=figure, visible=True)
