"""Finds Prometheus' programs, and where what they are tried on is."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

from tests.helm.rendering import CHART

RECORDING: Final = CHART / "rules" / "recording.yaml"
ALERTS: Final = CHART / "rules" / "alerts.yaml"
DASHBOARD: Final = CHART / "dashboards" / "sidecar.json"


def program(name: str) -> str:
    """The path of one of them. Where it is not installed the test skips, or fails if CI says so."""
    found = shutil.which(name)
    if found is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_PROMTOOL" in os.environ else pytest.skip
        refuse(f"{name} is not installed")
    return found
