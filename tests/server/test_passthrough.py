"""What no rule is about: not a byte of it is changed, in either direction."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from sidecar.rules.match import Match

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Cut,
    Head,
    Peer,
    Rig,
    chat,
    chunk,
    document,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    streamed,
    text,
)

OTHERS_ONLY = rule(match=Match(model=("another",)))
HIDDEN = chunk({"reasoning_content": "hm", "unheard": 1})
ODD_STREAM = (
    b": comment\n\n" + ROLE + b"event: x\r\nid: 7\r\ndata: {not json}\r\n\r\n" + HIDDEN
    + b"data: \xff\n\n" + text("<think>a</think>") + FINISH + DONE + b"data: after"
)  # fmt: skip


@pytest.mark.parametrize("rules", [(), (OTHERS_ONLY,)], ids=["no-rules", "no-match"])
async def test_a_stream_is_byte_identical(rules: tuple[object, ...]) -> None:
    """Comments, ids, line ends, what is not JSON, what follows the end mark: all as it came."""
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(
            stream_head() + b"".join(framed(ODD_STREAM[i : i + 11]) for i in
                                     range(0, len(ODD_STREAM), 11)) + LAST
        )  # fmt: skip
        answer = await rig.ask(chat())
    assert answer.status == 200
    assert answer.body == ODD_STREAM


@pytest.mark.parametrize("rules", [(), (OTHERS_ONLY,)], ids=["no-rules", "no-match"])
@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "206 Partial Content", "307 Temporary Redirect",
               "404 Not Found", "429 Too Many Requests", "500 Oops", "503 No"],
)  # fmt: skip
async def test_a_document_is_byte_identical(rules: tuple[object, ...], status: str) -> None:
    """Whatever its status and whatever it holds."""
    body = b' {"a": 1.0e5, "a": NaN, "reasoning_content": "\xff"}\n'
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(response(status, body=body))
        answer = await rig.ask(chat())
    assert answer.status == int(status[:3])
    assert answer.body == body
    assert answer.head.one("Content-Length") == str(len(body))


async def test_a_rule_that_keeps_everything_touches_nothing() -> None:
    """It hides nothing, so there is nothing to judge."""
    keep = rule(reasoning="keep", tool_calls="keep", tool_results="keep")
    async with proxied(rules=[keep]) as rig:
        rig.upstream.reply(streamed(ODD_STREAM))
        answer = await rig.ask(chat())
    assert answer.body == ODD_STREAM


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_the_body_of_a_chat_request_is_byte_identical(rules: tuple[object, ...]) -> None:
    """A rule reads the request, and changes nothing in it."""
    body = '{ "model":"m",\r\n "n" : 1.0e2, "messages":[], "extra_ü": "\\u003cé" }'.encode()
    asked = request("POST", "/v1/chat/completions", "Content-Type: application/json", body=body)
    async with proxied(rules=rules) as rig, rig.call(asked) as (client, call):
        assert await call.request_body() == body
        assert call.request.one("Content-Length") == str(len(body))
        await call.send(response("200 OK", body=document({"content": "x"})))
        assert (await client.answer()).status == 200


async def test_a_large_chat_request() -> None:
    """One with pictures in it: it arrives whole, with its length, and nobody is warned."""
    asked = chat(filler="x" * 3_000_000)
    body = asked.partition(b"\r\n\r\n")[2]
    async with proxied() as rig, rig.call(asked) as (client, call):
        assert call.request.one("Content-Length") == str(len(body))
        assert await call.request_body() == body
        await call.send(streamed(ROLE, text("a"), FINISH, DONE))
        assert (await client.answer()).status == 200


# --- headers ------------------------------------------------------------------------------------


def odd_fields(rule_applies: bool) -> list[str]:
    """What a client sends, with hop-by-hop fields among it."""
    return [
        "Authorization: Bearer sk-client",
        "X-CusTom: Mixed Case; q=0.5,  two  spaces",
        "Cookie: a=b",
        "X-Twice: one",
        "X-Twice: two",
        "X-Empty:",
        "Connection: close, X-Hop ,x-other-hop",
        "X-Hop: secret",
        "X-Other-Hop: secret",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Authorization: Basic c2VjcmV0",
        "Proxy-Connection: keep-alive",
        "X-Sidecar-Rule: default",
        "x-sidecar-anything: 1",
        "Accept-Encoding: gzip",
        "Via: 1.0 gateway",
        *(() if rule_applies else ("If-Range: x",)),
    ]


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_the_headers_of_a_request(rules: tuple[object, ...] | None) -> None:
    """Exactly what the client sent, less what is hop by hop or ours, and nothing invented."""
    asked = request(
        "POST", "/v1/chat/completions", *odd_fields(rules is None), body=b'{"model":"m"}'
    )
    async with proxied(rules=rules) as rig, rig.call(asked) as (_, call):
        host = rig.upstream.host
        await call.request_body()
    fields = [
        ("Authorization", "Bearer sk-client"),
        ("X-CusTom", "Mixed Case; q=0.5,  two  spaces"),
        ("Cookie", "a=b"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("X-Empty", ""),
        ("Accept-Encoding", "identity"),
        ("Via", "1.0 gateway, 1.1 sidecar"),
        ("Host", host),
        ("Content-Length", "13"),
    ]
    if rules is not None:
        fields.append(("If-Range", "x"))
    found = [field for field in call.request.fields if field[0] != "Connection"]
    assert sorted(found) == sorted(fields)
    assert call.request.one("Connection") in (None, "close")
    assert [value for name, value in found if name == "X-Twice"] == ["one", "two"]


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_header_in_utf_8_passes(target: str) -> None:
    """RFC 9110, 5.5: obs-text in a field is opaque data; a proxy forwards its bytes."""
    asked = request("POST", target, "X-Name: caf\xc3\xa9", body=b'{"model":"m"}')
    async with proxied() as rig, rig.call(asked) as (_, call):
        assert call.request.one("X-Name") == "caf\xc3\xa9"


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_header_that_could_not_be_sent_on_as_it_came_is_refused(target: str) -> None:
    """aiohttp would leave the byte out, and nobody would know."""
    asked = request("POST", target, "X-Name: caf\xe9", body=b'{"model":"m"}')
    async with proxied() as rig:
        answer = await rig.ask(asked)
        assert not rig.upstream.calls
    assert answer.status == 400
    assert "request header is not UTF-8" in answer.body.decode()


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_a_key_of_our_own_replaces_the_clients(rules: tuple[object, ...] | None) -> None:
    """Once, and however often the client sent one."""
    asked = chat("Authorization: Bearer a", "authorization: Bearer b", "Api-Key: c")
    async with proxied(rules=rules, api_key="sk-own") as rig, rig.call(asked) as (_, call):
        assert call.request.all("Authorization") == ["Bearer sk-own"]
        assert call.request.one("Api-Key") == "c"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ((), []),
        (("X-Api-Key: a",), ["sk-own"]),
        (("x-api-key: a", "X-API-KEY: b", "Authorization: Bearer c"), ["sk-own"]),
    ],
)
async def test_a_key_of_our_own_replaces_that_of_anthropics_clients(
    sent: tuple[str, ...], expected: list[str]
) -> None:
    """It stands where the client put its own, and as a bearer token as always."""
    async with proxied(api_key="sk-own") as rig, rig.call(chat(*sent)) as (_, call):
        assert call.request.all("X-Api-Key") == expected
        assert call.request.all("Authorization") == ["Bearer sk-own"]


async def test_the_headers_of_anthropics_clients_pass() -> None:
    """Their key, if there is none of our own, and what they ask for."""
    fields = ("x-api-key: sk-ant", "anthropic-version: 2023-06-01", "anthropic-beta: a, b")
    async with proxied() as rig, rig.call(chat(*fields)) as (_, call):
        sent = [f"{name.lower()}: {value}" for name, value in call.request.fields]
        assert set(fields) < set(sent)
        assert call.request.all("Authorization") == []


async def test_a_key_of_our_own_goes_to_the_rest_of_the_api() -> None:
    """Models and files are asked for with it too."""
    async with proxied(api_key="sk-own") as rig:
        rig.upstream.reply(response("200 OK"))
        await rig.ask(request("GET", "/v1/models"))
        assert rig.upstream.calls[0].request.all("Authorization") == ["Bearer sk-own"]


async def test_nobody_elses_credentials_are_sent() -> None:
    """A client that sends no key sends none."""
    async with proxied() as rig, rig.call(chat()) as (_, call):
        assert call.request.all("Authorization") == []
        assert call.request.all("Cookie") == []


async def test_a_cookie_of_one_user_is_not_sent_for_the_next() -> None:
    """Nothing is remembered between two requests."""
    async with proxied(host="localhost") as rig:
        rig.upstream.reply(response("200 OK", "Set-Cookie: session=one; Path=/"))
        first = await rig.ask(request("GET", "/v1/models"))
        await rig.ask(request("GET", "/v1/models"))
        assert first.head.one("Set-Cookie") == "session=one; Path=/"
        assert rig.upstream.calls[1].request.all("Cookie") == []


async def test_the_range_of_a_filtered_answer_is_not_asked_for() -> None:
    """A part of an answer cannot be judged."""
    asked = chat("Range: bytes=5-", "If-Range: x")
    async with proxied() as rig, rig.call(asked) as (_, call):
        assert call.request.all("Range") == []
        assert call.request.all("If-Range") == []


async def test_the_headers_of_a_response() -> None:
    """Duplicates and odd values as they came, less what is hop by hop."""
    fields = [
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "X-Reasoning: hm",
        "ETag: W/\"x\"",
        "Cache-Control: no-store",
        "X-Accel-Buffering: yes",
        "Connection: close, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    ]  # fmt: skip
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", *fields, body=b"{}"))
        head = (await rig.ask(request("GET", "/v1/models"))).head
    assert head.all("Set-Cookie") == ["a=1", "b=2"]
    for name, value in {
        "X-Reasoning": "hm",
        "ETag": 'W/"x"',
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "yes",
        "Content-Type": "application/json",
        "Date": "Thu, 01 Jan 1970 00:00:00 GMT",
    }.items():
        assert head.one(name) == value
    for name in ("X-Hop", "Keep-Alive", "Proxy-Authenticate", "Transfer-Encoding"):
        assert head.one(name) is None


async def test_the_headers_of_a_filtered_response() -> None:
    """Only those that are known to be harmless, and those that the configuration names."""
    harmless = {
        "Retry-After": "3",
        "X-Request-Id": "r1",
        "OpenAI-Processing-Ms": "12",
        "x-ratelimit-remaining-tokens": "7",
        "anthropic-ratelimit-tokens-remaining": "7",
        "anthropic-organization-id": "o",
        "X-Listed": "yes",
        "Access-Control-Allow-Origin": "*",
    }
    harmful = {
        "Set-Cookie": "a=1",
        "X-Reasoning": "SECRET",
        "Link": "SECRET",
        "ETag": "SECRET",
        "Content-Disposition": "SECRET",
        "Trailer": "X-SECRET",
    }
    fields = [f"{name}: {value}" for name, value in (harmless | harmful).items()]
    async with proxied(response_headers=("x-listed",)) as rig:
        rig.upstream.reply(stream_head(*fields) + framed(ROLE + text("a") + FINISH + DONE) + LAST)
        answer = await rig.ask(chat())
    for name, value in harmless.items():
        assert answer.head.one(name) == value
    for name in harmful:
        assert answer.head.all(name) == []
    assert "SECRET" not in str(answer.head)


async def test_early_hints_reason_phrases_and_trailers_are_not_passed() -> None:
    """They are no part of an answer that a rule reads, and say what upstream likes."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: SECRET\r\n\r\n"
    head = stream_head("Trailer: X-T").replace(b"200 OK", b"200 SECRET")
    body = framed(ROLE + text("a") + FINISH + DONE)
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(early, head, body, b"0\r\nX-T: SECRET\r\n\r\n")
        answer = await client.answer()
        client.writer.write_eof()
        rest = await client.gone()
    assert answer.head.start == "HTTP/1.1 200 OK"
    assert answer.body == ROLE + text("a") + FINISH + DONE
    assert b"SECRET" not in answer.body + rest + str(answer.head).encode()


