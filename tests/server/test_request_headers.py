"""No header of a request loosens a rule, whatever it is called, however often it comes, and
whatever somebody before or behind the sidecar would make of it."""

from __future__ import annotations

import json

import pytest

from sidecar.core.status import Form, StatusPolicy
from sidecar.rules.match import Match
from sidecar.rules.statussection import StatusSpec

from .scripted import (
    DONE,
    FINISH,
    ROLE,
    Answer,
    Head,
    Rig,
    chat,
    chunk,
    document,
    proxied,
    request,
    response,
    rule,
    streamed,
    text,
    visible,
)

CHAT = "/v1/chat/completions"
SECRET = "s3cr3t"
HIDING = streamed(
    ROLE,
    chunk({"reasoning_content": SECRET}),
    text(f"<think>{SECRET}</think>"),
    text("shown"),
    chunk(
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": SECRET}}]}
    ),
    FINISH,
    DONE,
)

READ = [
    # What the sidecar itself reads.
    ("X-Sidecar-Status: reasoning",),
    ("X-Sidecar-Status: content", "X-Sidecar-Status: off"),
    ("x-SIDECAR-status: nonsense",),
    ("X-Sidecar-Status:",),
    ("X-Sidecar-Rule: agents", "X-Sidecar-Mode: observe", "X-Sidecar-Reasoning: keep"),
    ("X_Sidecar_Rule: agents",),
    ("Accept-Language: de;q=0, *;q=2, ☃".encode().decode("latin-1"),),
    ("Sec-Fetch-Site: cross-site", "Origin: https://evil.example"),
    ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
    ("traceparent: nonsense", "traceparent: 00-00-00-00", "tracestate: a=b"),
    ("Content-Encoding: identity", "content-encoding: Identity"),
    ("Connection: close, X-Client", "X-Client: agent"),
    # What asks for the answer in another form, or for a part of it.
    ("Accept: application/json",),
    ("Accept: text/plain", "Accept: application/x-ndjson"),
    ("Accept-Encoding: gzip", "ACCEPT-ENCODING: br, zstd;q=1, identity;q=0"),
    ("Accept-Charset: utf-16",),
    ("Range: bytes=0-", "If-Range: x"),
    ("range: bytes=-9", "Range: chars=0-1"),
    ("If-None-Match: *", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Prefer: return=representation",),
    ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ("TE: trailers, deflate", "Trailer: X-Reasoning"),
    # What another proxy, or a framework, would take for another request.
    ("X-HTTP-Method-Override: GET",),
    ("X-HTTP-Method: PUT", "X-Method-Override: GET", "x-http-method-override: DELETE"),
    ("X-Original-URL: /v1/embeddings", "X-Rewrite-URL: /metrics", "X-Override-URL: /slots"),
    ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https"),
    ("X-Forwarded-Prefix: /internal", "X-Forwarded-Uri: /v1/models", "X-Forwarded-Method: GET"),
    ("X-Forwarded-Port: 9090", "X-Real-IP: 127.0.0.1", "X-Host: evil.example"),
    ("Forwarded: for=127.0.0.1;host=evil.example;proto=https",),
    ("Via: 1.1 evil", "Max-Forwards: 0", "Cache-Control: no-transform"),
    ("User-Agent: kube-probe/1.30", "Purpose: prefetch", "X-Debug: 1", "Cookie: debug=1"),
]  # fmt: skip
"""Headers of one request each."""


def reached(rig: Rig) -> Head:
    """The one request that has come upstream since it was last asked for."""
    [call] = rig.upstream.calls
    rig.upstream.calls.clear()
    return call.request


def hides(answer: Answer) -> None:
    """Nothing that the rule hides is in an answer, its headers or its status line."""
    assert SECRET not in f"{answer.head} {answer.body!r}"


STATUSES = {
    "off": StatusSpec(StatusPolicy(form=Form.OFF, first_after=None), {}),
    "chosen": StatusSpec(StatusPolicy(choose=True, first_after=None), {}),
    "early": StatusSpec(StatusPolicy(first_after=0.0), {}),
}


@pytest.mark.parametrize("status", STATUSES)
async def test_no_header_brings_out_what_a_rule_hides(status: str) -> None:
    """A stream stays the stream that it is, at the path and by the method that it was asked for, or
    is refused; whatever statuses the rule has."""
    async with proxied(rules=[rule(status=STATUSES[status])]) as rig:
        rig.upstream.reply(HIDING)
        for fields in READ:
            answer = await rig.ask(chat(*fields))
            hides(answer)
            if status == "chosen" and fields[0].endswith("status: nonsense"):
                assert (answer.status, rig.upstream.calls) == (400, [])
                continue
            assert reached(rig).start == f"POST {CHAT} HTTP/1.1"
            assert answer.status == 200, fields
            assert answer.head.one("Content-Type") == "text/event-stream"
            assert answer.head.one("Content-Encoding") is None
            assert b"shown" in answer.body, fields


async def test_no_header_brings_out_what_a_rule_hides_in_a_document() -> None:
    hidden = {"reasoning_content": SECRET, "content": f"<think>{SECRET}</think>shown"}
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", f"X-Reasoning: {SECRET}", body=document(hidden)))
        for fields in READ:
            answer = await rig.ask(chat(*fields, stream=False))
            hides(answer)
            assert reached(rig).start == f"POST {CHAT} HTTP/1.1"
            assert json.loads(answer.body)["choices"][0]["message"]["content"] == "shown"


async def test_no_header_brings_out_a_stored_answer() -> None:
    """It is fetched whole, too."""
    async with proxied() as rig:
        stored = document({"content": f"<think>{SECRET}</think>shown"})
        rig.upstream.reply(response("200 OK", body=stored))
        for fields in READ:
            answer = await rig.ask(request("GET", f"{CHAT}/chatcmpl-1", *fields))
            hides(answer)
            assert b"shown" in answer.body, fields
            head = reached(rig)
            assert head.start == f"GET {CHAT}/chatcmpl-1 HTTP/1.1"
            assert head.all("Range") == head.all("If-Range") == []
            assert head.all("Accept-Encoding") == ["identity"]


async def test_a_request_asks_upstream_for_an_answer_that_can_be_read() -> None:
    """Whole, in no encoding, in this protocol; and each header that passes is there as often as it
    came."""
    async with proxied() as rig:
        rig.upstream.reply(HIDING)
        for fields in READ:
            await rig.ask(chat(*fields))
            head = reached(rig)
            for name in ("Range", "If-Range", "Upgrade", "TE", "Trailer", "HTTP2-Settings"):
                assert head.all(name) == []
            assert head.all("Accept-Encoding") == ["identity"]
            assert head.all("Connection") in ([], ["close"])
            assert not [name for name, _ in head.fields if name.lower().startswith("x-sidecar-")]
            for name in ("X-Forwarded-For", "Forwarded", "Accept", "User-Agent", "Cookie"):
                sent = [field for field in fields if field.lower().startswith(f"{name.lower()}: ")]
                assert head.all(name) == [field.partition(": ")[2] for field in sent]


OTHER_REQUESTS = [
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-URL",
    "X-Override-URL",
    "X-Rewrite-URL",
]


@pytest.mark.parametrize("rules", [None, ()], ids=["rules", "no-rules"])
async def test_a_header_that_asks_for_another_request_goes_nowhere(
    rules: tuple[object, ...] | None,
) -> None:
    """A server that goes by it would answer at a path that is not filtered what is filtered at its
    own."""
    fields = [f"{spelt}: {CHAT}" for name in OTHER_REQUESTS for spelt in (name, name.lower())]
    async with proxied(rules=rules, paths=("/listed",)) as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        for method, target in (
            ("POST", CHAT),
            ("POST", "/v1/embeddings"),
            ("GET", CHAT),
            ("GET", f"{CHAT}/chatcmpl-1"),
            ("GET", "/v1/models"),
            ("POST", "/listed"),
        ):
            body = b"{}" if method == "POST" else None
            await rig.ask(request(method, target, *fields, "X-Rewrite: stays", body=body))
            head = reached(rig)
            assert head.start == f"{method} {target} HTTP/1.1"
            assert [name for name, value in head.fields if value == CHAT] == []
            assert head.one("X-Rewrite") == "stays"


TYPES = {
    "application/json": True,
    "Application/JSON; charset=UTF-8": True,
    'application/json;charset="utf-8"': True,
    "application/x-www-form-urlencoded": False,
    "multipart/form-data; boundary=x": False,
    "text/plain;charset=UTF-8": False,
    "application/json; charset=utf-16": False,
    "application/json; charset=utf-7": False,
    "application/json, multipart/form-data": False,
    "application/json; x=application/x-www-form-urlencoded": False,
    "": False,
}
"""Content types of a body that is read as JSON, and whether they say so."""


@pytest.mark.parametrize("matched", [True, False])
async def test_a_body_that_was_read_as_json_is_not_called_anything_else(matched: bool) -> None:
    """LiteLLM reads a form where it is told of one: it would find another model in this body."""
    body = b'{"model":"m","user":"&model=secret&stream=true&prompt="}'
    async with proxied(rules=[rule(match=Match(model=("m" if matched else "x",)))]) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "x"})))
        for kind, is_json in TYPES.items():
            raw = request("POST", CHAT, f"Content-Type: {kind}", body=body)
            assert (await rig.ask(raw)).status == 200
            assert reached(rig).all("Content-Type") == ([kind] if is_json else [])
        await rig.ask(request("POST", CHAT, body=body))
        assert reached(rig).all("Content-Type") == []
        twice = ("Content-Type: application/json", "Content-Type: multipart/form-data; boundary=x")
        assert (await rig.ask(request("POST", CHAT, *twice, body=body))).status == 400
        assert rig.upstream.calls == []


