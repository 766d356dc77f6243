"""What no wire format can read passes no rule that hides anything, unless the rule says so."""

from __future__ import annotations

import gzip
import re

import pytest

from sidecar.rules.match import Match
from sidecar.server.exchange import UNREADABLE

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Rig,
    chat,
    event,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    text,
)

SECRET = "wherefore-art-thou"
THOUGHT = event({"choices": [{"index": 0, "delta": {"reasoning_content": SECRET}}]})
BLOCK, PASS = rule(), rule(unknown="pass")

UNEXPECTED = {
    "status": response("202 Accepted", "Content-Type: application/json", body=b"{}"),
    "encoding": response(
        "200 OK", "Content-Type: application/json", "Content-Encoding: aes128gcm", body=b"{}"
    ),
    "content_type": response("200 OK", "Content-Type: text/plain", body=SECRET.encode()),
    "document": response("200 OK", "Content-Type: application/json", body=b'{"thinking": 1}'),
}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log's lines about answers that could not be read."""
    return [record.getMessage() for record in caplog.records if record.msg == UNREADABLE]


async def counted(rig: Rig) -> list[str]:
    """The samples of the counter, with their labels."""
    found = re.findall(
        r"^sidecar_unreadable_answers_total\{(.*)\} ([0-9.]+)$", await rig.scrape(), re.MULTILINE
    )
    return [f"{labels} {value}" for labels, value in found]


def sample(route: str, rule_name: str, reason: str, action: str) -> list[str]:
    """What :func:`counted` finds after one such answer."""
    return [f'action="{action}",reason="{reason}",route="{route}",rule="{rule_name}" 1.0']


@pytest.mark.parametrize("reason", UNEXPECTED)
async def test_an_unexpected_answer_is_blocked(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """502, counted, and told in a line without its content."""
    async with proxied(rules=[BLOCK]) as rig:
        rig.upstream.reply(UNEXPECTED[reason])
        answer = await rig.ask(chat())
        assert await counted(rig) == sample("chat", "only", reason, "block")
    assert answer.status == 502
    assert answer.error["code"] == "upstream_malformed"
    assert SECRET.encode() not in answer.body
    (line,) = lines(caplog)
    assert "route chat" in line
    assert "(rule only: block)" in line
    assert SECRET not in line


@pytest.mark.parametrize("reason", UNEXPECTED)
async def test_an_unexpected_answer_passes_where_the_rule_says_so(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As it came, with what says how to read it."""
    async with proxied(rules=[PASS]) as rig:
        rig.upstream.reply(UNEXPECTED[reason])
        answer = await rig.ask(chat())
        assert await counted(rig) == sample("chat", "only", reason, "pass")
    assert answer.status in (200, 202)
    assert answer.body == UNEXPECTED[reason].partition(b"\r\n\r\n")[2]
    for name in ("Content-Type", "Content-Encoding"):
        given = re.search(rf"{name}: (\S+)".encode(), UNEXPECTED[reason])
        assert answer.head.all(name) == ([given[1].decode()] if given else [])
    assert len(lines(caplog)) == 1


async def test_an_encoding_that_was_undone_is_not_announced() -> None:
    """What passes is what the headers say that it is."""
    packed = response(
        "200 OK", "Content-Type: text/plain", "Content-Encoding: gzip", body=gzip.compress(b"plain")
    )
    async with proxied(rules=[PASS]) as rig:
        rig.upstream.reply(packed)
        answer = await rig.ask(chat())
    assert answer.head.all("Content-Encoding") == []
    assert answer.body == b"plain"


@pytest.mark.parametrize("bad", [b"data: <html>\n\n", b"data: 1\n\n"])
async def test_an_unreadable_event(bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It ends the answer, or passes by itself: what follows is judged all the same."""
    stream = framed(ROLE + text("a") + bad + THOUGHT + text("b") + FINISH + DONE) + LAST
    async with proxied(rules=[BLOCK]) as rig:
        rig.upstream.reply(stream_head() + stream)
        blocked = await rig.ask(chat())
        assert await counted(rig) == sample("chat", "only", "event", "block")
    assert bad not in blocked.body
    assert b"upstream_malformed" in blocked.body
    async with proxied(rules=[PASS]) as rig:
        rig.upstream.reply(stream_head() + stream)
        passed = await rig.ask(chat())
        assert await counted(rig) == sample("chat", "only", "event", "pass")
    assert passed.body == ROLE + text("a") + bad + text("b") + FINISH + DONE
    assert [line[-7:-1] for line in lines(caplog)] == [" block", ": pass"]


STREAMING_TYPES = ["text/event-stream", "application/x-ndjson", "application/jsonl"]


async def asked(
    raw: bytes, *rules: object, content_type: str = STREAMING_TYPES[0], paths: tuple[str, ...] = ()
) -> tuple[Answer, list[str]]:
    """The answer to a request whose upstream streams a secret, and what was counted."""
    async with proxied(rules=rules, paths=paths) as rig:
        rig.upstream.reply(
            response("200 OK", f"Content-Type: {content_type}", body=SECRET.encode())
        )
        return await rig.ask(raw), await counted(rig)


@pytest.mark.parametrize("content_type", STREAMING_TYPES)
@pytest.mark.parametrize("path", ["/v1/threads/t/runs", "/v1/embeddings", "/v1/audio", "/custom"])
async def test_a_stream_that_no_wire_format_knows(path: str, content_type: str) -> None:
    """On any path that is served, listed ones too, it is blocked."""
    route = "listed" if path == "/custom" else "api"
    post = chat(path=path)
    answer, count = await asked(post, BLOCK, content_type=content_type, paths=("/custom",))
    assert answer.status == 502
    assert SECRET.encode() not in answer.body
    assert count == sample(route, "only", "path", "block")
    answer, count = await asked(post, PASS, content_type=content_type, paths=("/custom",))
    assert answer.body == SECRET.encode()
    assert count == sample(route, "only", "path", "pass")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json\r\nContent-Type: text/event-stream",
        "text/event-stream\r\nContent-Type: application/json",
        "application/json, Text/Event-Stream; charset=utf-8",
        "text/html, application/x-ndjson",
    ],
)
async def test_a_stream_with_another_type_beside_its_own(content_type: str) -> None:
    """Some client goes by the one, and the next by the other."""
    answer, count = await asked(chat(path="/v1/embeddings"), BLOCK, content_type=content_type)
    assert answer.status == 502
    assert count == sample("api", "only", "path", "block")


