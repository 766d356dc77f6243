"""How many examples a test takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
_LONGER = 100


def examples(count: int) -> Callable[[Any], Any]:
    """So many in CI, always the same ones; a hundred times as many, and new ones, if asked for."""
    return settings(
        max_examples=count * _LONGER if LONG else count,
        derandomize=not LONG,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
