"""The playground in a real browser: what a person sees there, on either side."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.async_api import expect

from sidecar.demo.transcripts import QUESTION, TOOLS, TRANSCRIPTS, Transcript
from sidecar.rules.statussection import Sources, StatusSection, status_spec
from tests.server.scripted import DONE, FINISH, ROLE, event, response, rule, streamed, text

from .conftest import Open
from .rig import demo, scripted

pytestmark = pytest.mark.asyncio(loop_scope="session")

PACE = 0.25
"""Of the transcripts: slow enough to be streams, and a quarter of their time."""

each_transcript = pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda each: each.name)

TELLING = status_spec(StatusSection(sources=Sources.STATUS))


def recorded(*models: str) -> bytes:
    """An upstream's list of models."""
    data = [{"id": model, "object": "model"} for model in models]
    return response("200 OK", body=json.dumps({"object": "list", "data": data}).encode())


# --- transcripts --------------------------------------------------------------------------------


@each_transcript
async def test_every_transcript_is_shown_from_both_sides(
    transcript: Transcript, opened: Open
) -> None:
    async with demo(PACE) as origin, opened(origin) as seen:
        page = seen.page
        height = await seen.height()
        await page.get_by_role("radio", name=transcript.name).check()
        await seen.ask()

        assert await seen.answer() == transcript.visible
        right = await page.locator("section:has(#answer)").evaluate("(side) => side.outerHTML")
        hidden = [text for _, text in transcript.hidden]
        assert not [phrase for phrase in (*transcript.phrases, *hidden) if phrase in right]

        assert await seen.written("content") == transcript.visible
        for channel, hidden_text in transcript.hidden:
            assert hidden_text in await seen.written(channel.value)

        model, client = await seen.times("model"), await seen.times("client")
        assert list(model) == ["first_byte", "first_reasoning", "first_visible", "done"]
        assert list(client) == ["first_byte", "first_status", "first_visible", "done"]
        assert list(model.values()) == sorted(model.values())
        assert list(client.values()) == sorted(client.values())

        assert await seen.height() == height
        assert await seen.shifts() == []
        await seen.shoot(transcript.name)


async def test_one_after_another_each_begins_with_an_empty_page(opened: Open) -> None:
    async with demo() as origin, opened(origin) as seen:
        for transcript in TRANSCRIPTS:
            await seen.page.get_by_role("radio", name=transcript.name).check()
            await seen.ask()
            await expect(seen.page.locator("#answer")).to_have_text(transcript.visible)
        assert await seen.shifts() == []


async def test_statuses_are_told_in_a_live_line_and_sources_are_chips(opened: Open) -> None:
    async with demo(PACE) as origin, opened(origin) as seen:
        page = seen.page
        line = page.get_by_role("status")
        assert await line.get_attribute("aria-live") == "polite"
        await line.evaluate(
            """(line) => {
                 window.told = [];
                 new MutationObserver(() => window.told.push(line.textContent))
                   .observe(line, { childList: true, characterData: true, subtree: true });
               }"""
        )
        await page.get_by_role("radio", name=TOOLS.name).check()
        await seen.ask()
        told = [text for text in await page.evaluate("window.told") if text]
        assert told[:-1] == [
            "Thinking…",
            "Calling ferry_timetable…",
            "Reading the result…",
            "Thinking…",
        ]
        chip = page.get_by_role("list", name="Sources").get_by_role("link")
        await expect(chip).to_have_text("Ferry timetable")
        assert await chip.get_attribute("href") == "https://ferries.example/marisca"
        assert await chip.get_attribute("rel") == "noopener noreferrer nofollow"


async def test_the_spinner_turns_while_there_is_a_status_unless_motion_is_unwelcome(
    opened: Open,
) -> None:
    for motion, animation in (("no-preference", "turn"), ("reduce", "none")):
        async with scripted(status=TELLING) as (origin, upstream):
            upstream.reply(recorded("m"))
            async with opened(origin, reduced_motion=motion) as seen:
                upstream.reply(None)
                await seen.page.get_by_label("Prompt").fill("?")
                await seen.page.get_by_role("button", name="Ask").click()
                await expect(seen.page.get_by_role("status")).to_have_text("Thinking…")
                spinner = seen.page.locator("#spinner")
                await expect(spinner).to_have_css("animation-name", animation)
                call = await upstream.accept()
                await call.send(streamed(ROLE, text("Yes."), FINISH, DONE))
                await seen.done()
                await expect(spinner).to_have_css("animation-name", "none")


# --- a real upstream ----------------------------------------------------------------------------


