"""A clock in the hands of the test: it goes on by itself, and jumps when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Clock:
    """That of the running loop, from now on. ``frozen``: it only jumps."""

    def __init__(self, *, frozen: bool = False) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._real: Callable[[], float] = (lambda: now) if frozen else loop.time
        self._ahead = 0.0
        setattr(loop, "time", self._now)  # noqa: B010  # a method, to the type checker

    def advance(self, seconds: float) -> None:
        """Timers that are due by then go off."""
        self._ahead += seconds

    def _now(self) -> float:
        return self._real() + self._ahead
