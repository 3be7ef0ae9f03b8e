"""Why this match: pictures of the model's inside, each with a formula and a test against an independent computation.

The short way in is `Explanation`; the functions behind it work on a Trace and on descriptors.
"""

from __future__ import annotations

from scicevpr.explanations.catalogue import KINDS, STEPS, View
from scicevpr.explanations.explanation import Explanation, HeatMap
from scicevpr.explanations.maps import Decision, deciding_region, region_terms

__all__ = ["KINDS", "STEPS", "Decision", "Explanation", "HeatMap", "View", "deciding_region", "region_terms"]
