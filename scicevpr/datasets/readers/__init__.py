"""One module per folder layout; each says whether a folder is of its kind and reads it.

A reader gives the photos sorted by path, the positives that the layout itself states, and its notes; what holds for
all layouts (positions, tables, checks) is done afterwards by `scicevpr.datasets.ground_truth_options`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scicevpr.datasets.dataset import Dataset
from scicevpr.datasets.readers import msls, npy_lists, utm_tree, vpr_bench
from scicevpr.datasets.readers.request import Request


@dataclass(frozen=True)
class Reader:
    """recognises: is this folder of the layout? (It may look into subfolders, but reads no photo.) words: what the
    layout looks like, for messages."""

    name: str
    words: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Request], Dataset]


READERS = {
    reader.name: reader
    for reader in (
        Reader("msls", msls.WORDS, msls.recognises, msls.read),
        Reader("utm-tree", utm_tree.WORDS, utm_tree.recognises, utm_tree.read),
        Reader("vpr-bench", vpr_bench.WORDS, vpr_bench.recognises, vpr_bench.read),
        Reader("npy", npy_lists.WORDS, npy_lists.recognises, npy_lists.read),
    )
}
"""In the order in which a folder is tried."""
