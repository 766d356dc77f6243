"""One choice's text, step by step: what each piece makes certain, and what is held back."""

from __future__ import annotations

import gc
import re
import sys
from types import FunctionType, ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.core.channel import Channel, Segment
from sidecar.core.format import At, Body, Format, Region, ToolName
from sidecar.core.lane import MAX_WITHHELD, Lane
from sidecar.core.lookahead import MAX_PROOF
from sidecar.core.policy import Policy, Reasoning, ToolCalls, Unclosed
from sidecar.core.seam import MAX_SPACE
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way, units
from tests.promises import CATALOGUE, channel_text, literals, segments

T = Format("t", (Region("block", Channel.REASONING, ("<t>",), ("</t>",)),))
C = Format(
    "c",
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
ALL = CATALOGUE.resolve(["all"])


def lane(*formats: Format, declared: frozenset[str] = frozenset(), **wishes: object) -> Lane:
    return Lane(Vocabulary(formats or (T, C), Policy(**wishes)), declared)  # type: ignore[arg-type]


def visible(
    text: str,
    *formats: Format,
    declared: frozenset[str] = frozenset(),
    in_reasoning: bool = False,
    **wishes: object,
) -> str:
    """The visible text, which is the same in every cut."""
    vocabulary = Vocabulary(formats or (T, C), Policy(**wishes))  # type: ignore[arg-type]
    start = vocabulary.start_in_reasoning if in_reasoning else vocabulary.start
    found = segments(Lane(vocabulary, declared, start), [text])
    assert sorted("".join(segment.text for segment in found)) == sorted(text)
    for pieces in every_way(text, random_cuts=4):
        assert segments(Lane(vocabulary, declared, start), pieces) == found, pieces
    return channel_text(found, Channel.CONTENT)


def said(found: list[Segment]) -> list[tuple[str, str]]:
    return [(segment.channel.value, segment.text) for segment in found]


# Step by step.

# fmt: off
STEPS = [
    [("Hello", [("content", "Hello")], "")],
    [("a <", [("content", "a ")], "<"), ("b", [("content", "<b")], "")],
    [
        ("<", [], "<"),
        ("t", [], "<t"),
        (">", [("markup", "<t>")], ""),
        ("x", [("reasoning", "x")], ""),
    ],
    [
        ("<t>x</", [("markup", "<t>"), ("reasoning", "x")], "</"),
        ("t>\n", [("markup", "</t>")], "\n"),
        ("\nA", [("separator", "\n\n"), ("content", "A")], ""),
    ],
    [
        ("A\n<t>x", [("content", "A\n"), ("markup", "<t>"), ("reasoning", "x")], ""),
        ("</t>\n", [("markup", "</t>")], "\n"),
        ("\nB", [("separator", "\n"), ("content", "\nB")], ""),
    ],
    [
        ("<c>{}</c>", [("markup", "<c>"), ("tool_call", "{}"), ("markup", "</c>")], ""),
        (", ", [], ", "),
        ("<c>", [("separator", ", "), ("markup", "<c>")], ""),
        ("{}</c>", [("tool_call", "{}"), ("markup", "</c>")], ""),
    ],
    [
        ("see `<t>", [("content", "see `")], "<t>"),
        ("`", [], "<t>`"),
        (".", [("content", "<t>`.")], ""),
    ],
    [("A</t>", [("content", "A"), ("markup", "</t>")], ""), ("B", [("content", "B")], "")],
]
# fmt: on


@pytest.mark.parametrize("steps", STEPS)
def test_each_piece_makes_certain_what_it_can_and_the_rest_is_held(
    steps: list[tuple[str, list[tuple[str, str]], str]],
) -> None:
    running = lane()
    for piece, expected, held in steps:
        assert said(running.feed(piece)) == expected
        assert running.held == held


def test_plain_text_comes_back_as_the_very_segment_it_was() -> None:
    running = lane(*ALL)
    running.feed("Hello")
    for text in [" world", ", and on", "\nnext line\n", "a`b` c"]:
        (segment,) = running.feed(text)
        assert segment == Segment(Channel.CONTENT, text, "")


def test_an_empty_piece_says_nothing() -> None:
    assert lane().feed("") == []


def test_what_is_held_at_the_end_is_released_and_a_lane_finishes_once() -> None:
    running = lane()
    assert said(running.feed("a <")) == [("content", "a ")]
    assert said(running.finish()) == [("content", "<")]
    assert running.finish() == []


def test_repr_says_where_the_lane_is() -> None:
    running = lane()
    assert repr(running) == "<Lane in content, nothing came before, holds 0>"
    running.feed("<t>x</")
    assert repr(running) == "<Lane in t.block, only removed text came before, holds 2>"
    running.feed("t>A<t>x</t>  ")
    assert (
        repr(running) == "<Lane in content, visible text came before, then removed text, holds 2>"
    )


def test_what_is_told_is_forgotten() -> None:
    """An answer may have thousands of lanes, and each reads texts of megabytes."""
    kept: list[object] = []
    for text in ("<t>{}</t>", "{}", "{}<t>"):
        running = lane(T)
        said = text.format("long " * 10_000)
        assert "".join(segment.text for segment in running.feed(said)) == said
        kept += _referred_to(running)
    assert not any(isinstance(value, str) and len(value) > 1000 for value in kept)


def _referred_to(root: object) -> list[object]:
    found, seen = [root], {id(root)}
    for value in found:  # which grows
        new = [each for each in gc.get_referents(value) if id(each) not in seen]
        if not isinstance(value, (type, ModuleType, FunctionType)):
            seen.update(map(id, new))
            found += new
    return found


# What is held is no more than promise 3 allows.

MARKERS = sorted(literals(ALL))


def pattern_of(marker: str, *, beginnings: bool = False) -> str:
    """A pattern for the marker, or for any beginning of it."""
    runs = {"{name}": r"[\w.\-]{1,64}", "{number}": r"\d{1,4}", "{space}": r"\s{0,32}"}
    pattern = ""
    for token in reversed(re.findall(r"\{name\}|\{number\}|\{space\}|.", marker, re.DOTALL)):
        pattern = runs.get(token, re.escape(token)) + pattern
        if beginnings:
            pattern = f"(?:{pattern})?"
    return pattern


REGIONS = [region for format_ in ALL for region in format_.regions]
TAILS = re.compile("|".join(re.escape(token) for format_ in ALL for token in format_.tail))
UNPROVEN = re.compile("|".join(pattern_of(m) for r in REGIONS if r.proof for m in r.open))
BEGINNINGS = re.compile(
    "|".join(
        pattern_of(marker, beginnings=True)
        for marker in (
            *(m for region in REGIONS for m in (*region.open, *region.close)),
            *(m for format_ in ALL for m in (*format_.discard, *format_.tail)),
        )
    )
)


def may_be_held(held: str, shown: str) -> bool:
    """Whether ``held`` may be, where ``shown`` is what was visible before it."""
    if not held.strip(" \t\r\n,;"):
        return True
    # White space, and then one of the others.
    tail = held.lstrip(" \t\r\n,;")
    if any(BEGINNINGS.fullmatch(candidate) for candidate in (tail, held, " " + tail)):
        return True
    # Stop tokens that may be the end, or the open marker of a region that is still to be proven.
    if TAILS.match(tail) or (UNPROVEN.match(tail) and len(tail) < MAX_PROOF):
        return True
    line = shown.rpartition("\n")[2]
    return "`" in line and any(tail.startswith(marker) for marker in MARKERS) and "\n" not in tail


@given(
    st.lists(
        st.sampled_from([*MARKERS, "`", "```", "\n", " ", "word", "<", "{", "}", '"', ",", "a"]),
        max_size=10,
    ).map("".join)
)
@example("`]<]minimax[>[\n</tool_call> to=commentary<|message|> to=browser.")
@settings(max_examples=200)
def test_only_what_a_stated_rule_must_see_the_end_of_is_held(text: str) -> None:
    running = lane(*ALL)
    shown = ""
    for position, character in enumerate(text, 1):
        shown += channel_text(running.feed(character), Channel.CONTENT)
        held = running.held
        assert text[:position].endswith(held)
        assert may_be_held(held, shown), held


@pytest.mark.parametrize("marker", MARKERS)
def test_every_proper_prefix_of_a_marker_at_the_end_is_released(marker: str) -> None:
    vocabulary = Vocabulary(ALL, Policy())
    for length in range(1, len(marker)):
        if not any(m in marker[:length] for m in MARKERS):
            found = segments(Lane(vocabulary), units("Hi " + marker[:length]))
            assert channel_text(found, Channel.CONTENT) == "Hi " + marker[:length]


# White space.

WHITE_SPACE = [
    ("<t>x</t>\n\nA", "A"),
    ("\n <t>x</t>\n\nA", "A"),
    (" A", " A"),
    ("A <t>x</t> B", "A  B"),
    ("A\n\n<t>x</t>\n\nB", "A\n\nB"),
    ("A\n<t>x</t>\n\nB", "A\n\nB"),
    ("A\n\n<t>x</t>\nB", "A\n\nB"),
    ("A<t>x</t>\n\nB", "A\n\nB"),
    ("A\r\n<t>x</t>\r\n\r\nB", "A\r\n\r\nB"),
    ("A\n<t>x</t>\n<t>y</t>\nB", "A\nB"),
    ("A\n<t>x</t> \nB", "A\n \nB"),
    ("A\n\n<t>x</t>", "A\n\n"),
    ("A<t>x</t>\n", "A\n"),
    ("<t>x</t>\n", ""),
    ("\n", "\n"),
    ("</t>\nA", "A"),
    ("A\n</t>\nB", "A\nB"),
    ("<c>{}</c>, <c>{}</c>; <c>{}</c>\nA", "A"),
    ("<c>{}</c>, and", ", and"),
    ("<c>{}</c>, <t>x</t>A", ", A"),
    ("<t>x</t>, A", ", A"),
    ("A<c>{}</c>, B", "A, B"),
    ("A</t>, <c>{}</c>B", "A, B"),
]


@pytest.mark.parametrize(("text", "shown"), WHITE_SPACE)
def test_white_space_that_only_a_removed_region_needed_goes_with_it(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_comma_is_no_separator_where_the_last_thing_removed_was_no_call() -> None:
    assert visible("<c>{}</c>Yes</t>, <c>{}</c>") == "Yes, "


@pytest.mark.parametrize("space", [" ", "\n", "\r\n", "\n "])
@pytest.mark.parametrize("count", [MAX_SPACE // 2, MAX_SPACE, MAX_SPACE + 1, 3 * MAX_SPACE])
@pytest.mark.parametrize("before", ["", "A", "A" + "\n" * 300])
def test_much_white_space_beside_a_region_is_the_same_in_every_cut(
    before: str, space: str, count: int
) -> None:
    vocabulary = Vocabulary((T,), Policy())
    text = f"{before}<t>x</t>{space * count}B"
    whole = segments(Lane(vocabulary), [text])
    for size in (1, 7, MAX_SPACE, MAX_SPACE + 1):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert segments(Lane(vocabulary), pieces) == whole


# Markers in and beside regions.

NESTED = [
    ("<t>a<t>b</t>c", "c"),
    ("<t>a</t>b</t>c", "bc"),
    ("<t>a</t>A<t></t>B", "AB"),
    ("<t>`</t>A", "A"),
    ("<t>a<c>{}</c>B", "B"),
    ("<t>a<c>{</t>B", "B"),
    ("<c><t></c>A", "A"),
    ("<t>a</tt>b</t>A", "A"),
    ("<t>a<</t>A", "A"),
    ("<<t>a</t>A", "<A"),
    ("<t <t>a</t>>A", "<t >A"),
    ("A</c>B", "AB"),
    ("<t/><T>a</T>", "<t/><T>a</T>"),
]


@pytest.mark.parametrize(("text", "shown"), NESTED)
def test_the_first_close_marker_closes_and_a_call_may_interrupt(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_stray_close_marker_may_be_text() -> None:
    region = Region("b", Channel.REASONING, ("<f=",), ("</f>",), stray_close_is_text=True)
    assert visible("a</f> <f=x</f>b", Format("f", (region,))) == "a</f> b"


def test_the_reasoning_behind_an_interrupting_call_may_still_be_closed() -> None:
    found = [segment for piece in ["<t>a<c>x</t>A"] for segment in lane().feed(piece)]
    assert said(found) == [
        ("markup", "<t>"),
        ("reasoning", "a"),
        ("markup", "<c>"),
        ("tool_call", "x"),
        ("markup", "</t>"),
        ("content", "A"),
    ]


def test_a_removed_marker_may_leave_a_marker_which_is_text_as_there_is_one_pass() -> None:
    assert visible("<</t>t>A") == "<t>A"


# Where an answer begins.


def test_an_answer_that_starts_in_reasoning_is_hidden_up_to_any_close_marker() -> None:
    assert visible("a</t>\nB", in_reasoning=True) == "B"
    assert visible("<t>a</t>B", in_reasoning=True) == "B"
    assert visible("a", in_reasoning=True) == ""
    assert visible("a<c>{}</c>B", in_reasoning=True) == "B"


def test_a_prompt_that_opened_a_react_thought_ends_with_the_answer_beside_any_format() -> None:
    formats = CATALOGUE.resolve(["all", "react"])
    text = " I know.\nFinal Answer: 4"
    assert visible(text, *formats, in_reasoning=True) == "4"


# Where a marker counts.

LINE = Format(
    "l", (Region("b", Channel.REASONING, ("K:",), ("</k>",), at=At.LINE, stray_close_is_text=True),)
)
START = Format(
    "s",
    (Region("b", Channel.REASONING, ("K:",), ("</k>",), at=At.START, stray_close_is_text=True),),
)


@pytest.mark.parametrize(
    ("text", "at_line", "at_start"),
    [
        ("K:x</k>A", "A", "A"),
        (" \nK:x</k>A", "A", "A"),
        ("B K:x</k>A", "B K:x</k>A", "B K:x</k>A"),
        ("B\nK:x</k>A", "B\nA", "B\nK:x</k>A"),
        ("B\n  K:x</k>A", "B\n  A", "B\n  K:x</k>A"),
        ("K:x</k> K:y</k>A", "A", "A"),
        ("K:x</k>B K:y</k>A", "B K:y</k>A", "B K:y</k>A"),
        ("`K:x</k>` A", "`K:x</k>` A", "`K:x</k>` A"),
    ],
)
def test_a_marker_may_count_only_first_on_its_line_or_in_the_message(
    text: str, at_line: str, at_start: str
) -> None:
    assert visible(text, LINE) == at_line
    assert visible(text, START) == at_start


@pytest.mark.parametrize("separator", [",", ";", ", ", " ;\n"])
def test_where_the_message_starts_does_not_depend_on_the_cut_after_a_call(separator: str) -> None:
    visible(f"<c>{{}}</c>{separator}K:x</k>A", C, START)


# Declared calls, unclosed regions, kept channels.

DECLARED = {"declared": frozenset({"f"}), "tool_calls": ToolCalls.DECLARED}
CALL, OTHER = '<c>{"name": "f"}</c>', '<c>{"name": "g"}</c>'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CALL, CALL),
        (OTHER, ""),
        (f"A\n{CALL}\nB", f"A\n{CALL}\nB"),
        (f"\n {CALL}", f"\n {CALL}"),
        (f"\n {OTHER}B", "B"),
        (f"{OTHER}\n{CALL}B", f"{CALL}B"),
        (f"{CALL}{OTHER}B", f"{CALL}B"),
        ('<c>[{"name": "f"}, {"name": "g"}]</c>B', "B"),
        ("<c>{}</c>B", "B"),
        ('<c>{"name": "f", </c>B', "B"),
        ('<c>{"name": "f"}', '<c>{"name": "f"}'),
        (f"<t>{CALL}</t>B", f"{CALL}B"),
    ],
)
def test_a_call_stays_if_the_request_declares_all_its_tools(text: str, shown: str) -> None:
    assert visible(text, T, C, **DECLARED) == shown  # type: ignore[arg-type]


def test_a_call_too_long_to_keep_until_its_end_stays_hidden() -> None:
    running = lane(declared=frozenset({"f"}), tool_calls=ToolCalls.DECLARED)
    found = running.feed('<c>{"name": "f", "a": "')
    for _ in range(MAX_WITHHELD // 1000 + 1):
        found += running.feed("x" * 1000)
        assert len(running.held) <= MAX_WITHHELD
    found += [*running.feed('"}</c>B'), *running.finish()]
    assert channel_text(found, Channel.CONTENT) == "B"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A<t>x", "A<t>x"),
        ("<t>x</", "<t>x</"),
        ("A<t>x</t>B", "AB"),
        ("A <c>{", "A <c>{"),
        ("<t>x<c>y", "<c>y"),
        ("\n<t>x", "\n<t>x"),
    ],
)
def test_a_region_that_is_still_open_at_the_end_may_be_shown(text: str, shown: str) -> None:
    assert visible(text, unclosed=Unclosed.SHOW) == shown
    assert shown.startswith(visible(text).rstrip()) or "</t>" in text


def test_an_answer_that_a_header_opens_is_no_unclosed_region() -> None:
    react = CATALOGUE.resolve(["react"])
    text = "Thought: x\nFinal Answer: Hello"
    assert visible(text, *react, unclosed=Unclosed.SHOW) == "Hello"
    running = lane(*react, unclosed=Unclosed.SHOW)
    running.feed(text)
    assert running.held == ""


def test_the_answer_after_a_header_keeps_its_order_if_unclosed_regions_are_shown() -> None:
    react = CATALOGUE.resolve(["react"])
    text = "Final Answer: Hello"
    found = segments(lane(*react, unclosed=Unclosed.SHOW), [text])
    assert "".join(segment.text for segment in found) == text


def test_a_channel_that_is_kept_has_no_markers() -> None:
    assert visible("<t>x</t><c>{}</c>A", reasoning=Reasoning.KEEP) == "<t>x</t>A"
    assert visible("<t>x</t><c>{}</c>A", tool_calls=ToolCalls.KEEP) == "<c>{}</c>A"


# Linear time: the work is counted in calls and in characters compared, not in seconds.


SLOPPY = Policy(case_insensitive=True, attributes=True, spaced_tags=True, html_escaped=True)


def work(text: str, formats: tuple[Format, ...], policy: Policy) -> int:
    """Characters that the lane stripped or sliced, by a text that counts them."""
    running, count = Lane(Vocabulary(formats, policy)), 0

    class Counted(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            nonlocal count
            found = str.__getitem__(self, key)  # type: ignore[index]
            count += len(found)
            return found

    held = str.__new__(Counted, text)
    running._read(held, final=False)
    return count


@pytest.mark.parametrize(
    "unit", [" ", "<", "word ", "\n", "<think>x</think> ", "`<think>` ", "K:", "``"]
)
@pytest.mark.parametrize(
    "formats", [ALL, CATALOGUE.resolve(["react"]), (START,)], ids=["all", "react", "start"]
)
def test_one_large_piece_takes_work_in_proportion_to_its_length(
    unit: str, formats: tuple[Format, ...]
) -> None:
    check_work(unit, formats, Policy())


@pytest.mark.parametrize("unit", ["< ", "&", "&lt;", "&#", "&lt;think ", "< think >x</ think>"])
def test_so_it_does_where_tags_may_be_written_in_other_ways(unit: str) -> None:
    check_work(unit, ALL, SLOPPY)


def check_work(unit: str, formats: tuple[Format, ...], policy: Policy) -> None:
    size = 400
    once, twice = work(unit * size, formats, policy), work(unit * size * 4, formats, policy)
    assert twice <= 5 * once + 4000


def test_no_recursion_grows_with_the_text() -> None:
    limit = sys.getrecursionlimit()
    text = "<t>" * limit + "</t>" * limit
    assert channel_text(segments(lane(), [text]), Channel.CONTENT) == ""
