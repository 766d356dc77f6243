"""Requests after which every metric has been counted, good and bad, through a running sidecar."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from sidecar.core.framing import EVENTS
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Call,
    Cut,
    Peer,
    Rig,
    chat,
    chunk,
    document,
    framed,
    request,
    response,
    stream_head,
    streamed,
    text,
)

_KEY: Final = "0123456789abcdef"

SETTINGS: Final = f"""\
auth: {{keys: [{{key: {_KEY}, name: load}}]}}
rules:
  - name: people
    match: {{headers: {{x-client: person}}}}
    formats: [all]
    status: {{first_after: 0, heartbeat: 1s}}
  - name: programs
    formats: [all]
    status: {{form: off, first_after: off}}
drain: {{delay: 0}}
"""
UPSTREAM: Final = "retries: 1, timeouts: {connect: 5s, first_byte: 2s, idle: 2s}"
"""What else the configuration says of upstream."""

_ALLOWED: Final = f"Authorization: Bearer {_KEY}"
_PERSON: Final = "X-Client: person"
_PROGRAM: Final = chat(_ALLOWED)

_CALL: Final = chunk(
    {
        "tool_calls": [
            {
                "index": 0,
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
        ]
    }
)
_THOUGHT: Final = chunk({"reasoning_content": "hm"})
_USAGE: Final = chunk(
    {},
    "stop",
    usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
)

_CANNED: Final = (
    response("200 OK", body=document({"content": "a"})),
    streamed(ROLE, _THOUGHT, FINISH, DONE),  # nothing visible
    streamed(ROLE, chunk({"musings": "x"}), text("hm</think>a"), FINISH, DONE),  # an orphan marker
    response("200 OK", body=b"x", content_type="text/plain"),  # unreadable
    response("500 Oops", body=b"{}"),
    stream_head() + framed(ROLE) + framed(text("a")),  # dies midway
)


async def load(rig: Rig) -> None:
    """One round of them. It lasts a little more than two seconds, of which most is silence."""
    async with (
        rig.call(chat(_ALLOWED, _PERSON)) as (person, thinking),
        rig.call(_PROGRAM) as (program, hanging),
    ):
        await hanging.send(stream_head(), framed(ROLE))
        for _ in range(5):
            await _quick(rig)
        await person.head()
        while await person.chunk() != EVENTS.beat:
            pass
        await _spoken(person, thinking)
        await program.answer()  # upstream's time is over


async def _quick(rig: Rig) -> None:
    """Those that nobody waits for."""
    for raw in _CANNED:
        rig.upstream.reply(raw)
        with suppress(Cut):
            await rig.ask(_PROGRAM)
    rig.upstream.reply(response("500 Oops", body=b"{}"))
    await rig.ask(chat(_ALLOWED, path="/v1/messages"))
    rig.upstream.reply(None)
    await rig.ask(request("GET", "/elsewhere", _ALLOWED))
    async with rig.call(_PROGRAM) as (client, call):  # the client leaves
        await call.send(stream_head(), framed(ROLE), framed(text("a")))
        await client.head()
    await call.gone()
    async with rig.call(_PROGRAM) as (client, call):
        await call.send(response("503 Busy"))
        again = await rig.upstream.accept()
        await again.send(streamed(text("a"), FINISH, DONE))
        await client.answer()


async def _spoken(client: Peer, call: Call) -> None:
    """An answer with something of everything, event by event."""
    await call.send(stream_head(), framed(ROLE), framed(_THOUGHT))
    await client.chunk()  # the status that it thinks
    await call.send(framed(_CALL))
    await client.chunk()  # and that it calls
    await call.send(framed(text("one")))
    await client.chunk()
    await call.send(framed(text("two <thi")))
    await client.chunk()
    await call.send(framed(text("s>")))  # which was no marker
    await client.chunk()
    await call.send(framed(_USAGE), framed(DONE), LAST)
    async for _ in client.chunks():
        pass
