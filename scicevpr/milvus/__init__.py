"""Milvus behind the `Index` interface: a file on one machine (Milvus Lite), or a server, by the same code."""

from __future__ import annotations

from scicevpr.milvus.connection import MilvusError
from scicevpr.milvus.index import MilvusIndex
from scicevpr.milvus.search import Near

__all__ = ["MilvusError", "MilvusIndex", "Near"]
