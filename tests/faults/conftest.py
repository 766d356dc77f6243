"""What every test here gets: an eye on the log, and what the access log has said."""

from __future__ import annotations

import pytest

from tests.server.conftest import compiled_once as compiled_once
from tests.server.conftest import quiet_log as quiet_log

from .verdicts import Told


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """What counters and log say of the requests of a test."""
    return Told(capsys)
