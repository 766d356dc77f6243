"""What happens to one request: what the client sends, what the upstream does, and what must come
of it.

Everything is decided by the seed and the number of the request, so that a failure can be repeated.
Owns the kinds of requests and how often each comes; knows nothing of sockets.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from random import Random
from typing import Any, NamedTuple

from sidecar.core.framing import LINES
from sidecar.wire.formats import WIRE_FORMATS
from tests.server.scripted import LAST, Head, framed, request, response, stream_head
from tests.soak.answers import HIDDEN, SHOWN, Answer, made
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import Kind, Piece, Read, Suite
from tests.wire.recordings import Recording, recordings

Json = dict[str, Any]

SUITES = tuple(Suite(each, ADAPTERS[each.name]) for each in WIRE_FORMATS)
CHAT = SUITES[0]
NUMBER = "X-Soak"
"""The header with the number of the request."""
CANARIES = ("zq", SHOWN)
"""What must be in no log and no metric: prompts, keys, queries and hidden text have the first."""
EVENT_LIMIT = 262_144
"""Bytes; small, so that what goes over it is soon there."""


class Act(StrEnum):
    """What an upstream does besides sending."""

    CLOSE = "close"
    RESET = "reset"
    # Until the sidecar closes the connection:
    WAIT = "say no more"
    STAY = "say nothing, but show every second that it is alive"
    # Until then, or until the run releases it:
    HOLD = "hold"
    HOLD_ALIVE = "hold, and show every second that it is alive"


Script = Sequence[bytes | float | Act]
"""What an upstream does in turn; a number is a pause in seconds."""


class Pace(StrEnum):
    """How a client reads."""

    READS = "reads"
    CRAWLS = "crawls"
    LEAVES_WAITING = "leaves while it waits"
    LEAVES_READING = "leaves while it reads"
    STALLS = "stops reading"


class Received(NamedTuple):
    """What a client has got; ``cut``: the connection ended before the answer did."""

    head: Head
    body: bytes
    cut: bool


Judge = Callable[[Received], str]
"""Checks what has come, and says how metrics should call it. Raises AssertionError."""


@dataclass(frozen=True)
class Scenario:
    """One request. ``unreadable``: no wire format can read the answer."""

    kind: str
    request: bytes
    script: Script
    judge: Judge
    pace: Pace = Pace.READS
    unreadable: bool = False


def scenario(seed: int, number: int) -> Scenario:
    """That of the request ``number``."""
    chance = Random(f"{seed}:{number}")
    kind = chance.choices(list(_KINDS), weights=[weight for weight, _ in _KINDS.values()])[0]
    return _KINDS[kind][1](kind, chance, number)


# --- requests -----------------------------------------------------------------------------------

_PROMPTS: dict[str, Json] = {
    "completions": {"prompt": "zqprompt"},
    "responses": {"input": "zqprompt"},
    "messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "zqprompt"}]},
    "ollama_generate": {"prompt": "zqprompt"},
}
_CHAT: Json = {"messages": [{"role": "user", "content": "zqprompt"}]}


def asked(suite: Suite, number: int, *, streams: bool, model: str = "soak", **more: Any) -> bytes:
    """A request for an answer in a wire format; ``more`` are keys of its body."""
    name, path = suite.wire_format.name, suite.wire_format.path
    body = {"model": model, "stream": streams} | _PROMPTS.get(name, _CHAT) | more
    return _post(f"{path}?key=zqquery", number, json.dumps(body).encode())


def _post(target: str, number: int, body: bytes, *fields: str) -> bytes:
    fields = (f"{NUMBER}: {number}", "Authorization: Bearer zqkey", *fields)
    return request("POST", target, "Content-Type: application/json", *fields, body=body)


def _tool(name: str) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


# --- what upstreams do --------------------------------------------------------------------------

_SECRET_FIELD = f"X-Reasoning: {HIDDEN}"
_PAUSES = (0.0, 0.0, 0.001, 0.005, 0.02)
_MOST_PIECES = 24


def head_of(suite: Suite, *fields: str) -> bytes:
    return stream_head(_SECRET_FIELD, *fields, content_type=suite.framing.content_type)


def _pieces(chance: Random, body: bytes) -> Iterator[bytes | float]:
    """``body`` in chunks that are cut anywhere, with pauses."""
    count = chance.randint(0, min(_MOST_PIECES, len(body)))
    at = sorted(chance.sample(range(len(body)), count)) if body else []
    for start, end in zip([0, *at], [*at, len(body)], strict=True):
        if start < end:
            yield framed(body[start:end])
            yield chance.choice(_PAUSES)


def streamed(chance: Random, suite: Suite, body: bytes) -> Script:
    """``body`` as a stream, whole."""
    if chance.random() < 0.8:
        return [head_of(suite), *_pieces(chance, body), LAST]
    kind = suite.framing.content_type
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    return [head, body, Act.CLOSE]


# --- what must come of it -----------------------------------------------------------------------

_COMPLETED, _REFUSED, _UPSTREAM_ERROR = "completed", "refused", "upstream_error"
_INCOMPLETE, _TIMEOUT = "upstream_incomplete", "upstream_timeout"
_BLANK_LINES = re.compile(rb"\n{3,}")
_SILENCE = b"sent nothing for too long"
"""Of the sentence that tells of an upstream that was given up."""


def _same(what: str, got: object, expected: object) -> None:
    assert got == expected, f"{what}: got {got!r}, expected {expected!r}"


def _safe(received: Received) -> None:
    assert HIDDEN.encode() not in received.body, "something hidden has left"
    assert all(HIDDEN not in value for _, value in received.head.fields)


def _read(suite: Suite, received: Received) -> Read:
    """The stream as a strict client reads it."""
    assert received.head.status == 200, received
    assert not received.cut, "the answer was cut off"
    lines = received.body.replace(b"\r\n", b"\n").split(b"\n")
    said = b"\n".join(line for line in lines if not line.startswith(b":"))
    # A blank line after another one says nothing.
    return suite.read(_BLANK_LINES.sub(b"\n\n", said))


def whole(suite: Suite, answer: Answer) -> Judge:
    """All of it must come."""

    def judge(received: Received) -> str:
        _safe(received)
        read = _read(suite, received)
        _same("text", read.texts.get(0, ""), answer.text)
        assert read.ended
        assert not read.errors
        assert read.finishes
        return _COMPLETED

    return judge


def broken(suite: Suite, text: str, outcome: str | None = None) -> Judge:
    """Of an answer that breaks off ``text`` must come, and an error."""

    def judge(received: Received) -> str:
        _safe(received)
        read = _read(suite, received)
        _same("text", read.texts.get(0, ""), text)
        assert read.errors == 1
        assert not read.finishes
        return outcome or (_TIMEOUT if _SILENCE in received.body else _INCOMPLETE)

    return judge


def _error(status: int, outcome: str = _UPSTREAM_ERROR, **headers: str) -> Judge:
    """An HTTP error must come, with these headers."""

    def judge(received: Received) -> str:
        _safe(received)
        assert received.head.status == status, received
        assert json.loads(received.body)["error"]
        assert all(received.head.one(name) == value for name, value in headers.items())
        return outcome

    return judge


def _either(refused: Judge, begun: Judge) -> Judge:
    """By whether the answer has begun."""
    return lambda received: (begun if received.head.status == 200 else refused)(received)


def _these(body: bytes, outcome: str = _COMPLETED) -> Judge:
    """These bytes must come."""

    def judge(received: Received) -> str:
        assert received.head.status == 200, received
        assert not received.cut
        _same("body", received.body, body)
        return outcome

    return judge


def _gone(_: Received) -> str:
    return "client_gone"


def _stalled(_: Received) -> str:
    return "client_timeout"


# --- the kinds ----------------------------------------------------------------------------------

Make = Callable[[str, Random, int], Scenario]


def _answer(chance: Random, suite: Suite, number: int) -> Answer:
    return made(chance, number, suite.adapter, parts=chance.randint(1, 9))


def _stream(kind: str, chance: Random, number: int) -> Scenario:
    suite = chance.choice(SUITES)
    answer = _answer(chance, suite, number)
    body = suite.sent(answer.pieces, spaces=chance.random() < 0.3)
    if suite.framing is not LINES and chance.random() < 0.2:
        body = body.replace(b"\n", b"\r\n")
    model = "soak-early" if chance.random() < 0.1 else "soak"
    ask = asked(suite, number, streams=True, model=model)
    return Scenario(kind, ask, streamed(chance, suite, body), whole(suite, answer))


def _long_stream(kind: str, chance: Random, number: int) -> Scenario:
    suite = chance.choice(SUITES)
    answer = made(chance, number, suite.adapter, parts=100)
    ask = asked(suite, number, streams=True)
    pace = Pace.CRAWLS if kind == "slow client" else Pace.READS
    script = streamed(chance, suite, suite.sent(answer.pieces))
    return Scenario(kind, ask, script, whole(suite, answer), pace)


def _document(kind: str, chance: Random, number: int) -> Scenario:
    suite = chance.choice(SUITES)
    answer = made(chance, number, suite.adapter, parts=chance.randint(1, 9), whole=True)
    body = suite.body(answer.pieces)

    def judge(received: Received) -> str:
        _safe(received)
        assert received.head.status == 200, received
        _same("text", suite.read_document(received.body).texts.get(0, ""), answer.text)
        return _COMPLETED

    ask = asked(suite, number, streams=False)
    return Scenario(kind, ask, [response("200 OK", _SECRET_FIELD, body=body)], judge)


@cache
def _recordings() -> tuple[Recording, ...]:
    return tuple(recordings())


def _recording(kind: str, chance: Random, number: int) -> Scenario:
    recording = chance.choice(_recordings())
    tools = {"tools": [_tool(name) for name in recording.declares]} if recording.declares else {}
    body = {"model": "soak", "stream": True} | _CHAT | tools
    ask = _post(CHAT.wire_format.path, number, json.dumps(body).encode(), "X-Sidecar-Status: off")
    outcome = _INCOMPLETE if recording.ends == "error" else _COMPLETED
    script = streamed(chance, CHAT, recording.sent)
    return Scenario(kind, ask, script, _these(recording.golden, outcome))


def _agent(kind: str, chance: Random, number: int) -> Scenario:
    answer = _answer(chance, CHAT, number)
    body = CHAT.sent(answer.pieces)

    def judge(received: Received) -> str:
        read = _read(CHAT, received)
        _same("text", read.texts.get(0, ""), answer.text)
        _same("reasoning", read.reasoning, answer.reasoning)
        _same("calls", read.calls, [("look", said) for said in answer.calls])
        assert read.ended
        return _COMPLETED

    ask = asked(CHAT, number, streams=True, tools=[_tool("look")])
    return Scenario(kind, ask, streamed(chance, CHAT, body), judge)


def _forwarded(kind: str, chance: Random, number: int) -> Scenario:
    body = chance.randbytes(chance.randint(1, 100_000))
    ask = _post("/v1/embeddings", number, b'{"input": "zqprompt"}')
    return Scenario(kind, ask, [response("200 OK", body=body)], _these(body))


def _broken_stream(kind: str, chance: Random, number: int) -> Scenario:
    """A stream that ends after some of its events, in one of the ways of ``_ENDS``."""
    suite = chance.choice(SUITES)
    answer = _answer(chance, suite, number)
    # What comes before the finish is at most what there is of the text.
    count = chance.randrange(len(answer.pieces))
    sent = suite.stream(suite.adapter.events(answer.pieces[:count]), mark=False)
    text = "".join(answer.shown[:count])
    end = _ENDS[kind](chance)
    script = [head_of(suite), *_pieces(chance, sent), *end]
    ask = asked(suite, number, streams=True)
    judge = broken(suite, text)
    if kind == "bad chunk":
        # If it comes in one read with the head, there is no answer that could break off.
        judge = _either(_error(502), judge)
    return Scenario(kind, ask, script, judge, unreadable=kind == "not JSON")


_HALF = b'data: {"choices":[{"index":0,"delta":{"content":"' + HIDDEN.encode()
_ENDS: dict[str, Callable[[Random], Script]] = {
    "dies in an event": lambda _: [framed(_HALF), Act.CLOSE],
    "resets": lambda chance: [framed(_HALF)] * chance.randint(0, 1) + [Act.RESET],
    "ends early": lambda _: [LAST],
    "hangs": lambda _: [Act.WAIT],
    "bad chunk": lambda _: [b"zz\r\n", Act.WAIT],
    "not JSON": lambda _: [framed(b'data: {"a":' + HIDDEN.encode() + b"\n\n"), Act.WAIT],
    "endless line": lambda _: [*[framed(b"x" * 65_536)] * (EVENT_LIMIT // 65_536 + 1), Act.WAIT],
}


def _zipped(kind: str, chance: Random, number: int) -> Scenario:
    suite = chance.choice(SUITES)
    answer = _answer(chance, suite, number)
    body = gzip.compress(suite.sent(answer.pieces))
    script = [head_of(suite, "Content-Encoding: gzip"), *_pieces(chance, body), LAST]
    return Scenario(kind, asked(suite, number, streams=True), script, whole(suite, answer))


def _failing(kind: str, chance: Random, number: int) -> Scenario:
    """An answer that is none, in one of the ways of ``_FAILURES``."""
    suite = chance.choice(SUITES)
    script, judge = _FAILURES[kind]
    ask = asked(suite, number, streams=chance.random() < 0.7)
    return Scenario(kind, ask, script, judge, unreadable=kind == "HTML")


_SAID = json.dumps({"error": {"message": f"Slow down. <think>{HIDDEN}</think>"}}).encode()
_PAGE = f"<html>{HIDDEN}</html>".encode()
_FAILURES: dict[str, tuple[Script, Judge]] = {
    "HTML": ([response("200 OK", body=_PAGE, content_type="text/html")], _error(502)),
    "429": (
        [response("429 Slow down", "Retry-After: 7", _SECRET_FIELD, body=_SAID)],
        _error(429, **{"Retry-After": "7"}),
    ),
    "500": ([response(f"500 {HIDDEN}", body=_SAID)], _error(500)),
    "302": ([response("302 Found", "Location: http://127.0.0.1:9/")], _error(502)),
    "hangs up": ([Act.CLOSE], _error(502)),
    "says nothing": ([Act.WAIT], _error(504, _TIMEOUT)),
}


def _early_failure(kind: str, chance: Random, number: int) -> Scenario:
    """Upstream's error comes when the answer has begun."""
    suite = chance.choice([suite for suite in SUITES if suite.framing is not LINES])
    script: Script = [0.01, response("429 Slow down", body=_SAID)]
    ask = asked(suite, number, streams=True, model="soak-early")
    return Scenario(kind, ask, script, broken(suite, "", _UPSTREAM_ERROR))


