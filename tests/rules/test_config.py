"""The configuration file: its defaults, its values, and every mistake with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy import Mode, OnEmpty, Policy, Reasoning, ToolCalls, ToolResults
from sidecar.errors import ConfigError
from sidecar.rules.accesssection import Access
from sidecar.rules.config import (
    BUILT_IN_RULES,
    Config,
    ConfigSection,
    Drain,
    Limits,
    RuleSpec,
    built_in_config,
    load_config,
)
from sidecar.rules.configvalues import AccessLog, Address, WebSockets, parse_address
from sidecar.rules.match import Match, Tools
from sidecar.rules.upstreamsection import Timeouts, Upstream

FORMATS = ("think", "harmony_analysis", "all", "reasoning", "tools")
UPSTREAM = "upstream: {base_url: http://127.0.0.1:8000/v1}\n"
SECRET = "sk-very-secret"


class Folder:
    """Writes a configuration and reads it back."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "c.yaml"

    def load(self, text: str, environment: Mapping[str, str] | None = None) -> Config:
        self.path.write_text(text, encoding="utf-8")
        return load_config(self.path, environment or {}, FORMATS)

    def refused(self, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """The mistakes, without the folder."""
        with pytest.raises(ConfigError) as error:
            self.load(text, environment)
        return [str(m).removeprefix(f"{self.path.parent}/") for m in error.value.mistakes]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_everything_but_the_upstream_has_a_default(folder: Folder) -> None:
    """A file that only names its upstream is a whole configuration."""
    assert folder.load(UPSTREAM) == Config(
        listen=Address("127.0.0.1", 8080),
        reuse_port=False,
        admin=Address("127.0.0.1", 9090),
        upstream=Upstream("http://127.0.0.1:8000/v1", None, Timeouts(5.0, 300.0, 300.0)),
        limits=Limits(
            32 * 1024 * 1024,
            event=8 * 1024 * 1024,
            promoted=64 * 1024,
            streams=4096,
            streams_per_client=None,
        ),
        write_timeout=60.0,
        drain=Drain(delay=5.0, timeout=300.0),
        formats=None,
        access_log=AccessLog.JSON,
        models=None,
        rules=BUILT_IN_RULES,
        paths=(),
        response_headers=(),
        websocket=WebSockets.REFUSE,
        access=Access(),
        playground=False,
    )


def test_no_file_is_the_defaults(folder: Folder) -> None:
    """An upstream on the command line is a file that only names it."""
    assert built_in_config("http://127.0.0.1:8000/v1/") == folder.load(UPSTREAM)


def test_an_upstream_on_the_command_line_is_checked() -> None:
    """A bad URL is said to be in the option, as there is no file."""
    with pytest.raises(ConfigError) as error:
        built_in_config("localhost:8000")
    assert str(error.value) == (
        "--upstream: upstream.base_url: found 'localhost:8000', "
        "expected an http or https URL, such as http://127.0.0.1:8000/v1"
    )


def test_the_built_in_rules() -> None:
    """Agents that declare tools keep theirs; everyone else sees the answer alone."""
    agents, others = BUILT_IN_RULES
    assert (agents.name, agents.match, agents.formats) == (
        "tools-declared",
        Match(tools=Tools.DECLARED),
        ("all",),
    )
    assert agents.policy == Policy(Reasoning.MOVE, ToolCalls.DECLARED, ToolResults.DROP)
    assert others == RuleSpec("default", Match(), ("all",), Policy())


def test_no_rules_is_not_the_built_in_rules(folder: Folder) -> None:
    """An empty list of rules is what it says."""
    assert folder.load(UPSTREAM + "rules: []").rules == ()


def test_every_key_is_read(folder: Folder) -> None:
    """All keys of the file arrive in the value that they belong to."""
    config = folder.load(
        """
version: 1
listen: 0.0.0.0:80
reuse_port: true
write_timeout: 1.5m
drain: {delay: 0, timeout: 2s}
admin: "[::1]:0"
upstream:
  base_url: https://api.example.com/openai/v1/
  api_key: sk-1
  timeouts: {connect: 300ms, first_byte: 2m, idle: 1.5h}
limits: {request_body: 1GiB, event: 1024, promoted: 2KiB, streams: 10, streams_per_client: 3}
paths: ["/metrics", "/slots/*"]
response_headers: [X-Vendor-Cost]
websocket: pass
rules:
  - name: agents
    match:
      model: ["gpt-*", "qwen?"]
      path: "/v1/*"
      headers: {X-Client: "agent*"}
      tools: absent
    formats: [think, reasoning]
    reasoning: keep
    reasoning_fields: [reasoning, reasoning_content]
    tool_calls: keep
    tool_results: keep
    starts_in: reasoning
    unclosed: show
    quoted: drop
    on_empty: {text: Sorry.}
    finish_reason: keep
    unknown_fields: pass
    encrypted_reasoning: drop
    errors: own
    unknown: pass
    case_insensitive: true
    attributes: true
    spaced_tags: true
    html_escaped: true
    mode: observe
  - match: {model: x}
"""
    )
    assert (config.listen, config.admin) == (Address("0.0.0.0", 80), Address("::1", 0))
    assert config.upstream == Upstream(
        "https://api.example.com/openai/v1", "sk-1", Timeouts(0.3, 120.0, 5400.0)
    )
    assert config.limits == Limits(
        request_body=1024**3, event=1024, promoted=2048, streams=10, streams_per_client=3
    )
    assert (config.reuse_port, config.write_timeout) == (True, 90.0)
    assert config.drain == Drain(delay=0.0, timeout=2.0)
    assert config.paths == ("/metrics", "/slots/*")
    assert config.response_headers == ("x-vendor-cost",)
    assert config.websocket is WebSockets.PASS
    first, second = config.rules
    assert (first.name, first.formats) == ("agents", ("think", "reasoning"))
    assert first.match == Match(
        ("gpt-*", "qwen?"), "/v1/*", (("x-client", "agent*"),), Tools.ABSENT
    )
    assert all(getattr(first.policy, f.name) != f.default for f in fields(Policy))
    assert (first.policy.on_empty, first.policy.empty_text) == (OnEmpty.TEXT, "Sorry.")
    assert first.policy.reasoning_fields == ("reasoning", "reasoning_content")
    assert first.policy.mode is Mode.OBSERVE
    assert second == RuleSpec("rule-2", Match(model=("x",)), ("all",), Policy())


def test_the_environment_is_expanded_before_values_are_judged(folder: Folder) -> None:
    """A size, a duration and a URL may come from the environment; an empty key is none."""
    config = folder.load(
        """
upstream:
  base_url: ${BASE:-http://127.0.0.1:8000/v1}
  api_key: ${KEY:-}
  timeouts: {connect: "${SECONDS}s"}
limits: {event: "${EVENT}"}
""",
        {"SECONDS": "7", "EVENT": "4096"},
    )
    assert config.upstream == Upstream("http://127.0.0.1:8000/v1", None, Timeouts(7.0, 300, 300))
    assert config.limits.event == 4096


def test_an_unset_variable_is_told_with_all_other_mistakes(folder: Folder) -> None:
    """What cannot be expanded is one mistake, and hides no other."""
    assert folder.refused("upstream:\n  base_url: ${BASE}\nlisten: x\n") == [
        "c.yaml:2:13: upstream.base_url: the environment variable BASE is not set, "
        "set it or write ${BASE:-…}",
        "c.yaml:3:9: listen: found 'x', expected HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080",
    ]


DURATION = "expected a duration with its unit, such as 300ms, 5s, 2m or 1h"
SIZE = "expected a size, such as 512B, 8KiB, 32MiB, 1GiB or a number of bytes"
COUNT = "expected a number from 1 to 1000000"
ADDRESS = "expected HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080"
KEYS = (
    "'version', 'listen', 'reuse_port', 'admin', 'playground', 'upstream', 'limits', "
    "'write_timeout', 'drain', 'formats', 'status', 'access_log', 'models', 'rules', 'paths', "
    "'response_headers', 'websocket', 'auth', 'hosts', 'cors' or 'tls'"
)
FOLDER = "expected a folder with *.yaml files of formats, as seen from this file"
EMPTY = "expected 'allow', 'promote', 'error' or {text: …}"
TEXT = "expected {text: …} with a text of 1 to 4096 characters"
RULE_KEYS = (
    "'name', 'match', 'formats', 'reasoning', 'reasoning_fields', 'tool_calls', 'tool_results', "
    "'starts_in', 'unclosed', 'quoted', 'on_empty', 'finish_reason', 'unknown_fields', "
    "'encrypted_reasoning', 'errors', 'unknown', 'case_insensitive', 'attributes', "
    "'spaced_tags', 'html_escaped', 'mode', 'status' or 'request_fields'"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 2", "2:10: version: found 2, expected 1"),
        ("listen: :8080", "2:9: listen: found ':8080', expected a host too: write 0.0.0.0:8080 "
         "for all interfaces"),
        ("listen: '*:80'", "2:9: listen: found '*:80', expected a host too: write 0.0.0.0:80 "
         "for all interfaces"),
        ("listen: 8080", f"2:9: listen: found 8080, {ADDRESS}"),
        ("listen: localhost", f"2:9: listen: found 'localhost', {ADDRESS}"),
        ("listen: ::1:8080", f"2:9: listen: found '::1:8080', {ADDRESS}"),
        ("listen: '[::x]:8080'", f"2:9: listen: found '[::x]:8080', {ADDRESS}"),
        ("listen: a:65536", f"2:9: listen: found 'a:65536', {ADDRESS}"),
        ("admin: a b:80", f"2:8: admin: found 'a b:80', {ADDRESS}"),
        ("admin: 127.0.0.1:8080", "2:8: admin: found '127.0.0.1:8080', the same as listen, "
         "expected another port"),
        ("limits: 5", "2:9: limits: found 5, expected a mapping of keys to values"),
        ("limits: {event: 8MB}", f"2:17: limits.event: found '8MB', {SIZE}"),
        ("limits: {event: 0}", f"2:17: limits.event: found 0, {SIZE}"),
        ("limits: {event: -1}", f"2:17: limits.event: found -1, {SIZE}"),
        ("limits: {event: true}", f"2:17: limits.event: found true, {SIZE}"),
        ("limits: {event: 1.5GiB}", f"2:17: limits.event: found '1.5GiB', {SIZE}"),
        ("limits: {evnt: 1}", "2:10: limits.evnt: unknown key, expected 'request_body', 'event', "
         "'promoted', 'streams' or 'streams_per_client'; did you mean 'event'?"),
        ("limits: {streams: 0}", f"2:19: limits.streams: found 0, {COUNT}"),
        ("limits: {streams: off}", f"2:19: limits.streams: found 'off', {COUNT}"),
        ("limits: {streams: true}", f"2:19: limits.streams: found true, {COUNT}"),
        ("limits: {streams_per_client: no}", "2:30: limits.streams_per_client: found 'no', "
         f"{COUNT}, or off"),
        ("write_timeout: 0", f"2:16: write_timeout: found 0, {DURATION}"),
        ("drain: {delay: 5}", "2:16: drain.delay: found 5, expected 0 or a duration with its unit, "
         "such as 5s or 2m"),
        ("reuse_port: 1", "2:13: reuse_port: found 1, expected true or false"),
        ("limits: {promoted: 0}", f"2:20: limits.promoted: found 0, {SIZE}"),
        ("path: [/x]", f"2:1: path: unknown key, expected {KEYS}; did you mean 'paths'?"),
        ("zzz: 1", f"2:1: zzz: unknown key, expected {KEYS}"),
        ("paths: [metrics]", "2:9: paths.0: found 'metrics', expected a path that begins with /"),
        ("paths: ['/[a]']", "2:9: paths.0: found '/[a]', expected a glob in which only * and ? "
         "have a meaning, without '['"),
        ("paths: /metrics", "2:8: paths: found '/metrics', expected a list"),
        ("response_headers: ['a: b']", "2:20: response_headers.0: found 'a: b', expected the name "
         "of a header, such as x-request-id"),
        ("websocket: on", "2:12: websocket: found 'on', expected 'refuse' or 'pass'"),
        ("websocket: psas", "2:12: websocket: found 'psas', expected 'refuse' or 'pass'; did you "
         "mean 'pass'?"),
        ("formats: 5", f"2:10: formats: found 5, {FOLDER}"),
        ("formats: c.yaml", f"2:10: formats: found 'c.yaml', {FOLDER}"),
        ("formats: nowhere", f"2:10: formats: found 'nowhere', {FOLDER}"),
        ("formats: empty", f"2:10: formats: found 'empty', {FOLDER}"),
        ("formats:", "2:1: formats: found nothing, expected a value; leave the key out to leave "
         "it open"),
        ("rules:", "2:1: rules: found nothing, expected a list"),
        ("rules: [think]", "2:9: rules.0: found 'think', expected a mapping of keys to values"),
        ("rules:\n- reasoning: strip", "3:14: rules.0.reasoning: found 'strip', expected 'drop', "
         "'keep' or 'move'; did you mean 'drop'?"),
        ("rules:\n- tool_calls: on", "3:15: rules.0.tool_calls: found 'on', expected 'drop', "
         "'keep', 'declared' or 'move'"),
        ("rules:\n- mode: true", "3:9: rules.0.mode: found true, expected 'enforce' or 'observe'"),
        ("rules:\n- mode:", "3:3: rules.0.mode: found nothing, expected 'enforce' or 'observe'"),
        ("rules:\n- resoning: drop", f"3:3: rules.0.resoning: unknown key, expected {RULE_KEYS}; "
         "did you mean 'reasoning'?"),
        ("rules:\n- starts_in: reason", "3:14: rules.0.starts_in: found 'reason', expected 'auto', "
         "'content' or 'reasoning'; did you mean 'reasoning'?"),
        ("rules:\n- on_empty: {txt: x}", f"3:13: rules.0.on_empty: found a mapping, {EMPTY}"),
        ("rules:\n- on_empty: {text: x, also: y}", "3:13: rules.0.on_empty: found a mapping, "
         f"{EMPTY}"),
        ("rules:\n- on_empty: text", f"3:13: rules.0.on_empty: found 'text', {EMPTY}"),
        ("rules:\n- on_empty: promot", f"3:13: rules.0.on_empty: found 'promot', {EMPTY}; did you "
         "mean 'promote'?"),
        ("rules:\n- on_empty:", f"3:3: rules.0.on_empty: found nothing, {EMPTY}"),
        ("rules:\n- on_empty: [allow]", f"3:13: rules.0.on_empty: found a list, {EMPTY}"),
        ("rules:\n- on_empty: {text: 5}", f"3:13: rules.0.on_empty: found a mapping, {TEXT}"),
        ("rules:\n- on_empty: {text: ' '}", f"3:13: rules.0.on_empty: found a mapping, {TEXT}"),
        (f"rules:\n- on_empty: {{text: {'x' * 4097}}}", "3:13: rules.0.on_empty: found a mapping, "
         f"{TEXT}"),
        ("rules:\n- attributes: yes", "3:15: rules.0.attributes: found 'yes', expected true or "
         "false"),
        ("rules:\n- html_escaped: lt", "3:17: rules.0.html_escaped: found 'lt', expected true or "
         "false"),
        ("rules:\n- spaced_tags:", "3:3: rules.0.spaced_tags: found nothing, expected true or "
         "false"),
        ("rules:\n- case_insensitive: 1", "3:21: rules.0.case_insensitive: found 1, expected true "
         "or false"),
        ("rules:\n- reasoning_fields: []", "3:21: rules.0.reasoning_fields: found an empty list, "
         "expected at least one entry"),
        ("rules:\n- reasoning_fields: reasoning", "3:21: rules.0.reasoning_fields: found "
         "'reasoning', expected a list"),
        ("rules:\n- reasoning_fields: [reasonng]", "3:22: rules.0.reasoning_fields.0: found "
         "'reasonng', expected 'reasoning_content' or 'reasoning'; did you mean 'reasoning'?"),
        ("rules:\n- reasoning_fields: [reasoning, reasoning]", "3:21: rules.0.reasoning_fields: "
         "found a field twice, expected each once"),
        ("rules:\n- name: My Rule", "3:9: rules.0.name: found 'My Rule', expected up to 63 "
         "lower-case letters, digits and hyphens, no hyphen first"),
        ("rules:\n- name: 5", "3:9: rules.0.name: found 5, expected text; write it in quotes"),
        ("rules:\n- name: a\n- name: a", "4:9: rules.1.name: found 'a', expected a name of its "
         "own: rules.0 has it"),
        ("rules:\n- name: rule-2\n- mode: enforce", "4:3: rules.1.name: found 'rule-2', expected "
         "a name of its own: rules.0 has it"),
        ("rules:\n- formats: [thnk]", "3:13: rules.0.formats.0: found 'thnk', expected a format "
         "or a group; did you mean 'think'?"),
        ("rules:\n- formats: think", "3:12: rules.0.formats: found 'think', expected a list"),
        ("rules:\n- match: {tools: declard}", "3:18: rules.0.match.tools: found 'declard', "
         "expected 'declared' or 'absent'; did you mean 'declared'?"),
        ("rules:\n- match: {tools: }", "3:11: rules.0.match.tools: found nothing, expected a "
         "value; leave the key out to leave it open"),
        ("rules:\n- match: {path: }", "3:11: rules.0.match.path: found nothing, expected a "
         "value; leave the key out to leave it open"),
        ("rules:\n- match: {path: v1}", "3:17: rules.0.match.path: found 'v1', expected a path "
         "that begins with / or *"),
        ("rules:\n- match: {model: []}", "3:18: rules.0.match.model: found an empty list, "
         "expected at least one entry"),
        ("rules:\n- match: {model: ''}", "3:18: rules.0.match.model: found '', expected a glob, "
         "such as '*' for anything"),
        ("rules:\n- match: {model: [a, 'b[c]']}", "3:22: rules.0.match.model.1: found 'b[c]', "
         "expected a glob in which only * and ? have a meaning, without '['"),
        ("rules:\n- match: {headers: {a b: c}}", "3:20: rules.0.match.headers: found a mapping, "
         "expected the name of a header, such as x-request-id"),
        ("rules:\n- match: {headers: {a: b, A: c}}", "3:20: rules.0.match.headers: found a header "
         "twice, expected it once: upper and lower case are one"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence_with_its_place(folder: Folder, text: str, line: str) -> None:
    """A mistake says where it is, what was found and what is right."""
    (folder.path.parent / "empty").mkdir()
    assert folder.refused(UPSTREAM + text) == [f"c.yaml:{line}"]


def test_rules_may_name_formats_of_the_operators_own(folder: Folder) -> None:
    """Their folder is found from the file, and a file in it is a name even if it is wrong."""
    own = folder.path.parent / "own"
    own.mkdir()
    (own / "mine.yaml").write_text("")
    text = UPSTREAM + "formats: ${WHERE:-own}\nrules: [{formats: [mine, think]}]\n"
    for environment in ({}, {"WHERE": str(own)}):
        config = folder.load(text, environment)
        assert config.formats == own
        assert config.rules[0].formats == ("mine", "think")
    assert folder.refused(text.replace("[mine,", "[mne,")) == [
        "c.yaml:3:20: rules.0.formats.0: found 'mne', expected a format or a group; "
        "did you mean 'mine'?"
    ]


URL = "expected an http or https URL, such as http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1: upstream: is missing, expected a mapping with the upstream's base_url"),
        ("[]", "1:1: found an empty list, expected a mapping of keys to values"),
        ("upstream: {}", "1:11: upstream.base_url: is missing, expected the upstream's URL, such "
         "as http://127.0.0.1:8000/v1"),
        ("upstream:", "1:1: upstream: found nothing, expected a mapping of keys to values"),
        ("upstream: {base_url: 'ftp://a'}", f"1:22: upstream.base_url: found 'ftp://a', {URL}"),
        ("upstream: {base_url: 'http://'}", f"1:22: upstream.base_url: found 'http://', {URL}"),
        ("upstream: {base_url: 'http://a:b'}", f"1:22: upstream.base_url: found 'http://a:b', "
         f"{URL}"),
        ("upstream: {base_url: 'http://[a'}", f"1:22: upstream.base_url: found 'http://[a', {URL}"),
        ("upstream: {base_url: 'http://a b'}", f"1:22: upstream.base_url: found 'http://a b', "
         f"{URL}, without spaces, control characters and backslashes"),
        ("upstream: {base_url: 'http://a/?b'}", "1:22: upstream.base_url: found 'http://a/?b', "
         "expected a URL without '?' and '#': paths are appended to it"),
        ("upstream: {base_url: 'http://a/#'}", "1:22: upstream.base_url: found 'http://a/#', "
         "expected a URL without '?' and '#': paths are appended to it"),
        (UPSTREAM[:-2] + ", timeouts: {idle: 5}}", f"1:65: upstream.timeouts.idle: found 5, "
         f"{DURATION}"),
        (UPSTREAM[:-2] + ", timeouts: {idle: 5 s}}", f"1:65: upstream.timeouts.idle: "
         f"found '5 s', {DURATION}"),
        (UPSTREAM[:-2] + ", timeouts: {idle: 0s}}", f"1:65: upstream.timeouts.idle: "
         f"found '0s', {DURATION}"),
    ],
)  # fmt: skip
def test_each_mistake_in_the_upstream(folder: Folder, text: str, line: str) -> None:
    """The one section that a file must have says what is wrong with it."""
    assert folder.refused(text) == [f"c.yaml:{line}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"api_key: [{SECRET}]", "found a list, expected text"),
        (f"api_key: {{{SECRET}: {SECRET}}}", "found a mapping, expected text"),
        (f"api_key: '{SECRET} {SECRET}'", "found text, expected visible ASCII characters, as it is "
         "sent in a header"),
        ("api_key: 123456", "found a number or a boolean, expected text; write it in quotes"),
    ],
)  # fmt: skip
def test_a_key_is_never_shown(folder: Folder, text: str, line: str) -> None:
    """A mistake in api_key says of what kind the value is, not what it is."""
    (found,) = folder.refused(f"upstream:\n  base_url: http://a\n  {text}\n")
    assert found == f"c.yaml:3:12: upstream.api_key: {line}"


