"""Some rows as the openai package meets them: what is broken raises, what is odd does not."""

from __future__ import annotations

import openai
import pytest

from tests.server.scripted import LAST, Rig, framed, proxied, response, stream_head

from .test_sse_rows import ROWS
from .test_upstream_answers import NO_ANSWERS
from .verdicts import SECRET

BY_NAME = {row.name: row for row in ROWS}


async def shown(rig: Rig, into: list[str]) -> str | None:
    """Collect the text of a streamed answer; the finish that its client sees."""
    finish = None
    async with openai.AsyncOpenAI(
        base_url=rig.base_url,
        api_key="k",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "?"}], stream=True
        )
        async for chunk in stream:
            for choice in chunk.choices:
                into.append((choice.delta.content if choice.delta else None) or "")
                finish = choice.finish_reason or finish
    return finish


@pytest.mark.parametrize(
    "name",
    [
        "crlf",
        "cr-only",
        "mixed-eol",
        "bom",
        "comments",
        "event-name-leak",
        "multi-data",
        "empty-data",
        "u2028",
        "no-done",
        "no-final-newline",
        "double-done",
        "done-then-more",
        "bad-type-delta-null",
        "azure-first",
        "error-null",
    ],
)
async def test_an_odd_stream_is_read(name: str) -> None:
    """To its end, and with its finish."""
    row, came = BY_NAME[name], list[str]()
    async with proxied() as rig:
        rig.upstream.reply(stream_head() + framed(row.stream) + LAST)
        assert await shown(rig, came) == "stop"
    assert "".join(came) == row.shown


@pytest.mark.parametrize(
    "name",
    [
        "no-finish",
        "no-finish-no-done",
        "no-finish-in-hidden",
        "unterminated-last-event-full-json",
        "glued-by-one-lf",
        "invalid-utf8",
        "utf16-body",
        "bad-json",
        "json-nan",
        "json-array",
        "dup-keys-delta",
        "json-labelled-sse",
        "bad-index-20000",
    ],
)
async def test_a_broken_stream_raises(name: str) -> None:
    """After the text that was complete, and without a finish."""
    row, came = BY_NAME[name], list[str]()
    async with proxied() as rig:
        rig.upstream.reply(stream_head() + framed(row.stream) + LAST)
        with pytest.raises(openai.APIError) as raised:
            await shown(rig, came)
    assert raised.value.code == row.code
    assert "".join(came) == row.shown
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["html", "json-as-html", "no-json", "204", "206", "307", "101", "no-http", "empty"]
)
async def test_what_is_no_answer_raises(name: str) -> None:
    """An error of the server, which the package retries by itself unless it is told not to."""
    async with proxied() as rig:
        rig.upstream.reply(NO_ANSWERS[name])
        with pytest.raises(openai.InternalServerError) as raised:
            await shown(rig, [])
    assert raised.value.status_code == 502
    assert raised.value.code in ("upstream_malformed", "upstream_closed")
    assert SECRET not in str(raised.value)


async def test_a_rate_limit_is_one() -> None:
    """With the time after which to try again."""
    async with proxied() as rig:
        rig.upstream.reply(response("429 Slow", "Retry-After: 7", body=b"<html>s3cr3t-k3y</html>"))
        with pytest.raises(openai.RateLimitError) as raised:
            await shown(rig, [])
    assert raised.value.response.headers["Retry-After"] == "7"
    assert SECRET not in str(raised.value)
