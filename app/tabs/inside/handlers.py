"""Between the Inside tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.core.incoming import QueryPhoto
from app.core.model_slots import STABLE
from app.core.services import Services
from app.core.values import plain_text, whole_number
from app.tabs.inside.html import stage_html, step_choices, waiting_stage_html
from app.tabs.inside.service import Inspected, Inspector, chosen_view
from app.ui.events import PROGRESS, Handlers, describing_database, event_data, toasts
from scicevpr.config import REGION_COUNT
from scicevpr.explanations import View
from scicevpr.explanations.maps import class_attention
from scicevpr.figures.inside import share_bars, term_bars, turning_bars, value_grid

GRID = 16
FIRST_CELL = (8, 8)


class InsideHandlers(Handlers):
    """The events of the Inside tab and its API endpoint."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.inspector = Inspector(services)

    def waiting(self) -> tuple:
        """Values for (notice, stage, plot, step, view, cell row, attention row) while there is no photo."""
        hidden = gr.Row(visible=False)
        return (
            self.notice(),
            waiting_stage_html(),
            gr.Plot(visible=False),
            gr.Radio(choices=step_choices(None)),
            gr.Dropdown(visible=False),  # its value stays: a link brings it before the photo
            hidden,
            hidden,
        )

    @toasts
    def show(
        self, photo: Any, database: Any, role: Any, rank: Any, batch_mates: Any, step: Any, view_key: Any, row: Any,
        column: Any, layer: Any, head: Any, region: Any, progress: Any = PROGRESS,
    ) -> tuple:  # fmt: skip
        """What the form asks for: values for (notice, stage, plot, step, view, cell row, attention row)."""
        if not photo:
            return self.waiting()
        step = plain_text(step, "The step")
        query, dataset = self.photo(photo), self.services.dataset(database)[1]
        others = self.fitting_batch(batch_mates, database, query.name)
        rank = min(rank, len(dataset.database)) if isinstance(rank, int) else rank
        inspected = self._inspect(query, database, role, rank, others, progress)
        view = chosen_view(inspected, step, view_key)
        cell = (
            whole_number(row, "The cell's row", 1, GRID) - 1,
            whole_number(column, "The cell's column", 1, GRID) - 1,
        )
        attention = tuple(_part(value, what) for value, what in ((layer, "layer"), (head, "head"), (region, "region")))
        figure = None if view is None else plot_of(inspected, view, cell)
        choices = [(v.label, v.key) for v in inspected.views(step)]
        return (
            self.notice(),
            stage_html(inspected, step, view, cell, attention),
            gr.Plot(value=figure, visible=figure is not None),
            gr.Radio(choices=step_choices(inspected)),
            gr.Dropdown(choices=choices, value=view.key if view else None, visible=len(choices) > 1),
            gr.Row(visible=view is not None and view.needs_cell),
            gr.Row(visible=view is not None and view.kind == "cross-image"),
        )

    @toasts
    def picked(self, event: gr.EventData) -> tuple[int, int]:
        """The cell that was clicked on a map, counted from 1."""
        data = event_data(event)
        row = whole_number(data.get("row"), "The cell's row", 0, GRID - 1)
        return row + 1, whole_number(data.get("column"), "The cell's column", 0, GRID - 1) + 1

    @toasts
    def api_explain(
        self, image: Any = None, database: Any = None, model: Any = STABLE, match: Any = 1, batch_mates: Any = 3,
        query: Any = "",
    ) -> dict:  # fmt: skip
        """Explain why a photo matches: tensors on the way, layer shares, region terms, deciding region.

        Args:
            image: The query photo.
            database: Name of the database (see databases); left out: the first one.
            model: "stable" (SciceVPR), "teacher" (Super-CricaVPR) or "baseline" (CricaVPR).
            match: Rank of the match to compare with, 1 to 20.
            batch_mates: Other photos of the query list that share the query's batch, 0 to 31; no matter for SciceVPR.
            query: Name of a photo of the database's query list, instead of an image.

        Returns:
            Matches, tensor shapes, what each layer adds, the similarity as 14 region terms, the region that decided.
        """
        return self._inspect(self.asked_photo(image, query, database), database, model, match, batch_mates).to_json()

    def _inspect(
        self, photo: QueryPhoto, database: Any, role: Any, rank: Any, batch_mates: Any, progress: Any = None
    ) -> Inspected:
        role, told = plain_text(role, "The model"), describing_database(progress)
        return self.inspector.inspect(photo.image, photo.name, database, role, rank, batch_mates, told, photo.gps)


def _part(value: Any, what: str) -> int | None:
    """A chosen layer, head or region (counted from 0), or None for the mean over all."""
    return None if value in (None, "", "mean") else whole_number(value, f"The {what}", 0, 63)


def plot_of(inspected: Inspected, view: View, cell: tuple[int, int]) -> go.Figure | None:
    """The interactive figure beside the pictures; None where the pictures say it all."""
    explanation = inspected.explanation
    if view.kind == "attention":
        block = int(view.key.split(":")[1])
        kept = class_attention(explanation.model, explanation.trace, block)[:, 0].tolist()
        heads = [f"head {h + 1}" for h in range(len(kept))]
        return share_bars(heads, {"kept": kept}, f"Block {block + 1}: what the class token keeps to itself")
    if view.kind in ("contribution", "energy", "sum") and not explanation.model.variant.class_token:
        contribution = explanation.contribution()
        variant = explanation.model.variant
        blocks = [variant.layer_name(tap) for tap in sorted(variant.taps)]
        shares = {"share of the energy": contribution.share.tolist(), "part of the sum": contribution.aligned.tolist()}
        return share_bars(blocks, shares, "What each tapped layer adds to the fusion convolution")
    if view.kind == "influence":
        values = explanation.heat_map(view.key, cell=cell).values.copy()
        own = float(values[cell])
        values[cell] = float("nan")
        title = f"Influence of every other cell: change out per change in (on itself: {own:.3g})"
        return value_grid(values, title, cell)
    if view.kind in ("average", "pooling", "energy"):
        return value_grid(explanation.heat_map(view.key).values, "The same map as numbers")
    if view.kind == "encoder":
        return turning_bars(explanation.turning(), inspected.region_names)
    if view.kind in ("terms", "difference"):
        decision, names = inspected.decision, [f"rank {inspected.rank}"]
        if decision is None or inspected.rival is None:
            return term_bars(inspected.terms, None, inspected.region_names, names, None)
        names.append(f"rank {inspected.rival.rank}")
        return term_bars(decision.first, decision.second, inspected.region_names, names, decision.region)
    return None


ATTENTION_CHOICES = {
    "layer": [("mean of both", "mean"), ("layer 1", "0"), ("layer 2", "1")],
    "head": [("mean of all", "mean"), *((f"head {h + 1}", str(h)) for h in range(16))],
    "region": [("mean of all", "mean"), *((f"region {r + 1}", str(r)) for r in range(REGION_COUNT))],
}
