"""What the sidecar tells of a run, in metrics and logs: the same story as its clients, and nothing
of what was said."""

from __future__ import annotations

import json
import re
from collections import Counter

from tests.soak.process import Metrics, Sidecar
from tests.soak.scenarios import CANARIES

_EXPECTED = re.compile(
    r"\S+ \S+ (INFO .*"
    r"|WARNING an answer on route \w+ could not be read: .*"
    r'|WARNING model "soak(-early)?" closed reasoning that it never opened; .*'
    r"|WARNING upstream gave no answer: (closed|malformed)"
    r"|WARNING draining took too long: .*)"
)
"""A line that the log may have."""
_UNREADABLE = re.compile(r"WARNING an answer on route \w+ could not be read: ")


def check_metrics(metrics: Metrics, outcomes: Counter[str], unreadable: int) -> None:
    """Requests by their outcome, and answers that could not be read, are those that clients have
    seen. Raises AssertionError."""
    counted: Counter[str] = Counter()
    for sample in metrics.of("sidecar_requests_total"):
        counted[sample.labels["outcome"]] += int(sample.value)
    assert counted == outcomes, f"metrics have {counted}, clients {outcomes}"
    total = metrics.total("sidecar_unreadable_answers_total")
    assert total == unreadable, f"metrics have {total} unreadable answers, clients {unreadable}"
    _check_silence(metrics.text, "the metrics")


def check_log(sidecar: Sidecar, outcomes: Counter[str], unreadable: int) -> None:
    """The access log has a line for each request, and the log one for each answer that could not
    be read and none that nobody expects. Raises AssertionError."""
    lines = sidecar.out.read_text().splitlines()
    logged = Counter(json.loads(line)["outcome"] for line in lines)
    assert logged == outcomes, f"the access log has {logged}, clients {outcomes}"
    said = sidecar.err.read_text()
    odd = [line for line in said.splitlines() if not _EXPECTED.fullmatch(line)]
    assert not odd, f"the log says {odd[:20]}"
    told = len(_UNREADABLE.findall(said))
    assert told == unreadable, f"the log has {told} unreadable answers, clients {unreadable}"
    _check_silence(said, "the log")
    _check_silence("\n".join(lines), "the access log")


def _check_silence(text: str, where: str) -> None:
    found = [canary for canary in CANARIES if canary in text]
    assert not found, f"{where} says what was said: {found}"


def share_below(metrics: Metrics, name: str, bound: str) -> float:
    """How much of the histogram ``name``, all labels together, is not above ``bound``."""
    buckets: Counter[str] = Counter()
    for sample in metrics.of(f"{name}_bucket"):
        buckets[sample.labels["le"]] += int(sample.value)
    return buckets[bound] / buckets["+Inf"]
