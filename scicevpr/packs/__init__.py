"""Database packs: folders that carry a described data set (records, descriptors, perhaps thumbnails) to others."""

from __future__ import annotations

from scicevpr.packs.build import Content, build_pack, describe_content
from scicevpr.packs.check import Problem, check_pack
from scicevpr.packs.library import FoundPack, list_packs
from scicevpr.packs.pack import Pack, open_pack, score_pack
from scicevpr.packs.sharing import pull_pack, push_pack

__all__ = [
    "Content",
    "FoundPack",
    "Pack",
    "Problem",
    "build_pack",
    "check_pack",
    "describe_content",
    "list_packs",
    "open_pack",
    "pull_pack",
    "push_pack",
    "score_pack",
]