# --- bodies -------------------------------------------------------------------------------------


async def test_an_upload_is_streamed_as_it_comes() -> None:
    """A multipart file reaches upstream piece by piece, with its length, unread by us."""
    parts = [b"--x\r\nContent-Disposition: form-data\r\n\r\n", bytes(range(256)), b"\r\n--x--\r\n"]
    length = sum(map(len, parts))
    head = request(
        "POST",
        "/v1/audio/transcriptions",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {length}",
    )
    async with proxied() as rig, rig.call(head + parts[0]) as (client, call):
        assert call.request.one("Content-Length") == str(length)
        assert call.request.one("Transfer-Encoding") is None
        assert call.request.one("Content-Type") == "multipart/form-data; boundary=x"
        assert await call.reader.readexactly(len(parts[0])) == parts[0]
        for part in parts[1:]:
            await client.send(part)
            assert await call.reader.readexactly(len(part)) == part
        await call.send(response("200 OK", body=b'{"text":"hi"}'))
        assert (await client.answer()).body == b'{"text":"hi"}'


async def test_a_chunked_upload_is_streamed_as_it_comes() -> None:
    """The same for a body of unknown length."""
    head = request("POST", "/v1/files", "Transfer-Encoding: chunked")
    async with proxied() as rig, rig.call(head + framed(b"zero")) as (client, call):
        assert call.request.one("Transfer-Encoding") == "chunked"
        assert call.request.one("Content-Length") is None
        assert await call.chunk() == b"zero"
        for part in (b"one", b"x" * 100_000, b"three"):
            await client.send(framed(part))
            received = b""
            while len(received) < len(part):
                received += await call.chunk()
            assert received == part
        await client.send(LAST)
        assert await call.chunk() == b""
        await call.send(response("200 OK"))
        assert (await client.answer()).status == 200


