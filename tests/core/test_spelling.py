"""Tags with white space in them, HTML-escaped, in another case and with attributes: what counts
where the rule says so, what never does, and what is held back meanwhile."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.channel import Channel
from sidecar.core.format import Body, Format, Region, ToolName
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy, Quoted, ToolCalls
from sidecar.core.spelling import REFERENCES, normal
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way
from tests.promises import channel_text, segments

THINK = Format("think", (Region("block", Channel.REASONING, ("<think>",), ("</think>",)),))
CALL = Format(
    "call",
    (
        Region(
            "call",
            Channel.TOOL_CALL,
            ("<c>",),
            ("</c>",),
            body=Body.JSON,
            interrupts=frozenset({"reasoning"}),
            tool_name=ToolName(json="name"),
        ),
    ),
)
SPACED: dict[str, Any] = {"spaced_tags": True}
ESCAPED: dict[str, Any] = {"html_escaped": True}
ALL = SPACED | ESCAPED | {"case_insensitive": True, "attributes": True}


def shown(
    text: str,
    *formats: Format,
    declared: frozenset[str] = frozenset(),
    in_reasoning: bool = False,
    **wishes: Any,
) -> str:
    """The visible text, which is the same in every cut; the segments are the text in order."""
    vocabulary = Vocabulary(formats or (THINK,), Policy(**wishes))
    start = vocabulary.start_in_reasoning if in_reasoning else vocabulary.start
    whole = segments(Lane(vocabulary, declared, start), [text])
    assert "".join(segment.text for segment in whole) == text
    for pieces in every_way(text, random_cuts=4):
        assert segments(Lane(vocabulary, declared, start), pieces) == whole, pieces
    return channel_text(whole, Channel.CONTENT)


# What counts.


@pytest.mark.parametrize(
    "text",
    [
        "< think >a</ think >B",
        "<think\n>a</think\t>B",
        "<\r\n  think>a< / think >B",
        "<think>a</think>B",
        "<think >a</think>B",
        "<" + " " * 32 + "think>a</think" + "\n" * 32 + ">B",
    ],
)
def test_a_tag_counts_with_white_space_around_its_name_and_its_slash(text: str) -> None:
    assert shown(text, **SPACED) == "B"


@pytest.mark.parametrize("less", ["<", *REFERENCES["<"]])
@pytest.mark.parametrize("greater", [">", *REFERENCES[">"]])
def test_a_tag_counts_with_any_reference_for_a_bracket(less: str, greater: str) -> None:
    assert shown(f"A {less}think{greater}a</think>B", **ESCAPED) == "A B"


@pytest.mark.parametrize("slash", ["/", *REFERENCES["/"]])
def test_a_tag_counts_with_any_reference_for_its_slash(slash: str) -> None:
    assert shown(f"<think>a&lt;{slash}think&gt;B", **ESCAPED) == "B"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("&lt;think&gt;a</think>B", "B"),
        ("<think>a&lt;/think&gt;B", "B"),
        ("<think&gt;a&lt;/think>B", "B"),
        ("A&lt;/think&gt;B", "AB"),
        ("&lt;think&gt;a &lt;think&gt; b&lt;/think&gt;B", "B"),
        ("a &lt; b &amp; c &lt;&lt;think&gt;x&lt;/think&gt; d", "a &lt; b &amp; c &lt; d"),
    ],
)
def test_one_marker_may_be_escaped_and_another_not(text: str, left: str) -> None:
    assert shown(text, **ESCAPED) == left


@pytest.mark.parametrize(
    "text",
    [
        "< THINK >a</Think\n>B",
        "&lt; Think &gt;a&LT; / thinK &Gt;B",
        "&#X3C;THINK kind=&quot;x&quot;&GT;a&lt;/ think&gt;B",
        '<\nthink kind="x" >a</ think>B',
        "&lt;think a=&#39;1&#39; b &gt;a</think>B",
        "<think a=&#x2F;b>a</think>B",
    ],
)
def test_the_ways_of_writing_combine(text: str) -> None:
    assert shown(text, **ALL) == "B"


def test_an_answer_that_starts_in_reasoning_ends_it_in_any_way_of_writing() -> None:
    for closer in ("</ think>", "&lt;/think&gt;", "&#60;&sol;THINK &#62;"):
        assert shown(f"a{closer}B", in_reasoning=True, **ALL) == "B"


@pytest.mark.parametrize("opener", ["<c>", "< c >", "&lt;c&gt;", '<c id="1">', "<C>"])
def test_the_tool_of_a_call_is_read_however_its_marker_is_written(opener: str) -> None:
    text = f'A {opener}{{"name": "find"}}</c>'
    wishes = ALL | {"tool_calls": ToolCalls.DECLARED}
    assert shown(text, CALL, declared=frozenset({"find"}), **wishes) == text
    assert shown(text, CALL, declared=frozenset({"other"}), **wishes) == "A "


@pytest.mark.parametrize("opener", ["<b>", "< b >", "&lt;b&gt;", '<b id="1">', "<B>"])
@pytest.mark.parametrize("closer", ["</b>", "</ b>", "&lt;/b&gt;", "</B>"])
def test_so_it_is_where_the_markers_say_where_it_stands(opener: str, closer: str) -> None:
    name = ToolName(after="<b>", until=("</b>",))
    named = Format("b", (Region("b", Channel.TOOL_CALL, ("<b>",), ("</b>",), tool_name=name),))
    text = f"A {opener}find{closer} B"
    wishes = ALL | {"tool_calls": ToolCalls.DECLARED}
    assert shown(text, named, declared=frozenset({"find"}), **wishes) == text
    assert shown(text, named, declared=frozenset({"other"}), **wishes) == "A  B"


@pytest.mark.parametrize("closer", ["&lt;/think&gt;", "< / THINK>"])
def test_a_close_marker_counts_in_the_string_of_a_call_that_never_closed(closer: str) -> None:
    text = f'<think>a<c>{{"x": "y{closer}\nB'
    assert shown(text, THINK, CALL, **ALL) == "B"
    whole = f'<think>a<c>{{"x": "y{closer}"}}</c>B'
    assert shown(whole, THINK, CALL, **ALL) == "B"


@pytest.mark.parametrize("proof", ["<end>", "< end >", "&lt;end&gt;", "<END>"])
@pytest.mark.parametrize("closer", ["</f>", "</ f>", "&lt;/f&gt;", "</F>"])
def test_a_proof_and_what_ends_its_region_may_be_written_so_too(proof: str, closer: str) -> None:
    region = Region("f", Channel.TOOL_CALL, ("<f>",), ("</f>",), proof=("<end>",))
    proven = Format("f", (region,))
    assert shown(f"A <f>x{proof}y{closer}B", proven, **ALL) == "A B"
    text = f"A <f>x{closer}{proof}B"
    assert shown(text, proven, **ALL) == f"A <f>x{proof}B"


# What does not.


@pytest.mark.parametrize(
    "text",
    [
        "a < b, a <think, < thinker >, < think/>, <th ink> and <",
        "<" + " " * 33 + "think>",
        "<think" + " " * 33 + ">",
        "<\u00a0think> <\u2003think> <think\x0b> <\u200bthink>",
        "<think kind='x'>",
    ],
)
def test_other_white_space_is_text(text: str) -> None:
    assert shown(text, **SPACED) == text


@pytest.mark.parametrize(
    "text",
    [
        "a &lt; b, AT&T, &lt;think, &lt;thinker&gt;, &lt;think/&gt; and &l",
        "&ltthink&gt;",
        "&Lt;think&Gt;",
        "&amp;lt;think&amp;gt;",
        "& lt;think& gt;",
        "&#600;think&#62;",
        "&#00060;think&gt;",
        "%3Cthink%3E \\u003cthink\\u003e",
        "&lt;&#116;hink&gt;",
    ],
)
def test_other_references_are_text(text: str) -> None:
    assert shown(text, **ESCAPED) == text


@pytest.mark.parametrize(
    "text", ["&lt;think a/&gt;", "&lt;think a&#x2F;&gt;", "<think a&sol;>", "&lt;think &lt;b&gt;"]
)
def test_an_escaped_tag_that_closes_itself_is_text(text: str) -> None:
    assert shown(text, **ALL) == text


@pytest.mark.parametrize("text", ["< think >a", "&lt;think&gt;a", "<THINK>a", "<think x>a"])
def test_without_the_wish_it_is_text(text: str) -> None:
    assert shown(text) == text


def test_special_tokens_are_written_as_they_are() -> None:
    """They are a word of the model's, and have no inside."""
    token = Region("block", Channel.REASONING, ("<|think|>", "[THINK]"), ("<|/think|>",))
    for text in ("< |think|>a", "<|think| >a", "[ THINK ]a", "<| think |>a"):
        assert shown(text, Format("token", (token,)), **ALL) == text
    assert shown("&lt;|think|&gt;a&lt;|/think|>B", Format("token", (token,)), **ALL) == "B"


