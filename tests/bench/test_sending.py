"""Upstream sends when it should: after what came before, as long as there is room, whole."""

from __future__ import annotations

import asyncio

from tests.bench.sending import Flood, Sender, pieces
from tests.bench.workloads import WORKLOADS, Workload

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def whole(workload: Workload, events: int) -> list[bytes]:
    """What an answer of so many events is sent as, by pieces."""
    return [b"".join(piece.segments) for piece in pieces(workload, workload.make(events))]


def test_in_lockstep_each_event_waits_for_the_one_before() -> None:
    written: list[bytes] = []
    told: list[int] = []
    workload = BY_NAME["saturation"]
    sender = Sender(pieces(workload, workload.make(4)), written.append, told.append)
    sender.begin()
    for sent in range(1, 6):
        assert written == whole(workload, 4)[:sent]
        sender.acknowledge(1)
    assert told == [1] * 5  # with the end mark


def test_a_packed_piece_waits_for_all_of_the_one_before() -> None:
    written: list[bytes] = []
    workload = BY_NAME["packed"]
    sender = Sender(pieces(workload, workload.make(40)), written.append, lambda _: None)
    sender.begin()
    sender.acknowledge(15)
    assert written == whole(workload, 40)[:1]
    sender.acknowledge(1)
    assert written == whole(workload, 40)[:2]


async def test_a_flood_stops_where_there_is_no_room_and_goes_on_where_there_is() -> None:
    written: list[bytes] = []
    room = 3
    workload = BY_NAME["flood"]
    sender = Flood(pieces(workload, workload.make(9)), written.append, lambda: len(written) >= room)
    sender.begin()
    for _ in range(20):
        await asyncio.sleep(0)
    assert written == whole(workload, 9)[:3]
    room = 100
    sender.room()
    for _ in range(20):
        await asyncio.sleep(0)
    assert written == whole(workload, 9)


def test_a_torn_event_has_three_segments() -> None:
    workload = BY_NAME["torn"]
    assert {len(piece.segments) for piece in pieces(workload, workload.make(20))} == {3}
