"""Errors of upstream, as clients get them: as an answer of their own, and in one."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest

from sidecar.wire.errorclass import ErrorClass, sentence
from sidecar.wire.errors import MAX_MESSAGE
from sidecar.wire.formats import WIRE_FORMATS, WireFormat

from .scripted import (
    DONE,
    FINISH,
    ROLE,
    Answer,
    Record,
    chat,
    event,
    framed,
    payloads,
    proxied,
    response,
    rule,
    stream_head,
    streamed,
    text,
    visible,
)

SECRET = "s3cr3t-k3y"
BEFORE = ROLE + text("before")
OPENAI_ERROR = {"message": "slow down", "type": "requests", "code": "rate_limit", "param": None}
OWN = [rule(errors="own")]

each_wire_format = pytest.mark.parametrize(
    "wire_format", WIRE_FORMATS, ids=[wire_format.name for wire_format in WIRE_FORMATS]
)


def is_own_error(answer: Answer, status: int, found: ErrorClass) -> None:
    """An error of ours, of a class, which repeats nothing but the status."""
    assert answer.status == status
    assert answer.error == {
        "message": sentence(found),
        "type": "upstream_error" if status >= 500 else "invalid_request_error",
        "code": "upstream_error",
        "param": None,
    }
    assert answer.head.one("Content-Type") == "application/json"
    assert answer.head.one("Server") == "sidecar"
    assert SECRET not in answer.body.decode() + str(answer.head)


# --- error answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": OPENAI_ERROR}, OPENAI_ERROR),
        ({"error": OPENAI_ERROR | {"debug": SECRET}, "prompt": SECRET}, OPENAI_ERROR),
        (
            {"object": "error", "message": "too long", "type": "Bad", "param": None, "code": 400},
            {"message": "too long", "type": "Bad", "param": None, "code": 400},
        ),
        (
            {"detail": "Not authenticated"},
            {"message": "Not authenticated", "type": "upstream_error", "param": None, "code": None},
        ),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "bad", "input": SECRET}]},
            {"message": "n: bad", "type": "upstream_error", "param": "n", "code": None},
        ),
        (
            {"error": "model not found"},
            {"message": "model not found", "type": "upstream_error", "param": None, "code": None},
        ),
        (
            {"error": {"message": "a <think>s3cr3t-k3y</think>b", "code": f"not {SECRET}"}},
            {"message": "a b", "type": "upstream_error", "param": None, "code": None},
        ),
    ],
    ids=["openai", "with-more", "flat", "detail", "details", "string", "quoting"],
)
@pytest.mark.parametrize("status", ["400 Bad", "429 Too Many"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_well_formed_error(body: Record, error: Record, status: str, stream: bool) -> None:
    """It arrives in OpenAI's form with upstream's status, and no more of it than that."""
    async with proxied() as rig:
        rig.upstream.reply(
            response(status, "Retry-After: 7", "X-Any: s3cr3t-k3y", body=json.dumps(body).encode())
        )
        answer = await rig.ask(chat(stream=stream))
    assert answer.status == int(status[:3])
    assert json.loads(answer.body) == {"error": error}
    assert answer.head.one("Retry-After") == "7"
    assert answer.head.one("Content-Type") == "application/json"
    assert SECRET not in answer.body.decode() + str(answer.head)


@pytest.mark.parametrize(
    ("status", "kind", "found"),
    [
        (500, "server_error", ErrorClass.SERVER),
        (500, "exceed_context_size_error", ErrorClass.CONTEXT_LENGTH),
        (503, "unavailable_error", ErrorClass.SERVER),
        (504, "x", ErrorClass.TIMEOUT),
        (529, "overloaded_error", ErrorClass.SERVER),
    ],
)
async def test_an_error_of_the_server_itself(status: int, kind: str, found: ErrorClass) -> None:
    """The status is upstream's, the words are ours, be it well-formed."""
    body = json.dumps({"error": {"message": SECRET, "type": kind, "code": SECRET}}).encode()
    async with proxied() as rig:
        rig.upstream.reply(response(f"{status} {SECRET}", "Retry-After: 7", body=body))
        answer = await rig.ask(chat())
    is_own_error(answer, status, found)
    assert answer.head.one("Retry-After") == "7"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>s3cr3t-k3y</html>", "text/html"),
        (b"", "text/plain"),
        (b"s3cr3t-k3y", "application/json"),
        (b'{"detail":[{"input":"s3cr3t-k3y"}]}', "application/json"),
        (b'{"s3cr3t-k3y":1}', "application/json"),
        (b'["s3cr3t-k3y"]', "application/json"),
        (b'{"error":{"message":"s3cr3t-k3y","message":"b"}}', "application/json"),
        (b'{"error":{"message":"s3cr3t-k3y' + b"x" * 200_000 + b'"}}', "application/json"),
        (b"data: s3cr3t-k3y\n\n", "text/event-stream"),
    ],
    ids=["html", "empty", "no-json", "list", "no-error", "array", "twice", "huge", "stream"],
)
@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("401 s3cr3t-k3y", ErrorClass.AUTHENTICATION),
        ("429 Too Many", ErrorClass.RATE_LIMIT),
        ("502 Bad", ErrorClass.SERVER),
        ("599 Odd", ErrorClass.SERVER),
    ],
)
async def test_an_error_that_cannot_be_read(
    body: bytes, content_type: str, status: str, found: ErrorClass
) -> None:
    """The status is upstream's, the words are ours."""
    async with proxied() as rig:
        rig.upstream.reply(response(status, "Retry-After: 7", body=body, content_type=content_type))
        answer = await rig.ask(chat())
    is_own_error(answer, int(status[:3]), found)
    assert answer.head.one("Retry-After") == "7"


