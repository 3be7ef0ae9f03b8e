"""Long work beside short questions on one machine: the long gives way, and ends when its time is over."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.core.limits import BUDGET_S
from scicevpr.errors import UsageError

GIVE_WAY_S = 2.0
"""Seconds that long work waits at most between two of its steps: short questions without end must not stop it."""


class TimeIsUp(UsageError):
    """Long work that was ended because others share the machine."""


class Pace:
    """Who works on this machine at the moment. shared: others use the page too, so long work has a budget."""

    def __init__(
        self, budget: float = BUDGET_S, give_way: float = GIVE_WAY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.shared = False
        self._budget, self._give_way, self._clock = budget, give_way, clock
        self._quick = 0
        self._free = threading.Condition()

    def share(self) -> None:
        """Give long work its budget from now on."""
        self.shared = True

    @contextmanager
    def quick(self) -> Iterator[None]:
        """While a short question is computed (not while it waits for something that long work makes)."""
        with self._free:
            self._quick += 1
        try:
            yield
        finally:
            with self._free:
                self._quick -= 1
                self._free.notify_all()

    def long(self, budget: float | None = None) -> Turn:
        """Begin a piece of long work. budget: seconds it may take anyway, shared or not."""
        limit = budget if budget is not None else self._budget if self.shared else None
        return Turn(self, math.inf if limit is None else limit)

    def give_way(self) -> None:
        """Wait while short questions are computed."""
        with self._free:
            self._free.wait_for(lambda: self._quick == 0, self._give_way)


class Turn:
    """A piece of long work that is going on."""

    def __init__(self, pace: Pace, limit: float) -> None:
        self.pace, self._end, self._limit = pace, pace._clock() + limit, limit

    @property
    def over(self) -> bool:
        """Whether its time is over."""
        return self.pace._clock() > self._end

    def step(self) -> None:
        """Between two steps: give way. Raises TimeIsUp when the time is over."""
        if self.over:
            raise TimeIsUp(
                f"This took longer than {self._limit / 60:g} minutes, the most where others share the machine. Ask for "
                "less at once, or run the studio on your own machine (scripts/demo)."
            )
        self.pace.give_way()
