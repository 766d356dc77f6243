"""Which markers of the visible answer are only mentioned: code spans and fences."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.channel import Channel
from sidecar.core.format import At, Format, Region
from sidecar.core.lane import MAX_UNREAD, Lane
from sidecar.core.policy import Policy, Quoted
from sidecar.core.quotes import MAX_SPAN, Line, Quotes
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way
from tests.promises import channel_text, segments

T = Format("t", (Region("block", Channel.REASONING, ("<t>",), ("</t>",)),))
KEEP = Vocabulary([T], Policy())
DROP = Vocabulary([T], Policy(quoted=Quoted.DROP))
LINE = Vocabulary(
    [Format("r", (Region("act", Channel.TOOL_CALL, ("Action:",), (), at=At.LINE),))], Policy()
)
RUN = Vocabulary([Format("f", (Region("act", Channel.TOOL_CALL, ("``t",), ("</t>",)),))], Policy())


def visible(text: str, vocabulary: Vocabulary = KEEP) -> str:
    """The visible text, which is the same in every cut."""
    found = segments(Lane(vocabulary), [text])
    for pieces in every_way(text, random_cuts=4):
        assert segments(Lane(vocabulary), pieces) == found, pieces
    return channel_text(found, Channel.CONTENT)


MENTIONS = [
    "`<t>`",
    "a `<t>` b `</t>` c",
    "`` `<t>` ``",
    "`x <t> y </t> z`",
    "`<t>` and `<t",
    "```\n<t>\n```",
    "```\n<t>\n```\n",
    "```xml\n<t>x</t>\n```\nafter",
    "~~~\n<t>\n~~~\n",
    "   ```\n<t>\n   ```\n",
    "````\n```\n<t>\n````\n",
    "```\n~~~\n<t>\n```\n",
    "```\n``\n<t>\n```\n",
    "```\ncode ``` <t>\n```\n",
    "```\n``` x\n<t>\n```\n",
    "```\nnever closed <t> x",
    "```<t>```",
    "`a` `<t>` `",
]


@pytest.mark.parametrize("text", MENTIONS)
def test_a_marker_in_a_code_span_or_fence_is_a_mention(text: str) -> None:
    assert visible(text) == text


MARKERS = [
    ("` <t>x</t>", "` "),
    ("a ` b <t>x</t>\n`", "a ` b \n`"),
    ("`` <t>x</t> `", "``  `"),
    ("`x` <t>y</t> `z`", "`x`  `z`"),
    ("`x` <t>y</t>", "`x` "),
    ("`\n<t>x</t>`", "`\n`"),
    ("text ```\n<t>x</t>", "text ```\n"),
    ("~ <t>x</t> ~", "~  ~"),
    ("~~\n<t>x</t>", "~~\n"),
    ("```\na\n```\n<t>x</t>b", "```\na\n```\nb"),
    ("```\na\n```<t>x</t>b", "```\na\n```b"),
    ("```\na\n````  \n<t>x</t>b", "```\na\n````  \nb"),
    ("``` a`b\n<t>x</t>c", "``` a`b\nc"),
    ("<t>```\n</t>a<t>x</t>b", "ab"),
    ("<t>`</t>a<t>x</t>`", "a`"),
    ("<t>x</t>```\n<t>\n```", "```\n<t>\n```"),
    ("`a\\` <t>x</t> `", "`a\\`  `"),
    ("```<t>x</t>\n<t>\n```", "```\n<t>\n```"),
]


@pytest.mark.parametrize(("text", "shown"), MARKERS)
def test_a_marker_outside_of_them_is_a_marker(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["a `<t>x</t>` b", "```\na <t>x</t>\n```", "~~~\na<t>x</t>"])
def test_no_quote_protects_where_the_policy_drops_them(text: str) -> None:
    assert visible(text, DROP) == text.replace("<t>x</t>", "")


def test_what_follows_a_closing_fence_on_its_line_keeps_the_block_open() -> None:
    # CommonMark 0.31, 4.5: a closing fence may be followed only by spaces or tabs.
    assert visible("```\n``` ```\n<t>\n```\n") == "```\n``` ```\n<t>\n```\n"


@pytest.mark.parametrize("length", [MAX_SPAN - 5, MAX_SPAN - 4, MAX_SPAN - 3, MAX_SPAN, 400])
def test_a_span_protects_only_if_it_closes_soon_enough(length: int) -> None:
    text = "`<t>" + "x" * length + "` y"
    assert visible(text) == (text if 3 + length + 1 < MAX_SPAN else "`")


def test_a_span_is_waited_for_no_longer_than_the_limit() -> None:
    lane = Lane(KEEP)
    for character in "`<t>" + "x" * 1000:
        lane.feed(character)
        assert len(lane.held) <= MAX_SPAN


def test_a_marker_may_stand_on_the_line_that_closes_a_block() -> None:
    assert visible("```\na\n```Action: x", LINE) == "```\na\n```"
    assert visible("```\na\n```` \tAction: x", LINE) == "```\na\n```` \t"
    assert visible("```\na\n``` b Action: x", LINE) == "```\na\n``` b Action: x"


def test_a_marker_does_not_begin_within_a_run_of_fence_characters() -> None:
    assert visible("a``t x</t>b", RUN) == "ab"
    assert visible("a```t x", RUN) == "a```t x"
    assert visible("a``\n``t x</t>b", RUN) == "a``\nb"
    assert visible("~``t x</t>b", RUN) == "~b"


@pytest.mark.parametrize("before", [0, 1, MAX_UNREAD - 3, MAX_UNREAD, 3 * MAX_UNREAD])
def test_what_was_not_looked_at_counts_as_if_it_had_been(before: int) -> None:
    for quoted in ("`<t>`", "```\n<t>\n```", "~~~\n`<t>\n~~~\n", "```\n<t> ` never closed"):
        text = "x\n" * (before // 2) + quoted
        for size in (1, 5, 100, len(text)):
            pieces = [text[start : start + size] for start in range(0, len(text), size)]
            assert channel_text(segments(Lane(KEEP), pieces), Channel.CONTENT) == text


@given(st.lists(st.sampled_from(["`", "``", "```", "~", "~~~~", "\n", " ", "\t", "\r", "x"])))
@example(["```", "\n", "```"])
@example(["x", "\n", "\n", " ", "~~~~", "x", "\n", "`", "\n", "~~~~", "\n", "`"])
def test_what_is_read_at_once_is_read_as_its_characters_are(parts: list[str]) -> None:
    text = "".join(parts)
    (whole, line), (slow, slow_line) = (Quotes(), Line()), (Quotes(), Line())
    whole.read(text, len(text), line)
    for end in range(len(text) + 1):
        slow.read(text, end, slow_line)
    assert _state(whole) == _state(slow)
    # What precedes a run is asked for only when the run has ended.
    if text[-1:] not in ("`", "~"):
        assert line.blank == slow_line.blank


def _state(quotes: Quotes) -> list[object]:
    return [getattr(quotes, name) for name in Quotes.__slots__]


def test_a_line_is_blank_until_something_stands_on_it() -> None:
    line = Line()
    assert line.blank_before("  \t", 3)
    line.carry("  \t", 3)
    assert not line.blank_before("x", 1)
    line.carry("x", 1)
    assert line.blank_before("y\n ", 3)


def test_a_skipped_marker_leaves_a_line_as_blank_as_it_was() -> None:
    line, text = Line(), " <t>```"
    line.skip(text, 1, 4)
    assert line.blank_before(text, 4)
    assert not line.blank_before(text, 5)
