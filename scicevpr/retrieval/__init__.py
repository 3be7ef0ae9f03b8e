"""From descriptors to ranked matches: exact search, shortlists for millions of rows, reduction of dimensions."""

from __future__ import annotations

from scicevpr.retrieval.factory import TIERS, build_index, choose_tier, make_index
from scicevpr.retrieval.index import ExactIndex
from scicevpr.retrieval.index_changes import add_records, compact_index, remove_records
from scicevpr.retrieval.int8_exact import EightBitIndex
from scicevpr.retrieval.interface import Index
from scicevpr.retrieval.matches import Match, Matches, list_matches
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.stored_index import StoredIndex, check_index, open_index

__all__ = [
    "PCA",
    "TIERS",
    "EightBitIndex",
    "ExactIndex",
    "Index",
    "Match",
    "Matches",
    "StoredIndex",
    "add_records",
    "build_index",
    "check_index",
    "choose_tier",
    "compact_index",
    "list_matches",
    "make_index",
    "open_index",
    "remove_records",
]