async def test_a_prompt_goes_to_the_real_upstream_with_the_key(opened: Open) -> None:
    async with scripted() as (origin, upstream):
        upstream.reply(recorded("first", "second"))
        async with opened(origin) as seen:
            upstream.reply(None)
            page = seen.page
            await expect(page.get_by_role("radio")).to_have_count(0)
            assert await page.get_by_label("Model", exact=True).input_value() == "first"
            await page.get_by_label("Model", exact=True).fill("second")
            await page.get_by_label("API key").fill("sk-of-a-person")
            await page.get_by_label("API key").press("Tab")
            list_again = await upstream.accept()
            await list_again.send(recorded("first", "second"))
            await page.get_by_label("Prompt").fill("Which boat?")
            await page.get_by_label("Prompt").press("Control+Enter")
            call = await upstream.accept()
            assert call.request.one("Authorization") == "Bearer sk-of-a-person"
            assert call.request.all("Cookie") == []
            assert json.loads(await call.request_body()) == {
                "model": "second",
                "messages": [{"role": "user", "content": "Which boat?"}],
                "stream": True,
            }
            await call.send(
                streamed(ROLE, text("<think>9:40?</think>"), text("9:40."), FINISH, DONE)
            )
            await seen.done()
            assert await seen.answer() == "9:40."
            assert await seen.written("reasoning") == "9:40?"
            assert await page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


async def test_reasoning_that_a_rule_lets_through_is_shown_apart(opened: Open) -> None:
    async with scripted(rules=[rule(reasoning="move")]) as (origin, upstream):
        upstream.reply(recorded("m"))
        async with opened(origin) as seen:
            upstream.reply(streamed(ROLE, text("<think>9:40?</think>9:40."), FINISH, DONE))
            await seen.page.get_by_label("Prompt").fill("?")
            await seen.ask()
            parts = seen.page.locator("#answer [data-channel]")
            assert await parts.all_text_contents() == ["9:40?", "9:40."]
            assert await parts.first.get_attribute("data-label") == "reasoning"
            assert "first_reasoning" in await seen.times("client")


async def test_asking_again_ends_what_was_asked_before(opened: Open) -> None:
    async with demo(PACE) as origin, opened(origin) as seen:
        ask = seen.page.get_by_role("button", name="Ask")
        await ask.click()
        await expect(seen.page.get_by_role("status")).to_have_text("Thinking…")
        await seen.page.get_by_role("radio", name=TOOLS.name).check()
        await ask.click()
        await seen.done()
        assert await seen.answer() == TOOLS.visible
        assert await seen.written("content") == TOOLS.visible


async def test_stop_ends_the_model_too(opened: Open) -> None:
    async with scripted() as (origin, upstream):
        upstream.reply(recorded("m"))
        async with opened(origin) as seen:
            upstream.reply(None)
            await seen.page.get_by_label("Prompt").fill("?")
            await seen.page.get_by_role("button", name="Ask").click()
            call = await upstream.accept()
            await seen.page.get_by_role("button", name="Stop").click()
            await expect(seen.page.get_by_role("status")).to_have_text("Stopped.")
            await call.gone()
            await expect(seen.page.get_by_role("button", name="Stop")).to_be_disabled()


@pytest.mark.parametrize(
    ("events", "answer", "shown"),
    [
        ((ROLE, text("Half")), "Half", "before the answer was complete"),
        ((ROLE, text("Half"), event({"error": {"message": "no memory"}})), "Half", "no memory"),
    ],
    ids=["broken off", "error"],
)
async def test_an_answer_that_fails_says_so_after_what_came(
    events: tuple[bytes, ...], answer: str, shown: str, opened: Open
) -> None:
    async with scripted() as (origin, upstream):
        upstream.reply(recorded("m"))
        async with opened(origin) as seen:
            upstream.reply(streamed(*events))
            await seen.page.get_by_label("Prompt").fill("?")
            await seen.page.get_by_role("button", name="Ask").click()
            await expect(seen.page.locator("#answer .error")).to_contain_text(shown)
            assert (await seen.answer()).startswith(answer)
            assert "done" not in await seen.times("client")


async def test_an_error_instead_of_an_answer_is_told(opened: Open) -> None:
    async with scripted() as (origin, upstream):
        upstream.reply(recorded("m"))
        async with opened(origin) as seen:
            error = b'{"error": {"message": "slow down", "type": "rate_limit"}}'
            upstream.reply(response("429 Too Many Requests", body=error))
            await seen.page.get_by_label("Prompt").fill("?")
            await seen.page.get_by_role("button", name="Ask").click()
            await expect(seen.page.locator("#answer .error")).to_have_text("slow down")
            await expect(seen.page.get_by_role("status")).to_have_text("The answer failed.")
            await expect(seen.page.locator("#raw-note")).to_have_text("The model streamed nothing.")
            [complaint] = seen.complaints
            assert "429" in complaint  # the browser's own line
            seen.complaints.clear()


async def test_an_answer_that_no_rule_is_about_is_said_to_be_so(opened: Open) -> None:
    async with scripted(rules=[]) as (origin, upstream):
        upstream.reply(recorded("m"))
        async with opened(origin) as seen:
            upstream.reply(streamed(ROLE, text("<think>9:40?</think>9:40."), FINISH, DONE))
            await seen.page.get_by_label("Prompt").fill("?")
            await seen.ask()
            assert await seen.answer() == "<think>9:40?</think>9:40."
            note = "No rule is about this answer: the client gets it as it is."
            await expect(seen.page.locator("#raw-note")).to_have_text(note)


