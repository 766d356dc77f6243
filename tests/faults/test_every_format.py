"""What goes wrong in a stream, in the words of every wire format."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sidecar.core.framing import LINES
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.server.scripted import LAST, Call, Peer, chat, framed, response, stream_head
from tests.server.test_wire_formats import per_format
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import Kind, Piece, Read, Suite

from .verdicts import COMPLETED, SECRET, Ended, Told, watched
from .wires import reset

SUITES = {each.name: Suite(each, ADAPTERS[each.name]) for each in WIRE_FORMATS}
WHOLE = [
    Piece(Kind.TEXT, "First. "),
    Piece(Kind.TEXT, f"<think>{SECRET}</think>Last."),
    Piece(Kind.FINISH, "stop"),
]

INCOMPLETE = Ended("upstream_incomplete", "upstream_incomplete")
MALFORMED = Ended("upstream_incomplete", "upstream_malformed")
TIMEOUT = Ended("upstream_timeout", "upstream_timeout")
THEIRS = Ended("upstream_incomplete", "upstream_error")


class Said(NamedTuple):
    """The stream of an answer in one format: up to its first text, and the event with the second,
    which is hidden in part."""

    before: bytes
    then: bytes

    @classmethod
    def in_format(cls, suite: Suite) -> Said:
        """Those of the answer that is used here."""
        events = [suite.one(each) for each in suite.adapter.events(WHOLE)]
        second = next(i for i, each in enumerate(events) if SECRET.encode() in each)
        return cls(b"".join(events[:second]), events[second])


def broken(suite: Suite, body: bytes) -> None:
    """The first text, one error, and no finish."""
    read = suite.read(body)
    assert read.visible == {0: "First. "}
    assert read.errors == 1
    assert not read.finishes
    assert SECRET.encode() not in body


async def begin(suite: Suite, client: Peer, call: Call, said: Said) -> bytes:
    """Send the head and the first text; what has come of it."""
    await call.request_body()
    await call.send(stream_head(content_type=suite.framing.content_type), framed(said.before))
    head = await client.head()
    assert head.one("Content-Type") == suite.framing.content_type
    came = b""
    while b"First." not in came:
        came += await client.chunk()
    return came


def unreadable(suite: Suite) -> bytes:
    """An event of no format."""
    return suite.framing.write(b'{"x": s3cr3t-k3y}', b"")


WAYS = {
    "mid-event": INCOMPLETE,
    "no-finish": INCOMPLETE,
    "end-mark-without-a-finish": INCOMPLETE,
    "unreadable": MALFORMED,
    "array": MALFORMED,
    "key-twice": MALFORMED,
    "error-event": THEIRS,
    "silence": TIMEOUT,
    "silence-mid-event": TIMEOUT,
}


def last_words(way: str, suite: Suite, said: Said) -> bytes:
    """What comes after the first text."""
    match way:
        case "mid-event":
            return framed(said.then[:-10])
        case "no-finish":
            return LAST
        case "end-mark-without-a-finish":
            return (framed(suite.framing.mark) if suite.framing.mark else b"") + LAST
        case "unreadable":
            return framed(unreadable(suite) + said.then) + LAST
        case "array":
            return framed(suite.framing.write(b'["s3cr3t-k3y"]', b"") + said.then) + LAST
        case "key-twice":
            twice = suite.framing.write(b'{"type":"x","type":"s3cr3t-k3y"}', b"")
            return framed(twice + said.then) + LAST
        case "error-event":
            event = suite.adapter.error(f"It broke. <think>{SECRET}</think>")
            return framed(suite.one(event) + said.then) + LAST
        case "silence-mid-event":
            return framed(said.then[:-10])
    return b""


@pytest.mark.parametrize("way", WAYS)
@per_format
async def test_a_stream_that_breaks_off(wire_format: WireFormat, way: str, told: Told) -> None:
    """The text that was complete, and one error that a client of the format raises."""
    suite = SUITES[wire_format.name]
    said = Said.in_format(suite)
    options = {"idle": 0.3} if way.startswith("silence") else {}
    async with watched(**options) as rig, rig.call(chat(path=wire_format.path)) as (client, call):
        came = await begin(suite, client, call, said)
        await call.send(last_words(way, suite, said))
        if way in ("mid-event", "no-finish", "end-mark-without-a-finish"):
            call.finish()
        async for data in client.chunks():
            came += data
        how = await told.one(rig, route=wire_format.name)
    broken(suite, came)
    assert how == WAYS[way]


@per_format
async def test_a_reset(wire_format: WireFormat, told: Told) -> None:
    """The same by RST."""
    suite = SUITES[wire_format.name]
    async with watched() as rig, rig.call(chat(path=wire_format.path)) as (client, call):
        came = await begin(suite, client, call, Said.in_format(suite))
        reset(call)
        async for data in client.chunks():
            came += data
        assert await told.one(rig, route=wire_format.name) == INCOMPLETE
    broken(suite, came)


@per_format
async def test_silence_from_the_beginning(wire_format: WireFormat, told: Told) -> None:
    """A head and no more: an error is all that comes."""
    suite = SUITES[wire_format.name]
    async with (
        watched(first_byte=0.3) as rig,
        rig.call(chat(path=wire_format.path)) as (client, call),
    ):
        await call.request_body()
        await call.send(stream_head(content_type=suite.framing.content_type))
        answer = await client.answer()
        assert await told.one(rig, route=wire_format.name) == TIMEOUT
    read = suite.read(answer.body)
    assert (read.visible, read.errors, read.finishes) == ({}, 1, {})


LINE_ENDS = [
    (each, end)
    for each in WIRE_FORMATS
    for end in (["\r\n"] if SUITES[each.name].framing is LINES else ["\r\n", "\r"])
]


@pytest.mark.parametrize(
    ("wire_format", "end"), LINE_ENDS, ids=[f"{each.name}-{end!r}" for each, end in LINE_ENDS]
)
async def test_other_line_ends(wire_format: WireFormat, end: str, told: Told) -> None:
    """Lines end with LF, CRLF or CR in an event stream; a line of JSON ends with LF, before which a
    CR is white space."""
    suite = SUITES[wire_format.name]
    stream = suite.sent(WHOLE).decode().replace("\n", end).encode()
    async with watched() as rig:
        head = stream_head(content_type=suite.framing.content_type)
        rig.upstream.reply(head + framed(stream) + LAST)
        answer = await rig.ask(chat(path=wire_format.path))
        assert await told.one(rig, route=wire_format.name) == COMPLETED
    read = suite.read(answer.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    assert read.visible == {0: "First. Last."}
    assert read.finishes == {0: "stop"}
    assert SECRET.encode() not in answer.body


@per_format
async def test_nothing_follows_the_end(wire_format: WireFormat, told: Told) -> None:
    """What upstream says after its end is not listened to."""
    suite = SUITES[wire_format.name]
    stream = suite.sent(WHOLE) + suite.sent(WHOLE).replace(b"First.", SECRET.encode())
    async with watched() as rig:
        head = stream_head(content_type=suite.framing.content_type)
        rig.upstream.reply(head + framed(stream) + LAST)
        answer = await rig.ask(chat(path=wire_format.path))
        assert await told.one(rig, route=wire_format.name) == COMPLETED
    read: Read = suite.read(answer.body)
    assert read.visible == {0: "First. Last."}
    assert read.finishes == {0: "stop"}
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(
    ("raw", "status", "how"),
    [
        (b"", 502, Ended("upstream_error", "upstream_closed")),
        (response("200 OK", body=b"s3cr3t-k3y"), 502,
         Ended("upstream_error", "upstream_malformed")),
        (response("200 OK", body=b"{}")[:-1], 502, Ended("upstream_error", "upstream_incomplete")),
        (response("302 Found", "Location: /s3cr3t-k3y"), 502,
         Ended("upstream_error", "upstream_malformed")),
        (response("503 Busy", "Retry-After: 7", body=b"s3cr3t-k3y"), 503,
         Ended("upstream_error", "upstream_error")),
    ],
    ids=["closed", "no-json", "cut", "redirect", "503"],
)  # fmt: skip
@per_format
async def test_no_answer(
    wire_format: WireFormat, raw: bytes, status: int, how: Ended, told: Told
) -> None:
    """An HTTP status, and an error document of the format's own shape."""
    async with watched() as rig:
        rig.upstream.reply(raw)
        answer = await rig.ask(chat(path=wire_format.path, stream=False))
        assert await told.one(rig, route=wire_format.name) == how
    assert answer.status == status
    assert answer.head.one("Content-Type") == "application/json"
    assert answer.head.one("Retry-After") == ("7" if status == 503 else None)
    assert b'"error"' in answer.body
    assert SECRET not in answer.body.decode() + str(answer.head)