async def test_an_error_message_is_cut() -> None:
    """Some servers send the prompt after it, twelve thousand times."""
    body = json.dumps({"error": {"message": "too long: " + "é" * 25_000}}, ensure_ascii=False)
    async with proxied() as rig:
        rig.upstream.reply(response("400 Bad", body=body.encode()))
        answer = await rig.ask(chat())
    assert answer.error["message"].startswith("too long: é")
    assert MAX_MESSAGE - 2 < len(answer.error["message"].encode()) <= MAX_MESSAGE


async def test_an_endless_error_is_not_read_to_its_end() -> None:
    """Sixty-four kilobytes of it are enough; upstream is left."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        head = stream_head(content_type="application/json").replace(b"200 OK", b"500 Oops")
        await call.send(head, framed(b" " * 100_000))
        answer = await client.answer()
        await call.gone()
    is_own_error(answer, 500, ErrorClass.SERVER)


async def test_an_error_that_does_not_arrive() -> None:
    """The status is known, and is told after the idle time."""
    async with (
        proxied(first_byte=0.3, idle=0.3, seconds=5) as rig,
        rig.call(chat()) as (client, call),
    ):
        await call.request_body()
        await call.send(response("503 Busy", body=b"x" * 9)[:-5])
        answer = await client.answer()
    is_own_error(answer, 503, ErrorClass.SERVER)


async def test_our_own_words_instead() -> None:
    """``errors: own``: the message is ours, and says which parameter; what programs look at
    stays."""
    error = {
        "message": f"Invalid 'messages': {SECRET}",
        "type": "invalid_request_error",
        "code": "invalid_value",
        "param": "messages[3].content",
    }
    async with proxied(rules=OWN) as rig:
        body = json.dumps({"error": error}).encode()
        rig.upstream.reply(response("400 Bad", "Retry-After: 7", body=body))
        answer = await rig.ask(chat())
    assert answer.status == 400
    assert answer.head.one("Retry-After") == "7"
    ours = sentence(ErrorClass.INVALID_PARAMETER, "messages[3].content")
    assert answer.error == error | {"message": ours}


# --- errors in answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        {"message": "m", "type": "t", "code": 500, "param": None},
        {"message": "m <think>s3cr3t-k3y</think>", "debug": SECRET},
        "m",
    ],
    ids=["object", "quoting", "string"],
)
async def test_an_error_in_the_stream(error: object) -> None:
    """It ends the stream, complete as an SDK expects it, and without what it quotes."""
    async with proxied() as rig:
        rig.upstream.reply(streamed(BEFORE, event({"error": error}), text(SECRET), FINISH, DONE))
        answer = await rig.ask(chat())
    *_, last, end = payloads(answer.body)
    assert last["error"]["message"].startswith("m")
    assert set(last["error"]) == {"message", "type", "code", "param"}
    assert end == "[DONE]"
    assert SECRET.encode() not in answer.body
    assert visible(answer.body) == "before"


async def test_an_error_in_the_stream_in_our_own_words() -> None:
    error = {"message": SECRET, "type": "InternalServerError", "code": 500, "param": None}
    async with proxied(rules=OWN) as rig:
        rig.upstream.reply(streamed(BEFORE, event({"error": error}), DONE))
        answer = await rig.ask(chat())
    *_, last, end = payloads(answer.body)
    assert last["error"] == error | {"message": sentence(ErrorClass.SERVER)}
    assert end == "[DONE]"
    assert visible(answer.body) == "before"


async def test_an_error_in_a_document_with_status_200() -> None:
    """It is given the status that it should have had."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=json.dumps({"error": OPENAI_ERROR}).encode()))
        answer = await rig.ask(chat(stream=False))
    assert answer.status == 502
    assert answer.error == OPENAI_ERROR