async def test_an_upload_larger_than_the_limit_of_chat_requests() -> None:
    """Files are not held in memory, so they are not limited."""
    body = bytes(1_000_000)
    async with proxied(request_limit=1000) as rig:
        asked = request("POST", "/v1/files", body=body)
        async with rig.call(asked[:-1]) as (client, call):
            await client.send(asked[-1:])
            assert await call.request_body() == body


async def test_an_answer_that_begins_during_the_upload() -> None:
    """Both directions flow at once: neither waits for the end of the other."""
    head = request("POST", "/v1/audio/transcriptions", "Transfer-Encoding: chunked")
    async with proxied(seconds=3) as rig, rig.call(head + framed(b"one")) as (client, call):
        assert await call.chunk() == b"one"
        await call.send(stream_head(), framed(b"data: 1\n\n"))
        assert (await client.head()).status == 200
        assert await client.chunk() == b"data: 1\n\n"
        for number in range(2, 5):
            await client.send(framed(b"more"))
            assert await call.chunk() == b"more"
            await call.send(framed(b"data: %d\n\n" % number))
            assert await client.chunk() == b"data: %d\n\n" % number
        await client.send(LAST)
        assert await call.chunk() == b""
        await call.send(LAST)
        assert await client.chunk() == b""


async def test_an_error_that_comes_before_the_end_of_the_upload() -> None:
    """Upstream refuses a file that it does not want to read: the client learns why."""
    head = request("POST", "/v1/files", "Content-Length: 1000000")
    async with proxied() as rig, rig.call(head + b"x" * 1000) as (client, call):
        await call.reader.readexactly(1000)
        await call.send(response("413 Too Large", body=b'{"error":"too large"}'))
        answer = await client.answer()
    assert answer.status == 413
    assert answer.body == b'{"error":"too large"}'


