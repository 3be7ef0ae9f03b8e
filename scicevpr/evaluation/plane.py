"""A plane to draw descriptors on: the two main directions of a database."""

from __future__ import annotations

import numpy as np

from scicevpr.evaluation.batch_effects import Lab
from scicevpr.retrieval import PCA

FITTED = 4096
"""Database photos on which the plane is fitted at most, evenly spread over the list."""


def database_plane(lab: Lab) -> PCA:
    """PCA of the lab's database to two values; ``transform`` puts descriptors [N, D] on the plane [N, 2]."""
    step = -(-len(lab.database) // FITTED)
    weights = lab.model.weights.sha256 if lab.model.weights else ""
    fitted = np.ascontiguousarray(lab.database[::step])
    return PCA.fit(fitted, 2, solver="randomized", fingerprint=lab.model.variant.fingerprint, weights=weights)