def test_only_what_has_the_brackets_of_a_tag_counts_escaped() -> None:
    quoted = Format("q", (Region("b", Channel.REASONING, ('["a"',), ("</b>",)),))
    text = "[&quot;a&quot;: 1]"
    assert shown(text, quoted, **ESCAPED) == text


@pytest.mark.parametrize("tag", ["< think >", "&lt;think&gt;", "&lt; THINK\t&gt;"])
def test_a_mention_stays_and_goes_as_the_rule_says(tag: str) -> None:
    for text in (f"Write `{tag}` and `x`.", f"```html\n{tag}\n```\n"):
        assert shown(text, **ALL) == text
        assert shown(text, **ALL, quoted=Quoted.DROP) == text.partition(tag)[0]


# A family that writes references itself.


@pytest.mark.parametrize("first", [True, False])
def test_a_familys_own_references_are_no_other_marker(first: bool) -> None:
    own = Format("own", (Region("b", Channel.REASONING, ("&lt;plan&gt;",), ("&lt;/plan&gt;",)),))
    formats = (own, THINK) if first else (THINK, own)
    text = "&lt;plan&gt;a&lt;/plan&gt;B&lt;think&gt;c&lt;/think&gt;D"
    for wishes in (ESCAPED, ALL):
        assert shown(text, *formats, **wishes) == "BD"
    assert shown(text, *formats) == "B&lt;think&gt;c&lt;/think&gt;D"


