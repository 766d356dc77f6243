"""Which marker stands at a position, and when that is not certain yet."""

from __future__ import annotations

import random

import pytest

from sidecar.core.format import At
from sidecar.core.markers import NO_MATCH, PLACEHOLDERS, Action, Marker, MarkerSet
from sidecar.core.spelling import AS_WRITTEN, Spelling
from sidecar.core.unread import BETWEEN
from sidecar.rules.catalogue import shipped_catalogue

EVERY_SPELLING = Spelling(any_case=True, attributes=True, spaced=True, escaped=True)


def markers(*literals: str, at: At = At.ANYWHERE) -> list[Marker]:
    return [Marker(literal, Action.DISCARD, "f", at=at) for literal in literals]


def found(marker_set: MarkerSet, text: str, *places: At) -> tuple[str | None, bool]:
    match = marker_set.match(text, 0, places or (At.ANYWHERE,))
    return (match.marker.literal if match.marker else None, match.pending)


@pytest.mark.parametrize(
    ("text", "literal", "pending"),
    [
        ("<think>", "<think>", False),
        ("<think>x", "<think>", False),
        ("<thinks", None, False),
        ("<thin", None, True),
        ("<", None, True),
        ("x", None, False),
        ("<tool_call>", "<tool_call>", True),
        ("<tool_call>\n", "<tool_call>", True),
        ("<tool_call>\n<function=", "<tool_call>\n<function=", False),
        ("<tool_call>\n<fun!", "<tool_call>", False),
    ],
)
def test_the_longest_marker_wins_and_a_longer_one_is_waited_for(
    text: str, literal: str | None, pending: bool
) -> None:
    marker_set = MarkerSet(markers("<think>", "<tool_call>", "<tool_call>\n<function="))
    assert found(marker_set, text) == (literal, pending)


def test_a_marker_counts_only_at_its_places() -> None:
    marker_set = MarkerSet(markers("Answer:", at=At.LINE))
    assert found(marker_set, "Answer:", At.ANYWHERE) == (None, False)
    assert found(marker_set, "Answer:", At.ANYWHERE, At.LINE) == ("Answer:", False)
    assert found(marker_set, "Ans") == (None, False)


def test_the_longest_marker_of_all_places_wins() -> None:
    marker_set = MarkerSet([*markers("ab"), *markers("abcd", at=At.LINE)])
    assert found(marker_set, "abcd", At.ANYWHERE, At.LINE) == ("abcd", False)
    assert found(marker_set, "abcd", At.ANYWHERE) == ("ab", False)
    assert found(marker_set, "abc", At.ANYWHERE, At.LINE) == ("ab", True)


def test_of_two_equal_markers_the_first_counts() -> None:
    first, second = Marker("<a>", Action.CLOSE, "f"), Marker("<a>", Action.OPEN, "g")
    assert MarkerSet([first, second]).match("<a>", 0, (At.ANYWHERE,)).marker is first


def test_the_longest_marker_wins_whichever_way_leads_to_it() -> None:
    marker_set = MarkerSet(markers("<a{space}b>c", "<a b>"))
    assert found(marker_set, "<a b>c") == ("<a{space}b>c", False)
    assert found(marker_set, "<a b>x") == ("<a b>", False)
    assert found(marker_set, "<a  b>c") == ("<a{space}b>c", False)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("<a>", 0, 3), ("x<a<b<a><b>", 0, 8), ("<a><b>", 1, 6), ("<a", 0, None), ("", 0, None)],
)
def test_the_first_complete_marker_is_found(text: str, start: int, end: int | None) -> None:
    assert MarkerSet(markers("<a>", "<b>")).find(text, start) == end


def test_a_match_ends_where_the_marker_ends() -> None:
    assert MarkerSet(markers("<a>")).match("xx<a>yy", 2, (At.ANYWHERE,)).end == 5
    assert MarkerSet(markers("<a>")).match("xx<b>", 2, (At.ANYWHERE,)) == NO_MATCH


def test_stops_are_the_first_characters() -> None:
    assert MarkerSet(markers("<a>", "[B]")).stops.findall("a<a>[B]") == ["<", "["]
    assert MarkerSet(markers("<a>")).body_stops.findall('<{"x":[1]}') == list('<{""[]}')


def test_a_first_character_stops_where_a_marker_follows_or_may_yet_follow() -> None:
    stops = MarkerSet(markers("<a>", "<b>", "|")).stops
    assert [found.start() for found in stops.finditer("<c<a><<b>|<a")] == [2, 6, 9, 10]


def test_white_space_that_a_marker_may_have_is_looked_past() -> None:
    stops = MarkerSet(markers("`{space}[", "`js{space}x{")).stops
    text = "`a `[ `\n\n[ `\n\nx `jx `js  a `js x `\n"
    assert [text[at.start() :][:5] for at in stops.finditer(text)] == [
        "`[ `\n",
        "`\n\n[ ",
        "`js x",
        "`\n",
    ]


@pytest.mark.parametrize("spelling", [AS_WRITTEN, EVERY_SPELLING])
@pytest.mark.parametrize("seed", range(10))
def test_nothing_may_begin_where_nothing_stops(seed: int, spelling: Spelling) -> None:
    """A stop may be wrong, as the text beyond a few characters shows; a missing one never is."""
    chance = random.Random(seed)
    formats = shipped_catalogue().formats.values()
    literals = {
        literal
        for format_ in formats
        for region in format_.regions
        for literal in (*region.open, *region.close, *format_.discard, *format_.tail)
    }
    marker_set = MarkerSet(markers(*sorted(literals)), spelling=spelling)
    pieces = [*sorted(literals), *' \n\t<`[{"a1:', "```", "\n\n", "Action", "json"]
    for _ in range(200):
        whole = "".join(chance.choice(pieces) for _ in range(6))
        for placeholder in PLACEHOLDERS:
            whole = whole.replace(placeholder, chance.choice(["", " ", "7", "\n\n", "name"]))
        text = whole[: chance.randrange(1, len(whole) + 1)]
        for position in range(len(text)):
            match = marker_set.match(text, position, (At.ANYWHERE,))
            if match.marker is not None or match.pending:
                assert marker_set.stops.match(text, position), (text, position)
                assert marker_set.unread.within(text[position:] + BETWEEN + "x")


@pytest.mark.parametrize("literal", ["]x", "^x", "\\x", "-x", ".x"])
def test_a_first_character_may_mean_something_in_a_pattern(literal: str) -> None:
    assert MarkerSet(markers(literal, "a")).stops.findall(literal) == [literal[0]]


def test_without_markers_nothing_stops() -> None:
    assert MarkerSet([]).stops.search("<`\n") is None
    assert not MarkerSet([]).restricted