def _leaving(kind: str, chance: Random, number: int) -> Scenario:
    """A client that leaves; the upstream waits until it is told."""
    suite = chance.choice(SUITES)
    pace = Pace(kind)
    begun: Script = [head_of(suite)] if pace is Pace.LEAVES_READING else []
    if begun:
        answer = _answer(chance, suite, number)
        events = suite.adapter.events([Piece(Kind.TEXT, f"{SHOWN}."), *answer.pieces[:-1]])
        begun = [*begun, framed(suite.stream(events, mark=False))]
    ask = asked(suite, number, streams=True if begun else chance.random() < 0.5)
    return Scenario(kind, ask, [*begun, Act.WAIT], _gone, pace)


def _stalling(kind: str, _: Random, number: int) -> Scenario:
    """A client that reads nothing, of more than fits into all the buffers on the way."""
    (event,) = CHAT.adapter.events([Piece(Kind.TEXT, "a" * 65_536)])[1:]
    script: Script = [head_of(CHAT), *[framed(CHAT.one(event))] * 160, Act.WAIT]
    return Scenario(kind, asked(CHAT, number, streams=True), script, _stalled, Pace.STALLS)


def _refused(kind: str, chance: Random, number: int) -> Scenario:
    """A request that is not served."""
    path = CHAT.wire_format.path
    ask, status = chance.choice(
        [
            (_post("/zqquery", number, b"{}"), 404),
            (_post(path, number, b'{"model": "zqprompt'), 400),
            (_post(path, number, b'{"model": "a", "model": "zqprompt"}'), 400),
            (_post(path, number, b"[]"), 400),
            (_post(path, number, b"{}", "Content-Encoding: gzip"), 415),
        ]
    )
    return Scenario(kind, ask, [], _error(status, _REFUSED))


_KINDS: dict[str, tuple[float, Make]] = {
    "stream": (30, _stream),
    "long stream": (2, _long_stream),
    "recording": (14, _recording),
    "document": (14, _document),
    "agent": (6, _agent),
    "forwarded": (4, _forwarded),
    "zipped": (3, _zipped),
    **dict.fromkeys(_ENDS, (2, _broken_stream)),
    **dict.fromkeys(_FAILURES, (2, _failing)),
    # Each takes as long as the sidecar is patient.
    **dict.fromkeys(("hangs", "bad chunk"), (0.2, _broken_stream)),
    "says nothing": (0.2, _failing),
    "fails late": (2, _early_failure),
    "slow client": (1, _long_stream),
    Pace.LEAVES_WAITING: (3, _leaving),
    Pace.LEAVES_READING: (3, _leaving),
    Pace.STALLS: (0.3, _stalling),
    "refused": (3, _refused),
}
"""How often each comes, and what makes it."""
