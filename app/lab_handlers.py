"""Between the Stability tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from app.components.reactions import pair_figure_html, reaction_html, why_html
from app.components.tray import tray_html, waiting_tray_html
from app.handlers import PageHandlers, plain_text, toasts
from app.incoming import QueryPhoto, photo_name
from app.lab import Laboratory
from app.lab_records import Reaction, Session
from app.outgoing import ServerFile
from app.queries import whole_number
from app.services import Services
from app.stops import Stops
from scicevpr.datasets.tables import cell_text
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import SIZES
from scicevpr.figures.stability import projection, recall_curve

WAITING = (
    '<section class="answer answer--waiting"><p class="verdict verdict--waiting">Pick a query above to see what '
    "company does to this model's answer.</p></section>"
)
LARGEST_SEEDS = 20
LONGEST_COMPANY = 1_000
COLUMNS = ("model", "order", "size", "seed", "recall_1", "flips", "min_cosine", "mean_cosine", "rank_correlation")


def rows_of(text: Any) -> list[int]:
    """Companions from their text form "3,17,25". UsageError for anything else."""
    text = plain_text(text, "The company", LONGEST_COMPANY)
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not all(piece.isascii() and piece.isdigit() and len(piece) < 10 for piece in pieces):
        raise UsageError(f"The company must be numbers of photos in the query list, like 3,17,25, not {text[:60]!r}.")
    return [int(piece) for piece in pieces]


def text_of(rows: list[int]) -> str:
    """The opposite of rows_of."""
    return ",".join(map(str, rows))


class LabHandlers(PageHandlers):
    """The events of the Stability tab and its API endpoints."""

    def __init__(self, services: Services, laboratory: Laboratory) -> None:
        super().__init__(services)
        self.laboratory = laboratory
        self.stops = Stops()
        self.fresh = toasts(self._fresh)
        self.show = toasts(self._show)
        self.moved = toasts(self._moved)
        self.drawn = toasts(self._drawn)
        self.worst = toasts(self._worst)
        self.curve = toasts(self._curve)
        self.pairs = toasts(self._pairs)
        self.figure_2 = toasts(self._figure_2)
        self.api_batch_mates = toasts(self._api_batch_mates)

    def waiting(self) -> tuple:
        """Values for (notice, tray, stable, baseline, why, both planes) while there is no query."""
        hidden = gr.Plot(visible=False)
        return self.notice(), waiting_tray_html(), WAITING, WAITING, "", hidden, hidden

    def _fresh(self, photo: Any, keeper: Any) -> tuple:
        """Values for (company, words, seed, the photo the company is kept for): nothing new for the same photo."""
        name = photo_name(photo) if photo else ""
        return ("", "", 0, name) if name != keeper else (gr.skip(),) * 4

    def _show(
        self,
        photo: Any,
        database: Any,
        batch_mates: Any,
        seed: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple:
        """The tray and what both models make of it: values for (notice, tray, stable, baseline, why, both planes)."""
        if not photo:
            return self.waiting()
        session, rows = self._session(photo, database), rows_of(batch_mates)
        pool = self.laboratory.pool(session, whole_number(seed, "The draw of other photos", 0, 10**6))
        stable, baseline = self.laboratory.react(session, rows, pool, _advance(progress))
        return (
            self.notice(),
            tray_html(session, rows, pool),
            reaction_html(stable, len(rows)),
            reaction_html(baseline, len(rows)),
            why_html(baseline, [session.dataset.queries[row] for row in rows]),
            gr.Plot(value=plane_of(self.laboratory, session, stable), visible=True),
            gr.Plot(value=plane_of(self.laboratory, session, baseline), visible=True),
        )

    def _moved(self, batch_mates: Any, event: gr.EventData) -> str:
        """The company after a photo was moved in or out of the batch."""
        rows, data = rows_of(batch_mates), event._data if isinstance(event._data, dict) else {}
        row = whole_number(data.get("row"), "The photo", 0, 10**9)
        if data.get("to") == "batch":
            return text_of([*rows, row] if row not in rows else rows)
        return text_of([other for other in rows if other != row])

    def _drawn(self, photo: Any, database: Any, batch_mates: Any, seed: Any) -> tuple[str, int]:
        """A random company of the present size (at least one photo) from the photos on offer, and the next seed."""
        if not photo:
            raise UsageError("There is no query yet. Pick one first.")
        session = self._session(photo, database)
        number = whole_number(seed, "The draw of other photos", 0, 10**6)
        pool = self.laboratory.pool(session, number)
        size = min(max(1, len(rows_of(batch_mates))), len(pool))
        random = np.random.default_rng([number, 1])
        return text_of([int(row) for row in random.choice(pool, size, replace=False)]), number + 1

    def _worst(
        self,
        photo: Any,
        database: Any,
        batch_mates: Any,
        size: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[str, str]]:
        """Search for the company that changes the baseline's answer most; yields (company, words)."""
        if not photo:
            raise UsageError("There is no query yet. Pick one first.")
        session = self._session(photo, database)
        photos = whole_number(size, "The batch", 2, 32)
        kept = text_of(rows_of(batch_mates))
        for found, rows in self.laboratory.worst(session, photos, 0, _advance(progress)):
            state = "Found" if found.done else "Searching"
            change = (
                f"another place now wins by {found.margin:.4f}"
                if found.flipped
                else f"no other place wins, the nearest is {-found.margin:.4f} behind"
            )
            words = f"{state}: {found.tried} companies tried; {change} (alone: {-found.margin_alone:.4f} behind)."
            yield (text_of(rows) if found.done else kept), words

    def _curve(
        self,
        database: Any,
        sizes: Any,
        orders: Any,
        seeds: Any,
        request: gr.Request,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """Recall@1 against batches, row by row, until it is done or stopped; values for (plot, table, file, words)."""
        numbers = sorted({whole_number(size, "A batch size", 1, 64) for size in sizes or ()})
        if not numbers or not orders:
            raise UsageError("Choose at least one batch size and one order.")
        draws = whole_number(seeds, "The number of shuffles", 1, LARGEST_SEEDS)
        roles = self.laboratory.roles
        settings = sum(0 if s == 1 else sum(draws if o == "shuffled" else 1 for o in orders) for s in numbers)
        total = len(roles) * (settings + (1 in numbers))
        table = None
        with self.stops.running(request) as stop:
            for table in self.laboratory.curve(database, numbers, list(orders), draws, progress=_advance(progress)):
                words = f"{len(table)} of {total} settings measured."
                if stop.is_set():
                    break
                yield gr.Plot(value=recall_curve(table), visible=True), table_rows(table), None, words
        if table is not None:
            words = f"Stopped: {words} {summary(table)}" if stop.is_set() else summary(table)
            plot, file = gr.Plot(value=recall_curve(table), visible=True), self._file(table, database)
            yield plot, table_rows(table), file, words

    def _figure_2(self, database: Any, request: gr.Request, progress: Any = gr.Progress()) -> Iterator[tuple]:  # noqa: B008
        """Figure 2 of the paper: all sizes, all orders, ten shuffles."""
        yield from self._curve(database, SIZES, ["file", "shuffled", "place"], 10, request, progress)

    def _pairs(self, database: Any, progress: Any = gr.Progress()) -> str:  # noqa: B008
        """Figure 1 of the paper as HTML."""
        return pair_figure_html(self.laboratory.pairs(database, 2, _advance(progress)))

    def _api_batch_mates(self, image: Any = None, database: Any = None, batch_mates: Any = "", query: Any = "") -> list[dict]:
        """What the photos of its batch do to both models' answers to a photo.

        Args:
            image: The query photo.
            database: Name of the database (see databases); left out: the first one.
            company: Rows of the query list that share the batch, such as "3,17,25" (from 0, at most 31).
            query: Name of a photo of the database's query list, instead of an image.

        Returns:
            For both models the top answers alone and in company, cosine of both descriptors, rank correlation, flip.
        """
        session = self._session(self.asked_photo(image, query, database), database)
        pool = self.laboratory.pool(session)
        return [reaction.to_json() for reaction in self.laboratory.react(session, rows_of(batch_mates), pool)]

    def _file(self, table: Any, database: Any) -> ServerFile:
        """The whole table as CSV."""
        outgoing = self.services.outgoing
        path = outgoing.folder(self.services.dataset(database)[0]) / "stability.csv"
        table.map(cell_text).to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)
        return outgoing.file(path)

    def _session(self, photo: Any, database: Any) -> Session:
        asked = photo if isinstance(photo, QueryPhoto) else self.photo(photo)
        return self.laboratory.session(asked.image, asked.name, database)


