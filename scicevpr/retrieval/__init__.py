"""From descriptors to ranked matches: exact search, IVF-PQ for millions of rows, fewer dimensions by PCA."""

from __future__ import annotations

from scicevpr.retrieval.changes import add_records, compact_index, remove_records
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.factory import TIERS, build_index, choose_tier, make_index
from scicevpr.retrieval.int8_exact import Int8ExactIndex
from scicevpr.retrieval.matches import Index, Match, Matches, list_matches
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.stored_index import StoredIndex, check_index, open_index

__all__ = [
    "PCA",
    "TIERS",
    "ExactIndex",
    "Index",
    "Int8ExactIndex",
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
