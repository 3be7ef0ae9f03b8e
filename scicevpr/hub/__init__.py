"""Weights from anywhere: the registry of known sources, downloads, and this project's models on the Hugging Face Hub.

Importing this package touches neither the network nor torch.
"""

from __future__ import annotations

from scicevpr.hub.download import fetch, find_cached
from scicevpr.hub.sources import NO_OFFICIAL_WEIGHTS, REGISTRY, Source, WeightsEntry, parse_source

__all__ = ["NO_OFFICIAL_WEIGHTS", "REGISTRY", "Source", "WeightsEntry", "fetch", "find_cached", "parse_source"]
