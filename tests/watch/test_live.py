"""A real Prometheus scrapes a real sidecar under load: nothing on the dashboard stays empty, and
what the alerts look for is found."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.server.process import FILE, running

from .dashboard import Query, choices, queries
from .load import SETTINGS, UPSTREAM, load
from .programs import ALERTS, RECORDING
from .server import INSTANCE, JOB, Prometheus, prometheus, until
from .test_rules import rules

PATIENCE: Final = 90.0
"""Seconds until something that does not come is missing."""

VALUES: Final = {
    "job": JOB,
    "instance": INSTANCE,
    # Not all, but every one: a selector by a label that the metric has not finds nothing.
    **dict.fromkeys(("route", "model", "rule"), ".+"),
    "__rate_interval": "5s",
}

QUIET: Final = {
    ("SidecarFailures", "warning"): "nothing makes the sidecar fail by a mistake of its own",
    ("SidecarDown", "critical"): "it answers",
    ("SidecarAbsent", "warning"): "it is there",
}
"""The alerts that this load cannot set off, and why."""

UNRECORDED: Final = {"job:sidecar_failures:increase15m"}
"""What is recorded of these."""


@pytest.fixture
def strict(tmp_path: Path) -> list[Path]:
    """The files of rules, with an objective that is missed by the one answer of a round whose text
    comes after a heartbeat, a second late."""
    text = RECORDING.read_text(encoding="utf-8")
    changed = tmp_path / "recording.yaml"
    objective = text.replace('vector(0.95), "le", "5.0"', 'vector(0.999), "le", "0.5"')
    changed.write_text(objective, encoding="utf-8")
    assert changed.read_text(encoding="utf-8") != text
    return [changed, ALERTS]


async def missing(server: Prometheus, asked: list[Query]) -> list[Query]:
    """The queries that have no answer yet."""
    return [query for query in asked if not await server.answers(query)]


async def waiting(server: Prometheus) -> set[tuple[str, str]]:
    """The alerts whose condition does not hold yet."""
    return {alert for alert, state in (await server.alerts()).items() if state == "inactive"}


async def test_nothing_that_is_watched_stays_empty(tmp_path: Path, strict: list[Path]) -> None:
    """Every panel and variable has series, every recording rule a value, and the conditions of the
    alerts hold where they should."""
    recorded = {rule["record"] for rule in rules(RECORDING)} - UNRECORDED
    asked = [Query(name, name, frozenset()) for name in sorted(recorded)]
    asked += [*queries(VALUES), *choices(VALUES)]
    quiet: set[tuple[str, str]] = set()
    async with (
        running(tmp_path, SETTINGS, upstream_settings=UPSTREAM, seconds=PATIENCE + 30) as sidecar,
        prometheus(tmp_path, sidecar.rig.running.admin, strict) as server,
    ):
        (tmp_path / FILE).write_text("version: 2\n", encoding="utf-8")  # which is wrong
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while asked or quiet != QUIET.keys():
                    await load(sidecar.rig)
                    asked = await missing(server, asked)
                    quiet = await waiting(server)
        assert await server.faults() == {}
    assert not asked, "\n".join(f"{each.panel}: {each.expression}" for each in asked)
    assert quiet == QUIET.keys()


async def test_a_sidecar_that_dies_is_missed(tmp_path: Path, strict: list[Path]) -> None:
    gone = {("SidecarDown", "critical"), ("SidecarAbsent", "warning")}
    scraped = Query("", "sidecar_tasks", frozenset({"instance"}))
    async with (
        running(tmp_path, SETTINGS, seconds=PATIENCE) as sidecar,
        prometheus(tmp_path, sidecar.rig.running.admin, strict) as server,
    ):
        await until(lambda: server.answers(scraped))
        sidecar.process.kill()

        async def missed() -> bool:
            return not gone & await waiting(server)

        await until(missed)
