"""What other parsers make of the same text, and where the sidecar differs on purpose.

Each row is one text: what the sidecar shows of it, and what the parsers of servers and clients do,
as they ran or as their source reads. Where they are not alike the row names the reason; a reason
that is none fails. The servers' own parsers come with torch, and those of the agents bring more
than a hundred megabytes for a few lines of regular expressions each, so this table stands in their
place.

It was made with vllm 0.33.0, sglang 0.5.23, llama.cpp (llama-cpp-python 0.3.36), ollama fb307609,
vercel/ai ed857f50, langchain-classic 1.0.8, qwen-agent 0.0.34, litellm 1.106.2 and
pydantic-ai-slim 2.68.0. No two of them agree on white space: it is compared trimmed.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import NamedTuple

import pytest

from sidecar.core.channel import Channel
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way
from tests.promises import CATALOGUE, channel_text, segments


class Why(StrEnum):
    """What the sidecar does otherwise, and the reason."""

    STRIPS_EVERY_BLOCK = "every block is taken out, not only the first"
    FINDS_IT_ANYWHERE = "a block counts behind visible text too, and never hides that text"
    SWALLOWS_ORPHAN_CLOSER = "a close marker without its open marker is syntax"
    REPEATED_OPENER_IS_SYNTAX = "an open marker in its own region is an echo, and no reasoning"
    KEEPS_MENTIONS = "a marker in a code fence is a mention"
    NEEDS_A_WISH = "a tag with attributes is text unless the rule says otherwise"
    KEEPS_UNCLOSED_HIDDEN = "reasoning that never closes stays hidden: `unclosed`, `on_empty`"
    HIDES_WHAT_A_SERVER_LEFT = "markers that a server puts back or leaves in are markers"
    CALL_ENDS_REASONING = "a call in an unclosed thought ends it, whatever may still follow"
    CUTS_DO_NOT_MATTER = "a marker in pieces is held until it is whole"
    NO_LOSS_AT_END = "what was held is sent when the answer ends"
    KEEPS_ORDINARY_TEXT = "text without a marker leaves as it came"
    ADDS_NOTHING = "no white space is put in a removed block's place, and none that it needed stays"
    KNOWS_EMPTY_BLOCKS = "a block with nothing in it is a block"
    KNOWS_BOTH_SPELLINGS = "the older and the newer markers of a family are both known"
    HIDES_AT_ONCE = "nothing is shown that was hidden, since nothing is delayed on suspicion"
    HEADER_ENDS_ANSWER = "a header in the answer begins the next message: closers get lost"
    RECIPIENT_MAKES_A_CALL = "a message to a tool is a call, however it ends"
    KNOWS_FALSE_STARTS = "a header that the real one follows is no message"
    KEEPS_TEXT_AFTER_CALL = "what stands behind a call is the answer"
    HIDES_BROKEN_CALLS = "a call that is cut off or malformed stays hidden"
    READS_THE_JSON = "a call is read: no closer in a string and no inner bracket ends it"
    LENIENT_MARKERS = "a call that lacks the template's white space or wrapper is a call"
    ONLY_AT_START = "JSON in mid-text is the answer's own"
    HIDES_TOOL_RESULTS = "what a tool said is hidden with its markers"
    FIRST_ANSWER_COUNTS = "a stream must begin to show at the first answer, and cannot unsay it"
    NEVER_REFUSES = "there is no text that is an error"
    KEYWORDS_ARE_EXACT = "a keyword is one word, without white space inside"
    ALSO_FIRST_LINE = "a keyword counts on the first line too"
    HIDES_THOUGHTS = "the thought before a call is reasoning"


class Said(NamedTuple):
    """What the parsers ``by`` made of the row's text, all the same; None is not known.

    A parser's name says how it was asked: ``-whole`` at once, ``-chars`` by single characters,
    ``-by-5`` in pieces of five, ``-off`` with thinking switched off; otherwise as it streams.
    """

    by: str
    visible: str | None
    reasoning: str | None = None
    why: Why | None = None


class Row(NamedTuple):
    """A text, and what the sidecar makes of it.

    ``prompted``: the prompt has opened the reasoning, and the other parsers assume so, too.
    """

    formats: str
    text: str
    visible: str
    reasoning: str
    prompted: bool = False
    policy: Policy = Policy()
    said: tuple[Said, ...] = ()

    def beside(self, *said: Said) -> Row:
        """The row, with what others make of the text."""
        return self._replace(said=said)


ONE_BLOCK = "Sure. <think>plan</think>Hi."
TWO_BLOCKS = "<think>a</think>One.<think>b</think>Two."
NESTED = "<think>a<think>b</think>c</think>d"
TWO_CLOSERS = "<think>a</think>b</think>c"
MID_LINE = "Use ```\n<think>x</think>\n``` ok"
FENCED = "Use\n```\n<think>x</think>\n```\nok"
ATTRIBUTES = '<think kind="x">a</think>Hi'
LOOK_ALIKES = "</thin, </thinking!, <thinly> and a < b"
CALL_IN_THOUGHT = '<think>plan<tool_call>{"name": "seats"}</tool_call>more</think>Hi'

SECOND_RAW = "One.<think>b</think>Two."

THINK = [
    Row("think", ONE_BLOCK, "Sure. Hi.", "plan").beside(
        Said("sglang-whole", "Hi.", why=Why.FINDS_IT_ANYWHERE),
        Said("ollama litellm", ONE_BLOCK, "", Why.FINDS_IT_ANYWHERE),
        Said("vercel", "Sure. \nHi.", "plan", Why.ADDS_NOTHING),
        Said("sglang vllm-off pydantic-ai", "Sure. Hi.", "plan"),
    ),
    Row("think", ONE_BLOCK, "Hi.", "Sure. plan", prompted=True).beside(
        Said("sglang-r1 vllm olmo", "Hi.")
    ),
    Row("think", TWO_BLOCKS, "One.Two.", "ab").beside(
        Said("sglang ollama litellm", SECOND_RAW, "a", Why.STRIPS_EVERY_BLOCK),
        Said("vercel", "One.\nTwo.", why=Why.ADDS_NOTHING),
        Said("vllm-off pydantic-ai", "One.Two."),
    ),
    Row("think", TWO_BLOCKS, "One.Two.", "ab", prompted=True).beside(
        Said("sglang-r1", SECOND_RAW, why=Why.STRIPS_EVERY_BLOCK),
        Said("vllm", "One.<think>bTwo.", why=Why.STRIPS_EVERY_BLOCK),
        Said("olmo", "One.Two."),
    ),
    Row("think", NESTED, "cd", "ab").beside(
        Said("sglang ollama vercel", "c</think>d", why=Why.SWALLOWS_ORPHAN_CLOSER),
        Said("litellm pydantic-ai", "c</think>d", "a<think>b", Why.SWALLOWS_ORPHAN_CLOSER),
        Said("vllm-off", "cd"),
    ),
    Row("think", NESTED, "cd", "ab", prompted=True).beside(
        Said("sglang-r1", "c</think>d", why=Why.SWALLOWS_ORPHAN_CLOSER), Said("vllm olmo", "cd")
    ),
    *[
        Row("think", text, visible, "").beside(
            Said("sglang ollama vercel pydantic-ai", text, why=Why.SWALLOWS_ORPHAN_CLOSER),
            Said("vllm-off", visible),
        )
        for text, visible in [
            ("plan</think>Hi.", "planHi."),
            ("Hello</think> there", "Hello there"),
        ]
    ],
    Row("think", "plan</think>Hi.", "Hi.", "plan", prompted=True).beside(
        Said("sglang-r1 vllm olmo", "Hi."),
        Said("sglang-append-think", "<think>plan</think>Hi.", "", Why.HIDES_WHAT_A_SERVER_LEFT),
    ),
    Row("think", "Hello</think> there", "there", "Hello", prompted=True).beside(
        Said("sglang-r1 vllm olmo", " there")
    ),
    Row("think", TWO_CLOSERS, "bc", "a").beside(
        Said("sglang ollama vercel", "b</think>c", why=Why.SWALLOWS_ORPHAN_CLOSER),
        Said("pydantic-ai", "b</think>c", "a", Why.SWALLOWS_ORPHAN_CLOSER),
        Said("vllm-off", "bc"),
    ),
    Row("think", TWO_CLOSERS, "bc", "a", prompted=True).beside(
        Said("sglang-r1", "b</think>c", why=Why.SWALLOWS_ORPHAN_CLOSER),
        Said("olmo-by-7", "", why=Why.CUTS_DO_NOT_MATTER),
        Said("vllm olmo", "bc"),
    ),
    # Three backticks in mid-line open no fence, and no code span that ends on its line.
    Row("think", MID_LINE, "Use ```\n``` ok", "x").beside(
        Said("sglang-whole", "``` ok", why=Why.FINDS_IT_ANYWHERE),
        Said("ollama", MID_LINE, "", Why.FINDS_IT_ANYWHERE),
        Said("vercel", "Use ```\n\n\n``` ok", "x", Why.ADDS_NOTHING),
        Said("sglang vllm-off pydantic-ai", "Use ```\n\n``` ok", "x", Why.ADDS_NOTHING),
    ),
    Row("think", FENCED, FENCED, "").beside(
        Said("vllm-off pydantic-ai", "Use\n```\n\n```\nok", "x", Why.KEEPS_MENTIONS),
        Said("ollama litellm", FENCED, ""),
    ),
    Row("think", ATTRIBUTES, '<think kind="x">aHi', "").beside(
        Said("open-webui", "Hi", why=Why.NEEDS_A_WISH),
        Said("sglang ollama vercel pydantic-ai", ATTRIBUTES, "", Why.SWALLOWS_ORPHAN_CLOSER),
        Said("vllm-off", '<think kind="x">aHi'),
    ),
    Row("think", ATTRIBUTES, "Hi", "a", policy=Policy(attributes=True)).beside(
        Said("open-webui", "Hi")
    ),
    *[
        Row("think", text, text, "").beside(Said("sglang vllm-off ollama vercel pydantic-ai", text))
        for text in ("<Think> is a word", LOOK_ALIKES)
    ],
    Row("think", "\n  <think>quiet</think>Hi", "Hi", "quiet").beside(
        Said("sglang-chars ollama", "Hi"),
        Said("sglang-by-5", "\n  <think>quiet</think>Hi", "", Why.CUTS_DO_NOT_MATTER),
    ),
    Row("think", "<think>plan</think>Hi", "Hi", "plan", prompted=True).beside(Said("ollama", "Hi")),
    Row("think", "<think><think>plan</think>Hi", "Hi", "plan", prompted=True).beside(
        Said("ollama", "Hi", "<think>plan", Why.REPEATED_OPENER_IS_SYNTAX)
    ),
    Row("think", "still planning", "", "still planning", prompted=True).beside(
        Said("sglang-r1 vllm olmo", ""),
        Said(
            "vllm-never-empty sglang-never-empty", "still planning", "", Why.KEEPS_UNCLOSED_HIDDEN
        ),
    ),
    Row("think", "Hello <think>pla", "Hello ", "pla").beside(
        Said("sglang vllm-off vercel", "Hello ", "pla"),
        Said("pydantic-ai", "Hello pla", "", Why.KEEPS_UNCLOSED_HIDDEN),
    ),
    Row("think", "<think>\n\n</think>\n\n", "", "\n\n").beside(
        Said("sglang vllm-off ollama vercel", "", "")
    ),
    Row("think", "<think>x</think>\n\nHi", "Hi", "x").beside(
        Said("sglang vllm-off vercel pydantic-ai", "\n\nHi"), Said("ollama litellm", "Hi", "x")
    ),
    Row(
        "think hermes_tool_call", '<think>plan<tool_call>{"name": "seats"}</tool_call>', "", "plan"
    ).beside(Said("sglang vllm ollama llama.cpp", None, "plan")),
    Row("think hermes_tool_call", CALL_IN_THOUGHT, "moreHi", "plan").beside(
        Said(
            "sglang-whole",
            "Hi",
            'plan<tool_call>{"name": "seats"}</tool_call>more',
            Why.CALL_ENDS_REASONING,
        ),
        Said("sglang", None, "plan"),
    ),
    Row(
        "think jamba_tool_calls",
        "<think>plan<tool_calls>[]</tool_calls>more</think>Hi",
        "Hi",
        "plan<tool_calls>[]</tool_calls>more",
    ).beside(Said("vllm", "Hi", "plan<tool_calls>[]</tool_calls>more")),
    Row("think", "<think>x</think>Hi", "Hi", "x").beside(
        Said("olmo-chars", "H", "x", Why.NO_LOSS_AT_END),
        Said("litellm-merging", "<think>x</think>Hi", "", Why.HIDES_WHAT_A_SERVER_LEFT),
        Said("vllm-off ollama litellm pydantic-ai", "Hi", "x"),
        Said("pydantic-ai-chars", "<think>x</think>Hi", "", Why.CUTS_DO_NOT_MATTER),
    ),
    Row("think", "The tag is spelled <thi", "The tag is spelled <thi", "").beside(
        Said("vercel", "The tag is spelled ", "", Why.NO_LOSS_AT_END),
        Said("vllm-off ollama pydantic-ai", "The tag is spelled <thi", ""),
    ),
    Row("thinking", "<thinking>plan</thinking>Hi", "Hi", "plan").beside(
        Said("litellm", "Hi", "plan")
    ),
]

MISTRAL_TWO = "[THINK]a[/THINK]One.[THINK]b[/THINK]Two."
GEMMA_TWO = "<|channel>thought\na<channel|>One.<|channel>thought\nb<channel|>Two."
GEMMA_EMPTY = "<|channel>thought<channel|>Hi."
INNER_TWO = "<|inner_prefix|>a<|inner_suffix|>One.<|inner_prefix|>b<|inner_suffix|>Two."
COHERE = "<|START_THINKING|>plan<|END_THINKING|>"
COHERE_ANSWER = "<|START_RESPONSE|>Hi.<|END_RESPONSE|>"
UNPROVEN = "Hi.<|close|>response<|sep|>"
PROSE_IN_MID_TEXT = "Well. Here is my thought process: a Here is my response: b"

OTHER_REASONING = [
    *[
        Row("granite32_prose", text, "Hi.", " plan ").beside(Said("vllm", "Hi.", "plan"))
        for text in (
            "Here is my thought process: plan Here is my response:\nHi.",
            "Here's my thought process: plan Here's my response:\nHi.",
        )
    ],
    Row("granite32_prose", PROSE_IN_MID_TEXT, PROSE_IN_MID_TEXT, "").beside(
        Said("vllm", PROSE_IN_MID_TEXT)
    ),
    Row("granite32_prose", "Here is my tho", "Here is my tho", "").beside(
        Said("vllm", "", "", Why.NO_LOSS_AT_END), Said("vllm-whole", "Here is my tho", "")
    ),
    Row("granite32_prose", "Here is my thought process: plan", "", " plan").beside(
        Said("vllm", "", "plan"),
        Said("vllm-whole", "Here is my thought process: plan", "", Why.KEEPS_UNCLOSED_HIDDEN),
    ),
    Row("mistral_think", "[THINK]a[THINK]b[/THINK]c[/THINK]d", "cd", "ab").beside(
        Said("vllm", "cd")
    ),
    Row("mistral_think", MISTRAL_TWO, "One.Two.", "ab").beside(
        Said("vllm", "One.Two."),
        Said("sglang", "One.[THINK]b[/THINK]Two.", "a", Why.STRIPS_EVERY_BLOCK),
    ),
    Row(
        "mistral_think", "[THINKPAD](x), [1] and [TOOL]", "[THINKPAD](x), [1] and [TOOL]", ""
    ).beside(Said("vllm", "[THINKPAD](x), [1] and [TOOL]")),
    Row("mistral_think mistral_tool_calls_args", "see [1]", "see [1]", "").beside(
        Said("sglang", "see [1", "", Why.KEEPS_ORDINARY_TEXT), Said("vllm", "see [1]")
    ),
    Row("gemma4_channel", "<|channel>thought\nplan<channel|>Hi.", "Hi.", "plan").beside(
        Said("vllm sglang llama.cpp", "Hi.", "plan")
    ),
    Row("gemma4_channel", GEMMA_EMPTY, "Hi.", "").beside(
        Said("vllm llama.cpp", "Hi.", ""), Said("sglang", GEMMA_EMPTY, "", Why.KNOWS_EMPTY_BLOCKS)
    ),
    Row("gemma4_channel", GEMMA_TWO, "One.Two.", "ab").beside(
        Said("vllm llama.cpp", "One.Two."),
        Said("sglang", "One.<|channel>thought\nb<channel|>Two.", why=Why.STRIPS_EVERY_BLOCK),
    ),
    Row("gemma4_channel", "Hi<channel|> there", "Hi there", "").beside(
        Said("vllm llama.cpp", "Hi there"),
        Said("sglang", "Hi<channel|> there", why=Why.SWALLOWS_ORPHAN_CLOSER),
    ),
    Row(
        "gemma4_channel gemma4_bare_thought", "I thought\nabout it", "I thought\nabout it", ""
    ).beside(Said("vllm", "I thought\nabout it")),
    Row("gemma4_channel gemma4_bare_thought", "thought\nplan<channel|>Hi.", "Hi.", "plan").beside(
        Said("vllm", "Hi.", "plan")
    ),
    Row("cohere_thinking", COHERE + COHERE_ANSWER, "Hi.", "plan").beside(
        Said("vllm ollama llama.cpp", "Hi.", "plan"),
        Said("sglang", COHERE_ANSWER, "plan", Why.KNOWS_BOTH_SPELLINGS),
    ),
    Row("cohere_thinking", COHERE + "<|START_TEXT|>Hi.", "Hi.", "plan").beside(
        Said("vllm sglang", "Hi.", "plan")
    ),
    Row(
        "hunyuan_a13b_think_answer",
        "<think>\nmaybe <tool_calls>[]\n</think>\n<answer>\nHi.\n</answer>",
        "Hi.",
        "\nmaybe <tool_calls>[]\n",
    ).beside(Said("vllm", "Hi.", "maybe <tool_calls>[]")),
    Row(
        "hunyuan_a13b_think_answer",
        "<think>\nplan\n</think>\n<answer>\nHi </ans",
        "Hi </ans",
        "\nplan\n",
    ).beside(Said("vllm", "Hi </ans", "plan")),
    *[
        Row("ernie_response", text, "Hi.", "plan\n", prompted=True).beside(
            Said("vllm", "Hi.", "plan")
        )
        for text in ("plan\n</think>\n\n<response>\nHi.\n</response>", "plan\n</think>\n\nHi.")
    ],
    Row(
        "apriel_final_response", "plan\n[BEGIN FINAL RESPONSE]\nHi.", "Hi.", "plan\n", prompted=True
    ).beside(Said("llama.cpp", "Hi.", "plan")),
    Row("apertus_inner", INNER_TWO, "One.Two.", "ab").beside(Said("sglang", "One.Two.")),
    Row(
        "apertus_inner",
        '<|inner_prefix|>a<|tools_prefix|>[{"seats": {}}]<|tools_suffix|>b<|inner_suffix|>Hi.',
        "Hi.",
        "ab",
    ).beside(Said("sglang", None, "ab")),
    Row(
        "inkling_blocks",
        "<|message_model|>x<|content_thinking|>plan<|end_message|><|message_model|><|content_text|>Hi.<|end_message|>",
        "Hi.",
        "plan",
    ).beside(Said("sglang", "Hi.", "plan")),
    Row("inkling_blocks", "<|content_text|>a <|message_model|> b<|end_message|>", "a ", "").beside(
        Said("sglang", "a <|message_model|> b", "", Why.HEADER_ENDS_ANSWER)
    ),
    Row(
        "kimi_k3_xtml",
        "<|open|>think<|sep|>plan<|close|>think<|sep|><|open|>response<|sep|>Hi.<|close|>",
        "Hi.",
        "plan",
    ).beside(Said("sglang", "Hi.", "plan")),
    Row(
        "muse_channels",
        " to=self<|message|>plan<|eom|><|start|>assistant to=user<|message|>Hi.<|eot|>",
        "Hi.",
        "plan",
    ).beside(Said("sglang", "Hi.", "plan")),
    Row("muse_channels", "Just a word.", "Just a word.", "").beside(Said("sglang", "Just a word.")),
    # A closer that proves too late that the whole was the answer; in a thought it is the thought's.
    Row("kimi_k3_xtml", UNPROVEN, "", UNPROVEN, prompted=True).beside(
        Said("sglang", "Hi.", "", Why.HIDES_AT_ONCE)
    ),
    Row("minimax_m3_think", "</mm:think>Hi.", "Hi.", "").beside(
        Said("sglang-whole", "Hi.", ""),
        Said("sglang-chars", "</mm:think>Hi.", "", Why.CUTS_DO_NOT_MATTER),
    ),
]

GPT_OSS = "harmony_analysis harmony_tool harmony_final"
ANALYSIS = "<|channel|>analysis<|message|>plan<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>Done."
TO_SEATS = "<|channel|>commentary to=functions.seats"
FALSE_START = "<|channel|>analysis<|message|>hm<|end|>" + FINAL
UNFINISHED = ANALYSIS + "<|start|>assistant<|channel|>fi"

HARMONY = [
    Row(GPT_OSS, ANALYSIS + FINAL, "Done.", "plan").beside(
        Said("vllm sglang ollama llama.cpp", "Done.", "plan"),
        Said("sglang-chars", "", why=Why.CUTS_DO_NOT_MATTER),
    ),
    Row(
        GPT_OSS,
        "<|channel|>commentary<|message|>Let me look.\n<|end|>" + FINAL,
        "Let me look.\nDone.",
        "",
    ).beside(Said("vllm", "Let me look.\nDone.", "")),
    Row(GPT_OSS, TO_SEATS + "<|message|>{}<|end|>" + FINAL, "Done.", "").beside(
        Said("vllm ollama", "Done.", ""), Said("sglang", "{}Done.", "", Why.RECIPIENT_MAKES_A_CALL)
    ),
    Row(GPT_OSS, "<|channel|>commentary to=board<|message|>{}<|end|>" + FINAL, "Done.", "").beside(
        Said("vllm", "Done.", "")
    ),
    Row(GPT_OSS, "<|channel|>analysis to=python code<|message|>print(1)<|call|>", "", "").beside(
        Said("vllm ollama sglang", "", "")
    ),
    Row(GPT_OSS, "<|channel|>analysis to=python code<|message|>print(1)", "", "").beside(
        Said("vllm ollama", "", ""), Said("sglang", "", "print(1)", Why.RECIPIENT_MAKES_A_CALL)
    ),
    *[
        Row(GPT_OSS, header + "<|message|>{}", "", "").beside(Said("vllm", "", ""))
        for header in (
            TO_SEATS + "<|constrain|>json",
            TO_SEATS + " <|constrain|>json",
            TO_SEATS + " code",
            "<|start|>assistant to=functions.seats<|channel|>commentary",
        )
    ],
    *[
        Row(GPT_OSS, start + FALSE_START, "Done.", "hm").beside(
            Said("llama.cpp", "Done.", "hm"), Said("sglang", "hmDone.", "", Why.KNOWS_FALSE_STARTS)
        )
        for start in ("<|channel|>commentary", "<|channel|>commentary to=assistant")
    ],
    Row(
        GPT_OSS,
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant" + ANALYSIS + FINAL,
        "Done.",
        "aplan",
    ).beside(
        Said("vllm", "Done.", "aplan"), Said("vllm-whole", "Done.", "a\nplan", Why.ADDS_NOTHING)
    ),
    Row(GPT_OSS, "<|channel|>final<|message|>a <|weird|> b", "a <|weird|> b", "").beside(
        Said("sglang", "a <|weird|> b", "")
    ),
    Row(GPT_OSS, UNFINISHED, "", "plan").beside(
        Said("vllm", UNFINISHED, "", Why.HIDES_WHAT_A_SERVER_LEFT)
    ),
    Row("harmony_stripped", "analysisplanassistantfinalHi.", "Hi.", "plan").beside(
        Said("sglang", "Hi.", "plan")
    ),
    # Without its special tokens a call is ordinary text, and only the server knew better.
    *[
        Row("all", bare, bare, "").beside(Said("vllm", bare))
        for bare in (
            "analysisplanassistantfinalHi.",
            'functions.seats:0{"row":3}',
            'mail{"to":"Bo"}',
            "function stock\n```json\n{}\n```",
        )
    ],
]

SEATS = '{"name": "seats", "arguments": {}}'
UNCLOSED_HERMES = 'One moment. <tool_call>\n{"name": "seats"'
BROKEN_HERMES = '<tool_call>{"name": "seats", </tool_call>'
HERMES_IN_STRING = (
    '<tool_call>\n{"name": "say", "arguments": {"text": "</tool_call>"}}\n</tool_call>'
)
BARE_FUNCTION = "A <function=seats>\n</function> B"
ARRAY_OF_TWO = '[TOOL_CALLS] [{"name": "a", "arguments": {}}, {"name": "call", "arguments": {}}]'
TIGHT_ARRAY = '[TOOL_CALLS][{"name": "a", "arguments": {}}]'
DEEPSEEK = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>seats\n"
    "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
)
DSML_CALL = '<｜DSML｜invoke name="seats">\n</｜DSML｜invoke>'
DSML = f"<｜DSML｜function_calls>\n{DSML_CALL}\n</｜DSML｜function_calls>"
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.seats:0"
    "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
)
MINIMAX = '<minimax:tool_call>\n<invoke name="seats">\n</invoke>\n</minimax:tool_call>'
STEP3 = (
    '<｜tool_calls_begin｜>\n<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="a">'
)
PLUGIN = '<|action_start|> <|plugin|>{"name": "seats", "parameters": {}}<|action_end|>'
TIGHT_PLUGIN = PLUGIN.replace(" ", "")
FUNCTOOLS = 'functools[{"name": "a", "arguments": {"x": [1]}}]'

CALLS = [
    Row("hermes_tool_call", f"A <tool_call>\n{SEATS}\n</tool_call> B", "A  B", "").beside(
        Said("vllm sglang-whole", "A", "", Why.KEEPS_TEXT_AFTER_CALL),
        Said("sglang", "A \n B", "", Why.ADDS_NOTHING),
    ),
    Row(
        "hermes_tool_call",
        f"A\n<tool_call>{SEATS}</tool_call>\n<tool_call>{SEATS}</tool_call>\nB",
        "A\nB",
        "",
    ).beside(Said("sglang", "A\n\n\nB", "", Why.ADDS_NOTHING)),
    Row("hermes_tool_call", UNCLOSED_HERMES, "One moment. ", "").beside(
        Said("vllm sglang", "One moment. "),
        Said("vllm-whole sglang-whole", UNCLOSED_HERMES, "", Why.HIDES_BROKEN_CALLS),
    ),
    Row("hermes_tool_call", BROKEN_HERMES, "", "").beside(
        Said("vllm sglang", ""),
        Said("vllm-whole sglang-whole", BROKEN_HERMES, "", Why.HIDES_BROKEN_CALLS),
    ),
    Row("hermes_tool_call", HERMES_IN_STRING, "", "").beside(
        Said("sglang", ""), Said("sglang-whole", HERMES_IN_STRING, "", Why.READS_THE_JSON)
    ),
    Row("hermes_tool_call", f"<tool_call>{SEATS}</tool_call>", "", "").beside(
        Said("sglang", ""),
        Said("sglang-qwen25", f"<tool_call>{SEATS}</tool_call>", "", Why.LENIENT_MARKERS),
    ),
    Row("hermes_tool_call", "the literal <tool_ca", "the literal <tool_ca", "").beside(
        Said("sglang", "the literal ", "", Why.NO_LOSS_AT_END)
    ),
    Row("qwen3_coder_xml", BARE_FUNCTION, "A  B", "").beside(
        Said("vllm", "A ", "", Why.KEEPS_TEXT_AFTER_CALL),
        Said("sglang", "A \n\n B", "", Why.ADDS_NOTHING),
        Said("sglang-whole", BARE_FUNCTION, "", Why.LENIENT_MARKERS),
    ),
    Row("qwen3_coder_xml", "#include <functional>", "#include <functional>", "").beside(
        Said("llama.cpp", "#include <functional>")
    ),
    Row(
        "qwen3_coder_xml",
        "<tool_call>\n<function=a>\n</function>\n<tool_call>\n<function=b>\n</function>\n</tool_call>",
        "",
        "",
    ).beside(Said("vllm", "")),
    Row(
        "glm45_arg_key",
        "<tool_call>seats\n<arg_key>row</arg_key>\n<arg_value>3</arg_value>\n</tool_call>Done.",
        "Done.",
        "",
    ).beside(Said("sglang", "Done."), Said("sglang-whole", "", "", Why.KEEPS_TEXT_AFTER_CALL)),
    Row(
        "think glm45_arg_key", "plan<tool_call>seats\n</tool_call>", "", "plan", prompted=True
    ).beside(Said("vllm", "", "plan")),
    Row(
        "llama3_json",
        'Look: {"name": "seats", "parameters": {}}',
        'Look: {"name": "seats", "parameters": {}}',
        "",
    ).beside(
        Said("vllm-whole", "", "", Why.ONLY_AT_START),
        Said("vllm", 'Look: {"name": "seats", "parameters": {}}'),
    ),
    Row(
        "llama3_json", 'The object {"seat": 4} is valid', 'The object {"seat": 4} is valid', ""
    ).beside(Said("sglang-chars", "The object ", "", Why.KEEPS_ORDINARY_TEXT)),
    Row("llama4_pythonic", "[text](url) stays", "[text](url) stays", "").beside(
        Said("sglang", "[text](url) stays")
    ),
    Row("llama4_pythonic", "see [1 and on", "see [1 and on", "").beside(
        Said("sglang", "see ", "", Why.NO_LOSS_AT_END)
    ),
    Row("mistral_tool_calls_array", ARRAY_OF_TWO, "", "").beside(
        Said("sglang-chars", ', {"name": "call", "arguments": {}}', "", Why.CUTS_DO_NOT_MATTER)
    ),
    Row("mistral_tool_calls_array", TIGHT_ARRAY, "", "").beside(
        Said("sglang-whole", TIGHT_ARRAY, "", Why.LENIENT_MARKERS)
    ),
    Row("mistral_tool_calls_args", '[TOOL_CALLS]seats[ARGS]{"row": 3} Done.', "Done.", "").beside(
        Said("sglang", "Done."), Said("vllm", "", "", Why.KEEPS_TEXT_AFTER_CALL)
    ),
    Row("mistral_tool_calls_args", "[TOOL_CALLS]mail[CALL_ID]a1b2c3d4e[ARGS]{}", "", "").beside(
        Said("llama.cpp vllm sglang", "")
    ),
    Row("deepseek_v3_tools", DEEPSEEK + "Done.", "Done.", "").beside(
        Said("vllm-whole", "Done."),
        Said("sglang-chars", DEEPSEEK + "Done.", "", Why.CUTS_DO_NOT_MATTER),
    ),
    Row("deepseek_v3_tools", "```\nx\n```", "```\nx\n```", "").beside(
        Said("sglang", "\nx\n", "", Why.KEEPS_ORDINARY_TEXT)
    ),
    Row(
        "deepseek_tool_outputs",
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>3A<｜tool▁output▁end｜><｜tool▁outputs▁end｜>Done.",
        "Done.",
        "",
    ).beside(Said("ollama", "3ADone.", "", Why.HIDES_TOOL_RESULTS)),
    Row("deepseek_v32_dsml", f"A\n\n{DSML}\n\nB", "A\n\nB", "").beside(
        Said("sglang", "A", "", Why.KEEPS_TEXT_AFTER_CALL),
        Said("vllm", "A\n\n", "", Why.KEEPS_TEXT_AFTER_CALL),
    ),
    Row("deepseek_v32_dsml", f"A\n\n{DSML_CALL}", "A\n\n", "").beside(Said("vllm sglang", "A")),
    Row(
        "deepseek_v4_dsml",
        f"A\n\n<｜DSML｜toolcalls>\n{DSML_CALL}\n</｜DSML｜tool_calls>",
        "A\n\n",
        "",
    ).beside(Said("vllm sglang", "A")),
    Row(
        "deepseek_v32_dsml", '<｜DSML｜function_calls>\n<｜DSML｜invoke name="seats"', "", ""
    ).beside(Said("sglang", "")),
    Row("kimi_k2_tools", KIMI + "Done.", "Done.", "").beside(
        Said("sglang-cut-at-1", KIMI + "Done.", "", Why.CUTS_DO_NOT_MATTER),
        Said("sglang-by-3", "<|tool_calls_section_end|>Done.", "", Why.CUTS_DO_NOT_MATTER),
    ),
    Row("minimax_m2_tools", MINIMAX + "Done.", "Done.", "").beside(
        Said("vllm", "Done."), Said("sglang-chars", MINIMAX + "Done.", "", Why.CUTS_DO_NOT_MATTER)
    ),
    Row(
        "lfm2_tools",
        "<|tool_call_start|>[seats()]<|tool_call_end|>[seats()]<|tool_call_end|>Done.",
        "Done.",
        "",
    ).beside(Said("vllm-whole", "Done.")),
    Row("phi4mini_functools", "Hello.", "Hello.", "").beside(
        Said("vllm", "", "", Why.KEEPS_ORDINARY_TEXT)
    ),
    Row("phi4mini_functools", FUNCTOOLS, "", "").beside(
        Said("vllm-whole", FUNCTOOLS, "", Why.READS_THE_JSON)
    ),
    Row("internlm_action", PLUGIN, "", "").beside(
        Said("sglang", ""), Said("vllm", PLUGIN, "", Why.LENIENT_MARKERS)
    ),
    Row("internlm_action", TIGHT_PLUGIN, "", "").beside(
        Said("vllm", ""), Said("sglang", TIGHT_PLUGIN, "", Why.LENIENT_MARKERS)
    ),
    Row("step3_tools", STEP3, "", "").beside(Said("vllm-whole", STEP3, "", Why.HIDES_BROKEN_CALLS)),
    Row("functionary_v32", "all\nHi.", "Hi.", "", prompted=True).beside(Said("llama.cpp", "Hi.")),
]

ACTION_FIRST = "Action: seats\nAction Input: row 3"
XML_CALL = "<tool>seats</tool><tool_input>row 3</tool_input>"

AGENTS = [
    Row("react", "Thought: x\nFinal Answer: a", "a", " x\n").beside(Said("langchain", "a")),
    Row(
        "react", "Thought: x\nFinal Answer: a\nFinal Answer: b", "a\nFinal Answer: b", " x\n"
    ).beside(Said("langchain", "b", why=Why.FIRST_ANSWER_COUNTS)),
    Row("react", ACTION_FIRST + "\nFinal Answer: a", "a", "").beside(
        Said("langchain", "", why=Why.NEVER_REFUSES)
    ),
    Row(
        "react",
        "Thought: x\nAction 2: seats\nAction 2 Input 2: row 3",
        "",
        " x\n",
    ).beside(Said("langchain", "")),
    Row("react", ACTION_FIRST, "", "").beside(
        Said("langchain", ""), Said("qwen-agent", ACTION_FIRST, why=Why.ALSO_FIRST_LINE)
    ),
    Row("react", "Thought: x\n" + ACTION_FIRST, "", " x\n").beside(
        Said("langchain", ""), Said("qwen-agent", "Thought: x", why=Why.HIDES_THOUGHTS)
    ),
    Row("react", "Thought: x\nFinal Answer : a", "", " x\nFinal Answer : a").beside(
        Said("langchain-stream", "a", why=Why.KEYWORDS_ARE_EXACT)
    ),
    Row("react", "A plain answer.", "A plain answer.", "").beside(
        Said("qwen-agent", "A plain answer.")
    ),
    Row("generic_tool_xml", XML_CALL, "", "").beside(Said("langchain", "")),
    Row("generic_tool_xml", "<final_answer>Row 3.</final_answer>", "Row 3.", "").beside(
        Said("langchain", "Row 3.")
    ),
    Row("generic_tool_xml", "<final_answer>Row 3.", "Row 3.", "").beside(
        Said("langchain", "", why=Why.NEVER_REFUSES)
    ),
    Row("react", "Action 2: seats\nAction 2 Input 2: row 3", "", "").beside(Said("langchain", "")),
    Row("generic_tool_xml", XML_CALL + XML_CALL + "Done.", "Done.", "").beside(
        Said("langchain", "", why=Why.NEVER_REFUSES)
    ),
]

ROWS = [*THINK, *OTHER_REASONING, *HARMONY, *CALLS, *AGENTS]


@cache
def _vocabulary(formats: str, policy: Policy) -> Vocabulary:
    return Vocabulary(CATALOGUE.resolve(formats.split()), policy)


def _lane(row: Row) -> Lane:
    vocabulary = _vocabulary(row.formats, row.policy)
    return Lane(vocabulary, start=vocabulary.start_in_reasoning if row.prompted else None)


def _name(row: Row) -> str:
    return f"{row.formats.split()[-1]}{'-prompted' if row.prompted else ''}-{row.text[:40]!r}"


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_the_sidecar_reads_the_text_as_the_row_says_in_every_cut(row: Row) -> None:
    whole = segments(_lane(row), [row.text])
    assert channel_text(whole, Channel.CONTENT) == row.visible
    assert channel_text(whole, Channel.REASONING) == row.reasoning
    for pieces in every_way(row.text):
        assert segments(_lane(row), pieces) == whole, pieces


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_another_parser_reads_it_alike_or_the_row_says_why_not(row: Row) -> None:
    assert row.said
    for said in row.said:
        is_alike = all(
            theirs is None or theirs.strip() == ours.strip()
            for theirs, ours in ((said.visible, row.visible), (said.reasoning, row.reasoning))
        )
        assert is_alike == (said.why is None), said


def test_every_reason_is_used() -> None:
    assert {said.why for row in ROWS for said in row.said} - {None} == set(Why)
