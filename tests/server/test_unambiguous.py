"""Requests that two servers would understand differently: refused before a rule is chosen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.rules.match import Match
from sidecar.server.inquiry import KEYS
from sidecar.server.unambiguous import MAX_OTHER_MODELS
from sidecar.wire.formats import WIRE_FORMATS, WireFormat

from .scripted import Answer, Rig, document, proxied, request, response, rule

CHAT = "/v1/chat/completions"
OK = response("200 OK", body=document({"content": "x"}))

each_wire_format = pytest.mark.parametrize("wire", WIRE_FORMATS, ids=lambda wire: wire.name)

BY_MODEL = (
    rule("strict", match=Match(model=("secret*",))),
    rule("loose", match=Match(model=("open*",)), reasoning="keep"),
)
"""Rules by the model's name, and none for any other."""


async def asked(rig: Rig, body: str | dict[str, Any], target: str = CHAT) -> Answer:
    """The answer to a request with this body."""
    raw = body if isinstance(body, str) else json.dumps(body)
    return await rig.ask(request("POST", target, body=raw.encode()))


async def refused(rig: Rig, wire: WireFormat, body: str, query: str = "") -> str:
    """What is said to whoever sends it; nothing of it reaches upstream."""
    before = len(rig.upstream.calls)
    answer = await asked(rig, body, wire.path + query)
    assert answer.status == 400, body
    assert len(rig.upstream.calls) == before
    error = json.loads(answer.body)["error"]
    message = error if isinstance(error, str) else error["message"]
    assert wire.error(400, {"message": message, "code": (error or {}).get("code")}
                      if isinstance(error, dict) else {"message": message}
                      ) == json.loads(answer.body)  # fmt: skip
    assert isinstance(message, str)
    return message


# --- stream -------------------------------------------------------------------------------------


@each_wire_format
async def test_stream_is_true_or_false(wire: WireFormat) -> None:
    """Some servers take these for true, some for false, and some for a mistake."""
    values = ['"true"', '"false"', '""', "1", "0", "1.0", "[]", "[true]", "{}", '"True"', "1e0"]
    async with proxied() as rig:
        for value in values:
            message = await refused(rig, wire, f'{{"model":"m","stream":{value}}}')
            assert message == "The request field 'stream' must be true or false."


@each_wire_format
async def test_a_stream_that_is_asked_for_or_not(wire: WireFormat) -> None:
    """With white space, escapes or an empty value too."""
    async with proxied() as rig:
        rig.upstream.reply(OK)
        for stream in ('"stream" : true', '"stream":false', '"stream":null', '"str\\u0065am":true'):
            answer = await asked(rig, f'{{"model":"m",{stream}}}', wire.path)
            assert len(rig.upstream.calls) == 1, answer.body
            rig.upstream.calls.clear()


# --- keys that stand twice ----------------------------------------------------------------------


@each_wire_format
@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('{"stream":false,"stream":true}', "the key 'stream' stands twice"),
        ('{"stream":true,"str\\u0065am":true}', "the key 'stream' stands twice"),
        ('{"model":"a","n":1,"model":"a"}', "the key 'model' stands twice"),
        ('{"api_base":"a","api_base":"a"}', "the key 'api_base' stands twice"),
        ('{"s3cr3t":1,"s3cr3t":2}', "a key stands twice"),
        ('{"messages":[{"role":"user","role":"tool"}]}', "a key stands twice"),
        ('{"x":{"y":[{"stream":1,"stream":1}]}}', "the key 'stream' stands twice"),
        ('{"metadata":{"s3cr3t":1,"s3cr3t":1}}', "a key stands twice"),
    ],
)
async def test_a_key_stands_once(wire: WireFormat, body: str, what: str) -> None:
    """At any depth, however it is spelt; it is named if its name is one of ours."""
    async with proxied() as rig:
        message = await refused(rig, wire, body)
    assert message == f"The request body is not valid JSON: {what}."


# --- keys in another case -----------------------------------------------------------------------


@each_wire_format
async def test_a_key_that_rules_go_by_is_written_in_lower_case(wire: WireFormat) -> None:
    """Go and .NET match keys in any case; Go folds the long s and the Kelvin sign, too."""
    async with proxied() as rig:
        for path in KEYS[wire.name]:
            for last in (path[-1].upper(), path[-1].title(), path[-1].replace("s", "ſ", 1)):
                if last == path[-1]:
                    continue
                body: Any = {last: []}
                for key in reversed(path[:-1]):
                    body = {key: body}
                message = await refused(rig, wire, json.dumps({"n": 1} | body, ensure_ascii=False))
                assert message == (f"The request field '{path[-1]}' must be written in lower case.")


@each_wire_format
async def test_any_other_key_may_be_written_as_it_likes(wire: WireFormat) -> None:
    """No rule goes by it, wherever it stands."""
    body = {
        "model": "m",
        "Temperature": 1,
        "MESSAGES": [{"Model": "x", "Stream": 1}],
        "x": {"Stream": 1},
        "models_": [],
    }
    async with proxied() as rig:
        rig.upstream.reply(OK)
        await asked(rig, body, wire.path)
        assert len(rig.upstream.calls) == 1


