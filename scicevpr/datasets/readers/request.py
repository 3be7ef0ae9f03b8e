"""What is asked of a reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Request:
    """root: the folder. split: train, val, test, or what else the layout knows. queries: which folder or set of
    queries; None when only the database is wanted. labels: whether the layout's own ground truth is wanted. images:
    the folder that paths in tables start from, or None to look for it. every_query: the caller chooses among all.
    """

    root: Path
    split: str = "test"
    queries: str | None = "queries"
    labels: bool = True
    images: Path | None = None
    every_query: bool = False
