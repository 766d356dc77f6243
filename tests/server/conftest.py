"""What holds for every test of the proxy: nothing goes wrong behind its back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sidecar.server.exchange import UNREADABLE
from sidecar.server.unreachable import UNREACHABLE


@pytest.fixture(autouse=True)
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No warning, no error and no traceback is logged, whatever a client or an upstream does; but
    for the lines of an answer that cannot be read, and of one that does not come."""
    yield
    gc.collect(1)  # a task that nobody asked for its exception says so when it is collected
    loud = [
        f"{record.name}: {record.getMessage()}"
        for record in caplog.get_records("call")
        if (record.levelname in ("WARNING", "ERROR", "CRITICAL") or record.exc_info)
        and record.msg not in (UNREADABLE, UNREACHABLE)
    ]
    assert loud == []
