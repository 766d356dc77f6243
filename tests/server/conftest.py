"""What holds for every test of the proxy: nothing goes wrong behind its back."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from functools import cache

import pytest

from sidecar.core.format import Format
from sidecar.core.policy import Policy
from sidecar.core.vocabulary import Vocabulary
from sidecar.rules import ruleset
from sidecar.server.accesslog import NOT_READ
from sidecar.server.app import OVERDUE
from sidecar.server.exchange import UNREADABLE
from sidecar.server.reload import UNWATCHED
from sidecar.server.unreachable import UNREACHABLE

PROMISED = (NOT_READ, OVERDUE, UNREACHABLE, UNREADABLE, UNWATCHED)


_compiled = cache(Vocabulary)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a rule looks for is compiled once for all tests: it takes longer than most of them."""

    def vocabulary(formats: Iterable[Format], policy: Policy) -> Vocabulary:
        return _compiled(tuple(formats), policy)

    monkeypatch.setattr(ruleset, "Vocabulary", vocabulary)


@pytest.fixture(autouse=True)
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No warning, no error and no traceback is logged, whatever a client or an upstream does; but
    for the lines that are promised."""
    yield
    gc.collect(1)  # a task that nobody asked for its exception says so when it is collected
    loud = [
        f"{record.name}: {record.getMessage()}"
        for record in caplog.get_records("call")
        if (record.levelname in ("WARNING", "ERROR", "CRITICAL") or record.exc_info)
        and record.msg not in PROMISED
    ]
    assert loud == []