async def test_a_body_in_a_coding_passes_in_it() -> None:
    """Compressed requests and answers of the rest of the API are nobody's business."""
    packed = gzip.compress(b'{"a":1}')
    asked = request("POST", "/v1/embeddings", "Content-Encoding: gzip", body=packed)
    async with proxied() as rig, rig.call(asked) as (client, call):
        assert call.request.one("Content-Encoding") == "gzip"
        assert await call.request_body() == packed
        await call.send(response("200 OK", "Content-Encoding: gzip", body=packed))
        answer = await client.answer()
    assert answer.head.one("Content-Encoding") == "gzip"
    assert answer.body == packed


async def test_expect_100_continue() -> None:
    """A client that waits to be asked for its body is asked; upstream does not hear of it."""
    asked = chat("Expect: 100-continue")
    head, _, body = asked.partition(b"\r\n\r\n")
    async with proxied() as rig, await rig.client() as client:
        await client.send(head + b"\r\n\r\n")
        assert (await client.head()).start == "HTTP/1.1 100 Continue"
        await client.send(body)
        call = await rig.upstream.accept()
        assert call.request.one("Expect") is None
        assert await call.request_body() == body
        await call.send(streamed(ROLE, text("a"), FINISH, DONE))
        assert (await client.answer()).body == ROLE + text("a") + FINISH + DONE


