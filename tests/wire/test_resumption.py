"""A stream that is fetched again goes on where the client is, by the numbers that it was given."""

from __future__ import annotations

import json

import pytest

from sidecar.core.policy import Policy, Reasoning
from sidecar.core.stream import StreamFilter
from sidecar.wire.responses import Responses
from sidecar.wire.resumption import Resumed
from tests.clients.shapes import REASONING, responses
from tests.cuts import at_random, units

from .streams import ruling

STREAM = b"".join(responses({"model": "m", "tools": []}).events)
POLICIES = [Policy(), Policy(reasoning=Reasoning.KEEP), Policy(reasoning=Reasoning.MOVE)]


def filtered(policy: Policy, *pieces: bytes, after: int | None = None) -> bytes:
    """What leaves of the stream, from its beginning or from an event on."""
    answer = Responses(ruling(policy))
    stream = StreamFilter(answer if after is None else Resumed(answer, after), limit=1 << 20)
    return b"".join([*map(stream.feed, pieces), stream.finish()])


def blocks(raw: bytes) -> list[bytes]:
    """The events of a stream as they are written."""
    return [block + b"\n\n" for block in raw.split(b"\n\n")[:-1]]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.reasoning)
def test_what_the_client_has_is_left_out(policy: Policy) -> None:
    """And everything else is the same to the byte, in every cut."""
    events = blocks(filtered(policy, STREAM))
    for count in range(len(events) + 1):
        rest = b"".join(events[count:])
        for pieces in ([STREAM], units(STREAM), *at_random(STREAM, 4)):
            assert filtered(policy, *pieces, after=count - 1) == rest


@pytest.mark.parametrize("after", [0, 1, 99])
def test_a_stream_that_breaks_off_ends_so_wherever_it_is_resumed(after: int) -> None:
    """With an event that says so, though it be before the one where the client is."""
    cut = blocks(STREAM)[:6]
    raw = filtered(Policy(), *cut, after=after)
    assert json.loads(raw.rpartition(b"data: ")[2])["type"] == "response.failed"
    assert REASONING.encode() not in raw