async def test_what_a_model_writes_is_text_and_nothing_else(opened: Open) -> None:
    """Markup, scripts, and characters that turn the text's direction around; in the answer, in the
    reasoning, and in what a tool calls a source."""
    hostile = (
        "<img src=x onerror=\"window.hit='img'\"><script>window.hit='script'</script>"
        "<style>body{display:none}</style>\u202eesrever\u2066 &lt;b&gt; </div><svg onload=hit=1>"
    )
    sources = [
        {"title": hostile, "url": "https://a.example/?%22onclick=hit=1"},
        {"title": "script", "url": "javascript:window.hit='link'"},
    ]
    result = {"role": "tool", "tool_call_id": "1", "content": json.dumps(sources)}
    events = (
        ROLE,
        event(_chunk({"reasoning_content": hostile})),
        event(_chunk(result)),
        event(_chunk({"role": "assistant", "content": hostile})),
        FINISH,
        DONE,
    )
    async with scripted(rules=[rule(status=TELLING)]) as (origin, upstream):
        upstream.reply(recorded(hostile))
        async with opened(origin) as seen:
            upstream.reply(streamed(*events))
            page = seen.page
            await page.get_by_label("Prompt").fill(hostile)
            await seen.ask()
            assert await seen.answer() == hostile
            assert await seen.written("reasoning") == hostile
            assert await page.evaluate("typeof window.hit") == "undefined"
            assert await page.locator("main :is(img, script, style, svg svg)").count() == 0
            links = page.get_by_role("list", name="Sources").get_by_role("link")
            assert [await link.get_attribute("href") for link in await links.all()] == [
                sources[0]["url"]
            ]


def _chunk(delta: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}


# --- for everybody ------------------------------------------------------------------------------


async def test_a_keyboard_is_enough(opened: Open) -> None:
    async with demo() as origin, opened(origin) as seen:
        page = seen.page
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("radio", name="think", exact=False).first).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await expect(page.get_by_role("radio", name="reasoning_content")).to_be_checked()
        await page.keyboard.press("Tab")
        await expect(page.get_by_label("Rule")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Ask")).to_be_focused()
        outline = await page.get_by_role("button", name="Ask").evaluate(
            "(button) => getComputedStyle(button).outlineStyle"
        )
        assert outline == "solid"
        await page.keyboard.press("Enter")
        await seen.done()
        reached = []
        for _ in range(3):
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate("document.activeElement.id"))
        assert {"raw", "answer"} <= set(reached)
        assert await seen.answer() == TRANSCRIPTS[1].visible


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_at_a_phones_width_nothing_is_cut_off(scheme: str, opened: Open) -> None:
    size = {"width": 360, "height": 740}
    async with (
        demo() as origin,
        opened(origin, viewport=size, color_scheme=scheme, has_touch=True) as seen,
    ):
        await seen.page.get_by_role("radio", name=TOOLS.name).check()
        await seen.ask()
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        inner, outer = await seen.page.evaluate(widths)
        assert inner <= outer == 360
        assert await seen.shifts() == []
        await seen.shoot(f"phone-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_the_contrast_that_everybody_can_read(scheme: str, opened: Open) -> None:
    """WCAG 2.2, 1.4.3 (AA): 4.5 to 1."""
    async with demo() as origin, opened(origin, color_scheme=scheme) as seen:
        await seen.page.get_by_role("radio", name=TOOLS.name).check()
        await seen.ask()
        pairs = await seen.page.evaluate(_COLOURS)
        assert {pair["channel"] for pair in pairs} >= {"reasoning", "tool_call", "tool_result"}
        assert len(pairs) > 40
        poor = [pair for pair in pairs if _contrast(pair["text"], pair["behind"]) < 4.5]
        assert poor == []


_COLOURS = """
[...document.querySelectorAll("body *")]
  .filter((e) => !e.closest("svg") && e.checkVisibility() && !e.disabled)
  .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => {
    let behind = e;
    const clear = () => getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)";
    while (clear()) behind = behind.parentElement;
    return {
      what: e.tagName + ": " + e.textContent.trim().slice(0, 40),
      channel: e.dataset.channel ?? null,
      text: getComputedStyle(e).color,
      behind: getComputedStyle(behind).backgroundColor,
    };
  })
"""


def _contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two opaque colours, ``rgb(r, g, b)``."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found is not None, colour
    parts = [int(part) / 255 for part in found.groups()]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


async def test_every_field_has_a_name_and_every_channel_a_label(opened: Open) -> None:
    async with demo() as origin, opened(origin) as seen:
        await seen.page.get_by_role("radio", name="harmony").check()
        await seen.ask()
        nameless = await seen.page.evaluate(
            """[...document.querySelectorAll("input, textarea, select, button")]
                 .filter((e) => !(e.labels?.length || e.textContent.trim())).length"""
        )
        assert nameless == 0
        for channel, label in (("reasoning", "reasoning"), ("tool_call", "tool call")):
            part = seen.page.locator(f"#raw [data-channel={channel}]").first
            assert await part.get_attribute("title") == label
            assert await part.get_attribute("data-label") == label
        await expect(seen.page.get_by_text(QUESTION)).to_be_visible()
