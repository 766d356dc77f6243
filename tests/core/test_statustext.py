"""The texts of statuses: placeholders, what is left out, and what a model cannot do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.progress import Phase, Step
from sidecar.core.statustext import DEFAULT_TEXTS, MAX_VALUE, StatusText, StatusTexts, shown


def said(text: str, tool: str | None = None, **arguments: str) -> str:
    return StatusText(text).said(Step(Phase.CALLING_TOOL, tool, arguments))


@pytest.mark.parametrize(
    ("text", "with_all", "with_none"),
    [
        ("Thinking…", "Thinking…", "Thinking…"),
        ("Calling {tool}…", "Calling x…", "Calling…"),
        ("Searching for “{args.q}”…", "Searching for “a b”…", "Searching for…"),
        ("Sucht nach „{args.q}“ mit {tool}", "Sucht nach „a b“ mit x", "Sucht nach mit"),
        ("Reading ({args.q}) now", "Reading (a b) now", "Reading now"),
        ("{tool}", "x", ""),
        ("{tool}: {args.q}", "x: a b", ":"),
        ('"{args.q}" is searched', '"a b" is searched', " is searched"),
    ],
)  # fmt: skip
def test_what_is_not_known_leaves_its_part_out(text: str, with_all: str, with_none: str) -> None:
    """The placeholder goes with the quotes around it and the white space before them."""
    assert said(text, "x", q="a b") == with_all
    assert said(text) == with_none


@pytest.mark.parametrize("text", ["{tol}", "{args}", "{args.}", "{", "}", "{{tool}}", "{args.a b}"])
def test_braces_that_are_no_placeholder_are_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected \{tool\} or \{args.NAME\}"):
        StatusText(text)


def test_a_value_is_no_template() -> None:
    assert said("A {tool} B", "{args.q}", q="secret") == "A {args.q} B"


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("a\nb\r\n\tc", "a b c"),
        ("  a  ", "a"),
        ("a\x00\x1b[31mb\x7f\x9b", "a [31mb"),
        ("a\u2028b\u2029c", "a b c"),
        ("a\u202egnp.exe", "a gnp.exe"),
        ("x" * MAX_VALUE, "x" * MAX_VALUE),
        ("x" * (MAX_VALUE + 1), "x" * (MAX_VALUE - 1) + "…"),
        ("\ud83d", ""),
    ],
)
def test_a_value_is_one_short_line(value: str, left: str) -> None:
    assert shown(value) == left


@given(st.text(st.characters(), max_size=300))
def test_no_value_writes_a_line_or_a_long_one(value: str) -> None:
    line = shown(value)
    assert len(line) <= MAX_VALUE
    assert line.splitlines() in ([], [line])
    line.encode()


def test_a_tools_text_is_that_of_the_first_glob_that_fits() -> None:
    texts = StatusTexts(
        {Phase.CALLING_TOOL: StatusText("Other {args.b}")},
        (("read_*", StatusText("Reads {args.a}")), ("*", StatusText("Uses {tool}"))),
    )
    assert texts.said(Step(Phase.CALLING_TOOL, "read_x", {"a": "1"})) == "Reads 1"
    assert texts.said(Step(Phase.CALLING_TOOL, "x")) == "Uses x"
    assert set(texts.wanted("read_x")) == {"a"}
    assert set(texts.wanted("x")) == set()


def test_without_a_text_of_its_own_a_tool_has_that_of_its_phase() -> None:
    assert DEFAULT_TEXTS.said(Step(Phase.CALLING_TOOL, "x")) == "Calling x…"
    assert DEFAULT_TEXTS.said(Step(Phase.CALLING_TOOL)) == "Calling…"
    assert DEFAULT_TEXTS.said(Step(Phase.ANSWERING)) == ""
    assert StatusTexts().said(Step(Phase.THINKING)) == ""