async def test_expect_100_continue_for_an_upload() -> None:
    """The same where the body is passed on as it comes."""
    head = request("POST", "/v1/files", "Expect: 100-continue", "Content-Length: 3")
    async with proxied() as rig, await rig.client() as client:
        await client.send(head)
        assert (await client.head()).start == "HTTP/1.1 100 Continue"
        await client.send(b"abc")
        call = await rig.upstream.accept()
        assert await call.request_body() == b"abc"
        await call.send(response("200 OK", body=b"{}"))
        assert (await client.answer()).body == b"{}"


async def test_expect_100_continue_on_a_path_that_is_not_served() -> None:
    """The body is not asked for."""
    head = request("POST", "/metrics", "Expect: 100-continue", "Content-Length: 3")
    async with proxied() as rig, await rig.client() as client:
        await client.send(head)
        assert (await client.answer()).status == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_request_without_a_body_gets_none(method: str) -> None:
    """No length and no coding is added."""
    async with proxied() as rig, rig.call(request(method, "/v1/files/f")) as (client, call):
        assert call.request.start == f"{method} /v1/files/f HTTP/1.1"
        assert call.request.one("Content-Length") in (None, "0")
        assert call.request.one("Transfer-Encoding") is None
        assert call.request.one("Content-Type") is None
        await call.send(response("200 OK", body=b"{}"))
        assert (await client.answer()).body == b"{}"


async def test_an_empty_body_stays_empty() -> None:
    """A POST with nothing in it has a length of nothing."""
    asked = request("POST", "/v1/files/f/cancel", body=b"")
    async with proxied() as rig, rig.call(asked) as (client, call):
        assert call.request.one("Content-Length") == "0"
        assert call.request.one("Transfer-Encoding") is None
        await call.send(response("200 OK", body=b"{}"))
        assert (await client.answer()).body == b"{}"


# --- answers without a body ---------------------------------------------------------------------


