"""client.js, the module that front ends copy: what it makes of a stream, wherever it is cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from sidecar.demo.transcripts import TOOLS, TRANSCRIPTS, Transcript
from tests.server.scripted import DONE, FINISH, ROLE, event, text

from .browser import Watched
from .conftest import Open
from .rig import both_sides, demo

pytestmark = pytest.mark.asyncio(loop_scope="session")

Event = dict[str, Any]

_EVENTS = """async ([bytes, size]) => {
  const { events } = await import("/playground/client.js");
  const all = Uint8Array.from(bytes);
  let at = 0;
  const stream = new ReadableStream({
    pull(controller) {
      if (at >= all.length) return controller.close();
      controller.enqueue(all.slice(at, at + size));
      at += size;
    },
  });
  const found = [];
  for await (const event of events(stream)) found.push(event);
  return found;
}"""

STATUS = {"phase": "thinking", "text": "Thinking…", "seq": 1, "elapsed_ms": 5}
THINKING = {"type": "status", "phase": "thinking", "text": "Thinking…"}
BEGUN, END = {"type": "begun"}, {"type": "done"}
HELLO = {"type": "text", "text": "Hello"}
PLAIN = ROLE + text("Hello") + FINISH + DONE
BROKEN_OFF = {"type": "error", "message": "The answer broke off.", "code": None}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(opened: Open) -> AsyncIterator[Watched]:
    """A page that has the module."""
    async with demo() as origin, opened(origin) as seen:
        yield seen


async def events(page: Watched, stream: bytes, size: int) -> list[Event]:
    """What the module makes of ``stream``, which comes in pieces of so many bytes."""
    found: list[Event] = await page.page.evaluate(_EVENTS, [list(stream), size])
    return found


def joined(found: list[Event], kind: str = "text") -> str:
    """The texts of the events of one type."""
    return "".join(each["text"] for each in found if each["type"] == kind)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda each: each.name)
async def test_every_transcript_gives_the_same_events_however_it_is_cut(
    transcript: Transcript, page: Watched
) -> None:
    async with demo() as origin, ClientSession() as session:
        sides = await both_sides(session, origin, transcript.model)
    whole = await events(page, sides.answer, len(sides.answer))
    assert joined(whole) == transcript.visible
    assert (whole[0], whole[-1]) == (BEGUN, END)
    assert next(each["phase"] for each in whole if each["type"] == "status") == "thinking"
    for size in (1, 7, 1000):
        assert await events(page, sides.answer, size) == whole
    crlf = sides.answer.replace(b"\n", b"\r\n")
    for size in (1, len(crlf)):
        assert await events(page, crlf, size) == whole


async def test_a_source_is_an_event_of_its_own(page: Watched) -> None:
    async with demo() as origin, ClientSession() as session:
        sides = await both_sides(session, origin, TOOLS.model)
    found = await events(page, sides.answer, 100)
    assert [each for each in found if each["type"] == "source"] == [
        {"type": "source", "title": "Ferry timetable", "url": "https://ferries.example/marisca"}
    ]


@pytest.mark.parametrize(
    "status",
    [
        event({"choices": [{"index": 0, "delta": {}}], "sidecar": {"status": STATUS}}),
        b": status " + json.dumps(STATUS).encode() + b"\n",
        b"event: status\ndata: " + json.dumps(STATUS).encode() + b"\n\n",
    ],
    ids=["chunk", "comment", "event"],
)
async def test_a_status_is_read_in_every_form_that_is_for_front_ends(
    status: bytes, page: Watched
) -> None:
    assert await events(page, status + PLAIN, 1) == [BEGUN, THINKING, HELLO, END]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (PLAIN, [BEGUN, HELLO, END]),
        (b"\xef\xbb\xbf" + PLAIN, [BEGUN, HELLO, END]),
        (b": keep-alive\n" + PLAIN, [BEGUN, HELLO, END]),
        (b"id: 1\nretry: 5\n\n" + PLAIN.replace(b"data: ", b"data:"), [BEGUN, HELLO, END]),
        (PLAIN.replace(b"\n", b"\r"), [BEGUN, HELLO, END]),
        (b"data: not JSON\n\n" + PLAIN, [BEGUN, HELLO, END]),
        (b'data: {"choices":\ndata: []}\n\n' + PLAIN, [BEGUN, HELLO, END]),
        (PLAIN + text("after the end"), [BEGUN, HELLO, END]),
        (text("other", index=1) + PLAIN, [BEGUN, HELLO, END]),
        (text("Hello"), [BEGUN, HELLO, BROKEN_OFF]),
        (text("Hello") + b"data: [DONE]", [BEGUN, HELLO, BROKEN_OFF]),
        (b"", [BROKEN_OFF]),
        (
            text("Hello") + event({"error": {"message": "no memory", "code": "oom"}}) + DONE,
            [BEGUN, HELLO, {"type": "error", "message": "no memory", "code": "oom"}],
        ),
        (text("日本 🚢"), [BEGUN, {"type": "text", "text": "日本 🚢"}, BROKEN_OFF]),
    ],
)
async def test_a_stream_is_read_as_the_standard_says(
    stream: bytes, expected: list[Event], page: Watched
) -> None:
    for size in (1, 2, 3, len(stream) or 1):
        assert await events(page, stream, size) == expected
