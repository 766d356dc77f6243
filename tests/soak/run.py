"""The run: requests of every kind, what is left of them, and the end while answers are under
way."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.bench import loop
from tests.server.scripted import Cut
from tests.soak import draining
from tests.soak.client import ask
from tests.soak.process import Level, Metrics, Sidecar, running, until
from tests.soak.records import check_log, check_metrics, share_below
from tests.soak.scenarios import EVENT_LIMIT, scenario
from tests.soak.upstream import Upstream

_WARM_UP = 10_000
"""Requests, or a third of the time, after which caches are full and the allocator has found its
level. A fast machine makes a thousand in four seconds, and has not found it by then."""
_GROWTH = 0.05
"""Of the level after that, by which memory may have grown in the end."""
_SCRAPE_EVERY = 1.0
_MOST_FAILURES = 3

_SETTINGS = f"""\
models: [soak]
limits: {{event: {EVENT_LIMIT}B}}
write_timeout: 2s
status: {{first_after: off, header: choose}}
rules:
  - {{name: early, match: {{model: soak-early}}, status: {{first_after: 0}}}}
  - name: tools-declared
    match: {{tools: declared}}
    reasoning: move
    tool_calls: declared
    status: {{form: off}}
  - {{name: default}}
upstream:
  base_url: http://127.0.0.1:%d/v1
  timeouts: {{first_byte: 10s, idle: 10s}}
{draining.SETTINGS}"""


@dataclass
class Tally:
    """What the clients have seen; ``unreadable`` are answers of which the log has a line."""

    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    events: int = 0
    received: int = 0


class Failure(Exception):
    """Something is not as it should be."""


class Soak:
    """A run of the requests that ``seed`` gives, so many ``streams`` at a time."""

    def __init__(self, seed: int, streams: int, sidecar: Sidecar, upstream: Upstream) -> None:
        self.tally = Tally()
        self.peak = Level(0, 0, 0)
        self.slowest_scrape = 0.0
        self.numbers = itertools.count()
        self._seed = seed
        self._streams = streams
        self._sidecar = sidecar
        self._upstream = upstream
        self._failures: list[str] = []

    async def load(self, seconds: float, requests: int | None = None) -> None:
        """Ask for so long, or so much, and watch. Raises Failure."""
        end = time.monotonic() + seconds
        numbers = itertools.islice(self.numbers, requests)
        watcher = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._work(numbers, end) for _ in range(self._streams)))
        watcher.cancel()
        if self._failures:
            raise Failure("\n".join(self._failures))

    async def quiet(self, start: Level) -> tuple[Level, Metrics]:
        """Wait until nothing is left of the requests, in descriptors and tasks as at the start.
        Raises TimeoutError if something is."""

        async def nothing_left() -> bool:
            level, metrics = await self._sidecar.level(), await self._sidecar.metrics()
            return (
                metrics.total("sidecar_requests_total") >= self.tally.outcomes.total()
                and not metrics.total("sidecar_streams_in_flight")
                and not self._upstream.open
                and level.descriptors <= start.descriptors
                and level.tasks <= start.tasks
            )

        await until(nothing_left, "something is left of the requests")
        return await self._sidecar.level(), await self._sidecar.metrics()

    async def _work(self, numbers: Iterator[int], end: float) -> None:
        for number in numbers:
            if time.monotonic() > end or len(self._failures) >= _MOST_FAILURES:
                return
            try:
                await self._one(number)
            except (AssertionError, Cut, OSError, LookupError, TimeoutError, ValueError):
                kind = scenario(self._seed, number).kind
                what = traceback.format_exc(limit=-2)
                self._failures.append(f"stream {number} ({kind}): {what}")

    async def _one(self, number: int) -> None:
        chosen, tally = scenario(self._seed, number), self.tally
        received = await ask(self._sidecar.port, number, chosen, self._upstream)
        tally.outcomes[chosen.judge(received)] += 1
        tally.kinds[chosen.kind] += 1
        tally.unreadable += chosen.unreadable
        tally.received += len(received.body)
        tally.events += received.body.count(b"\n\n") or received.body.count(b"\n")

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            level = await self._sidecar.level()
            self.slowest_scrape = max(self.slowest_scrape, time.monotonic() - began)
            self.peak = Level(*map(max, zip(self.peak, level, strict=True)))
            await asyncio.sleep(_SCRAPE_EVERY)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this run."""
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (10)")
    parser.add_argument("--streams", type=int, default=48, help="requests at a time (48)")
    parser.add_argument("--seed", type=int, help="repeats a run (by the clock)")


def run(arguments: argparse.Namespace) -> int:
    """Run, print the figures; the exit code."""
    seed = int(time.time()) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            loop.run(_run(arguments.minutes * 60, arguments.streams, seed, Path(folder)))
        except (AssertionError, Failure, TimeoutError) as error:
            print(f"failed, seed {seed}: {type(error).__name__}: {error}")
            log = Path(folder, "sidecar.log").read_text(errors="replace").splitlines()
            print("the end of the log:", *log[-20:], sep="\n")
            return 1
    print("all is well")
    return 0


async def _run(seconds: float, streams: int, seed: int, folder: Path) -> None:
    async with Upstream() as upstream:
        with running(folder, _SETTINGS % upstream.port) as sidecar:
            soak = Soak(seed, streams, sidecar, upstream)
            began, start = time.monotonic(), await sidecar.level()
            await soak.load(seconds / 3, _WARM_UP)
            warm, _ = await soak.quiet(start)
            await soak.load(seconds - (time.monotonic() - began))
            end, metrics = await soak.quiet(start)
            _print_figures(soak, metrics, start, warm, end)
            tally = soak.tally
            check_metrics(metrics, tally.outcomes, tally.unreadable)
            _check_growth(warm, end)
            chance, number = Random(seed), next(soak.numbers)
            ended = await draining.check_end(sidecar, upstream, chance, number)
            print(f"after SIGTERM: {_counts(ended)}; exit code 0")
            check_log(sidecar, tally.outcomes + ended, tally.unreadable)


def _check_growth(warm: Level, end: Level) -> None:
    growth = end.memory / warm.memory - 1
    assert growth <= _GROWTH, f"memory has grown by {growth:.1%} since the warm-up"


def _print_figures(soak: Soak, metrics: Metrics, start: Level, warm: Level, end: Level) -> None:
    tally = soak.tally
    megabytes = tally.received / 1e6
    print(f"{tally.kinds.total()} requests, {tally.events} events, {megabytes:.1f} MB received")
    print(f"by kind: {_counts(tally.kinds)}")
    print(f"by outcome: {_counts(tally.outcomes)}")
    print(f"{'':12} {'start':>8} {'warm':>8} {'peak':>8} {'end':>8}")
    for name in Level._fields:
        levels = (getattr(level, name) for level in (start, warm, soak.peak, end))
        shown = (f"{value / 2**20:.1f} MiB" if name == "memory" else value for value in levels)
        print(f"{name:12}", *(f"{value:>8}" for value in shown))
    added = "sidecar_added_latency_seconds"
    shares = (f"{share_below(metrics, added, str(ms / 1000)):.1%} up to {ms} ms" for ms in (1, 10))
    print(f"added latency: {', '.join(shares)}")
    print(f"slowest scrape: {soak.slowest_scrape * 1000:.0f} ms", flush=True)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())