# --- the words of each wire format --------------------------------------------------------------


def body_of(wire_format: WireFormat, status: int, **error: Any) -> Any:
    """The body of an error."""
    return wire_format.error(status, {"type": None, "code": None, "param": None} | error)


@each_wire_format
@pytest.mark.parametrize("stream", [True, False])
async def test_upstreams_error_is_in_the_words_of_the_wire_format(
    wire_format: WireFormat, stream: bool
) -> None:
    told = {"message": "no <think>s3cr3t-k3y</think>", "type": "t", "code": "c", "param": "p"}
    sent = {"type": "error", "error": told, "request_id": "req_1"}
    async with proxied() as rig:
        rig.upstream.reply(response("429 Slow", "Retry-After: 7", body=json.dumps(sent).encode()))
        answer = await rig.ask(chat(path=wire_format.path, stream=stream))
    seen = told | {"message": "no ", "request_id": "req_1"}
    assert json.loads(answer.body) == body_of(wire_format, 429, **seen)
    assert answer.status == 429
    assert answer.head.one("Retry-After") == "7"


@each_wire_format
async def test_our_error_is_in_the_words_of_the_wire_format(wire_format: WireFormat) -> None:
    """Of an answer that cannot be shown, and of a request that is refused."""
    path = wire_format.path
    async with proxied(request_limit=1000) as rig:
        rig.upstream.reply(response("500 Oops", body=b"s3cr3t-k3y"))
        failed = await rig.ask(chat(path=path))
        refused = await rig.ask(chat(path=path, more="x" * 1000))
    ours = sentence(ErrorClass.SERVER)
    expected = body_of(wire_format, 500, message=ours, code="upstream_error")
    assert (failed.status, json.loads(failed.body)) == (500, expected)
    message = "The request body is larger than 1000 bytes."
    expected = body_of(wire_format, 413, message=message, code="request_too_large")
    assert (refused.status, json.loads(refused.body)) == (413, expected)


async def test_anthropics_client_raises_what_it_would_without_us() -> None:
    sent = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": SECRET},
        "request_id": "req_1",
    }
    async with proxied() as rig:
        rig.upstream.reply(response("529 Overloaded", body=json.dumps(sent).encode()))
        client = anthropic.AsyncAnthropic(
            base_url=rig.base_url.removesuffix("/v1"),
            api_key="k",
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        )
        async with client:
            with pytest.raises(anthropic.APIStatusError) as raised:
                await client.messages.create(
                    model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}]
                )
    assert raised.value.status_code == 529
    assert raised.value.body == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": sentence(ErrorClass.SERVER)},
    }
