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
from tests.bench import answers
from tests.bench.answers import DONE_EVENT, Answer
from tests.bench.checks import check_stream

EVENT_LIMIT = 8 * 1024 * 1024

Job = Callable[[], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--events", type=int, default=2000, help="events of one answer")
    parser.add_argument("--rounds", type=int, default=15, help="times that each one is measured")


def run(arguments: argparse.Namespace) -> int:
    """Measure every kind of answer, print a table; the exit code."""
    ruling = default_ruling()
    print(f"{'µs per event':28} {'events':>7} {'bytes':>6} {'filter':>14} {'json only':>14}")
    for answer in _answers(arguments.events):
        check(answer, ruling)
        jobs = partial(filtered, answer, ruling), partial(_load, answer)
        ours, read = by_turns(jobs, arguments.rounds)
        count = len(answer.events)
        size = sum(map(len, answer.events)) // count
        print(
            f"{answer.name:28} {count:7} {size:6} {_figures(ours, count):>14}"
            f" {_figures(read, count):>14}"
        )
    print("(median / minimum)")
    return 0


def default_ruling() -> Ruling:
    """The built-in rule for requests without tools: every format of ``all``, everything hidden."""
    policy = Policy()
    formats = load_catalogue(config_dir() / "formats").resolve(["all"])
    return Ruling(policy, Vocabulary(formats, policy))


def filtered(answer: Answer, ruling: Ruling) -> list[bytes]:
    """An answer through a filter of its own, an event at a time."""
    stream = StreamFilter(Chat(ruling), limit=EVENT_LIMIT)
    feed = stream.feed
    return [*map(feed, answer.events), feed(DONE_EVENT)]


def check(answer: Answer, ruling: Ruling) -> None:
    """Raises WrongAnswer if what is measured is not what the filter is for."""
    check_stream(b"".join(filtered(answer, ruling)), answer)


def _answers(events: int) -> tuple[Answer, ...]:
    return (
        answers.plain(events),
        answers.plain(events, "plain, spaced and escaped", answers.spaced),
        answers.reasoning(events),
        answers.in_band(events),
        answers.calls(events),
    )


def _load(answer: Answer) -> None:
    for event in answer.events:
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
