"""An upstream that answers in three wire formats, the sidecar in front of it, and its four rules.

The name of a rule is the model by which a request chooses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.server.app import serving
from tests.server.scripted import configured, rule

from .shapes import ANSWER, ANSWERS, CALL, IN_BAND, REASONING

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rule(NamedTuple):
    """A rule by what it keeps."""

    name: str
    reasoning: bool
    calls: bool

    @property
    def text(self) -> str:
        """The text that a client shows."""
        return IN_BAND + ANSWER if self.reasoning else ANSWER

    @property
    def spec(self) -> RuleSpec:
        """The rule as the sidecar has it; the one that keeps all touches nothing."""
        wish = {True: "keep", False: "drop"}
        return rule(
            self.name,
            match=Match(model=(self.name,)),
            reasoning=wish[self.reasoning],
            tool_calls=wish[self.calls],
            tool_results=wish[self.reasoning and self.calls],
        )

    @property
    def secrets(self) -> set[str]:
        """What stands in all that a client sees: that of what is kept, not of what is dropped."""
        return {*({REASONING} if self.reasoning else ()), *({CALL} if self.calls else ())}


RULES = (
    Rule("reasoning-dropped", reasoning=False, calls=True),
    Rule("calls-dropped", reasoning=True, calls=False),
    Rule("both-dropped", reasoning=False, calls=False),
    Rule("nothing-dropped", reasoning=True, calls=True),
)


def secrets_in(seen: object) -> set[str]:
    """Those secrets that stand anywhere in what a client has seen."""
    said = repr(seen)
    return {secret for secret in (REASONING, CALL) if secret in said}


each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda one: one.name)


async def _answer(request: web.Request) -> web.StreamResponse:
    body: dict[str, Any] = await request.json()
    answer = ANSWERS[request.path](body)
    if not body.get("stream"):
        return web.json_response(answer.document)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for event in answer.events:
        await response.write(event)
    await response.write_eof()
    return response


@asynccontextmanager
async def serving_shapes() -> AsyncIterator[str]:
    """Upstream and sidecar on free ports; yields the origin of the sidecar."""
    async with serving_before(_answer, ANSWERS, [one.spec for one in RULES]) as url:
        yield url


@asynccontextmanager
async def serving_before(
    answer: Handler, paths: Iterable[str], rules: Iterable[RuleSpec]
) -> AsyncIterator[str]:
    """A sidecar before an upstream that answers these paths with ``answer``; yields its origin."""
    app = web.Application()
    for path in paths:
        app.router.add_post(path, answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with serving(configured(upstream, rules=rules)) as running:
            yield f"http://{running.data}"
    finally:
        await runner.cleanup()