def test_in_a_region_whose_text_is_escaped_an_escaped_marker_is_text() -> None:
    region = Region("b", Channel.REASONING, ("<d>",), ("</d>",), escaped=True)
    text = "<d>a &lt;/d&gt; b</d>C"
    assert shown(text, Format("d", (region,)), **ALL) == "C"
    assert shown("&lt;d&gt;a</ D>C", Format("d", (region,)), **ALL) == "C"


@pytest.mark.parametrize(
    "marker", ["</think>", "</ think\n>", "&lt;/THINK&gt;", "&#x3C;&#47; think &GT;"]
)
def test_all_ways_of_writing_a_marker_have_one_in_common(marker: str) -> None:
    assert normal(marker) == "</think>"


# What is held back.


def beginning(*tokens: Sequence[str]) -> str:
    """A pattern for any beginning of a text of these tokens, each one of several; a token of white
    space is up to 32 characters of it."""
    pattern = ""
    for ways in reversed(tokens):
        if ways == WHITE:
            pattern = rf"(?:\s{{0,32}}{pattern})"
        else:
            whole = "|".join(map(re.escape, ways))
            begun = "|".join(
                re.escape(way[:length]) for way in ways for length in range(len(way), 0, -1)
            )
            pattern = f"(?:(?:{whole}){pattern}|(?:{begun}))?" if pattern else f"(?:{begun})?"
    return pattern


WHITE = (" ",)
LESS, SLASH, GREATER = (("<", *REFERENCES["<"]), ("/", *REFERENCES["/"]), (">", *REFERENCES[">"]))
NAME = [(letter, letter.upper()) for letter in "think"]
BEGINNINGS = re.compile(
    "|".join(
        (
            beginning(LESS, WHITE, *NAME, WHITE, GREATER),
            beginning(LESS, WHITE, SLASH, WHITE, *NAME, WHITE, GREATER),
        )
    ),
    re.IGNORECASE | re.ASCII,
)
PIECES = ["<", ">", "/", "think", "THI", "nk", " ", "\n", "&", "lt;", "&lt;", "&gt;", "&#6", "0;"]


@given(st.lists(st.sampled_from([*PIECES, "x", "&#x3C;", "< think >"]), max_size=12).map("".join))
@settings(max_examples=150)
def test_only_what_may_become_a_marker_is_held(text: str) -> None:
    wishes = Policy(spaced_tags=True, html_escaped=True, case_insensitive=True)
    lane = Lane(Vocabulary([THINK], wishes))
    for position, character in enumerate(text, 1):
        lane.feed(character)
        held = lane.held
        assert text[:position].endswith(held)
        assert not held.strip() or BEGINNINGS.fullmatch(held.lstrip()), held


@pytest.mark.parametrize(
    "unit", ["<", "< ", "&", "&#", "&#0", "&lt; ", "&lt;think x", "<think ", "< / ", "<think a=&gt"]
)
def test_what_is_held_is_bounded(unit: str) -> None:
    """The white space, the attributes and the references in a marker are bounded, so it is."""
    lane = Lane(Vocabulary([THINK], Policy(**ALL)))
    size = 0
    for character in "A" + unit + unit[-1] * 2000 + unit * 500:
        lane.feed(character)
        size = max(size, len(lane.held))
    assert size < 400
