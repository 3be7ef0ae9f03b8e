"""Values from outside (forms, programs, addresses) as numbers, texts and lists, or a sentence about what is wrong."""

from __future__ import annotations

import math
from typing import Any

from scicevpr.errors import UsageError

LONGEST_TEXT = 300
LONGEST_LIST = 64


def plain_text(value: Any, name: str, longest: int = LONGEST_TEXT) -> str:
    """A short text from whatever a program sent; nothing becomes "". UsageError for anything else."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"{name} must be a text, not {type(value).__name__}.")
    text = str(value)
    if len(text) > longest:
        raise UsageError(f"{name} has {len(text):,} characters; at most {longest} are read.")
    return text


def text_list(value: Any, name: str) -> list[str]:
    """The parts of "a,b", or of a list; nothing becomes []. UsageError for anything else, or for a very long list."""
    parts = value if isinstance(value, (list, tuple)) else plain_text(value, name).split(",")
    if len(parts) > LONGEST_LIST:
        raise UsageError(f"{name} has {len(parts):,} parts; at most {LONGEST_LIST} are read.")
    return [text for text in (plain_text(part, f"A part of {name}").strip() for part in parts) if text]


def row_list(value: Any, longest: int = 1_000) -> list[int]:
    """Rows of the query list from their text form "3,17,25". UsageError for anything else."""
    text = plain_text(value, "The list of photos in the batch", longest)
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not all(piece.isascii() and piece.isdigit() and len(piece) < 10 for piece in pieces):
        raise UsageError(
            "The other photos in the batch must be numbers of photos in the query list, like 3,17,25, not "
            f"{text[:60]!r}."
        )
    return [int(piece) for piece in pieces]


def joined(rows: Any) -> str:
    """Rows, or keys, as the text that a page keeps: "3,17,25"."""
    return ",".join(map(str, rows))


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """A whole number between low and high from whatever a form sent. UsageError says what is allowed."""
    number = _number(value)
    if not math.isfinite(number) or number != int(number) or not low <= number <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}, not {repr(value)[:60]}.")
    return int(number)


def real_number(value: Any, name: str, low: float, high: float) -> float:
    """A number between low and high from whatever a form sent. UsageError says what is allowed."""
    number = _number(value)
    if not low <= number <= high:
        raise UsageError(f"{name} must be a number from {low:g} to {high:g}, not {repr(value)[:60]}.")
    return number


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
