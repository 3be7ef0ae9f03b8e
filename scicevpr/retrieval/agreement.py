"""How often an approximate search gives the answer of exact search, measured on descriptors held out from the question.

The questions are rows of the database itself, asked for their nearest *other* rows: photos of places the database
knows, as queries are. The exact answer falls out of the pass over the descriptors that a build makes anyway. The
settings are chosen on one half of the questions and the agreement is measured on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scicevpr.retrieval.matches import rank_rows

QUESTIONS = 500
BEST = 10
SPARE = 16  # single precision may have put them in the wrong order
GOAL_FIRST, GOAL_BEST = 0.996, 0.95  # stricter than what is promised: the choice flatters itself a little
RERANKED = (20, 30, 50, 100, 200, 400)
READ_COST = 8  # a byte of a re-ranked row costs about as much as these many bytes of codes


@dataclass(frozen=True)
class Agreement:
    """Share of questions whose first answer, and share of the ten best answers, that are those of exact search."""

    first: float
    best: float
    questions: int
    nprobe: int
    rerank_k: int


def choose_questions(count: int, seed: int, wanted: int = QUESTIONS) -> np.ndarray:
    """Rows [Q] that are asked about, in order: at most a tenth of the database."""
    rng = np.random.default_rng([seed, 17])
    return np.sort(rng.choice(count, min(wanted, max(1, count // 10)), replace=False))


def nearest_of_block(products: np.ndarray, squares: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The candidates of one block of rows: rows [M, Q] int32 and |x|² - 2 q.x [M, Q] float32.

    products: [R, Q] of the block's rows with the questions; squares: [R]; first: number of the block's first row."""
    far = squares[:, None] - 2 * products
    keep = min(BEST + 1 + SPARE, len(far))
    rows = np.argpartition(far, keep - 1, axis=0)[:keep]
    return (rows + first).astype(np.int32), np.take_along_axis(far, rows, axis=0).astype(np.float32)


def exact_answers(values: Any, questions: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Rows [Q, 10] of the exact answers (fewer columns in a tiny database), from the candidates of all blocks."""
    blocks = iter(blocks)
    rows, far = next(blocks)
    for new_rows, new_far in blocks:
        rows, far = np.concatenate([rows, new_rows]), np.concatenate([far, new_far])
        keep = min(BEST + 1 + SPARE, len(far))
        order = np.argpartition(far, keep - 1, axis=0)[:keep]
        rows, far = np.take_along_axis(rows, order, axis=0), np.take_along_axis(far, order, axis=0)
    answers = []
    for column, question in enumerate(questions.tolist()):
        query = values[question : question + 1][0].astype(np.float32).astype(np.float64)
        ranked, _, _ = rank_rows(values, query, rows[:, column].astype(np.int64), len(rows))
        answers.append(ranked[ranked != question][: min(BEST, len(rows) - 1)])
    return np.array(answers, np.int64)


def tune(
    candidates: Callable[[int, int], np.ndarray],
    questions: np.ndarray,
    answers: np.ndarray,
    *,
    nlist: int,
    list_bytes: float,
    row_bytes: int,
    scanned_bytes: float = 0,
    nprobe: int | None = None,
    rerank_k: int | None = None,
) -> Agreement:
    """The cheapest settings that reach the goals on every second question, and what they reach on the others.

    candidates: gives rows [Q, S] best first for (lists to look into, S), questions among their own answers. list_bytes,
    row_bytes, scanned_bytes: of an average list, of a full descriptor, of the codes read between. nprobe, rerank_k:
    fixed by the caller.
    """
    tries = [nprobe] if nprobe else sorted({min(2**power, nlist) for power in range(nlist.bit_length() + 1)})
    lengths = [rerank_k] if rerank_k else list(RERANKED)
    chosen: tuple[float, int, int, np.ndarray] | None = None
    for probe in tries:
        cheapest = scanned_bytes + probe * list_bytes + READ_COST * lengths[0] * row_bytes
        if chosen is not None and chosen[0] <= cheapest:
            break
        ranks = _ranks(candidates(probe, max(lengths) + 1), questions, answers)
        for length in lengths:
            cost = scanned_bytes + probe * list_bytes + READ_COST * length * row_bytes
            first, best = _shares(ranks[::2], length)
            if first >= GOAL_FIRST and best >= GOAL_BEST and (chosen is None or cost < chosen[0]):
                chosen = (cost, probe, length, ranks)
    if chosen is None:
        chosen = (0.0, tries[-1], lengths[-1], ranks)
    _, probe, length, ranks = chosen
    held_out = ranks[1::2] if len(ranks) > 1 else ranks
    first, best = _shares(held_out, length)
    return Agreement(round(first, 4), round(best, 4), len(held_out), int(probe), int(length))


def _ranks(found: np.ndarray, questions: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Rank [Q, 10] of each exact answer among the candidates without the question itself; a large number: not there."""
    ranks = np.full(answers.shape, np.iinfo(np.int64).max)
    for row, (list_, question, answer) in enumerate(zip(found, questions, answers, strict=True)):
        others = list_[list_ != question]
        equal = others[None] == answer[:, None]
        there = equal.any(axis=1)
        ranks[row, there] = equal.argmax(axis=1)[there]
    return ranks


def _shares(ranks: np.ndarray, rerank_k: int) -> tuple[float, float]:
    return float((ranks[:, 0] < rerank_k).mean()), float((ranks < rerank_k).mean())
