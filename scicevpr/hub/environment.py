"""SCICEVPR_WEIGHTS: weights for variants by name, without a change of commands.

Either pairs, `scicevpr-b=org/name;super-cricavpr-b=/runs/best.safetensors`, or one source alone, which then serves the
variant that it fits, if that has no bundled weights.
"""

from __future__ import annotations

import os

from scicevpr.config import VARIANTS
from scicevpr.errors import UsageError

VARIABLE = "SCICEVPR_WEIGHTS"


def assigned_weights() -> tuple[dict[str, str], str | None]:
    """(variant name -> source, the source for all others or None), as the environment has it now.

    Raises UsageError for a pair whose left side is no variant.
    """
    pairs: dict[str, str] = {}
    single: str | None = None
    items = [item.strip() for item in os.environ.get(VARIABLE, "").split(";") if item.strip()]
    for item in items:
        name, equals, source = (part.strip() for part in item.partition("="))
        if equals and name.lower() in VARIANTS and source:
            pairs[name.lower()] = source
        elif len(items) == 1 and name.lower() not in VARIANTS:
            single = item
        else:
            raise UsageError(
                f"{VARIABLE} holds {item!r}. Expected VARIANT=SOURCE, several separated by ';', or one SOURCE alone. "
                f"Variants: {', '.join(VARIANTS)}."
            )
    return pairs, single
