"""Named endpoints for what no endpoint of a single tab gives: whole stability runs, the worst company, comparisons,
single queries and the photos themselves."""

from __future__ import annotations

from typing import Any

from app.core.model_slots import BASELINE, STABLE
from app.core.outgoing import ServerFile
from app.core.query_resolution import whole_number
from app.tabs.benchmarks.query_table import ANY, CLOSE, Case, Cases
from app.tabs.benchmarks.results import compared
from app.tabs.benchmarks.service import FILE, Bench
from app.tabs.find.handlers import PageHandlers, plain_text, toasts
from app.tabs.stability.handlers import COLUMNS, table_rows
from app.tabs.stability.service import Laboratory
from scicevpr.errors import UsageError

MOST_SHUFFLES = 20
MOST_QUERIES = 200
MOST_WORDS = 32


class Endpoints(PageHandlers):
    """The handlers of these endpoints."""

    def __init__(self, laboratory: Laboratory, bench: Bench) -> None:
        super().__init__(laboratory.services)
        self.laboratory = laboratory
        self.bench = bench
        self.api_worst_batch = toasts(self._api_worst_batch)
        self.api_stability = toasts(self._api_stability)
        self.api_compare = toasts(self._api_compare)
        self.api_queries = toasts(self._api_queries)
        self.api_photo = toasts(self._api_photo)

    def _api_worst_batch(self, image: Any = None, database: Any = None, size: Any = 8, query: Any = "") -> dict:
        """Search the query list for the photos that, sharing its batch, change CricaVPR's answer to a photo most.

        Args:
            image: The query photo.
            database: Name of the database (see databases); left out: the first one.
            size: Photos in the batch, the query included, 2 to 32.
            query: Name of a photo of the database's query list, instead of an image.

        Returns:
            The company (rows for the endpoint company, and names), whether the answer flips, and the margins.
        """
        photo = self.asked_photo(image, query, database)
        session = self.laboratory.session(photo.image, photo.name, database)
        found, rows = None, []
        for found, rows in self.laboratory.worst(session, whole_number(size, "The batch", 2, 32)):  # noqa: B007
            pass
        if found is None:
            raise UsageError("This database has no other queries that could keep the photo company.")
        return {
            "company": ",".join(map(str, rows)),
            "photos": [session.dataset.queries[row].name for row in rows],
            "answer_changes": bool(found.flipped),
            "margin": float(found.margin),
            "margin_alone": float(found.margin_alone),
            "companies_tried": int(found.tried),
        }

    def _api_stability(
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
        numbers = sorted({whole_number(size, "A batch size", 1, 64) for size in words_of(sizes)})
        chosen = words_of(orders)
        if not numbers or not chosen:
            raise UsageError("Give at least one batch size and one order.")
        draws = whole_number(shuffles, "The number of shuffles", 1, MOST_SHUFFLES)
        table = None
        for table in self.laboratory.curve(database, numbers, chosen, draws):  # noqa: B007
            pass
        return {"columns": list(COLUMNS), "rows": [] if table is None else table_rows(table)}

    def _api_compare(self, database: Any = None, a: Any = STABLE, b: Any = BASELINE, grouping: Any = FILE) -> dict:
        """Compare two models on the same queries, with 95 % intervals and p-values, in all and by condition.

        Args:
            database: Name of the database (see databases); left out: the first one.
            a: Role of the first model: "stable", "baseline", "teacher" or "third" (see models).
            b: Role of the second model.
            grouping: Which queries share a batch: "file" (as published), "alone", "shuffled" or "shuffled 3" (a seed).

        Returns:
            Recall@1 of both in %, the difference with its interval, the p-value, and how many only one gets right.
        """
        order = plain_text(grouping, "The grouping") or FILE
        first, second = (self.bench.measure(database, plain_text(role, "A model"), order) for role in (a, b))
        return compared(first, second).to_json()

    def _api_queries(
        self, database: Any = None, models: Any = f"{STABLE},{BASELINE}", grouping: Any = FILE, show: Any = ANY,
        condition: Any = "", order: Any = CLOSE, limit: Any = 20,
    ) -> dict:  # fmt: skip
        """List single queries of a benchmark: successes, failures and near misses of the models.

        Args:
            database: Name of the database (see databases); left out: the first one.
            models: Roles of the models, such as "stable,baseline"; the first is "this model" below.
            grouping: Which queries share a batch: "file" (as published), "alone", "shuffled" or "shuffled 3" (a seed).
            show: "any", "only" (just this model is wrong), "wrong" (all are), "right" (all are) or "near" (near miss).
            condition: Only queries under this condition, such as "night"; "": all.
            order: "close" (closest decisions first), "mistakes" (surest first), "successes" (surest first) or "file".
            limit: Queries to return, 1 to 200.

        Returns:
            How many queries fit, and for each the photo, position, condition and every model's first answer.
        """
        most, together = whole_number(limit, "The limit", 1, MOST_QUERIES), plain_text(grouping, "The grouping") or FILE
        selection, place = plain_text(show, "The selection"), plain_text(condition, "The condition") or None
        results = [self.bench.measure(database, role, together) for role in words_of(models)]
        cases = Cases(results)
        rows = cases.select(selection, results[0].role, place, plain_text(order, "The order"))
        chosen = rows[:most]
        return {"found": len(rows), "queries": [case_json(cases.case(int(row))) for row in chosen]}

    def _api_photo(self, name: Any, database: Any = None) -> ServerFile:
        """Get a photo of a database or of its query list by its name, for example to ask for its place.

        Args:
            name: File name, as the other endpoints give it.
            database: Name of the database (see databases); left out: the first one.

        Returns:
            The photo.
        """
        key, dataset = self.services.dataset(database)
        wanted = plain_text(name, "name")
        place = next((p for p in (*dataset.queries, *dataset.database) if p.name == wanted), None)
        if place is None:
            raise UsageError(f"There is no photo {wanted!r}. See the examples in databases, or ask queries for names.")
        return self.services.outgoing.photo(key, place)


def words_of(value: Any) -> list[str]:
    """The parts of "a,b", or of a list. UsageError for anything else."""
    parts = value if isinstance(value, (list, tuple)) else plain_text(value, "A list of words").split(",")
    words = [plain_text(part, "A word").strip() for part in parts[:MOST_WORDS]]
    return [word for word in words if word]


def case_json(case: Case) -> dict[str, Any]:
    """A query with every model's first answer, as plain JSON values."""
    place = case.query
    return {
        "row": case.row,
        "photo": place.name,
        "condition": place.condition,
        "east": place.utm[0] if place.utm else None,
        "north": place.utm[1] if place.utm else None,
        "findable": case.findable,
        "answers": [
            {
                "role": answer.role,
                "model": answer.title,
                **answer.hit.to_json(),
                "margin": answer.margin,
                "margin_is_at_least": answer.at_least,
            }
            for answer in case.answers
        ],
    }
