"""Between the Stability tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from app.core.incoming import QueryPhoto, photo_name
from app.core.outgoing import ServerFile
from app.core.query_resolution import MOST_BATCH_MATES, batch_mates_of, query_photo
from app.core.values import joined, plain_text, row_list, text_list, whole_number
from app.tabs.stability.html import WAITING, pair_figure_html, reaction_html, tray_html, waiting_tray_html, why_html
from app.tabs.stability.records import Reaction, Session
from app.tabs.stability.service import FAIL, RIGHT, Stability
from app.ui.events import PROGRESS, Handlers, Stops, describing, event_data, toasts
from scicevpr.datasets.tables import cell_text
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import SIZES
from scicevpr.evaluation.batch_mates import WorstBatch
from scicevpr.figures.scores import projection, recall_curve

LARGEST_SEEDS = 20
LARGEST_BATCH = 64
MOST_IN_WORST_BATCH = 32
MOST_DRAWS = 10**6
NO_QUERY = "There is no query yet. Pick one first."
COLUMNS = ("model", "order", "size", "seed", "recall_1", "flips", "min_cosine", "mean_cosine", "rank_correlation")


class StabilityHandlers(Handlers):
    """The events of the Stability tab and its endpoints."""

    def __init__(self, stability: Stability) -> None:
        super().__init__(stability.services)
        self.stability = stability
        self.stops = Stops()

    def waiting(self) -> tuple:
        """Values for (notice, tray, stable, baseline, why, both planes) while there is no query."""
        hidden = gr.Plot(visible=False)
        return self.notice(), waiting_tray_html(), WAITING, WAITING, "", hidden, hidden

    @toasts
    def fresh(self, photo: Any, database: Any, batch_of: Any, taken: Any) -> tuple:
        """Values for (batch mates, words, seed, the photo that they are for, taken): nothing new for the same photo."""
        name = photo_name(photo) if photo else ""
        return (self._following(name, database, taken), "", 0, name, "") if name != batch_of else (gr.skip(),) * 5

    @toasts
    def followed(self, photo: Any, database: Any, taken: Any, batch_mates: Any) -> str:
        """The batch that another tab chose ("+3": the three photos that follow) as rows; else the batch as it was."""
        return self._following(photo_name(photo), database, taken) if photo and taken else batch_mates

    def _following(self, name: str, database: Any, taken: Any) -> str:
        count = plain_text(taken, "The batch").removeprefix("+")
        if not count or not name:
            return ""
        _, dataset = self.services.dataset(database)
        _, row = query_photo(dataset, name)
        number = whole_number(count, "The number of other photos in the batch", 0, MOST_BATCH_MATES)
        rows = {photo.name: at for at, photo in enumerate(dataset.queries)}
        return joined(rows[mate.name] for mate in batch_mates_of(dataset, row, number))

    @toasts
    def show(self, photo: Any, database: Any, batch_mates: Any, seed: Any, progress: Any = PROGRESS) -> tuple:
        """The tray and what both models make of it: values for (notice, tray, stable, baseline, why, both planes)."""
        if not photo:
            return self.waiting()
        session, rows = self._session(photo, database), row_list(batch_mates)
        pool = self.stability.pool(session, whole_number(seed, "The draw of other photos", 0, MOST_DRAWS))
        stable, baseline = self.stability.react(session, rows, pool, describing(progress))
        return (
            self.notice(),
            tray_html(session, rows, pool),
            reaction_html(stable, len(rows)),
            reaction_html(baseline, len(rows)),
            why_html(baseline, [session.dataset.queries[row] for row in rows]),
            gr.Plot(value=plane_of(stable), visible=True),
            gr.Plot(value=plane_of(baseline), visible=True),
        )

    @toasts
    def moved(self, batch_mates: Any, event: gr.EventData) -> str:
        """The other photos of the batch after one was moved in or out."""
        rows, data = row_list(batch_mates), event_data(event)
        row = whole_number(data.get("row"), "The photo", 0, 10**9)
        if data.get("to") == "batch":
            return joined([*rows, row] if row not in rows else rows)
        return joined(other for other in rows if other != row)

    @toasts
    def drawn(self, photo: Any, database: Any, batch_mates: Any, seed: Any) -> tuple[str, int]:
        """As many photos as are in the batch now (at least one), drawn from those on offer, and the next seed."""
        if not photo:
            raise UsageError(NO_QUERY)
        session = self._session(photo, database)
        number = whole_number(seed, "The draw of other photos", 0, MOST_DRAWS)
        pool = self.stability.pool(session, number)
        size = min(max(1, len(row_list(batch_mates))), len(pool))
        random = np.random.default_rng([number, 1])
        return joined(random.choice(pool, size, replace=False)), number + 1

    @toasts
    def make_it_fail(
        self, photo: Any, database: Any, batch_mates: Any, size: Any, progress: Any = PROGRESS
    ) -> Iterator[tuple[str, str]]:
        """Search for the batch that changes the baseline's answer most; yields (its other photos, words)."""
        yield from self._searched(FAIL, photo, database, batch_mates, size, progress)

    @toasts
    def make_it_right(
        self, photo: Any, database: Any, batch_mates: Any, size: Any, progress: Any = PROGRESS
    ) -> Iterator[tuple[str, str]]:
        """Search for the batch in which the baseline's answer is right; yields (its other photos, words)."""
        yield from self._searched(RIGHT, photo, database, batch_mates, size, progress)

    def _searched(
        self, aim: str, photo: Any, database: Any, batch_mates: Any, size: Any, progress: Any
    ) -> Iterator[tuple[str, str]]:
        if not photo:
            raise UsageError(NO_QUERY)
        session = self._session(photo, database)
        photos = min(whole_number(size, "The batch", 2, MOST_IN_WORST_BATCH), max(2, len(session.others) + 1))
        kept = joined(row_list(batch_mates))
        for found, rows in self.stability.worst(session, photos, 0, describing(progress), aim):
            yield (joined(rows) if found.done else kept), search_words(found, aim)

    @toasts
    def curve(
        self, database: Any, sizes: Any, orders: Any, seeds: Any, request: gr.Request, progress: Any = PROGRESS
    ) -> Iterator[tuple]:
        """Recall@1 against batches, row by row, until it is done or stopped; values for (plot, table, file, words)."""
        numbers = batch_sizes(sizes)
        if not numbers or not orders:
            raise UsageError("Choose at least one batch size and one order.")
        draws = whole_number(seeds, "The number of shuffles", 1, LARGEST_SEEDS)
        total = self.stability.settings(numbers, orders, draws)
        table = None
        with self.stops.running(request) as stop:
            for table in self.stability.curve(database, numbers, list(orders), draws, progress=describing(progress)):
                words = f"{len(table)} of {total} settings measured."
                if stop.is_set():
                    break
                yield gr.Plot(value=recall_curve(table), visible=True), table_rows(table), None, words
        if table is not None:
            words = f"Stopped: {words} {summary(table)}" if stop.is_set() else summary(table)
            plot, file = gr.Plot(value=recall_curve(table), visible=True), self._file(table, database)
            yield plot, table_rows(table), file, words

    @toasts
    def figure_2(self, database: Any, request: gr.Request, progress: Any = PROGRESS) -> Iterator[tuple]:
        """Figure 2 of the paper: all sizes, all orders, ten shuffles."""
        yield from self.curve(database, SIZES, ["file", "shuffled", "place"], 10, request, progress)

    @toasts
    def pairs(self, database: Any, progress: Any = PROGRESS) -> str:
        """Figure 1 of the paper as HTML."""
        return pair_figure_html(self.stability.pairs(database, 2, describing(progress)))

    @toasts
    def api_batch_mates(
        self, image: Any = None, database: Any = None, batch_mates: Any = "", query: Any = ""
    ) -> list[dict]:
        """What the photos of its batch do to both models' answers to a photo.

        Args:
            image: The query photo.
            database: Name of the database (see databases); left out: the first one.
            batch_mates: Rows of the query list that share the batch, such as "3,17,25" (from 0, at most 31).
            query: Name of a photo of the database's query list, instead of an image.

        Returns:
            For both models the top answers alone and in the batch, cosine of both descriptors, rank correlation, flip.
        """
        session = self._session(self.asked_photo(image, query, database), database)
        pool = self.stability.pool(session)
        return [reaction.to_json() for reaction in self.stability.react(session, row_list(batch_mates), pool)]

    @toasts
    def api_worst_batch(self, image: Any = None, database: Any = None, size: Any = 8, query: Any = "") -> dict:
        """Search the query list for the photos that, sharing its batch, change CricaVPR's answer to a photo most.

        Args:
            image: The query photo.
            database: Name of the database (see databases); left out: the first one.
            size: Photos in the batch, the query included, 2 to 32.
            query: Name of a photo of the database's query list, instead of an image.

        Returns:
            The other photos (rows for the endpoint batch_mates, and names), whether the answer flips, and the margins.
        """
        session = self._session(self.asked_photo(image, query, database), database)
        found, rows = None, list[int]()
        for found, rows in self.stability.worst(session, whole_number(size, "The batch", 2, MOST_IN_WORST_BATCH)):  # noqa: B007
            pass
        if found is None:
            raise UsageError("This database has no other queries that could share the photo's batch.")
        return {
            "batch_mates": joined(rows),
            "photos": [session.dataset.queries[row].name for row in rows],
            "answer_changes": bool(found.flipped),
            "margin": float(found.margin),
            "margin_alone": float(found.margin_alone),
            "batches_tried": int(found.tried),
        }

    @toasts
    def api_stability(
        self, database: Any = None, sizes: Any = "1,8,32", orders: Any = "file", shuffles: Any = 3
    ) -> dict:
        """Recall@1 of all models against how many queries share a batch and in which order (minutes at first).

        Args:
            database: Name of the database (see databases); left out: the first one.
            sizes: Queries in a batch, 1 to 64, such as "1,8,32"; 1 means every query alone.
            orders: Of the queries: "file", "shuffled", "place" (grouped by place), or several, such as "file,place".
            shuffles: Seeds of the order "shuffled", 1 to 20.

        Returns:
            Columns and rows: model, order, size, seed, Recall@1 in %, flipped answers, cosines, rank correlation.
        """
        numbers, chosen = batch_sizes(text_list(sizes, "sizes")), text_list(orders, "orders")
        if not numbers or not chosen:
            raise UsageError("Give at least one batch size and one order.")
        draws, table = whole_number(shuffles, "The number of shuffles", 1, LARGEST_SEEDS), None
        for table in self.stability.curve(database, numbers, chosen, draws):  # noqa: B007
            pass
        return {"columns": list(COLUMNS), "rows": [] if table is None else table_rows(table)}

    def _file(self, table: Any, database: Any) -> ServerFile:
        """The whole table as CSV."""
        outgoing = self.services.outgoing
        path = outgoing.folder(self.services.dataset(database)[0]) / "stability.csv"
        table.map(cell_text).to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)
        return outgoing.file(path)

    def _session(self, photo: Any, database: Any) -> Session:
        asked = photo if isinstance(photo, QueryPhoto) else self.photo(photo)
        return self.stability.session(asked.image, asked.name, database, asked.gps)


