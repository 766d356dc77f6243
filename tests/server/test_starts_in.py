"""Where an answer begins, from the request to the log: what switches thinking off, and who is told
of a model that nobody knew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.policy import StartsIn
from sidecar.resources import config_dir
from sidecar.rules.catalogue import Catalogue, load_catalogue
from sidecar.rules.config import load_config
from sidecar.server.advice import MAX_MODELS, Advice
from sidecar.server.app import serving

from .scripted import (
    DONE,
    FINISH,
    ROLE,
    Rig,
    Upstream,
    chat,
    chunk,
    configured,
    document,
    proxied,
    response,
    rule,
    streamed,
    text,
    visible,
)
from .test_metrics import total

Record = dict[str, Any]

THINKER = "acme/Thinker-1"
"""A model whose prompt opens the reasoning."""
ORPHAN = streamed(ROLE, text("hm</th"), text("ink>shown"), FINISH, DONE)
EMPTY = streamed(ROLE, chunk({"reasoning": "because"}), FINISH, DONE)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    formats = load_catalogue(config_dir() / "formats").formats
    think = replace(formats["think"], opened_by_prompt=("*thinker-*",))
    return Catalogue({**formats, "think": think})


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Takes the warnings that were logged."""

    def take() -> list[str]:
        lines = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        caplog.clear()
        return lines

    return take


def line(model: str) -> str:
    return (
        f'model "{model}" closed reasoning that it never opened; if its prompt opens it, '
        f'add a rule: {{match: {{model: "{model}"}}, starts_in: reasoning}}'
    )


# --- what a request says ------------------------------------------------------------------------


async def shown(catalogue: Catalogue, content: str, **asked: Any) -> str:
    """What a client sees of a streamed answer, which is what it sees of a whole one."""
    upstream = Upstream("127.0.0.1")
    async with (
        upstream.listening("/v1") as url,
        serving(configured(url), catalogue) as running,
    ):
        rig = Rig(upstream, running)
        upstream.reply(streamed(ROLE, *map(text, content), FINISH, DONE))
        answer = await rig.ask(chat(**asked))
        upstream.reply(response("200 OK", body=document({"content": content})))
        one = await rig.ask(chat(**asked))
    said = visible(answer.body)
    assert json.loads(one.body)["choices"][0]["message"]["content"] == said
    return said


@pytest.mark.parametrize(
    "asked",
    [
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"thinking": False}},
        {"enable_thinking": False},
        {"think": False},
        {"thinking": {"type": "disabled"}},
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False}},
        {"reasoning": {"enabled": False}, "think": True},
        {"reasoning": {"exclude": True}},
        {"include_reasoning": False},
        {"reasoning_format": "hidden"},
        {"reasoning_format": "parsed"},
    ],
)
async def test_a_request_that_switches_thinking_off_begins_in_the_answer(
    catalogue: Catalogue, asked: Record
) -> None:
    assert await shown(catalogue, "shown", model=THINKER, **asked) == "shown"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": 0}},
        {"chat_template_kwargs": {"enable_thinking": "false"}},
        {"chat_template_kwargs": [{"enable_thinking": False}]},
        {"chat_template_kwargs": False},
        {"enable_thinking": None},
        {"think": "low"},
        {"thinking": False},
        {"thinking": {"type": ["disabled"]}},
        {"reasoning_effort": "low"},
        {"reasoning_effort": {"effort": "none"}},
        {"reasoning": "none"},
        {"reasoning": {"effort": None}},
        {"reasoning": {"reasoning": {"enabled": False}}},
        {"metadata": {"think": False}},
    ],
)
async def test_any_other_request_to_a_known_model_begins_in_reasoning(
    catalogue: Catalogue, asked: Record
) -> None:
    content = "hm</think>shown"
    assert await shown(catalogue, content, model=THINKER, **asked) == "shown"


