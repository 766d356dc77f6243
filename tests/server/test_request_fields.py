"""The fields of a request: which are refused, which do not go upstream, and that all else does, to
the byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.rules.match import Match
from sidecar.rules.requestfields import DEFAULTS, FieldAction
from sidecar.wire.formats import WIRE_FORMATS, WireFormat

from .scripted import (
    DONE,
    FINISH,
    ROLE,
    Answer,
    Rig,
    chat,
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
OK = response("200 OK", body=document({"content": "x"}))
OTHERS_ONLY = rule(match=Match(model=("another",)))

each_wire_format = pytest.mark.parametrize("wire", WIRE_FORMATS, ids=lambda wire: wire.name)


def names(action: FieldAction) -> list[str]:
    """The fields of the table with this default."""
    return [name for name, default in DEFAULTS.items() if default is action]


def nested(name: str, value: object) -> Any:
    """``{"a": {"b": value}}`` for ``a.b``."""
    for key in reversed(name.split(".")):
        value = {key: value}
    return value


async def sent(rig: Rig, raw: bytes) -> bytes:
    """The body that reaches upstream, framed as it is."""
    async with rig.call(raw) as (client, call):
        body = await call.request_body()
        assert call.request.one("Content-Length") == str(len(body))
        assert call.request.one("Transfer-Encoding") is None
        await call.send(OK)
        await client.answer()
    return body


async def asked(rig: Rig, body: bytes, path: str = CHAT) -> Answer:
    """The answer to a request with this body."""
    return await rig.ask(request("POST", path, body=body))


# --- the table ----------------------------------------------------------------------------------


@each_wire_format
async def test_a_field_that_redirects_is_refused(wire: WireFormat) -> None:
    """At the top, in ``extra_body`` and in any case; the error names it, and not as the client
    wrote it, nor its value."""
    async with proxied() as rig:
        for name in names(FieldAction.REFUSE):
            for field in (name, f"extra_body.{name}", name.upper(), f"extra_body.{name.title()}"):
                body = nested(field, "s3cr3t")
                if not field.islower():
                    body |= {"model": "m"}
                answer = await rig.ask(chat(path=wire.path, **body))
                assert answer.status == 400
                message = f"The request field '{field.lower()}' is not accepted here; leave it out."
                error = {"message": message, "code": "unsupported_parameter"}
                assert json.loads(answer.body) == wire.error(400, error)
        assert not rig.upstream.calls
        scraped = await rig.scrape()
    labels = f'model="other",outcome="refused",route="{wire.name}",rule="default"'
    assert f"sidecar_requests_total{{{labels}}}" in scraped


@each_wire_format
async def test_a_field_that_repeats_what_is_hidden_does_not_go_upstream(wire: WireFormat) -> None:
    """All at once, in two cases; what stands between them stays."""
    dropped = set(names(FieldAction.DROP))
    if wire.name == "completions":
        dropped.remove("echo")
    fields = [f'"{name}": true, "{name.title()}": 1' for name in sorted(dropped)]
    extra = ", ".join(f'"{name}": [{{}}]' for name in sorted(dropped))
    body = f'{{"n" : 1e400, {", ".join(fields)},\r\n "extra_body": {{{extra} }}, "seed":9}}'
    async with proxied() as rig:
        left = await sent(rig, request("POST", wire.path, body=body.encode()))
    assert left == b'{"n" : 1e400,\r\n "extra_body": {}, "seed":9}'


@each_wire_format
async def test_all_other_fields_go_upstream_as_they_came(wire: WireFormat) -> None:
    """Those of the table that pass, and those that it does not know; to the byte."""
    fields = {name: [1] for name in names(FieldAction.PASS)} | {
        "unheard_of": {"api_base": "x", "verbose": True},
        "metadata": {"base_url": "x", "echo": "x"},
        "messages": [{"verbose": True, "api_key": "x"}],
        "extra_body": {"top_k": 1.0},
    }
    body = json.dumps(fields, indent=1).replace("1.0", "1.00").encode()
    async with proxied() as rig:
        assert await sent(rig, request("POST", wire.path, body=body)) == body


async def test_echo_is_part_of_the_api_of_completions() -> None:
    """The engine reads what is repeated; in a chat it would be a message of before."""
    body = b'{"prompt":"a<think>b</think>","echo":true}'
    async with proxied() as rig:
        assert await sent(rig, request("POST", "/v1/completions", body=body)) == body
        left = await sent(rig, request("POST", CHAT, body=body))
    assert left == b'{"prompt":"a<think>b</think>"}'


# --- whose requests -----------------------------------------------------------------------------

FIELDS = b'{"model": "m", "verbose": true, "api_base": "http://x", "extra_body": {"echo": 1}}'


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (OTHERS_ONLY,),
        (rule(reasoning="keep", tool_calls="keep", tool_results="keep"),),
        (rule(mode="observe", request_fields={"model": "refuse", "verbose": "drop"}),),
    ],
    ids=["no-rules", "no-match", "hides-nothing", "observes"],
)
async def test_where_no_rule_acts_all_fields_pass(rules: tuple[Any, ...]) -> None:
    async with proxied(rules=rules) as rig:
        assert await sent(rig, request("POST", CHAT, body=FIELDS)) == FIELDS


async def test_an_operator_decides_otherwise() -> None:
    """Of fields of the table and of others, nested ones too, rule by rule."""
    own = rule(
        "own",
        match=Match(model=("own",)),
        request_fields={
            "api_base": "pass",
            "VERBOSE": "pass",
            "logprobs": "drop",
            "stop": "refuse",
            "options.stop": "drop",
            "mine": "drop",
        },
    )
    body = (
        b'{"model": "own", "api_base": "x", "verbose": 1, "extra_body": {"api_base": 2, "mine": 3},'
        b' "logprobs": true, "Options": {"Stop": 4, "seed": 5}, "mine": 6, "stop_token_ids": 7}'
    )
    left = (
        b'{"model": "own", "api_base": "x", "verbose": 1, "extra_body": {"api_base": 2},'
        b' "Options": { "seed": 5}, "stop_token_ids": 7}'
    )
    async with proxied(rules=[own, rule()]) as rig:
        assert await sent(rig, request("POST", CHAT, body=body)) == left
        refused = await asked(rig, b'{"model": "own", "Stop": "s3cr3t"}')
        others = await asked(rig, b'{"model": "m", "api_base": "x"}')
    assert (
        refused.error["message"] == "The request field 'stop' is not accepted here; leave it out."
    )
    assert "'api_base'" in others.error["message"]


async def test_what_upstream_does_not_get_switches_nothing_off() -> None:
    """The client's wish not to have it think never reaches the model, so the answer begins where it
    begins without it."""
    shown = {}
    for action in ("pass", "drop"):
        async with proxied(rules=[rule(request_fields={"think": action})]) as rig:
            rig.upstream.reply(streamed(ROLE, text("to the end"), FINISH, DONE))
            answer = await rig.ask(chat(model="deepseek-r1", think=False))
        shown[action] = visible(answer.body)
    assert shown == {"pass": "to the end", "drop": ""}


async def test_a_tool_that_upstream_does_not_get_is_not_declared() -> None:
    """A call to it is hidden like any other that nobody declared."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    shown = {}
    for action in ("pass", "drop"):
        rules = [rule(tool_calls="declared", request_fields={"tools": action})]
        async with proxied(rules=rules) as rig:
            reply = document({"content": "x", "tool_calls": [call]}, "tool_calls")
            rig.upstream.reply(response("200 OK", body=reply))
            answer = await rig.ask(chat(stream=False, tools=tools))
        shown[action] = "tool_calls" in json.loads(answer.body)["choices"][0]["message"]
    assert shown == {"pass": True, "drop": False}


async def test_a_rule_is_chosen_by_what_the_client_sent() -> None:
    """A model's name that is dropped still says under which rule it is, and where its answers
    begin."""
    own = rule("own", match=Match(model=("deepseek-*",)), request_fields={"model": "drop"})
    body = b'{"model":"deepseek-r1","n":1}'
    async with proxied(rules=[own]) as rig:
        assert await sent(rig, request("POST", CHAT, body=body)) == b'{"n":1}'
        scraped = await rig.scrape()
        rig.upstream.reply(streamed(ROLE, text("hm</think>shown"), FINISH, DONE))
        answer = await rig.ask(chat(model="deepseek-r1"))
    assert 'model="other",outcome="completed",route="chat",rule="own"' in scraped
    assert visible(answer.body) == "shown"
