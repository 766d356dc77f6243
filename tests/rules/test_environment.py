"""Environment variables in values: what is expanded, what is left, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.rules.environment import expand
from sidecar.rules.strictyaml import Value, parse

ENVIRONMENT = {"HOST": "example", "EMPTY": "", "YAML": "{a: [b]} # c", "LATER": "${HOST}"}


def expanded(text: str) -> Value:
    document, mistakes = expand(parse(text, "f.yaml"), ENVIRONMENT)
    assert not mistakes
    return document.value


def refused(text: str, environment: dict[str, str]) -> list[str]:
    _, mistakes = expand(parse(text, "f.yaml"), environment)
    return [str(mistake) for mistake in mistakes]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "example"),
        ("http://${HOST}:${PORT:-80}/v1", "http://example:80/v1"),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("$${HOST}", "${HOST}"),
        ("$$$${HOST}", "$${HOST}"),
        ("$HOST costs $5", "$HOST costs $5"),
        ("${YAML}", "{a: [b]} # c"),
        ("${LATER}", "${HOST}"),
    ],
)
def test_references_are_replaced(text: str, value: str) -> None:
    """A reference becomes its value, a default stands in, and nothing is read twice."""
    assert expanded(f"a: '{text}'") == {"a": value}


def test_only_text_values_are_expanded() -> None:
    """Values at any depth are expanded; keys, numbers and booleans are left as they are."""
    text = "'${HOST}': [1, true, null, 1.5, {x: '${HOST}'}]"
    assert expanded(text) == {"${HOST}": [1, True, None, 1.5, {"x": "example"}]}


def test_an_unset_variable_is_a_mistake_with_its_place() -> None:
    """Every unset variable without a default is named, where it stands."""
    assert refused("a: 1\nb:\n  - ${ONE}\n  - x${TWO}\n", {}) == [
        "f.yaml:3:5: b.0: the environment variable ONE is not set, set it or write ${ONE:-…}",
        "f.yaml:4:5: b.1: the environment variable TWO is not set, set it or write ${TWO:-…}",
    ]


@pytest.mark.parametrize("reference", ["${", "${A", "${}", "${1A}", "${A-b}", "${A:?b}", "${ A }"])
def test_a_reference_that_names_no_variable_is_a_mistake(reference: str) -> None:
    """What begins as a reference and is none is refused with the forms that are right."""
    assert refused(f"a: 'x {reference}'", {"A": "1"}) == [
        "f.yaml:1:4: a: found '${' that names no variable, expected ${NAME}, ${NAME:-default} or $$"
    ]


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\x00", "\x1b[0m", "a\tb", "\udcff", "\u2028"])
def test_a_value_of_more_than_a_visible_line_is_a_mistake(value: str) -> None:
    """A line break or control character is refused, without showing the value."""
    assert refused("api_key: ${SECRET}", {"SECRET": f"sk-1{value}"}) == [
        "f.yaml:1:10: api_key: found a line break or an invisible character in the environment "
        "variable SECRET, expected one line of visible text"
    ]


@given(st.text(st.characters(exclude_characters="$")))
def test_text_without_a_dollar_is_untouched(text: str) -> None:
    """Only a dollar means anything."""
    document = parse("a: x", "f.yaml")
    changed, mistakes = expand(type(document)("f.yaml", {"a": text}), {})
    assert (changed.value, mistakes) == ({"a": text}, ())
