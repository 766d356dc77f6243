"""Processor time of the filter alone: in one process, without sockets."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import orjson

from sidecar.core.policy import Policy
from sidecar.core.stream import StreamFilter
from sidecar.core.vocabulary import Vocabulary
from sidecar.resources import config_dir
from sidecar.rules.catalogue import load_catalogue
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from tests.bench import workloads
from tests.bench.workloads import DONE_EVENT, Workload

EVENT_LIMIT = 8 * 1024 * 1024

Job = Callable[[], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--events", type=int, default=2000, help="events of one answer")
    parser.add_argument("--rounds", type=int, default=15, help="times that each one is measured")


def run(arguments: argparse.Namespace) -> int:
    """Measure every workload, print a table; the exit code."""
    ruling = default_ruling()
    print(f"{'µs per event':28} {'events':>7} {'bytes':>6} {'filter':>14} {'json only':>14}")
    for workload in _workloads(arguments.events):
        check(workload, ruling)
        jobs = partial(answer, workload, ruling), partial(_load, workload)
        filtered, read = by_turns(jobs, arguments.rounds)
        count = len(workload.events)
        size = sum(map(len, workload.events)) // count
        print(
            f"{workload.name:28} {count:7} {size:6} {_figures(filtered, count):>14}"
            f" {_figures(read, count):>14}"
        )
    print("(median / minimum)")
    return 0


def default_ruling() -> Ruling:
    """The built-in rule for requests without tools: every format of ``all``, everything hidden."""
    policy = Policy()
    formats = load_catalogue(config_dir() / "formats").resolve(["all"])
    return Ruling(policy, Vocabulary(formats, policy))


def answer(workload: Workload, ruling: Ruling) -> list[bytes]:
    """One answer through a filter of its own, an event at a time."""
    stream = StreamFilter(Chat(ruling), limit=EVENT_LIMIT)
    feed = stream.feed
    return [*map(feed, workload.events), feed(DONE_EVENT)]


def check(workload: Workload, ruling: Ruling) -> None:
    """Fails if what is measured is not what the filter is for."""
    sent = b"".join(answer(workload, ruling))
    assert visible_text(sent) == workload.visible, workload.name
    assert sent.endswith(DONE_EVENT), workload.name


def visible_text(stream: bytes) -> str:
    """The answer's text in an event stream, as a client puts it together."""
    datas = (block.removeprefix(b"data: ") for block in stream.split(b"\n\n") if block)
    chunks = [orjson.loads(data) for data in datas if data != b"[DONE]"]
    deltas = (choice["delta"] for chunk in chunks for choice in chunk["choices"])
    return "".join(delta.get("content") or "" for delta in deltas)


def _workloads(events: int) -> tuple[Workload, ...]:
    return (
        workloads.plain(events),
        workloads.plain(events, "plain, spaced and escaped", workloads.spaced),
        workloads.reasoning(events),
        workloads.in_band(events),
        workloads.calls(events),
    )


def _load(workload: Workload) -> None:
    for event in workload.events:
        orjson.loads(event[6:-2])


def by_turns(jobs: tuple[Job, Job], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each job in each round. By turns: whatever slows the machine slows both."""
    first, second = jobs
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(_seconds(first))
        times[1].append(_seconds(second))
    return times


def _seconds(job: Job) -> float:
    gc.collect()
    start = time.process_time()
    job()
    return time.process_time() - start


def _figures(seconds: list[float], count: int) -> str:
    return f"{median(seconds) / count * 1e6:.2f} / {min(seconds) / count * 1e6:.2f}"
