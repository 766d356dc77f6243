"""``status`` in the configuration file: what it becomes, for whom, and in which language."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.core.progress import Phase, Step
from sidecar.core.status import Beat, Form, StatusPolicy
from sidecar.errors import ConfigError
from sidecar.rules.config import Config, load_config
from sidecar.rules.language import chosen_language

UPSTREAM = "upstream: {base_url: http://127.0.0.1:8000/v1}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def load(file: Path, text: str) -> Config:
    file.write_text(UPSTREAM + text, encoding="utf-8")
    return load_config(file, {}, ("all",))


def policies(file: Path, text: str, language: str = "") -> list[StatusPolicy]:
    return [rule.status.policy(language) for rule in load(file, text).rules]


def said(policy: StatusPolicy, tool: str = "", **arguments: str) -> str:
    phase = Phase.CALLING_TOOL if tool else Phase.THINKING
    return policy.texts.said(Step(phase, tool or None, arguments))


def test_people_get_statuses_and_programs_that_run_tools_do_not(file: Path) -> None:
    tools, people = policies(file, "")
    assert (tools.form, tools.first_after, tools.heartbeat) == (Form.OFF, None, 15.0)
    assert (people.form, people.first_after, people.heartbeat) == (Form.AUTO, 0.2, 15.0)
    assert people.beat is Beat.COMMENT
    assert not people.sources
    assert not people.choose


def test_the_top_is_for_all_rules_and_of_the_built_in_ones_for_people(file: Path) -> None:
    tools, people = policies(file, "status: {form: comment, first_after: 1s}")
    assert tools.form is Form.OFF
    assert (people.form, people.first_after) == (Form.COMMENT, 1.0)
    [own] = policies(file, "status: {form: comment}\nrules: [{name: a}]")
    assert own.form is Form.COMMENT


def test_a_rule_overrides_the_top_key_by_key_and_text_by_text(file: Path) -> None:
    text = """
status:
  form: event
  first_after: off
  texts: {thinking: Top, tools: {"read_*": Reads, "*": Uses}}
rules:
- status: {first_after: 0, header: choose, sources: status, texts: {tools: {read_it: Own}}}
- status: {heartbeat: {every: 5s, as: status}, texts: {thinking: Own}}
"""
    first, second = policies(file, text)
    assert (first.form, first.first_after, first.choose, first.sources) == (
        Form.EVENT,
        0.0,
        True,
        True,
    )
    assert (second.first_after, second.heartbeat, second.beat) == (None, 5.0, Beat.STATUS)
    assert [said(first), said(second)] == ["Top", "Own"]
    assert [said(first, tool) for tool in ("read_it", "read_x", "z")] == ["Own", "Reads", "Uses"]
    assert said(second, "read_it") == "Reads"


@pytest.mark.parametrize(
    ("heartbeat", "every"), [("off", None), ("90s", 90.0), ("{every: off}", None)]
)
def test_a_heartbeat(file: Path, heartbeat: str, every: float | None) -> None:
    assert policies(file, f"status: {{heartbeat: {heartbeat}}}")[1].heartbeat == every


def test_by_default_no_argument_is_shown_and_the_tool_is_named(file: Path) -> None:
    policy = policies(file, "")[1]
    assert said(policy, "web_search", query="secret") == "Calling web_search…"
    assert policy.texts.wanted("web_search") == frozenset()


def test_an_argument_is_shown_if_the_text_names_it(file: Path) -> None:
    text = 'status: {texts: {tools: {web_search: "Searching for “{args.query}”…"}}}'
    policy = policies(file, text)[1]
    assert policy.texts.wanted("web_search") == {"query"}
    assert said(policy, "web_search", query="tides") == "Searching for “tides”…"
    assert said(policy, "web_search") == "Searching for…"


def test_a_text_is_in_the_language_that_the_request_asks_for(file: Path) -> None:
    text = """