def search_words(found: WorstBatch, aim: str) -> str:
    """How far a search for a batch is, and what its best batch does."""
    state = f"{'**Found:**' if found.done else 'Searching:'} {found.tried} batches tried."
    other, own = ("a right photo", "wrong ones") if aim == RIGHT else ("another place", "the place answered alone")
    alone = f"Alone {other} is {-found.margin_alone:.4f} behind {own}"
    if found.flipped:
        return f"{state} In this batch {other} wins by {found.margin:.4f}. {alone}."
    return f"{state} No batch does it: in the best one {other} stays {-found.margin:.4f} behind. {alone}."


def plane_of(reaction: Reaction) -> go.Figure:
    """The projection of one model with the first answers marked."""
    points = reaction.projection
    firsts = {"first answer alone": reaction.alone[0]}
    firsts |= {"first answer in this batch": reaction.now[0]} if reaction.flip else {}
    answers = {name: (points.database[hit.row], hit.right) for name, hit in firsts.items()}
    title = f"{reaction.title}: the query among the database"
    return projection(points.database, points.cloud, points.alone, points.now, answers, title, points.explained)


def table_rows(table: Any) -> list[list[Any]]:
    """The table's rows, rounded for reading, under COLUMNS."""
    return [
        [
            entry["model"],
            entry["order"],
            int(entry["size"]),
            "" if entry["seed"] is None or entry["seed"] != entry["seed"] else int(entry["seed"]),
            round(float(entry["recall_1"]), 2),
            int(entry["flips"]),
            *(round(float(entry[name]), 6) for name in COLUMNS[6:]),
        ]
        for _, entry in table.iterrows()
    ]


def summary(table: Any) -> str:
    """The spread of Recall@1 of every model in one sentence."""
    parts = []
    for model in table["model"].unique():
        values = table[table["model"] == model]["recall_1"]
        low, high = values.min(), values.max()
        parts.append(f"{model} always {low:.1f} %" if low == high else f"{model} {low:.1f} to {high:.1f} %")
    return "Recall@1 over all settings: " + "; ".join(parts) + "."


def batch_sizes(values: Any) -> list[int]:
    """How many queries share a batch, in order."""
    return sorted({whole_number(size, "A batch size", 1, LARGEST_BATCH) for size in values or ()})