async def test_what_was_not_read_is_called_what_the_client_calls_it() -> None:
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        kind = "Content-Type: multipart/form-data; boundary=x"
        await rig.ask(request("POST", "/v1/files", kind, body=b"--x--"))
        assert reached(rig).all("Content-Type") == ["multipart/form-data; boundary=x"]


async def test_a_body_in_an_encoding_is_not_read() -> None:
    """Whichever of the headers says so: upstream may go by that one."""
    async with proxied() as rig:
        for codings in (("gzip",), ("identity", "gzip"), ("GZIP", "identity"), ("identity, gzip",)):
            fields = [f"Content-Encoding: {coding}" for coding in codings]
            answer = await rig.ask(request("POST", CHAT, *fields, body=b'{"model":"m"}'))
            assert answer.status == 415, codings
        assert rig.upstream.calls == []


async def test_a_header_chooses_what_the_rules_say_that_it_chooses() -> None:
    """A rule that matches by a header is chosen by any of its values; a header of another name, of
    the same letters, is another."""
    rules = [
        rule("agents", match=Match(headers=(("x-client", "agent"),)), reasoning="keep"),
        rule("people"),
    ]
    shown = {}
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(streamed(ROLE, text("<think>why</think>what"), FINISH, DONE))
        for fields in (
            ("X-Client: agent",),
            ("x-CLIENT: web", "X-Client: agent"),
            ("X_Client: agent",),
            ("X-Client: Agent",),
            ("X-Client: agent, web",),
            ("X-Sidecar-X-Client: agent",),
        ):
            shown[fields] = visible((await rig.ask(chat(*fields))).body)
    assert list(shown.values()) == ["<think>why</think>what"] * 2 + ["what"] * 4
