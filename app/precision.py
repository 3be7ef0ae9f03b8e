"""In which precision the Find tab describes photos.

By default float32, as every other tab, so that the same similarity has the same digits everywhere; `--precision` at the
start trades that for speed (see `scicevpr.descriptors.precision`).
"""

from __future__ import annotations

from scicevpr.descriptors.precision import Choice, best_mode, obstacle
from scicevpr.models.model import VPRModel

FULL_PRECISION = "float32"
CHOICES = (FULL_PRECISION, "auto", "bfloat16", "int8")


def chosen_mode(wanted: str, model: VPRModel, stored: bool = False) -> Choice:
    """The mode and the reason for it. wanted: one of CHOICES; stored: the database's descriptors are given, in float32.

    What this machine or this model cannot do becomes float32, and the reason says so.
    """
    if wanted == FULL_PRECISION:
        return Choice(FULL_PRECISION, "float32, as in all tabs")
    if stored:
        return Choice(FULL_PRECISION, "float32, as the opened pack")
    if wanted == "auto":
        return best_mode(model)
    reason = obstacle(wanted) if isinstance(model, VPRModel) else "a model of other people is run as it comes"
    return Choice(FULL_PRECISION, reason) if reason else Choice(wanted, f"{wanted}, as asked for at the start")
