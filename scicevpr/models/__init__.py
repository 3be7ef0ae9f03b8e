"""Models: backbone, fusion, regions, encoders, their compositions and their weights."""

from __future__ import annotations

from scicevpr.models.model import Trace, VPRModel, WeightsInfo, build_model

__all__ = ["Trace", "VPRModel", "WeightsInfo", "build_model"]