@pytest.mark.parametrize("model", ["acme/other", None, 5, ["thinker-1"], {"a": 1}, ""])
async def test_an_answer_of_any_other_model_begins_where_it_begins(
    catalogue: Catalogue, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert await shown(catalogue, "hm</think>shown", model=model) == "hmshown"
    caplog.clear()


# --- who is told --------------------------------------------------------------------------------


async def test_a_close_marker_that_nothing_opened_is_counted_and_told_once_a_model(
    told: Callable[[], list[str]],
) -> None:
    async with proxied() as rig:
        rig.upstream.reply(ORPHAN)
        for model in ("qwen3-foo", "acme/a.b:c@d", "qwen3-foo"):
            assert visible((await rig.ask(chat(model=model))).body) == "hmshown"
        body = document({"content": "hm</think>shown"})
        rig.upstream.reply(response("200 OK", body=body))
        await rig.ask(chat(model="qwen3-foo"))
        scrape = await rig.scrape()
    name = "sidecar_orphan_close_markers_total"
    assert total(scrape, name, rule="default", format="think") == 4
    assert told() == [line("qwen3-foo"), line("acme/a.b:c@d")]


async def test_it_is_told_while_the_rule_only_observes(told: Callable[[], list[str]]) -> None:
    async with proxied(rules=[rule(mode="observe")]) as rig:
        rig.upstream.reply(ORPHAN)
        assert visible((await rig.ask(chat())).body) == "hm</think>shown"
        assert total(await rig.scrape(), "sidecar_orphan_close_markers_total", rule="only") == 1
    assert told() == [line("m")]


async def test_it_is_told_of_an_answer_that_broke_off(told: Callable[[], list[str]]) -> None:
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, text("hm</think>")))
        await rig.ask(chat())
    assert told() == [line("m")]


@pytest.mark.parametrize("starts_in", [StartsIn.CONTENT, StartsIn.REASONING])
async def test_where_the_operator_has_decided_nobody_is_told(
    starts_in: StartsIn, told: Callable[[], list[str]]
) -> None:
    async with proxied(rules=[rule(starts_in=starts_in)]) as rig:
        rig.upstream.reply(ORPHAN)
        await rig.ask(chat())
        assert total(await rig.scrape(), "sidecar_orphan_close_markers_total") == 0
    assert told() == []


@pytest.mark.parametrize(
    "model",
    ["", "a b", 'a"b', "a\nb", "a\x1b[2J", "é", "a{b}", "a*", "a%s\\", "a" * 129, None, ["a"]],
)
async def test_a_name_that_is_more_than_a_name_is_not_logged(
    model: Any, told: Callable[[], list[str]]
) -> None:
    async with proxied() as rig:
        rig.upstream.reply(ORPHAN)
        await rig.ask(chat(model=model))
        assert total(await rig.scrape(), "sidecar_orphan_close_markers_total") == 1
    assert told() == []


def test_the_number_of_models_that_are_told_of_is_bounded(told: Callable[[], list[str]]) -> None:
    advice = Advice()
    for _ in range(2):
        for number in range(MAX_MODELS + 10):
            advice.orphan_closer(f"m-{number}")
    assert told() == [line(f"m-{number}") for number in range(MAX_MODELS)]


def test_what_is_told_is_a_rule(tmp_path: Path) -> None:
    name = "acme/a.b:c@d_e-1"
    _, _, written = line(name).partition("add a rule: ")
    path = tmp_path / "c.yaml"
    path.write_text(f"upstream: {{base_url: 'http://a/v1'}}\nrules:\n  - {written}\n")
    (found,) = load_config(path, {}, ["all"]).rules
    assert found.match.model == (name,)
    assert found.policy.starts_in is StartsIn.REASONING


# --- what is left of an answer ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_empty", "action", "left"),
    [
        ("allow", "allow", ""),
        ("promote", "promote", "becau"),
        ({"text": "Sorry."}, "text", "Sorry."),
        ("error", "error", ""),
    ],
)
async def test_an_answer_of_which_nothing_is_left(on_empty: Any, action: str, left: str) -> None:
    mine = rule("mine", on_empty=on_empty)
    async with proxied(rules=[mine], promoted=5) as rig:
        rig.upstream.reply(EMPTY)
        assert visible((await rig.ask(chat())).body) == left
        rig.upstream.reply(response("200 OK", body=document({"reasoning": "because"})))
        await rig.ask(chat())
        scrape = await rig.scrape()
    assert total(scrape, "sidecar_empty_answers_total", rule="mine", action=action) == 2
    assert total(scrape, "sidecar_empty_answers_total") == 2
