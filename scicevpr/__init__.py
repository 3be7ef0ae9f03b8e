"""SciceVPR Studio: see and trust visual place recognition.

The library under the app: models (SciceVPR, Super-CricaVPR, CricaVPR), photo preprocessing, descriptors with a
recorded grouping, places, exact retrieval and evaluation.
"""

from __future__ import annotations

__version__ = "0.1.0"
