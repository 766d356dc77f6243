"""The configurations that ship: each is right, starts, and does what its first lines say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.checking import check
from sidecar.resources import config_dir
from sidecar.rules.catalogue import shipped_catalogue, shipped_names
from sidecar.rules.config import load_config
from sidecar.rules.configvalues import Address
from sidecar.server.app import serving

from .scripted import (
    DONE,
    FINISH,
    LIMIT,
    ROLE,
    Record,
    Rig,
    Upstream,
    chat,
    chunk,
    event,
    payloads,
    request,
    response,
    streamed,
    text,
    visible,
)

FILES = sorted(config_dir().glob("*.yaml"))
CALL = '<tool_call>\n{"name": "web_search", "arguments": {"query": "ferries"}}\n</tool_call>'
TOOLS: list[Record] = [{"type": "function", "function": {"name": "web_search"}}]


@asynccontextmanager
async def shipped(name: str) -> AsyncIterator[Rig]:
    """The sidecar that this file describes, on free ports, in front of an upstream."""
    upstream = Upstream("127.0.0.1")
    async with asyncio.timeout(LIMIT), upstream.listening("/v1") as url:
        path = config_dir() / name
        config = load_config(path, {"UPSTREAM_BASE_URL": url}, shipped_names())
        free = Address("127.0.0.1", 0)
        config = replace(config, listen=free, admin=free, models=())
        async with serving(config, shipped_catalogue(config.formats)) as running:
            yield Rig(upstream, running)


async def answered(name: str, *events: bytes, headers: tuple[str, ...] = (), **asks: Any) -> bytes:
    """What a client gets of an answer of these events."""
    async with shipped(name) as rig:
        rig.upstream.reply(streamed(ROLE, *events, FINISH, DONE))
        answer = await rig.ask(chat(*headers, **asks))
    assert answer.status == 200
    return answer.body


def deltas(stream: bytes, key: str) -> list[Any]:
    """What the deltas of a stream say under a key."""
    chunks = [each for each in payloads(stream) if isinstance(each, dict)]
    said = [choice["delta"] for each in chunks for choice in each["choices"]]
    return [delta[key] for delta in said if delta.get(key)]


def statuses(stream: bytes) -> list[Record]:
    """The statuses of a stream."""
    chunks = [each for each in payloads(stream) if isinstance(each, dict)]
    return [each["sidecar"]["status"] for each in chunks if "sidecar" in each]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_it_is_right_and_starts(path: Path) -> None:
    right, wrong = check([path], {})
    assert ([each.path for each in right], wrong) == ([path], [])
    async with shipped(path.name) as rig:
        rig.upstream.reply(streamed(ROLE, text("Hello"), FINISH, DONE))
        answer = await rig.ask(chat())
        async with await rig.client(rig.running.admin) as client:
            assert (await client.ask(request("GET", "/readyz"))).status == 200
    assert visible(answer.body) == "Hello"


async def test_chat_shows_people_the_answer_and_what_is_going_on() -> None:
    source = "https://example.org/ferries"
    body = await answered(
        "chat.yaml",
        chunk({"reasoning_content": "SECRET"}),
        text(f"<think>SECRET</think>{CALL}At noon."),
        event({"id": "chatcmpl-1", "choices": [], "citations": [source]}),
        headers=("Accept-Language: de",),
        tools=TOOLS,
    )
    assert b"SECRET" not in body
    assert visible(body) == "At noon."
    assert deltas(body, "tool_calls") == []
    told = [status["text"] for status in statuses(body)]
    assert "Sucht im Web nach „ferries“ …" in told
    assert [s["source"]["url"] for s in statuses(body) if "source" in s] == [source]


async def test_chat_has_a_sentence_where_nothing_is_left_and_for_errors() -> None:
    body = await answered("chat.yaml", text("<think>SECRET</think>"))
    assert visible(body).startswith("I could not finish")
    async with shipped("chat.yaml") as rig:
        rig.upstream.reply(response("400 Bad Request", body=b'{"error":{"message":"SECRET"}}'))
        answer = await rig.ask(chat())
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize(
    ("headers", "calls"), [((), ["web_search"]), (("X-Client: web-1",), [])], ids=["agent", "web"]
)
async def test_agents_get_calls_in_their_field_and_people_get_none(
    headers: tuple[str, ...], calls: list[str]
) -> None:
    answer = text(f"<think>hm</think>{CALL}")
    body = await answered("agents.yaml", answer, headers=headers, tools=TOOLS)
    told = [call for each in deltas(body, "tool_calls") for call in each]
    names = [call["function"]["name"] for call in told if call["function"].get("name")]
    assert names == calls
    assert "".join(deltas(body, "reasoning_content")) == ("hm" if calls else "")
    assert b"<tool_call>" not in body


async def test_react_shows_what_stands_behind_the_final_answer() -> None:
    said = (
        " I look.\nAction: ferries\nAction Input: Kiel\nObservation: noon\n"
        "Thought: I know it.\nFinal Answer: At noon."
    )
    body = await answered("react.yaml", *map(text, said), model="react-7b")
    assert visible(body).strip() == "At noon."
    assert "Using ferries…" in [status["text"] for status in statuses(body)]


async def test_observe_changes_nothing_and_counts() -> None:
    events = [chunk({"reasoning_content": "hm"}), text(f"<think>hm</think>{CALL}At noon.")]
    async with shipped("observe.yaml") as rig:
        rig.upstream.reply(streamed(ROLE, *events, FINISH, DONE))
        answer = await rig.ask(chat())
        scrape = await rig.scrape()
    assert answer.body == b"".join([ROLE, *events, FINISH, DONE])
    assert 'sidecar_hidden_characters_total{channel="tool_call"' in scrape


async def test_move_leaves_the_answer_in_the_text_and_hides_nothing() -> None:
    body = await answered("move.yaml", text(f"<think>hm</think>{CALL}At noon."))
    assert visible(body) == "At noon."
    assert "".join(deltas(body, "reasoning_content")) == "hm"
    assert "".join(deltas(body, "reasoning")) == "hm"
    assert deltas(body, "tool_calls")
    assert statuses(body) == []
