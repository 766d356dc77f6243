"""The driver reads what a proxy sends wherever it is cut, and counts the answer's events in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench import answers
from tests.bench.checks import WrongAnswer, check_stream, check_untouched
from tests.bench.response import Response
from tests.bench.sending import pieces
from tests.bench.workloads import WORKLOADS, Way, Workload, sent

ANSWER = answers.plain(6)
STATUS = b'data: {"choices":[],"sidecar":{"status":{"phase":"answering"}}}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, size: int) -> tuple[Response, int]:
    """A response that comes in pieces of that size, and how many events were counted."""
    response, events = Response(), 0
    for start in range(0, len(data), size):
        events += response.events(response.feed(data[start : start + size]))
    return response, events


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 10_000])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_what_upstream_sends_is_read_wherever_it_is_cut(workload: Workload, size: int) -> None:
    answer = workload.make(20)
    data = b"".join(part for piece in pieces(workload, answer) for part in piece.segments)
    response, events = read(data, size)
    assert response.ended
    check_untouched(response.body, sent(workload, answer))
    if workload.way is not Way.DOCUMENT:
        assert events == len(answer.events) + 1


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_status_is_no_event_of_the_answer(size: int) -> None:
    data = HEAD + b"".join(
        b"%x\r\n%s\r\n" % (len(event), event) for event in (STATUS, *ANSWER.events)
    )
    assert read(data, size)[1] == len(ANSWER.events)


def test_an_error_is_no_answer() -> None:
    with pytest.raises(WrongAnswer, match="503"):
        Response().feed(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body.replace(answers.DONE_EVENT, b""),
        lambda body: body.replace(ANSWER.events[2], b""),
        lambda body: body.replace(b'"content":', b'"reasoning_content":'),
    ],
    ids=["no end", "an event less", "reasoning"],
)
def test_a_proxy_that_loses_data_or_shows_what_is_hidden_fails(
    damage: Callable[[bytes], bytes],
) -> None:
    body = b"".join(ANSWER.events) + answers.DONE_EVENT
    check_stream(body, ANSWER)
    with pytest.raises(WrongAnswer):
        check_stream(damage(body), ANSWER)