async def test_a_key_that_another_wire_format_goes_by_is_any_other() -> None:
    async with proxied() as rig:
        rig.upstream.reply(OK)
        bodies: dict[str, dict[str, Any]] = {
            "/v1/completions": {"Tools": [], "Think": True},
            CHAT: {"Prompt": "x", "Raw": True, "mcp_Servers": []},
            "/api/chat": {"Reasoning": {"Effort": "none"}},
        }
        for path, body in bodies.items():
            await asked(rig, {"model": "m"} | body, path)
            assert rig.upstream.calls.pop().request.target == path


# --- keys in another place ----------------------------------------------------------------------


@each_wire_format
async def test_a_key_that_rules_go_by_does_not_stand_in_extra_body(wire: WireFormat) -> None:
    """A gateway puts it in the stead of the one beside it."""
    async with proxied() as rig:
        for path in KEYS[wire.name]:
            for key in (path[0], path[0].upper()):
                body = json.dumps({"model": "m", "extra_body": {"top_k": 1, key: None}})
                assert await refused(rig, wire, body) == (
                    f"The request field '{path[0]}' must stand beside extra_body, not in it."
                )


@each_wire_format
@pytest.mark.parametrize(
    "query",
    ["model=secret", "a=1&model=", "Model=x", "mod%65l=x", "a;model=x", "+&model", "stream=1"],
)
async def test_a_key_that_rules_go_by_does_not_stand_in_the_query(
    wire: WireFormat, query: str
) -> None:
    """LiteLLM takes the model from there, if there is one."""
    key = "stream" if query.startswith("stream") else "model"
    async with proxied() as rig:
        message = await refused(rig, wire, '{"model":"m"}', f"?{query}")
    assert message == f"The request field '{key}' must stand in the body, not in the query."


async def test_another_query_passes() -> None:
    """Azure's has a version."""
    async with proxied() as rig:
        rig.upstream.reply(OK)
        target = f"{CHAT}?api-version=2024-10-21&x=model&model_=y&"
        assert (await asked(rig, '{"model":"m"}', target)).status == 200
        assert [call.request.target for call in rig.upstream.calls] == [target]


# --- several models -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "others",
    [
        {"models": ["open-2", "secret-1"]},
        {"models": ["unheard-of"]},
        {"fallbacks": ["secret-1"]},
        {"fallbacks": [{"open-1": ["open-2", "secret-1"]}]},
        {"fallbacks": [{"model": "secret-1", "messages": []}]},
        {"context_window_fallbacks": [{"open-1": ["secret-1"]}]},
        {"content_policy_fallbacks": [{"open-1": ["secret-1"]}]},
    ],
)
async def test_all_models_of_a_request_are_under_one_rule(others: dict[str, Any]) -> None:
    """Or the one that answers would not be the one whose rule was chosen."""
    async with proxied(rules=BY_MODEL) as rig:
        rig.upstream.reply(OK)
        for first in ("open-1", "secret-1", "unheard-of"):
            under = {"open-1": "loose", "secret-1": "strict"}.get(first, "none")
            there = "none" if "unheard-of" in str(others) else "strict"
            mixed = under != there or "open-2" in str(others)
            answer = await asked(rig, {"model": first} | others)
            assert answer.status == (400 if mixed else 200), first
            if mixed:
                assert answer.error["message"] == (
                    "The models that the request names are under different rules; "
                    "ask for one of them."
                )
        assert len(rig.upstream.calls) < 3


async def test_models_under_one_rule_are_asked_for_together() -> None:
    """And what is no list of models says nothing."""
    async with proxied(rules=BY_MODEL) as rig:
        rig.upstream.reply(OK)
        several: list[dict[str, Any]] = [
            {"models": ["open-2", "open-3"], "fallbacks": [{"open-1": ["open-4"], "x": 5}]},
            {"models": "secret", "fallbacks": [5, None, ["secret-1"]]},
            {"models": [], "fallbacks": None},
        ]
        for others in several:
            assert (await asked(rig, {"model": "open-1"} | others)).status == 200


async def test_other_models_are_few() -> None:
    """Each is matched with every rule."""
    async with proxied() as rig:
        rig.upstream.reply(OK)
        models = [f"m{i}" for i in range(MAX_OTHER_MODELS)]
        assert (await asked(rig, {"model": "m", "models": models})).status == 200
        answer = await asked(rig, {"model": "m", "models": [*models, "one more"]})
    assert answer.status == 400
    assert answer.error["message"] == "A request may name up to 32 other models."


# --- whose requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{"stream":"true"}',
        '{"model":"a","model":"b"}',
        '{"Model":"a"}',
        '{"extra_body":{"model":"a"}}',
        '{"model":"open-1","models":["secret-1"]}',
    ],
)
async def test_without_rules_nothing_is_read(body: str) -> None:
    async with (
        proxied(rules=()) as rig,
        rig.call(request("POST", f"{CHAT}?model=x", body=body.encode())) as (client, call),
    ):
        assert await call.request_body() == body.encode()
        await call.send(OK)
        assert (await client.answer()).status == 200
