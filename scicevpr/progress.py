"""How long work tells how far it is. Two kinds of callback, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""

StageProgress = Callable[[str, int, int], None]
"""Called with (stage, done, in all)."""


def of_stage(progress: StageProgress | None, stage: str) -> Progress | None:
    """The progress of one stage; None where nobody listens."""
    return None if progress is None else lambda done, total: progress(stage, done, total)
