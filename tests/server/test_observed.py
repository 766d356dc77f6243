"""What rules that only observe would have done, as ``/admin/observed`` shows it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from sidecar.core.policy import Mode
from sidecar.rules.catalogue import shipped_catalogue
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.rules.ruleset import RuleSet
from sidecar.server.app import Running
from tests.wire.recordings import Recording, recordings

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Cut,
    Rig,
    chat,
    chunk,
    configured,
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
from .test_metrics import parsed

SECRET = "zq"
THOUGHT = chunk({"reasoning_content": SECRET})
PLAIN = streamed(ROLE, text("shown"), FINISH, DONE)
OBSERVE = rule("look", mode="observe")


async def observed(rig: Rig) -> dict[str, Any]:
    """What is shown now; no word of an answer is in it."""
    async with await rig.client(rig.running.admin) as client:
        answer = await client.ask(request("GET", "/admin/observed"))
    assert answer.status == 200
    assert answer.head.one("Content-Type") == "application/json"
    assert SECRET.encode() not in answer.body
    shown: dict[str, Any] = json.loads(answer.body)
    assert datetime.fromisoformat(shown["since"]).tzinfo is not None
    return {counts.pop("rule"): counts for counts in shown["rules"]}


def entry(channel: str, format_id: str, answers: int, characters: int) -> dict[str, Any]:
    return {
        "channel": channel,
        "format": format_id,
        "answers": answers,
        "characters": characters,
    }


def both_of(recording: Recording) -> list[RuleSpec]:
    """The same rule twice: one that observes, and one that enforces."""
    spec = replace(rule("do", formats=recording.formats), policy=recording.policy)
    observing = replace(recording.policy, mode=Mode.OBSERVE)
    asked = Match(headers=(("x-mode", "observe"),))
    return [replace(spec, name="look", match=asked, policy=observing), spec]


@pytest.mark.parametrize("recording", list(recordings()), ids=lambda r: r.name)
async def test_it_is_what_a_rule_that_enforces_removes(recording: Recording) -> None:
    """Character by character; and the answer itself passes to the byte. It counts as changed where
    a client gets other bytes from the rule that enforces."""
    tools = [{"type": "function", "function": {"name": name}} for name in recording.declares]
    async with proxied(rules=both_of(recording)) as rig:
        rig.upstream.reply(streamed(recording.sent))
        untouched = await rig.ask(chat("x-mode: observe", tools=tools))
        enforced = await rig.ask(chat(tools=tools))
        found, scrape = await observed(rig), parsed(await rig.scrape())
    assert untouched.body == recording.sent
    removed = Counter(
        {
            (of["channel"], of["format"]): int(value)
            for (name, labels), value in scrape.items()
            if name == "sidecar_hidden_characters_total"
            and (of := dict(labels))["rule"] == "do"
            and value
        }
    )
    [(name, counts)] = found.items()
    assert name == "look"
    assert counts["answers"] == 1
    assert counts["changed"] == (enforced.body != recording.sent)
    assert {(e["channel"], e["format"]): e["characters"] for e in counts["hidden"]} == removed
    assert all(each["answers"] == 1 for each in counts["hidden"])


async def test_answers_add_up_by_channel_and_format() -> None:
    """Streams and documents, those that stay as they are too; an error is no answer."""
    async with proxied(rules=[OBSERVE]) as rig:
        assert await observed(rig) == {}
        for reply in (
            streamed(ROLE, THOUGHT, THOUGHT, FINISH, DONE),
            streamed(ROLE, text(f"<think>{SECRET}</think>shown"), FINISH, DONE),
            streamed(ROLE, chunk({"unheard_of": SECRET, "content": "a"}), FINISH, DONE),
            PLAIN,
        ):
            rig.upstream.reply(reply)
            await rig.ask(chat())
        for message in ({"content": "shown"}, {"content": "a", "reasoning_content": SECRET}):
            rig.upstream.reply(response("200 OK", body=document(message)))
            await rig.ask(chat(stream=False))
        rig.upstream.reply(response("429 Too Many", body=b'{"error": {"message": "m"}}'))
        await rig.ask(chat())
        assert await observed(rig) == {
            "look": {
                "answers": 6,
                "changed": 4,
                "unknown_fields": 1,
                "hidden": [
                    entry("markup", "think", 1, len("<think></think>")),
                    entry("reasoning", "field", 2, 3 * len(SECRET)),
                    entry("reasoning", "think", 1, len(SECRET)),
                ],
            }
        }


async def test_an_answer_that_breaks_off_counts_as_far_as_it_came() -> None:
    async with proxied(rules=[OBSERVE]) as rig:
        for said in (THOUGHT, text("<thi")):
            rig.upstream.reply(stream_head() + framed(ROLE) + framed(said))
            with pytest.raises(Cut):
                await rig.ask(chat())
        counts = (await observed(rig))["look"]
    assert (counts["answers"], counts["changed"]) == (2, 1)


async def test_what_is_enforced_is_not_observed() -> None:
    async with proxied(rules=[rule("do")]) as rig:
        rig.upstream.reply(streamed(ROLE, THOUGHT, FINISH, DONE))
        await rig.ask(chat())
        assert await observed(rig) == {}


async def test_it_outlives_a_reload() -> None:
    """By the name of the rule: what it looks for now may be another thing."""
    async with proxied(rules=[OBSERVE]) as rig, rig.call(chat()) as (client, call):
        assert isinstance(rig.running, Running)
        await call.send(stream_head(), framed(ROLE), framed(THOUGHT))
        await client.head()
        config = configured(rig.upstream.base_url, rules=[replace(OBSERVE, formats=("tools",))])
        rig.running.use(config, RuleSet(config.rules, shipped_catalogue()))
        await call.send(framed(FINISH), framed(DONE), LAST)
        _ = [data async for data in client.chunks()]
        rig.upstream.reply(streamed(ROLE, THOUGHT, FINISH, DONE))
        await rig.ask(chat())
        counts = (await observed(rig))["look"]
    assert counts["hidden"] == [entry("reasoning", "field", 2, 2 * len(SECRET))]
