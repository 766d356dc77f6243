"""A real Prometheus on loopback, and its HTTP API."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from sidecar.rules.configvalues import Address
from tests.server.process import address_said

from .dashboard import Query
from .programs import program

JOB: Final = "sidecar"
INSTANCE: Final = "pod-1"

EVERY: Final = "1s"
"""Between two scrapes, and between two evaluations of the rules."""

_LOOK_EVERY: Final = 0.2
"""Seconds; Prometheus tells nobody of what has come."""

_LISTENING: Final = r'msg="Listening on" address=(\S+)'
_READY: Final = b"Server is ready"


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    session: aiohttp.ClientSession

    async def answers(self, query: Query) -> bool:
        """Whether it has a series for the query, of which each label of the legend and the value
        are something."""
        found = await self._get("query", query=query.expression)
        return any(
            query.legend <= series["metric"].keys() and math.isfinite(float(series["value"][1]))
            for series in found["result"]
        )

    async def alerts(self) -> dict[tuple[str, str], str]:
        """The state of each alert, by name and severity: inactive, pending or firing."""
        rules = [each for each in await self._rules() if each["type"] == "alerting"]
        return {(each["name"], each["labels"]["severity"]): each["state"] for each in rules}

    async def faults(self) -> dict[str, str]:
        """The rules that cannot be evaluated, and why."""
        rules = await self._rules()
        return {each["name"]: each["lastError"] for each in rules if each["health"] == "err"}

    async def _rules(self) -> list[dict[str, Any]]:
        return [rule for group in (await self._get("rules"))["groups"] for rule in group["rules"]]

    async def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        async with self.session.get(f"/api/v1/{what}", params=parameters) as reply:
            answer = await reply.json()
        assert answer["status"] == "success", (parameters, answer)
        data: dict[str, Any] = answer["data"]
        return data


@asynccontextmanager
async def prometheus(
    folder: Path, target: Address, rules: Iterable[Path]
) -> AsyncIterator[Prometheus]:
    """It scrapes ``target`` and evaluates the files of ``rules``; what it stores is in ``folder``.
    The target is labelled as one of a cluster is."""
    config = {
        "global": {
            "scrape_interval": EVERY,
            "scrape_timeout": EVERY,
            "evaluation_interval": EVERY,
        },
        "rule_files": list(map(str, rules)),
        "scrape_configs": [
            {
                "job_name": JOB,
                "static_configs": [
                    {
                        "targets": [str(target)],
                        "labels": {"instance": INSTANCE, "namespace": "models"},
                    }
                ],
            }
        ],
    }
    file = folder / "prometheus.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    log = process.stderr
    assert log is not None
    try:
        address = await address_said(log, _LISTENING)
        while _READY not in (line := await log.readline()):
            assert line, "it ended"
        async with aiohttp.ClientSession(f"http://{address}") as session:
            yield Prometheus(session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what only Prometheus knows."""
    while not await holds():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_EVERY)