status:
  texts:
    thinking: {en: Thinking, de: Denkt nach, pt-BR: Pensando}
    tools: {x: {de: "Ruft {tool} auf"}}
"""
    for language, thinking in {
        "": "Thinking",
        "de": "Denkt nach",
        "de-AT, en;q=0.9": "Denkt nach",
        "fr": "Thinking",
        "fr, pt-br;q=0.3": "Pensando",
        "pt": "Thinking",
        "en-US,de;q=0.5": "Thinking",
        "en;q=0.2,de;q=0.7": "Denkt nach",
        "de;q=0, en": "Thinking",
        "☃": "Thinking",
    }.items():
        policy = policies(file, text, language)[1]
        assert said(policy) == thinking, language
    assert said(policies(file, text, "de")[1], "x") == "Ruft x auf"
    assert said(policies(file, text, "en")[1], "x") == "Ruft x auf"
    assert said(policies(file, text, "de")[1], "y") == "Calling y…"


def test_the_language_is_looked_up_in_a_bounded_part_of_the_header() -> None:
    assert chosen_language("x," * 600 + "de", ["de"]) is None
    assert chosen_language("a-b-c-de", ["de"]) is None


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "{form: chunks}",
            "status.form: found 'chunks', expected 'auto', 'off', 'chunk', 'comment', 'event', "
            "'reasoning', 'content', 'open_webui' or 'typed'; did you mean 'chunk'?",
        ),
        (
            "{first_after: 200}",
            "status.first_after: found 200, expected a duration such as 200ms or 15s, 0 or off",
        ),
        (
            "{heartbeat: 0}",
            "status.heartbeat: found 0, expected a duration such as 200ms or 15s, or off",
        ),
        (
            "{heartbeat: {every: 5s, as: ping}}",
            "status.heartbeat: found a mapping, expected 'comment', 'chunk' or 'status' for 'as'",
        ),
        (
            "{heartbeat: {evry: 5s}}",
            "status.heartbeat: found a mapping, expected a duration, off, or "
            "{every: …, as: comment | chunk | status}",
        ),
        (
            "{texts: {thinking: 'Uses {tool}'}}",
            "status.texts.thinking: {tool} and {args.NAME} are known only of a call: in "
            "calling_tool and in tools",
        ),
        (
            "{texts: {calling_tool: 'Uses {tol}'}}",
            "status.texts.calling_tool: found 'Uses {tol}', expected {tool} or {args.NAME} in "
            "braces, and no other braces in the text",
        ),
        (
            '{texts: {thinking: "a\\nb"}}',
            "status.texts.thinking: found 'a\\nb', expected one line of text, of up to 200 "
            "characters",
        ),
        (
            "{texts: {thinking: {english!: x}}}",
            "status.texts.thinking: found a mapping, expected languages such as en or pt-BR as "
            "keys, not 'english!'",
        ),
        (
            "{texts: {thinking: {}}}",
            "status.texts.thinking: found an empty mapping, expected a text, or a mapping of "
            "languages to texts",
        ),
        (
            "{sources: on}",
            "status.sources: found 'on', expected 'off' or 'status'; did you mean 'off'?",
        ),
        (
            "{header: chose}",
            "status.header: found 'chose', expected 'off' or 'choose'; did you mean 'choose'?",
        ),
        (
            "{frm: off}",
            "status.frm: unknown key, expected 'form', 'first_after', 'heartbeat', 'texts', "
            "'sources' or 'header'; did you mean 'form'?",
        ),
    ],
)
def test_each_mistake_is_one_sentence(file: Path, text: str, mistake: str) -> None:
    for place, prefix in ((f"status: {text}", ""), (f"rules:\n- status: {text}", "rules.0.")):
        with pytest.raises(ConfigError) as error:
            load(file, place)
        [found] = error.value.mistakes
        assert f"{found.path}: {found.message}" == prefix + mistake
