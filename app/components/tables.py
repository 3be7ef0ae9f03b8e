"""Tables of the models and databases that are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.components.pictures import escape
from app.records import ModelState
from app.rooms import ROLE_WORDS
from scicevpr.datasets import Dataset

STATES = {"waiting": "loaded when needed", "missing": "cannot be used"}


def models_html(states: Sequence[ModelState]) -> str:
    """Which model stands where, with the hash of its weights and what they were trained on (or what went wrong)."""
    rows = []
    for state in states:
        ready = f"{'trained' if state.trained else 'NOT trained'}, weights {state.weights}"
        words = STATES.get(state.state, ready)
        where = ROLE_WORDS[state.role]
        rows.append((where[0].upper() + where[1:], state.title, words, state.message or state.trained_on))
    return _table("The models", ("where", "model", "state", "trained on"), rows)


def databases_html(datasets: Mapping[str, Dataset]) -> str:
    """Which databases can be searched, with their sizes and their rule of what is right."""
    rows = [
        (
            name,
            f"{len(dataset.database):,}",
            f"{len(dataset.queries):,}",
            dataset.truth.label() if dataset.labelled else "unknown",
            " ".join(dataset.notes),
        )
        for name, dataset in datasets.items()
    ]
    heads = ("database", "photos", "queries", "right within", "notes")
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return _table("The databases", heads, rows)


def _table(label: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<section class="protocol" aria-label="{escape(label)}"><div class="protocol__scroll">'
        f'<table class="listing"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )
