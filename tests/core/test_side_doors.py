"""Ways round the markers: what only looks like one, and what is nested in one.

What looks like a marker is text, and every character of it stays. Markers in other ways of writing,
which a rule may take for the same, are in ``test_spelling``.
"""

from __future__ import annotations

from collections.abc import Sized

import pytest

from sidecar.core.channel import Channel
from sidecar.core.lane import MAX_UNREAD, Lane
from sidecar.core.policy import Policy, ToolCalls
from tests.cuts import at_random, units
from tests.promises import CATALOGUE, channel_text, compiled, segments

TOGETHER = tuple(CATALOGUE.resolve(["all"]))
PLAIN = Policy()
ANY_CASE = Policy(case_insensitive=True)
SLOPPY = Policy(case_insensitive=True, attributes=True, spaced_tags=True, html_escaped=True)

LOOK_ALIKES = {
    "full-width brackets": ("＜think＞", "＜/think＞"),
    "full-width letters": ("<ｔｈｉｎｋ>", "</ｔｈｉｎｋ>"),
    "full-width square brackets": ("［THINK］", "［/THINK］"),
    "angle quotes": ("‹think›", "«/think»"),
    "other brackets": ("⟨think⟩", "〈/think〉"),
    "a zero-width space": ("<th\u200bink>", "</th\u200bink>"),
    "a word joiner": ("<\u2060think>", "</\u2060think>"),
    "a byte order mark": ("<think\ufeff>", "</think\ufeff>"),
    "a soft hyphen": ("<th\u00adink>", "</th\u00adink>"),
    "a no-break space": ("<\u00a0think>", "</think\u00a0>"),
    "a combining accent": ("<think\u0301>", "</think\u0301>"),
    "the Kelvin sign": ("<thin\u212a>", "</thin\u212a>"),
    "a dotless i": ("<th\u0131nk>", "</th\u0131nk>"),
    "a dotted I": ("<TH\u0130NK>", "</TH\u0130NK>"),
    "a long s": ("<rea\u017foning>", "</rea\u017foning>"),
    "Cyrillic": ("<thin\u043a>", "</thin\u043a>"),
    "a right-to-left mark": ("<\u200fthink>", "<\u200f/think>"),
    "JSON escapes": (r"\u003cthink\u003e", r"\u003c/think\u003e"),
    "percent signs": ("%3Cthink%3E", "%3C/think%3E"),
    "escaped twice": ("&amp;lt;think&amp;gt;", "&amp;lt;/think&amp;gt;"),
    "a reference without its end": ("&ltthink>", "&lt/think>"),
    "a comment": ("<!--think-->", "<!--/think-->"),
    "a backslash": (r"<\think>", r"<\/think>"),
}
"""What opens and what closes, to the eye or to another program."""


@pytest.mark.parametrize("policy", [PLAIN, ANY_CASE, SLOPPY], ids=["plain", "any case", "sloppy"])
@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_what_only_looks_like_a_marker_is_text_to_the_character(
    look_alike: str, policy: Policy
) -> None:
    opens, closes = LOOK_ALIKES[look_alike]
    vocabulary = compiled(TOGETHER, policy)
    shown = f"A {opens}plan{closes} B"
    for text, left in ((shown, shown), (f"<think>{opens}plan{closes} plan</think>B", "B")):
        for pieces in ([text], units(text), *at_random(text, 2)):
            found = segments(Lane(vocabulary), pieces)
            assert channel_text(found, Channel.CONTENT) == left


def test_a_marker_in_anothers_pieces_is_found_once() -> None:
    """One pass: what is left of a marker that was put together is text, and says nothing hidden."""
    for text, left in (
        ("<th<think>ink>secret</think>A", "<thA"),
        ("<think>secret</th</think>ink>A", "ink>A"),
        ("<think>a<think>secret</think>A", "A"),
        ("<think>a</think>A</think>B", "AB"),
    ):
        for policy in (PLAIN, SLOPPY):
            found = segments(Lane(compiled(TOGETHER, policy)), units(text))
            assert channel_text(found, Channel.CONTENT) == left


def sizes(lane: Lane) -> dict[str, int]:
    """What the lane remembers, by length."""
    return {name: len(held) for name, held in vars(lane).items() if isinstance(held, Sized)}


NESTS = {
    "thoughts": "<think>",
    "thoughts, spaced": "< think >",
    "calls": '<tool_call>{"a": ',
    "calls in thoughts": "<think><tool_call>",
    "lists": "<tool_call>[[[[",
    "thoughts in lists": "<tool_call>[<think>",
}


@pytest.mark.parametrize("policy", [PLAIN, SLOPPY], ids=["plain", "sloppy"])
@pytest.mark.parametrize("nest", NESTS)
def test_what_is_remembered_does_not_grow_with_the_depth(nest: str, policy: Policy) -> None:
    vocabulary = compiled(TOGETHER, policy)
    shallow, deep = Lane(vocabulary), Lane(vocabulary)
    for count, lane in ((10, shallow), (10_000, deep)):
        for _ in range(count):
            lane.feed(NESTS[nest])
    assert sizes(deep) == sizes(shallow) | {"_unread": sizes(deep)["_unread"]}
    assert sizes(deep)["_unread"] <= MAX_UNREAD


@pytest.mark.parametrize("wish", [ToolCalls.DROP, ToolCalls.DECLARED, ToolCalls.MOVE])
@pytest.mark.parametrize("inside", ["[" * 100_000, '{"a":' * 50_000, "(" * 100_000])
def test_a_call_that_is_nested_deeper_than_any_parser_goes_is_hidden(
    inside: str, wish: ToolCalls
) -> None:
    vocabulary = compiled(TOGETHER, Policy(tool_calls=wish))
    lane = Lane(vocabulary, frozenset({"find"}))
    text = f'A <tool_call>{{"name": "find", "arguments": {inside}</tool_call>B'
    found = segments(lane, [text[i : i + 4096] for i in range(0, len(text), 4096)])
    assert "find" not in channel_text(found, Channel.CONTENT)
