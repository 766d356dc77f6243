"""``request_fields``: the table of defaults, what a rule makes of it, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.resources import config_dir
from sidecar.rules.config import Config, load_config
from sidecar.rules.requestfields import (
    BY_OPTION,
    DEFAULTS,
    REDIRECTING,
    RENDERING,
    REPEATING,
    FieldAction,
    field_table,
)
from sidecar.wire.formats import WIRE_FORMATS

UPSTREAM = "upstream: {base_url: http://127.0.0.1:8000/v1}\n"
REFUSE, DROP, PASS = FieldAction.REFUSE, FieldAction.DROP, FieldAction.PASS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def load(file: Path, fields: str) -> Config:
    file.write_text(f"{UPSTREAM}rules:\n- request_fields: {fields}\n", encoding="utf-8")
    return load_config(file, {}, ("all",))


def action(name: str, own: Mapping[str, FieldAction] | None = None, wire: str = "chat") -> str:
    return field_table(wire, own or {}).actions.get(tuple(name.split(".")), PASS)


def test_every_field_has_one_default() -> None:
    """None is in two groups, of which the later would win, and all are in lower case."""
    groups = (*REDIRECTING, *RENDERING, *REPEATING, *BY_OPTION)
    assert len(set(groups)) == len(groups) == len(DEFAULTS)
    assert all(name == name.casefold() for name in groups)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        *((name, REFUSE) for name in ("api_base", "base_url", "api_key", "extra_headers")),
        *((name, DROP) for name in ("return_token_ids", "verbose", "echo", "prompt_logprobs")),
        *((name, PASS) for name in ("logprobs", "skip_special_tokens", "chat_template", "model")),
        ("metadata.langfuse_host", REFUSE),
        ("metadata.base_url", PASS),
        ("extra_body.api_base", REFUSE),
        ("extra_body.verbose", DROP),
        ("extra_body.metadata.langfuse_host", REFUSE),
    ],
)
def test_a_default(name: str, default: FieldAction) -> None:
    for wire_format in WIRE_FORMATS:
        expected = default
        if (name, wire_format.name) == ("echo", "completions"):
            # Part of that API; the engine reads what it repeats.
            expected = PASS
        assert action(name, wire=wire_format.name) is expected


def test_a_rule_overrides_the_defaults_and_names_what_nobody_knows(file: Path) -> None:
    """In any case, and with dots what stands in an object."""
    [rule] = load(file, "{Api_Key: pass, logprobs: drop, my_own: refuse, Options.Stop: drop}").rules
    assert rule.request_fields == {
        "api_key": PASS,
        "logprobs": DROP,
        "my_own": REFUSE,
        "options.stop": DROP,
    }
    for wire_format in WIRE_FORMATS:
        table = field_table(wire_format.name, rule.request_fields)
        assert table.actions[("api_key",)] is table.actions[("extra_body", "api_key")] is PASS
        assert table.actions[("logprobs",)] is table.actions[("extra_body", "logprobs")] is DROP
        assert table.actions[("my_own",)] is REFUSE
        assert table.actions[("options", "stop")] is DROP
        assert ("options",) in table.objects
        assert table.actions[("api_base",)] is REFUSE


def test_what_a_rule_says_of_a_field_in_extra_body_is_about_it_there_alone() -> None:
    own = {"extra_body.verbose": PASS, "extra_body.api_base": DROP}
    assert action("extra_body.verbose", own) is PASS
    assert action("extra_body.api_base", own) is DROP
    assert action("verbose", own) is DROP
    assert action("api_base", own) is REFUSE


def test_a_rule_says_it_for_completions_too() -> None:
    assert action("echo", {"echo": DROP}, "completions") is DROP


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ("[echo]", "3:19: rules.0.request_fields: found a list, expected a mapping of keys to "
         "values"),
        ("{echo: 5}", "3:26: rules.0.request_fields.echo: found 5, expected 'refuse', 'drop' or "
         "'pass'"),
        ("{echo: dropp}", "3:26: rules.0.request_fields.echo: found 'dropp', expected 'refuse', "
         "'drop' or 'pass'; did you mean 'drop'?"),
        ("{echo: drop, Echo: pass}", "3:19: rules.0.request_fields: found a field twice, expected "
         "it once: upper and lower case are one"),
        ("{'': drop}", "3:19: rules.0.request_fields: found a mapping, expected names of fields "
         "such as logprobs or chat_template_kwargs.thinking, not ''"),
        ("{a..b: drop}", "3:19: rules.0.request_fields: found a mapping, expected names of fields "
         "such as logprobs or chat_template_kwargs.thinking, not 'a..b'"),
        ('{"a\\nb": drop}', "3:19: rules.0.request_fields: found a mapping, expected names of "
         "fields such as logprobs or chat_template_kwargs.thinking, not 'a\\nb'"),
    ],
)  # fmt: skip
def test_a_mistake(file: Path, fields: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(file, fields)
    assert [str(m).removeprefix(f"{file.parent}/c.yaml:") for m in error.value.mistakes] == [line]


def test_every_field_of_the_table_is_in_the_operators_file() -> None:
    """With what may be done with it."""
    text = (config_dir() / "sidecar.yaml").read_text(encoding="utf-8")
    _, _, told = text.partition("Refused by default")
    assert set(DEFAULTS) - set(re.findall(r"[a-z_0-9.]+", told)) == set()
