"""What the playground serves: off unless wished, to its own page alone, and both sides true."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import ClientSession

from sidecar.core.channel import Channel, Segment
from sidecar.demo.transcripts import THINK, TRANSCRIPTS, Transcript
from sidecar.playground import runs
from sidecar.playground.plane import MAX_REQUEST, PATH
from sidecar.rules.accesssection import Access, ClientKey
from sidecar.rules.config import built_in_config
from sidecar.rules.configvalues import Address
from tests.server.scripted import ROLE, event, streamed, text

from .rig import both_sides, demo, scripted

FOLDER = Path(runs.__file__).parent
FILES = ("", "/style.css", "/page.js", "/axis.js", "/client.js", "/icon.svg")

KEY = "0123456789abcdef"

each_transcript = pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda each: each.name)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


# --- both sides ---------------------------------------------------------------------------------


@each_transcript
async def test_the_raw_side_is_all_that_the_model_wrote_in_the_engines_channels(
    transcript: Transcript, session: ClientSession
) -> None:
    async with demo() as origin:
        sides = await both_sides(session, origin, transcript.model)
    assert sides.records[0] == {"mark": "first_byte"}
    assert sides.records[-1] == {"mark": "done", "read": True}
    assert sides.text("content") == transcript.visible
    for channel, hidden in transcript.hidden:
        assert hidden in sides.text(channel.value)
    if all(delta.keys() == {"content"} for delta in transcript.deltas):
        assert "".join(each.get("text", "") for each in sides.records) == transcript.content


@each_transcript
async def test_the_clients_side_is_what_any_client_gets(
    transcript: Transcript, session: ClientSession
) -> None:
    async with demo() as origin:
        sides = await both_sides(session, origin, transcript.model)
    received = sides.answer.decode()
    chunks = [json.loads(data) for data in re.findall("^data: ({.*)$", received, re.MULTILINE)]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == transcript.visible
    assert {key for delta in deltas for key in delta} <= {"role", "content"}
    assert received.endswith("data: [DONE]\n\n")


async def test_a_rule_may_be_chosen(session: ClientSession) -> None:
    async with demo() as origin:
        async with session.get(f"{origin}/playground/rules") as reply:
            names = (await reply.json())["rules"]
        by_match = await both_sides(session, origin, "demo-react")
        by_name = await both_sides(session, origin, "demo-react", X_Sidecar_Rule="default")
        no_rule = await both_sides(session, origin, "demo-react", X_Sidecar_Rule="nobody")
    assert names == ["react-agents", "gpt-oss", "agents", "tools-declared", "default"]
    assert by_match.text("reasoning")
    assert not by_name.text("reasoning")
    assert no_rule.status == 400
    assert no_rule.records == [{"mark": "done", "read": False}]


async def test_an_answer_that_no_rule_is_about_is_said_to_be_unread(
    session: ClientSession,
) -> None:
    async with demo(rules=()) as origin:
        sides = await both_sides(session, origin, "demo-think")
    assert sides.records == [{"mark": "done", "read": False}]
    assert b'"content": "<thi"' in sides.answer


async def test_an_error_of_upstreams_is_on_both_sides(session: ClientSession) -> None:
    async with scripted() as (origin, upstream):
        upstream.reply(streamed(ROLE, text("Half"), event({"error": {"message": "no memory"}})))
        sides = await both_sides(session, origin, "m")
    assert {"error": '{"message":"no memory"}'} in sides.records
    assert b"no memory" in sides.answer


# --- who may ask --------------------------------------------------------------------------------


async def test_it_is_off_unless_it_is_wished(session: ClientSession) -> None:
    assert built_in_config("http://a/v1").playground is False
    async with demo(playground=False) as origin:
        for path in (*(PATH + file for file in FILES), f"{PATH}/rules", f"{PATH}/runs/{'0' * 32}"):
            async with session.get(origin + path) as reply:
                assert reply.status == 404
        own = {"Origin": origin, "X-Sidecar-Run": "0" * 32}
        async with session.post(f"{origin}/v1/chat/completions", json={}, headers=own) as reply:
            assert reply.status == 405


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "{origin}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "{origin}", "Sec-Fetch-Site": "same-site"},
        {"Origin": "{origin}0"},
    ],
)
async def test_a_page_of_another_origin_cannot_ask(
    headers: dict[str, str], session: ClientSession
) -> None:
    async with scripted() as (origin, upstream):
        name = secrets.token_hex(16)
        async with session.get(f"{origin}/playground/runs/{name}"):
            said = {key: value.replace("{origin}", origin) for key, value in headers.items()}
            said["X-Sidecar-Run"] = name
            url = f"{origin}/v1/chat/completions"
            async with session.post(url, json={"model": "m"}, headers=said) as reply:
                assert reply.status == 403
        assert upstream.calls == []


@pytest.mark.parametrize(
    "path", ["/playground/rules", f"/playground/runs/{'0' * 32}", "/v1/models"]
)
async def test_nor_look(path: str, session: ClientSession) -> None:
    async with scripted() as (origin, upstream):
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with session.get(origin + path, headers=headers) as reply:
                assert reply.status == 403
                assert not [name for name in reply.headers if name.startswith("Access-Control")]
        assert upstream.calls == []


async def test_a_name_that_was_made_to_lead_here_gets_nothing(session: ClientSession) -> None:
    async with demo() as origin:
        port = origin.rpartition(":")[2]
        for path in ("/playground", "/playground/rules", "/v1/models"):
            headers = {"Host": f"rebound.example:{port}"}
            async with session.get(origin + path, headers=headers) as reply:
                assert reply.status == 421


async def test_not_even_where_others_can_connect(session: ClientSession) -> None:
    async with demo(admin=Address("0.0.0.0", 0)) as origin:
        port = origin.rpartition(":")[2]
        authority = f"rebound.example:{port}"
        headers = {"Host": authority, "Origin": f"http://{authority}"}
        for path in ("/playground/rules", "/v1/models"):
            async with session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as reply:
                assert reply.status == 421


async def test_keys_are_asked_for_as_on_the_data_plane(session: ClientSession) -> None:
    access = Access(keys=(ClientKey("web", sha256(KEY.encode()).digest()),))
    async with demo(access=access) as origin:
        without = await both_sides(session, origin, THINK.model)
        with_one = await both_sides(session, origin, THINK.model, Authorization=f"Bearer {KEY}")
    assert (without.status, with_one.status) == (401, 200)


# --- bounds -------------------------------------------------------------------------------------


async def test_a_request_is_no_larger_than_a_prompt(session: ClientSession) -> None:
    async with scripted() as (origin, upstream):
        sides = await both_sides(session, origin, "m" * MAX_REQUEST)
        assert sides.status == 413
        assert upstream.calls == []


async def test_so_many_runs_and_no_more(session: ClientSession) -> None:
    async with demo() as origin:
        urls = [f"{origin}/playground/runs/{number:032x}" for number in range(runs.MOST + 1)]
        replies = [await session.get(url) for url in urls]
        assert [reply.status for reply in replies] == [200] * runs.MOST + [503]
        again = await session.get(urls[0])
        assert again.status == 409
        for reply in (*replies, again):
            reply.close()


async def test_a_run_has_one_answer_and_none_without_its_raw_side(session: ClientSession) -> None:
    async with demo() as origin:
        url = f"{origin}/v1/chat/completions"
        for name in ("", "x", "0" * 32):
            headers = {"Origin": origin, "X-Sidecar-Run": name}
            async with session.post(url, json={}, headers=headers) as reply:
                assert reply.status == 409


async def test_an_answer_ends_when_nobody_looks_at_its_raw_side(session: ClientSession) -> None:
    async with scripted() as (origin, upstream), asyncio.timeout(20):
        name = secrets.token_hex(16)
        raw = await session.get(f"{origin}/playground/runs/{name}")
        headers = {"Origin": origin, "X-Sidecar-Run": name}
        body = {"model": "m", "stream": True, "messages": []}
        asking = asyncio.create_task(
            session.post(f"{origin}/v1/chat/completions", json=body, headers=headers)
        )
        call = await upstream.accept()
        raw.close()
        await call.gone()
        (await asking).close()


async def test_a_run_that_takes_too_long_is_cut_off(
    session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LONGEST", 0.05)
    async with scripted() as (origin, upstream), asyncio.timeout(20):
        asking = asyncio.create_task(both_sides(session, origin, "m"))
        call = await upstream.accept()
        await call.gone()
        sides = await asking
    assert sides.status == 504
    assert sides.records == [{"mark": "done", "read": True}]


async def test_a_page_that_reads_nothing_costs_no_memory() -> None:
    run = runs.Run()
    for _ in range(100):
        run.judge(Segment(Channel.CONTENT, "x" * (runs.MAX_WAITING // 10), ""))
    async with run.answering():
        pass
    [records] = [records async for records in run.records()]
    assert sum(len(each.get("text", "")) for each in records) <= runs.MAX_WAITING
    assert records[-1]["mark"] == "done"


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
async def test_a_page_runs_no_code_but_its_own_and_is_in_no_frame(
    file: str, session: ClientSession
) -> None:
    async with demo() as origin, session.get(origin + PATH + file) as reply:
        assert reply.status == 200
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_of_it_is_from_elsewhere_or_writes_html() -> None:
    sources = {path.name: path.read_text() for path in FOLDER.glob("*.*") if path.suffix != ".py"}
    assert set(sources) == {"page.html", "style.css", "page.js", "axis.js", "client.js", "icon.svg"}
    for name, source in sources.items():
        found = set(re.findall(r"https?://[^\s\"'`]+", source))
        assert found <= {"http://www.w3.org/2000/svg", "https://llm.example/v1"}, name
        assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval", source)
    assert not re.search(r" style=| on\w+=|<script>|<style", sources["page.html"])


def test_the_client_module_is_short_enough_to_copy() -> None:
    assert len((FOLDER / "client.js").read_text().splitlines()) < 150
