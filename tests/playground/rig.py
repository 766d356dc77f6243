"""A sidecar with a playground, in front of the demo's upstream or of a scripted one."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from aiohttp import ClientSession

from sidecar.demo.run import CONFIG_FILE
from sidecar.demo.transcripts import QUESTION
from sidecar.demo.upstream import upstream as demo_upstream
from sidecar.rules.catalogue import Catalogue, shipped_catalogue
from sidecar.rules.config import Config, load_config
from sidecar.server.app import serving
from tests.server.scripted import Upstream, configured

Record = dict[str, Any]


@cache
def catalogue() -> Catalogue:
    """The one that ships, which takes longer to read than a test takes."""
    return shipped_catalogue()


def demo_config(base_url: str, **options: Any) -> Config:
    """The demo's own configuration, with what a test wants otherwise."""
    environment = {"UPSTREAM_BASE_URL": base_url}
    return replace(load_config(CONFIG_FILE, environment, catalogue().names()), **options)


@asynccontextmanager
async def demo(pace: float = 0.0, **options: Any) -> AsyncIterator[str]:
    """In front of the demo's upstream: the origin of the admin port."""
    async with (
        demo_upstream(pace) as base_url,
        serving(demo_config(base_url, **options), catalogue()) as running,
    ):
        yield f"http://{running.admin}"


@asynccontextmanager
async def scripted(**options: Any) -> AsyncIterator[tuple[str, Upstream]]:
    """In front of an upstream in the hands of the test: the origin of the admin port, and that."""
    upstream = Upstream("127.0.0.1")
    async with upstream.listening("/v1") as base_url:
        config = replace(configured(base_url, built_in=True, **options), playground=True)
        async with serving(config, catalogue()) as running:
            yield f"http://{running.admin}", upstream


class Sides(NamedTuple):
    """One run: what the raw side was told, and the client's HTTP status and body."""

    records: list[Record]
    status: int
    answer: bytes

    def text(self, channel: str) -> str:
        """What the model wrote in that channel."""
        return "".join(each["text"] for each in self.records if each.get("channel") == channel)


async def both_sides(session: ClientSession, origin: str, model: str, **headers: str) -> Sides:
    """Ask as the page does; ``headers`` with ``_`` for ``-``."""
    name = secrets.token_hex(16)
    own = {"Origin": origin, "X-Sidecar-Run": name}
    more = {key.replace("_", "-"): value for key, value in headers.items()}
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    async with session.get(f"{origin}/playground/runs/{name}") as raw:
        assert raw.status == 200
        url = f"{origin}/v1/chat/completions"
        async with session.post(url, json=body, headers=own | more) as answer:
            received = await answer.read()
        lines = (await raw.text()).splitlines()
    records = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return Sides(records, answer.status, received)
