"""From descriptors to ranked matches: exact search and reduction of dimensions."""

from __future__ import annotations

from scicevpr.retrieval.index import ExactIndex
from scicevpr.retrieval.matches import Match, Matches, list_matches
from scicevpr.retrieval.pca import PCA

__all__ = ["PCA", "ExactIndex", "Match", "Matches", "list_matches"]