@pytest.mark.parametrize(
    "raw",
    [
        chat(path="/v1/audio/speech"),
        chat(path="/v1/audio/transcriptions"),
        chat(path="/v1/images/generations"),
        request("GET", "/v1/fine_tuning/jobs/j/events"),
    ],
    ids=["speech", "transcriptions", "images", "GET"],
)
async def test_streams_that_are_no_answers_pass(raw: bytes) -> None:
    """Sounds and pictures, and what is only fetched."""
    answer, count = await asked(raw, BLOCK)
    assert answer.body == SECRET.encode()
    assert count == []


async def test_a_stream_passes_where_nothing_is_hidden() -> None:
    """Without a rule that hides, nothing is blocked; a rule for some models may be about it."""
    post = chat(path="/v1/threads/t/runs")
    keep = rule("keep", reasoning="keep", tool_calls="keep", tool_results="keep")
    some = rule("some", match=Match(model=("qwen*",)))
    assert (await asked(post, keep))[0].status == 200
    assert (await asked(post))[0].status == 200
    assert (await asked(post, some))[0].status == 502
    assert (await asked(post, keep, some))[0].status == 200
    observed, count = await asked(post, rule("look", mode="observe"))
    assert observed.body == SECRET.encode()
    assert count == sample("api", "look", "path", "pass")


async def test_the_line_repeats_no_odd_content_type(caplog: pytest.LogCaptureFixture) -> None:
    """A header has room for anything."""
    async with proxied(rules=[BLOCK]) as rig:
        rig.upstream.reply(response("200 OK", f"Content-Type: text/{SECRET}\tx/y", body=b""))
        answer = await rig.ask(chat())
    assert SECRET.encode() not in answer.body
    assert SECRET not in lines(caplog)[0]