def plane_of(laboratory: Laboratory, session: Session, reaction: Reaction) -> go.Figure:
    """The projection of one model with the first answers marked."""
    points = reaction.projection
    answers = {}
    for name, hit in (("first answer alone", reaction.alone[0]), ("first answer in this company", reaction.now[0])):
        if name == "first answer alone" or reaction.flip:
            answers[name] = (points.database[hit.row], hit.right)
    title = f"{reaction.title}: the query among the database"
    return projection(points.database, points.cloud, points.alone, points.now, answers, title, points.explained)


def table_rows(table: Any) -> list[list[Any]]:
    """The table's rows, rounded for reading, under COLUMNS."""
    rows = []
    for _, entry in table.iterrows():
        seed = entry["seed"]
        rows.append(
            [
                entry["model"],
                entry["order"],
                int(entry["size"]),
                "" if seed is None or seed != seed else int(seed),
                round(float(entry["recall_1"]), 2),
                int(entry["flips"]),
                *(round(float(entry[name]), 6) for name in COLUMNS[6:]),
            ]
        )
    return rows


def summary(table: Any) -> str:
    """The spread of Recall@1 of every model in one sentence."""
    parts = []
    for model in table["model"].unique():
        values = table[table["model"] == model]["recall_1"]
        low, high = values.min(), values.max()
        parts.append(f"{model} always {low:.1f} %" if low == high else f"{model} {low:.1f} to {high:.1f} %")
    return "Recall@1 over all settings: " + "; ".join(parts) + "."


def _advance(progress: Any) -> Any:
    return lambda stage, done, total: progress((done, total), desc=f"Describing {stage}, once", unit="photos")
