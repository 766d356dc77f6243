"""Two texts side by side."""

from __future__ import annotations

import pytest

from sidecar.terminal import Column, Screen, Span, columns, wrap


def _text(rows: list[list[Span]]) -> list[str]:
    return ["".join(span.text for span in row) for row in rows]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [""]),
        ("one", ["one"]),
        ("one two three", ["one two", "three"]),
        ("one two", ["one two"]),
        ("one two ", ["one two", ""]),
        ("one\ntwo", ["one", "two"]),
        ("one\n\n two\n", ["one", "", " two", ""]),
        ("abcdefghij", ["abcdefg", "hij"]),
        ("a bcdefghij", ["a ", "bcdefgh", "ij"]),
    ],
)
def test_text_is_wrapped_between_words_where_one_fits(text: str, rows: list[str]) -> None:
    assert _text(wrap([Span(text)], 7)) == rows


def test_a_row_goes_on_over_spans_and_keeps_their_styles() -> None:
    rows = wrap([Span("<b>", dim=True), Span("one")], 7)
    assert rows == [[Span("<b>", dim=True), Span("one")]]


def test_the_shorter_column_is_filled_up() -> None:
    left = Column("left", [Span("one two three four")])
    right = Column("right", [Span("1")])
    assert columns(left, right, 23, styled=False) == [
        "left       | right",
        "---------- | ----------",
        "one two    | 1",
        "three four |",
    ]


def test_no_row_is_wider_than_the_terminal() -> None:
    text = Column("a title that is too long for a side", [Span("word " * 40 + "x" * 90)])
    for width in (23, 24, 40, 79, 200):
        assert all(len(row) <= width for row in columns(text, text, width, styled=False))


def test_a_terminal_too_narrow_for_two_columns_gets_narrow_columns() -> None:
    rows = columns(Column("l", [Span("one")]), Column("r", [Span("1")]), 1, styled=False)
    assert rows[-1] == "one        | 1"


def test_a_style_takes_no_room() -> None:
    left = Column("left", [Span("one ", dim=True), Span("two", dim=True), Span(" 3")])
    right = Column("right", [Span("1")])
    rows = columns(left, right, 23, styled=True)
    assert rows[-1] == "\x1b[2mone two\x1b[0m 3  | 1"


def test_a_frame_is_drawn_over_the_one_before() -> None:
    written: list[str] = []
    screen = Screen(written.append)
    screen.draw(["one", "two"])
    screen.draw(["three"])
    screen.draw(["four"])
    assert written == [
        "\r\x1b[Jone\ntwo\n",
        "\x1b[2A\r\x1b[Jthree\n",
        "\x1b[1A\r\x1b[Jfour\n",
    ]