async def test_head_has_the_headers_and_no_body() -> None:
    """And the next answer on the connection is in step."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(request("HEAD", "/v1/models"))
        call = await rig.upstream.accept()
        assert call.request.start == "HEAD /v1/models HTTP/1.1"
        await call.send(response("200 OK", "X-A: 1").replace(b"Length: 0", b"Length: 123"))
        answer = await client.answer(empty=True)
        assert answer.head.one("X-A") == "1"
        assert answer.head.one("Content-Length") == "123"
        await _in_step(rig, client)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_statuses_without_a_body(status: str) -> None:
    """They pass, and the next answer on the connection is in step."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(request("GET", "/v1/models"))
        call = await rig.upstream.accept()
        await call.send(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
        answer = await client.answer(empty=True)
        assert answer.status == int(status[:3])
        assert answer.head.one("ETag") == "x"
        await _in_step(rig, client)


async def _in_step(rig: Rig, client: Peer) -> None:
    await client.send(request("GET", "/v1/models"))
    call = await rig.upstream.accept()
    await call.send(response("200 OK", body=b"next"))
    assert (await client.answer()).body == b"next"


async def test_a_range_of_a_file() -> None:
    """Parts of what nobody reads are as good as the whole."""
    asked = request("GET", "/v1/files/f/content", "Range: bytes=1-2", 'If-Range: "x"')
    async with proxied() as rig, rig.call(asked) as (client, call):
        assert call.request.one("Range") == "bytes=1-2"
        assert call.request.one("If-Range") == '"x"'
        await call.send(response("206 Partial", "Content-Range: bytes 1-2/9", body=b"bc"))
        answer = await client.answer()
    assert answer.status == 206
    assert answer.head.one("Content-Range") == "bytes 1-2/9"
    assert answer.body == b"bc"


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, chunked", "x"])
async def test_a_transfer_coding_that_is_not_undone(coding: str) -> None:
    """The client would get what is coded, and nobody would tell it how."""
    body = framed(gzip.compress(b"{}")) + LAST
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode()
    async with proxied() as rig:
        rig.upstream.reply(head + body)
        answer = await rig.ask(request("GET", "/v1/models"))
    assert answer.status == 502
    assert answer.error["code"] == "upstream_malformed"


async def test_a_redirect_is_not_followed() -> None:
    """It is the client's to follow; a body and a key are not carried to another place."""
    async with proxied() as rig:
        rig.upstream.reply(response("307 Temporary", "Location: http://127.0.0.1:1/x"))
        answer = await rig.ask(request("GET", "/v1/models"))
        assert len(rig.upstream.calls) == 1
    assert answer.status == 307
    assert answer.head.one("Location") == "http://127.0.0.1:1/x"


async def test_an_answer_without_a_content_type_is_just_bytes() -> None:
    """aiohttp says what RFC 9110, 8.3 lets every client assume."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"x", content_type=None))
        answer = await rig.ask(request("GET", "/v1/files/f/content"))
    assert answer.head.one("Content-Type") == "application/octet-stream"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_answer_that_breaks_off_is_cut_off(framing: str) -> None:
    """Half a file does not look like a file."""
    if framing == "length":
        head = response("200 OK", body=b"x" * 100)[:-50]
    else:
        head = stream_head(content_type="audio/mpeg") + framed(b"x" * 50)
    async with proxied() as rig:
        rig.upstream.reply(head)
        with pytest.raises(Cut):
            await rig.ask(request("GET", "/v1/files/f/content"))


async def test_an_untouched_answer_that_falls_silent_is_cut_off() -> None:
    """The idle time ends it, and the client can see that it is not whole."""
    async with proxied(idle=0.3) as rig, rig.call(request("GET", "/v1/files/f")) as (client, call):
        await call.send(stream_head(content_type="audio/mpeg"), framed(b"x"))
        with pytest.raises(Cut):
            await client.answer()
        await call.gone()


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models",
        "/v1/models/",
        "/v1/models/org%20name:7b@x,y;v=1+2~_-.!$&'()*",
        "/v1/models/a%C3%BCb",
        "/v1/models/%7e%7E",
        "/v1/files?purpose=a%2Fb&x=a+b&x=&&=%20%2e%2e/../;:@!$'()*,?",
        "/v1/files?q=%E2%82%AC%00",
        "/v1/files?next=http://evil.example/",
        '/v1/files?a=[1]&b={2}&c=|^`"<>\\',
    ],
)
async def test_targets_are_exact(target: str) -> None:
    """Path and query reach upstream as the client wrote them, character by character."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        answer = await rig.ask(request("GET", target))
        assert answer.status == 200
        assert [call.request.target for call in rig.upstream.calls] == [target]


@pytest.mark.parametrize("query", ["q=\xe9", "q=\xc3\xa9"], ids=["latin-1", "utf-8"])
async def test_a_query_that_is_not_ascii(query: str) -> None:
    """No URI, but sent: it passes exactly or is refused as the client's mistake."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        answer = await rig.ask(request("GET", f"/v1/models?{query}"))
        targets = [call.request.target for call in rig.upstream.calls]
    assert (answer.status, targets) in [(200, [f"/v1/models?{query}"]), (400, [])]


async def test_the_query_of_a_chat_request() -> None:
    """Azure's api-version is one."""
    asked = chat(path="/v1/chat/completions?api-version=2024-10-21&a=%2F")
    async with proxied() as rig, rig.call(asked) as (_, call):
        assert call.request.target == "/v1/chat/completions?api-version=2024-10-21&a=%2F"


@pytest.mark.parametrize(
    ("prefix", "target"),
    [
        ("", "/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/api/v1", "/api/v1/chat/completions"),
        ("/openai/deployments/a%20b", "/openai/deployments/a%20b/chat/completions"),
    ],
)
async def test_the_prefix_of_the_base_url(prefix: str, target: str) -> None:
    """What the client would have put into its own base_url is where its requests go."""
    async with proxied(prefix) as rig, rig.call(chat()) as (_, call):
        assert call.request.target == target


async def test_a_listed_path_is_beside_the_prefix() -> None:
    """What is no API has no part of the API's prefix."""
    async with proxied("/api/v1", paths=("/health",)) as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        await rig.ask(request("GET", "/health?x=1"))
        assert [call.request.target for call in rig.upstream.calls] == ["/health?x=1"]


async def test_the_host_of_the_client_is_not_passed() -> None:
    """Upstream is addressed by its own name."""
    asked = request("GET", "/v1/models", host="evil.example")
    async with proxied() as rig, rig.call(asked) as (_, call):
        assert call.request.all("Host") == [rig.upstream.host]


async def test_many_requests_on_one_connection() -> None:
    """Pipelined, of different kinds, in their order."""
    asked = [
        request("GET", "/v1/models?1"),
        request("POST", "/v1/embeddings?2", body=b"{}"),
        request("GET", "/metrics"),
        request("GET", "/v1/models?3"),
    ]
    async with proxied() as rig, await rig.client() as client:
        await client.send(*asked)
        got: list[Answer] = []
        for target in ("/v1/models?1", "/v1/embeddings?2", None, "/v1/models?3"):
            if target is not None:
                call = await rig.upstream.accept()
                assert call.request.target == target
                await call.request_body()
                await call.send(response("200 OK", body=json.dumps(target).encode()))
            got.append(await client.answer())
    assert [answer.status for answer in got] == [200, 200, 404, 200]
    assert got[3].body == b'"/v1/models?3"'


async def test_a_request_with_two_framings_is_refused() -> None:
    """Whoever of two readers believes the other header sees another request."""
    smuggled = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/admin HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(smuggled)
        assert answer.status == 400
        assert rig.upstream.calls == []


async def test_an_unasked_switch_of_protocols_is_an_error() -> None:
    """A client that asked for none must not be told that its connection is now another."""
    async with proxied(seconds=3) as rig, rig.call(request("GET", "/v1/models")) as (client, call):
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade")
        await call.send(b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        call.finish()
        answer = await client.answer()
    assert answer.status == 502
    assert answer.error["type"] == "upstream_error"


async def test_concurrent_requests_reach_upstream_at_once() -> None:
    """No pool makes the hundred-and-first wait."""
    async with proxied() as rig:
        clients = [await rig.client() for _ in range(120)]
        await asyncio.gather(*(client.send(request("GET", "/v1/models")) for client in clients))
        calls = [await rig.upstream.accept() for _ in clients]
        for call in calls:
            await call.send(response("200 OK"))
        heads: list[Head] = [(await client.answer()).head for client in clients]
        assert {head.status for head in heads} == {200}
        for client in clients:
            client.abort()
