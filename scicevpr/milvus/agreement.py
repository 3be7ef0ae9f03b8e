"""How often an approximate index of Milvus gives the answer of exact search, measured after a load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scicevpr.retrieval.agreement import BEST, choose_questions
from scicevpr.retrieval.index import ExactIndex

QUESTIONS = 100


def measure(search: Callable[[np.ndarray, int], np.ndarray], values: Any) -> dict[str, Any]:
    """Share of questions with the right first answer ("first"), share of the ten best that are found ("best").

    The questions are rows of the database itself, asked for their nearest other rows. search: gives rows [Q, k] of
    (queries [Q, D], k). values: the database [N, D]; it is read once, in blocks.
    """
    questions = choose_questions(len(values), 0, QUESTIONS)
    asked = np.stack([np.asarray(values[row], np.float32) for row in questions])
    exact = ExactIndex(values, checked=True).search(asked, BEST + 1).indices
    first, best = [], []
    for question, wanted, given in zip(questions, exact, search(asked, BEST + 1), strict=True):
        wanted, given = wanted[(wanted != question) & (wanted >= 0)][:BEST], given[given != question][:BEST]
        if len(wanted):
            first.append(len(given) > 0 and given[0] == wanted[0])
            best.append(np.isin(wanted, given).mean())
    shares = {name: float(np.mean(part)) if part else 1.0 for name, part in (("first", first), ("best", best))}
    return {**shares, "questions": len(questions)}