def test_a_password_in_the_url_is_never_shown(folder: Folder) -> None:
    """A URL with a user in it is refused without being repeated."""
    assert folder.refused(f"upstream: {{base_url: 'http://me:{SECRET}@a/v1'}}") == [
        "c.yaml:1:22: upstream.base_url: found a user in the URL, expected one without; "
        "write api_key instead"
    ]


def test_the_representation_of_a_configuration_shows_no_key(folder: Folder) -> None:
    """A configuration in a log holds no secret."""
    config = folder.load(f"upstream: {{base_url: 'http://a', api_key: {SECRET}}}")
    assert config.upstream.api_key == SECRET
    assert SECRET not in repr(config)


def test_all_mistakes_of_a_file_are_told_at_once(folder: Folder) -> None:
    """One run shows them all, in the order of the file."""
    text = """upstream:
  base_url: ${NOT_SET}
  timeout: 5s
rules:
  - {name: a, reasoning: strip}
  - {name: a, formats: [thnk]}
admin: 127.0.0.1:8080
"""
    places = [line.partition(" ")[0] for line in folder.refused(text)]
    assert places == [
        "c.yaml:2:13:",
        "c.yaml:3:3:",
        "c.yaml:5:26:",
        "c.yaml:6:12:",
        "c.yaml:6:25:",
        "c.yaml:7:8:",
    ]


@given(st.integers(0, 65535), st.sampled_from(["127.0.0.1", "::1", "example.com", "a-b_c"]))
def test_an_address_reads_back(port: int, host: str) -> None:
    """What an address is written as is read as the same address."""
    address = Address(host, port)
    assert parse_address(str(address)) == address


def test_the_models_give_a_json_schema() -> None:
    """An editor can be told every key of the file."""
    schema = ConfigSection.model_json_schema()
    assert schema["required"] == ["upstream"]
    assert schema["additionalProperties"] is False
    json.dumps(schema)
