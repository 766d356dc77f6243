"""SIGTERM while answers are under way: nobody is turned away before it is said, who can end ends,
who cannot is told, and the process ends well."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random

from tests.server.scripted import LAST, framed
from tests.soak.answers import made
from tests.soak.client import ask, connected
from tests.soak.process import Sidecar, until
from tests.soak.scenarios import SUITES, Act, Scenario, Script, asked, broken, head_of, whole
from tests.soak.upstream import Upstream

SETTINGS = "drain: {delay: 2s, timeout: 5s}\n"

_SHUT_DOWN = "shut_down"
_EACH = 24
"""Streams that can end in time, and as many that cannot."""


async def check_end(
    sidecar: Sidecar, upstream: Upstream, chance: Random, first: int
) -> Counter[str]:
    """Ask for the end, with streams under way that have numbers from ``first`` on. How they ended.
    Raises AssertionError or TimeoutError if the end is not as it should be."""
    upstream.released.clear()
    scenarios = [*_scenarios(chance, first)]

    async def ended(number: int) -> str:
        each = scenarios[number - first]
        try:
            return each.judge(await ask(sidecar.port, number, each, upstream))
        except AssertionError as error:
            raise AssertionError(f"stream {number} ({each.kind}): {error}") from error

    async def is_refused() -> bool:
        try:
            async with await connected(sidecar.port):
                return False
        except ConnectionRefusedError:
            return True

    async def runs() -> bool:
        return (await sidecar.metrics()).total("sidecar_streams_in_flight") == len(scenarios) - 1

    async def is_unready() -> bool:
        return (await sidecar.get("/readyz"))[0] == 503

    *numbers, late = range(first, first + len(scenarios))
    under_way = [asyncio.create_task(ended(number)) for number in numbers]
    await until(runs, "the streams do not begin")
    sidecar.end()
    await until(is_unready, "it does not say that it is ending")
    outcomes = [await ended(late)]
    await until(is_refused, "it goes on listening")
    upstream.released.set()
    outcomes += await asyncio.gather(*under_way)
    code = await sidecar.ended()
    assert code == 0, f"the exit code is {code}"
    return Counter(outcomes)


def _scenarios(chance: Random, first: int) -> Iterator[Scenario]:
    """Those that end when they are released, those that never do, and one that comes late."""
    for number in range(first, first + 2 * _EACH + 1):
        suite = chance.choice(SUITES)
        answer = made(chance, number, suite.adapter, parts=6)
        events = suite.adapter.events(answer.pieces)
        half = len(events) // 2
        ask_ = asked(suite, number, streams=True)
        script: Script
        if number == first + 2 * _EACH:
            script = [head_of(suite), framed(suite.stream(events)), LAST]
            yield Scenario("comes late", ask_, script, whole(suite, answer))
        elif number % 2:
            begun, rest = suite.stream(events[:half], mark=False), suite.stream(events[half:])
            script = [head_of(suite), framed(begun), Act.HOLD_ALIVE, framed(rest), LAST]
            yield Scenario("ends in time", ask_, script, whole(suite, answer))
        else:
            unfinished = suite.adapter.events(answer.pieces[:-1])
            script = [head_of(suite), framed(suite.stream(unfinished, mark=False)), Act.STAY]
            yield Scenario("is ended", ask_, script, broken(suite, answer.text, _SHUT_DOWN))
