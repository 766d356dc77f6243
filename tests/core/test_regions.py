"""What each key of a region, and each placeholder of a marker, means: in every cut."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.channel import Channel
from sidecar.core.format import At, Body, Format, Region, ToolName
from sidecar.core.jsonbody import MAX_STRING
from sidecar.core.lane import Lane
from sidecar.core.lookahead import MAX_PROOF, MAX_TAIL
from sidecar.core.policy import Policy, Reasoning, ToolCalls, Unclosed
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way
from tests.promises import channel_text, segments

THINK = Format("think", (Region("block", Channel.REASONING, ("<think>",), ("</think>",)),))


def call(*opening: str, close: tuple[str, ...] = ("</c>",), **facts: object) -> Format:
    region = Region("call", Channel.TOOL_CALL, opening, close, **facts)  # type: ignore[arg-type]
    return Format("c", (region,))


def visible(text: str, *formats: Format, in_reasoning: bool = False, **wishes: object) -> str:
    """The visible text, which is the same in every cut."""
    vocabulary = Vocabulary(formats, Policy(**wishes))  # type: ignore[arg-type]
    start = vocabulary.start_in_reasoning if in_reasoning else vocabulary.start
    whole = segments(Lane(vocabulary, start=start), [text])
    assert "".join(segment.text for segment in whole) == text
    for pieces in every_way(text, random_cuts=4):
        assert segments(Lane(vocabulary, start=start), pieces) == whole, pieces
    return channel_text(whole, Channel.CONTENT)


# Placeholders.


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A<f=x>1</c>B", "AB"),
        ("A<f=get_it.now-1>1</c>B", "AB"),
        ("A<f=>1</c>B", "A<f=>1B"),
        ("A<f=a b>1", "A<f=a b>1"),
        ("A<f=x", "A<f=x"),
        (f"A<f={'x' * 64}>1</c>B", "AB"),
        (f"A<f={'x' * 65}>B", f"A<f={'x' * 65}>B"),
    ],
)
def test_a_name_is_a_run_of_1_to_64_of_its_characters(text: str, left: str) -> None:
    assert visible(text, call("<f={name}>")) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A<c>{1</c>B", "AB"),
        ("A<c> \n\t{1</c>B", "AB"),
        ("A<c>" + " " * 32 + "{1</c>B", "AB"),
        ("A<c>" + " " * 33 + "{1", "A<c>" + " " * 33 + "{1"),
        ("A<c> x", "A<c> x"),
        ("A<c> ", "A<c> "),
    ],
)
def test_space_is_a_run_of_up_to_32_or_nothing(text: str, left: str) -> None:
    assert visible(text, call("<c>{space}{")) == left


def test_the_longest_marker_wins_with_placeholders_too() -> None:
    both = Format(
        "f",
        (
            Region("short", Channel.REASONING, ("<f",), ("</s>",)),
            Region("long", Channel.TOOL_CALL, ("<f={name}>",), ("</l>",)),
            Region("longer", Channel.TOOL_RESULT, ("<f={name}>{space}!",), ("</r>",)),
        ),
    )
    assert visible("A<f=x>1</s>2</l>B", both) == "AB"
    assert visible("A<f=x y</s>B", both) == "AB"
    assert visible("A<f=x> !1</l></r>B", both) == "AB"


def test_braces_that_are_no_placeholder_are_literal() -> None:
    assert visible('A{"name": 1</c>B{names}', call('{"name"')) == "AB{names}"


# Where an open marker counts.


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>\n\n<response>B</response>", "B"),
        ("<think>a</think><response>B</response>C", "BC"),
        ("Sure.\n<think>a</think>\n<response>B</response>", "Sure.\nB"),
        ("<response>B</response>", "<response>B</response>"),
        ("<think>a</think>X <response>B</response>", "X <response>B</response>"),
        ("<think>a</think><response>B</response><response>", "B"),
        ("<think>a</think>\n <resp", "<resp"),
    ],
)
def test_after_is_directly_after_a_removed_region(text: str, left: str) -> None:
    wrapper = Region(
        "answer",
        Channel.CONTENT,
        ("<response>",),
        ("</response>",),
        at=At.AFTER,
        stray_close_is_text=True,
    )
    assert visible(text, THINK, Format("r", (wrapper,))) == left


@pytest.mark.parametrize("between", ["; ", ";\n", ";"])
def test_a_call_that_stays_counts_as_the_region_that_the_next_one_is_after(between: str) -> None:
    name = ToolName(json="name")
    calls = Format(
        "j",
        (
            Region("first", Channel.TOOL_CALL, ("<c>",), ("</c>",), tool_name=name),
            Region(
                "next", Channel.TOOL_CALL, (";{space}<c>",), ("</c>",), At.AFTER, tool_name=name
            ),
        ),
    )
    vocabulary = Vocabulary([calls], Policy(tool_calls=ToolCalls.DECLARED))
    kept, hidden = '<c>{"name": "a"}</c>', '<c>{"name": "b"}</c>'
    text = f"{kept}{between}{hidden} Hi {between}"
    for pieces in every_way(text):
        lane = Lane(vocabulary, frozenset({"a"}))
        assert channel_text(segments(lane, pieces), Channel.CONTENT) == f"{kept} Hi {between}"


def declared(text: str, *formats: Format) -> str:
    """What is visible where the tool ``a`` alone is declared."""
    vocabulary = Vocabulary(formats, Policy(tool_calls=ToolCalls.DECLARED))
    whole = segments(Lane(vocabulary, frozenset({"a"})), [text])
    for pieces in every_way(text, random_cuts=4):
        assert segments(Lane(vocabulary, frozenset({"a"})), pieces) == whole, pieces
    return channel_text(whole, Channel.CONTENT)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('A<c>[{"name": "a"}]</c>B', 'A<c>[{"name": "a"}]</c>B'),
        ('A<c>[{"name": "a"}]\n</c>\n<c>[{"name": "a"}]</c>B', None),
        ('A<c>[{"name": "b"}]</c>B', "AB"),
        ('A<c>[{"name": "a"}] B</c>C', 'A<c>[{"name": "a"}] BC'),
        ('A<c>[{"name": "a"}]</c><c>[{"name": "b"}]</c>B', 'A<c>[{"name": "a"}]</c>B'),
    ],
)
def test_a_call_that_its_value_ended_stays_with_its_close_marker(
    text: str, left: str | None
) -> None:
    calls = call("<c>{space}[", body=Body.VALUE, tool_name=ToolName(json="name"))
    assert declared(text, calls) == (text if left is None else left)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<n>a</n><i>1</i>B", "<n>a</n><i>1</i>B"),
        ("<n>a</n>\n<i>1</i>B", "<n>a</n>\n<i>1</i>B"),
        ("<n>b</n><i>1</i>B", "B"),
        ("<n>a</n>B<i>1</i>C", "<n>a</n>BC"),
        ("<n>a</n><n>b</n><i>1</i>C", "<n>a</n>C"),
        ("<i>1</i>B", "B"),
    ],
)
def test_arguments_in_a_region_of_their_own_share_the_fate_of_their_call(
    text: str, left: str
) -> None:
    name = ToolName(after="<n>", until=("</n>",))
    siblings = Format(
        "s",
        (
            Region("name", Channel.TOOL_CALL, ("<n>",), ("</n>",), tool_name=name),
            Region("input", Channel.TOOL_CALL, ("<i>",), ("</i>",)),
        ),
    )
    assert declared(text, siblings) == left


# Wrappers.

WRAPPED = Format("w", (Region("answer", Channel.CONTENT, ("<|A|>",), ("<|/A|>",)),))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<|A|>Hi<|/A|>", "Hi"),
        ("X <|A|>Hi", "X Hi"),
        ("<|A|>a<think>b</think>c<|/A|>d", "acd"),
        ("<|A|>a<|A|>b<|/A|>c", "abc"),
        ("Hi<|/A|>", "Hi"),
        ("`<|A|>` is `<|/A|>`.", "`<|A|>` is `<|/A|>`."),
        ("<|A|>\nHi\n<|/A|>\n", "Hi\n"),
    ],
)
def test_a_content_region_with_a_close_marker_is_a_wrapper(text: str, left: str) -> None:
    assert visible(text, THINK, WRAPPED) == left


def test_a_wrapper_that_interrupts_reasoning_shows_its_text() -> None:
    facts = Region(
        "answer",
        Channel.CONTENT,
        ("<|A|>",),
        ("<|/A|>",),
        interrupts=frozenset({"think"}),
    )
    assert visible("<think>a<|A|>Hi<|/A|>", THINK, Format("w", (facts,))) == "Hi"
    assert visible("a<|A|>Hi", THINK, Format("w", (facts,)), in_reasoning=True) == "Hi"


# Regions inside regions.

NESTED = Format(
    "n",
    (
        Region("call", Channel.TOOL_CALL, ("<c>",), ("</c>",)),
        Region("text", Channel.TOOL_CALL, ("<![",), ("]]>",), inside="call"),
    ),
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A<c>1<![ </c> ]]>2</c>B", "AB"),
        ("A<c><![]]><![</c>]]></c>B", "AB"),
        ("A<![ x ]]>B", "A<![ x ]]>B"),
        ("A<c>1</c>]]>B", "A]]>B"),
        ("A<c><![</c>", "A"),
    ],
)
def test_inside_counts_only_there_and_returns(text: str, left: str) -> None:
    assert visible(text, NESTED) == left


def test_a_call_with_a_region_inside_is_one_call() -> None:
    vocabulary = Vocabulary([NESTED], Policy())
    found = Lane(vocabulary).feed("A<c>1<![ 2 ]]>3</c>B<c>4</c>")
    assert [segment.call for segment in found] == [0, 1, 1, 1, 1, 1, 1, 1, 0, 2, 2, 2]


@pytest.mark.parametrize("wishes", [{"unclosed": Unclosed.SHOW}, {"tool_calls": ToolCalls.KEEP}])
def test_a_region_inside_shares_the_fate_of_its_region(wishes: dict[str, Any]) -> None:
    assert visible("A<c>1<![ </c> 2", NESTED, **wishes) == "A<c>1<![ </c> 2"


def test_a_call_inside_reasoning_is_a_call() -> None:
    inner = Format(
        "i",
        (
            Region("thought", Channel.REASONING, ("<i>",), ("</i>",)),
            Region("call", Channel.TOOL_CALL, ("<c>",), ("</c>",), inside="thought"),
        ),
    )
    found = Lane(Vocabulary([inner], Policy())).feed("<i>a<c>b</c>d</i>e")
    assert [segment.call for segment in found] == [0, 0, 1, 1, 1, 0, 0, 0]
    assert visible("<i>a<c>b</c>d</i>e", inner) == "e"


def test_the_header_of_what_is_kept_is_kept() -> None:
    details = Format(
        "d",
        (
            Region("header", Channel.MARKUP, ("<d",), (">",), then="block"),
            Region("block", Channel.REASONING, (), ("</d>",)),
        ),
    )
    assert visible('A<d x="1">b</d>C', details, reasoning=Reasoning.KEEP) == 'A<d x="1">b</d>C'
    assert visible('A<d x="1">b</d>C', details) == "AC"


def test_a_region_belongs_to_every_format_that_has_its_open_marker() -> None:
    same = Format("same", THINK.regions)
    breaking = call("<c>", interrupts=frozenset({"think"}))
    for formats in [(same, THINK, breaking), (THINK, same, breaking)]:
        assert visible("<think>a<c>b</c>D", *formats) == "D"


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("<think><c>x</think>", {"reasoning": Reasoning.KEEP, "tool_calls": ToolCalls.DECLARED}),
        ("<think>a<c>x</c>b", {"tool_calls": ToolCalls.KEEP}),
        ("<think>a<c>x", {"tool_calls": ToolCalls.KEEP}),
    ],
)
def test_what_is_withheld_stays_before_what_is_kept(text: str, wishes: dict[str, Any]) -> None:
    breaking = call("<c>", interrupts=frozenset({"think"}))
    visible(text, THINK, breaking, unclosed=Unclosed.SHOW, **wishes)


# Bodies.


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('A<c>[{"a": "]"}]</c>B', "AB"),
        ('A<c>[{"a": "]"}] B', "A B"),
        ('A<c> [[1], "</c>"]B</c>', "AB"),
        ("A<c>[broken</c>B", "AB"),
        ('A<c>["\n</c>B', "AB"),
    ],
)
def test_a_value_ends_its_region_though_there_is_a_close_marker(text: str, left: str) -> None:
    assert visible(text, call("<c>{space}[", body=Body.VALUE)) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A[f(a=')]', b=\"(\")]B", "AB"),
        ("A[f(a=[g(1)]), h()]B]", "AB]"),
        ("A[f(a='\\')]')]B", "AB"),
        ("A[f()]B", "AB"),
        ("A[f(", "A"),
        ("A[1] [a](b)", "A[1] [a](b)"),
    ],
)
def test_python_ends_with_the_brackets_that_its_open_marker_opened(text: str, left: str) -> None:
    assert visible(text, call("[{name}(", close=(), body=Body.PYTHON)) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A<c>[f(a='</c>')]</c>B", "AB"),
        ("A<c>\nf(a='</c>')\ng(b=\"</c>\")\n</c>B", "AB"),
        ("A<c><invoke>it's</c>B", "AB"),
        ("A<c>f(a='x\n</c>B", "AB"),
    ],
)
def test_a_close_marker_in_a_string_of_python_does_not_close(text: str, left: str) -> None:
    assert visible(text, call("<c>", body=Body.PYTHON)) == left


# Fences that are markers.

FENCED = call("```tool\n", close=("\n```",), at=At.LINE, stray_close_is_text=True)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A\n```tool\nf()\n```\nB", "A\nB"),
        ("```tool\nf()\n```B", "B"),
        ("```tool\nf()\n```\n```py\nx\n```", "```py\nx\n```"),
        ("````tool\nf()\n````", "````tool\nf()\n````"),
        ("```py\n```tool\nf()\n```", "```py\n```tool\nf()\n```"),
        (
            "````md\n```tool\nf()\n```\n````\n<think>a</think>B",
            "````md\n```tool\nf()\n```\n````\nB",
        ),
        ("A ```tool\nf()", "A ```tool\nf()"),
        ("```tools\nf()\n```", "```tools\nf()\n```"),
        ("A `` ` `` <think>a</think>`B`", "A `` ` `` `B`"),
        ("```too", "```too"),
    ],
)
def test_a_fence_can_be_a_marker_and_any_other_stays_one(text: str, left: str) -> None:
    assert visible(text, FENCED, THINK) == left


# Proof.

BARE = call(
    '{{space}"name"', close=(), at=At.START, body=Body.VALUE, proof=('"arguments"', '"parameters"')
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"name": "f", "arguments": {"a": 1}}Hi', "Hi"),
        ('{ "name": "f", "parameters": {}}', ""),
        ('{"name": "Bo", "age": 3}', '{"name": "Bo", "age": 3}'),
        ('{"name": "Bo"} "arguments"', '{"name": "Bo"} "arguments"'),
        ('{"name": "f", "argu', '{"name": "f", "argu'),
        ('A {"name": "f", "arguments": {}}', 'A {"name": "f", "arguments": {}}'),
        ('{"name": "Bo"} <think>a</think>Hi', '{"name": "Bo"} Hi'),
    ],
)
def test_an_open_marker_that_needs_proof_counts_only_with_it(text: str, left: str) -> None:
    assert visible(text, BARE, THINK) == left


def test_proof_is_waited_for_only_so_long() -> None:
    text = '{"name": "' + "x" * MAX_PROOF + '", "arguments": {}}'
    vocabulary = Vocabulary([BARE], Policy())
    lane = Lane(vocabulary)
    assert lane.feed(text[: MAX_PROOF - 1]) == []
    assert "".join(segment.text for segment in lane.feed(text[MAX_PROOF - 1 :])) == text
    assert visible(text, BARE) == text


# The tail of a message.

TAIL = Format("t", (), tail=("<|end|>", "</s>"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Hi<|end|>", "Hi"),
        ("Hi<|end|>\n</s>\n", "Hi\n"),
        ("Hi<|end|> there", "Hi<|end|> there"),
        ("Hi<|end|><|end|>there<|end|>", "Hi<|end|><|end|>there"),
        ("Hi<|en", "Hi<|en"),
        ("<s>Hi</s>.", "<s>Hi</s>."),
        ("`<|end|>`", "`<|end|>`"),
        ("<|end|>", ""),
        ("Hi<|end|></think>", "Hi"),
        ("Hi<|end|><think>a</think>", "Hi<|end|>"),
    ],
)
def test_a_tail_is_removed_only_where_nothing_visible_follows(text: str, left: str) -> None:
    assert visible(text, TAIL, THINK) == left


def test_so_many_stop_tokens_are_text() -> None:
    text = "Hi" + "<|end|>" * (MAX_TAIL // 7 + 2) + "."
    assert visible(text, TAIL) == text
    lane = Lane(Vocabulary([TAIL], Policy()))
    lane.feed(text)
    assert lane.held == ""


# The region that the prompt opened.

HEADERS = Format(
    "h",
    (
        Region("all", Channel.CONTENT, (">>>all\n",), at=At.LINE, interrupts=frozenset({"self"})),
        Region(
            "to",
            Channel.TOOL_CALL,
            (">>>",),
            ("\n",),
            at=At.LINE,
            then="call",
            interrupts=frozenset({"self"}),
            implicit=True,
        ),
        Region("call", Channel.TOOL_CALL),
    ),
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("all\nHi", "Hi"),
        ("f\n{}\n>>>all\nHi", "Hi"),
        ("f\n{}", ""),
        ("allow\n{}", ""),
        ("", ""),
        (">>", ""),
    ],
)
def test_an_answer_may_begin_as_though_the_prompt_had_written_the_marker(
    text: str, left: str
) -> None:
    vocabulary = Vocabulary([HEADERS], Policy())
    whole = segments(Lane(vocabulary, start=vocabulary.start_in_reasoning), [text])
    assert channel_text(whole, Channel.CONTENT) == left
    if text:
        assert visible(text, HEADERS, THINK, in_reasoning=True) == left


def test_what_the_prompt_wrote_is_not_held() -> None:
    vocabulary = Vocabulary([HEADERS], Policy())
    lane = Lane(vocabulary, start=vocabulary.start_in_reasoning)
    assert lane.held == ""
    lane.feed("al")
    assert lane.held == "al"


# Tags in other clothes.


@pytest.mark.parametrize(
    ("text", "plain", "any_case"),
    [
        ("<THINK>a</Think>B", "<THINK>a</Think>B", "B"),
        ("<think>a</THINK>b</think>B", "B", "bB"),
        ("<ThınK>a", "<ThınK>a", "<ThınK>a"),
    ],
)
def test_case_counts_unless_the_rule_says_otherwise(text: str, plain: str, any_case: str) -> None:
    assert visible(text, THINK) == plain
    assert visible(text, THINK, case_insensitive=True) == any_case


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('<think kind="x">a</think>B', "B"),
        ('<think\nkind="x/y" a>a</think>B', "B"),
        ("<think >a</think>B", "B"),
        ("<think>a</think>B", "B"),
        ('<think kind="x"/>B', '<think kind="x"/>B'),
        ("<think/>B", "<think/>B"),
        ("<thinkx>B", "<thinkx>B"),
        ("<think <b>x</b>", "<think <b>x</b>"),
        ("<think" + " x" * 200 + ">B", "<think" + " x" * 200 + ">B"),
    ],
)
def test_attributes_make_a_tag_text_unless_the_rule_says_otherwise(text: str, left: str) -> None:
    assert visible(text, THINK, attributes=True) == left
    if left == "B" and text != "<think>a</think>B":
        assert visible(text, THINK) == text.replace("</think>", "")


# A call that broke into reasoning.

BREAKING = call("<c>", body=Body.JSON, interrupts=frozenset({"think"}))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('<think>a<c>{"x": "</think>"}</c>B', "B"),
        ('<think>a<c>{"x": "</think> y", "z": 1}</c>B', "B"),
        ('<think>a<c>{"x": ["</think>" ]}</c>B', "B"),
        ('<think>a<c>{"x": "y</think>\nB', "B"),
        ('<think>a<c>{"x": "y</think>B', "B"),
        ('<think>a<c>{"x": "y</think>He said "no" twice', 'He said "no" twice'),
        ('<think>a<c>{"x": "</think>\\"', '\\"'),
        ('<think>a<c>{"x": "</thi', ""),
        ('<think>a<c>{"x": "' + "y" * 50 + "</think>B", "B"),
    ],
)
def test_a_call_that_never_closed_does_not_swallow_the_close_marker_of_the_reasoning(
    text: str, left: str
) -> None:
    assert visible(text, THINK, BREAKING) == left


def test_near_markers_in_a_long_string_are_part_of_it() -> None:
    text = '<think>x<c>{"x": "' + "</thinx" * 20_000 + '"}</c>B'
    lane = Lane(Vocabulary([THINK, BREAKING], Policy()))
    assert channel_text([*lane.feed(text), *lane.finish()], Channel.CONTENT) == "B"


def test_a_string_with_the_close_marker_is_waited_for_only_so_long() -> None:
    text = '<think>a<c>{"x": "</think>' + "y" * (MAX_STRING + 1)
    vocabulary = Vocabulary([THINK, BREAKING], Policy())
    lane = Lane(vocabulary)
    lane.feed(text)
    assert lane.held == ""
    assert visible(text + '"}</c>B', THINK, BREAKING) == "B"
