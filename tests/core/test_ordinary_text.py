"""Do no harm: prose, HTML, Markdown, source code and LaTeX leave the group ``all`` as they came.

The words are chosen to come close: tags that begin like a marker, operators that special tokens
are made of, words that other families begin a message with.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sidecar.core.channel import Channel
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import EXHAUSTIVE, at_random, units
from tests.promises import CATALOGUE, channel_text, literals

ALL = Vocabulary(CATALOGUE.resolve(["all"]), Policy())
MARKERS = literals(CATALOGUE.resolve(["all"]))

PROSE = st.sampled_from(
    [
        *("I think", "the answer", "a < b", "x > y", "[1]", "[2, 3]", "(see below)", "…", "“so”"),
        *(
            "Thought: none.",
            "Action: wait.",
            "Action Input: 3",
            "Final Answer: 4",
            "Observation: it",
        ),
        *("Here is my thought process:", "Here is my response:", "analysis", "final", "commentary"),
        *(
            "assistant",
            "function call",
            "to=me",
            " to=functions",
            ">>> 1 + 1",
            ">>>all",
            "助手：",
            "思考",
        ),
        *(
            "</",
            "<",
            "<|",
            "|>",
            "<｜",
            "｜>",
            "◁",
            "▷",
            "✿",
            "]<]",
            "[/",
            "[THINK",
            "[TOOL",
            "<think",
        ),
        *(
            "thought",
            "call:",
            "functions.f:0",
            "to=user",
            "user",
            "é",
            "漢字",
            "🤔",
            "\t",
            "  ",
            "'",
            "-",
        ),
    ]
)
HTML = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<s>old</s>",
            "<b>",
            "</b>",
            "<br/>",
            "<!-- think -->",
            "<a href='#'>",
            "</a>",
        ),
        *(
            "<details>",
            "<summary>why</summary>",
            "</details>",
            "<code>f()</code>",
            "<div class='think'>",
        ),
        *(
            "<answer>",
            "</answer>",
            "<response>",
            "</response>",
            "<tool>",
            "</tool>",
            "<reason>",
            "</reason>",
        ),
        *(
            "<functional>",
            "<function>",
            "</function>",
            "<parameter name='x'>",
            "</parameter>",
            "<invoke/>",
        ),
        *(
            "&lt;think&gt;",
            "<THINK>",
            "<think-tank>",
            "<thinker>",
            "<tool-call>",
            "<toolcall>",
            "<root/>",
        ),
        *("<![CDATA[x]]>", "<?xml version='1.0'?>", "<svg:g>", "</svg:g>", "<function name='f'>"),
    ]
)
MARKDOWN = st.sampled_from(
    [
        *(
            "# Title",
            "- item",
            "1. one",
            "> quote",
            "**bold**",
            "_it_",
            "~~gone~~",
            "---",
            "| a | b |",
        ),
        *(
            "[link](https://example.org)",
            "[THINK about it](x)",
            "![alt](i.png)",
            "[^1]",
            "- [x] done",
        ),
        *(
            "`<think>`",
            "`</tool_call>`",
            "`[TOOL_CALLS]`",
            "`<|im_end|>`",
            "``a ` b``",
            "\\<think\\>",
        ),
        *(
            "```\n<think>x</think>\n```",
            "~~~xml\n<tool_call>{}</tool_call>\n~~~",
            "```json\n[1]\n```",
        ),
        *("```tool_code\nf()\n```", '```json\n[{"name": "Bo"}]\n```', "    indented", "***"),
    ]
)
CODE = st.sampled_from(
    [
        *(
            "#include <functional>",
            "std::vector<int> v;",
            "if (a <b && c> d) {",
            "}",
            "template <class T>",
        ),
        *(
            '{"name": "Bo", "age": 3}',
            '[{"name": "Bo"}]',
            '{"arguments": []}',
            '{"tool_name": 1}',
            "[f(x)]",
        ),
        *(
            "functools.reduce(f, xs)",
            "functools.partial",
            "import functools",
            "f <| x |> g",
            "xs |> map",
        ),
        *(
            "a <- b",
            "x << 2",
            "x >>> 2",
            "i <= n",
            "fn f<'a>(x: &'a str)",
            "foo::<T>()",
            "arr[i][j]",
        ),
        *(
            "call(to=functions.x)",
            "print('</s')",
            "s = '<|'",
            "echo $? | cat <<EOF",
            "EOF",
            "@tool",
            "{{x}}",
        ),
        *(
            "key: <value>",
            "SELECT * FROM t WHERE a<>b",
            "/* </ */",
            "//",
            "<T>",
            "Map<K, V>",
            "'''",
            '"""',
        ),
    ]
)
LATEX = st.sampled_from(
    [
        *(
            "\\begin{align}",
            "\\end{align}",
            "$a < b$",
            "$$\\langle x | y \\rangle$$",
            "\\[ x^2 \\]",
            "\\(y\\)",
        ),
        *(
            "\\frac{1}{2}",
            "\\cite[p.~3]{knuth}",
            "x_{1} & y \\\\",
            "\\textbf{a}",
            "%",
            "|\\psi\\rangle",
        ),
    ]
)
BETWEEN = st.sampled_from([" ", "\n", "\n\n", " ", "\t"])


@st.composite
def texts(draw: st.DrawFn, *kinds: st.SearchStrategy[str]) -> str:
    parts: list[str] = []
    for part in draw(st.lists(st.one_of(*kinds), min_size=1, max_size=12)):
        fence = part.startswith(("```", "~~~"))
        parts += ["\n", part, "\n"] if fence else [part, draw(BETWEEN)]
    return "".join(parts[:-1])


def left_of(pieces: list[str]) -> str:
    lane = Lane(ALL)
    found = [segment for piece in pieces for segment in lane.feed(piece)]
    return channel_text([*found, *lane.finish()], Channel.CONTENT)


KINDS = {"prose": PROSE, "html": HTML, "markdown": MARKDOWN, "code": CODE, "latex": LATEX}


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_ordinary_text_leaves_as_it_came(kind: str) -> None:
    kinds = [KINDS[kind]] if kind in KINDS else list(KINDS.values())

    @given(texts(*kinds))
    @settings(max_examples=3000 if EXHAUSTIVE else 300)
    def check(text: str) -> None:
        for pieces in [[text], units(text), *at_random(text, 1)]:
            assert left_of(pieces) == text

    check()


@given(st.text(max_size=60))
@settings(max_examples=3000 if EXHAUSTIVE else 300)
def test_any_characters_leave_as_they_came(text: str) -> None:
    assume(not any(marker in text for marker in MARKERS))
    assert left_of(units(text)) == text
