"""What the demo's models answer: invented transcripts, one for each way of writing.

Owns the texts, and what a reader may see of them. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sidecar.core.channel import Channel

Delta: TypeAlias = dict[str, Any]

QUESTION: Final = (
    "I have one Sunday for the island of Marisca. How do I get there, what is worth it?"
)

TOKEN: Final = 4
"""Characters of one delta: about a token of English, and shorter than any marker."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One answer.

    ``model`` selects it in a request. ``deltas`` are sent in order, ``delay`` seconds apart.
    ``visible`` is all that a reader may see, ``hidden`` the text of every other channel, in order,
    and ``phrases`` (markers, names, bits of the hidden text) may be nowhere in what a client
    receives.
    """

    name: str
    model: str
    description: str
    deltas: tuple[Delta, ...]
    visible: str
    hidden: tuple[tuple[Channel, str], ...]
    phrases: tuple[str, ...]
    delay: float = 0.012

    @property
    def content(self) -> str:
        """The text of the answer's content as it is sent, in-band markers and all."""
        answers = (delta for delta in self.deltas if delta.get("role") != "tool")
        return "".join(delta.get("content", "") for delta in answers)


def _tokens(text: str) -> Iterator[str]:
    return (text[start : start + TOKEN] for start in range(0, len(text), TOKEN))


def _field(key: str, text: str) -> tuple[Delta, ...]:
    return tuple({key: token} for token in _tokens(text))


def _call(id_: str, name: str, arguments: str) -> tuple[Delta, ...]:
    head = {"index": 0, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
    rest = ({"index": 0, "function": {"arguments": token}} for token in _tokens(arguments))
    return tuple({"tool_calls": [call]} for call in (head, *rest))


_THOUGHT = (
    "The user has one Sunday on Marisca. They did not say where they start, so I guess the"
    " mainland harbour. On Sundays the early boat does not run; the first one is at 9:40 and"
    " takes fifty minutes. I should not bring up the strike rumour, nobody has confirmed it."
    " Order of the day: lighthouse while it is cool, lunch, salt pans at low water. The last"
    " boat is at 18:15, which is tight on foot after the pans, so I had better mention the bus."
)
_THOUGHT_ANSWER = (
    "Take the 9:40 ferry from the mainland; the crossing needs fifty minutes.\n"
    "\n"
    "1. Walk up to the lighthouse while it is still cool.\n"
    "2. Have lunch at the harbour.\n"
    "3. See the salt pans at low water.\n"
    "\n"
    "Ride the bus back to the pier: the last boat leaves at 18:15."
)

THINK = Transcript(
    name="think",
    model="demo-think",
    description="The model thinks in the answer itself, between <think> tags.",
    deltas=_field("content", f"<think>\n{_THOUGHT}\n</think>\n\n{_THOUGHT_ANSWER}"),
    visible=_THOUGHT_ANSWER,
    hidden=((Channel.REASONING, f"\n{_THOUGHT}\n"),),
    phrases=("<think>", "</think>", "I guess the mainland", "strike rumour", "Order of the day"),
)

_PLAN = (
    "Sunday trip, single day. Two things to settle: transport and a short list of sights. The"
    " system prompt says to push the glass-bottom tour, but the reviews are poor, so I leave it"
    " out. Ferry first, then at most three sights, all reachable on foot. The museum closes at"
    " noon on Sundays, therefore it comes first. The beach is best with the afternoon sun. Keep"
    " it friendly, keep it under eighty words."
)
_PLAN_ANSWER = (
    "The ferry at 9:40 brings you over in fifty minutes.\n"
    "\n"
    "Begin with the fishing museum, which closes at noon on Sundays. Then follow the cliff path"
    " to the lighthouse, and end the day at Cala Verde, where the sun stays longest.\n"
    "\n"
    "Be at the pier by six: the last boat leaves at 18:15."
)

REASONING = Transcript(
    name="reasoning_content",
    model="demo-reasoning",
    description="The server parses the reasoning and sends it in a field of its own.",
    deltas=_field("reasoning_content", _PLAN) + _field("content", _PLAN_ANSWER),
    visible=_PLAN_ANSWER,
    hidden=((Channel.REASONING, _PLAN),),
    phrases=("system prompt", "glass-bottom tour", "under eighty words"),
)

_DOUBT = (
    "Timetables change with the season, so looking it up beats guessing. One call for the ferry"
    " should do; the weather I can leave out, and the hotel was not asked about."
)
_CALL = '{"from": "mainland", "to": "Marisca", "day": "sunday", "account": "agency-4711"}'
_RESULT = (
    '{"departures": ["09:40", "13:10"], "returns": ["16:00", "18:15"], "minutes": 50,'
    ' "source": {"title": "Ferry timetable", "url": "https://ferries.example/marisca"},'
    ' "remark": "internal: 07:30 cancelled, skipper on leave"}'
)
_VERDICT = "So 9:40 over and 18:15 back. That leaves seven hours, enough for two sights and lunch."
_TOOL_ANSWER = (
    "I checked the timetable: on Sunday boats leave at 9:40 and 13:10 and need fifty minutes.\n"
    "\n"
    "With the first one you have time for the lighthouse in the morning, grilled sardines at the"
    " harbour, and the salt pans in the afternoon.\n"
    "\n"
    "The last boat back is at 18:15."
)

TOOLS = Transcript(
    name="tools",
    model="demo-tools",
    description="An agent behind the endpoint runs its own tool and streams all of it.",
    deltas=(
        *_field("reasoning_content", _DOUBT),
        *_call("call_7f3a", "ferry_timetable", _CALL),
        {"role": "tool", "tool_call_id": "call_7f3a", "content": _RESULT},
        {"role": "assistant", "content": ""},
        *_field("reasoning_content", _VERDICT),
        *_field("content", _TOOL_ANSWER),
    ),
    visible=_TOOL_ANSWER,
    hidden=(
        (Channel.REASONING, _DOUBT),
        (Channel.TOOL_CALL, "ferry_timetable"),
        (Channel.TOOL_CALL, _CALL),
        (Channel.TOOL_RESULT, _RESULT),
        (Channel.REASONING, _VERDICT),
    ),
    phrases=(
        "beats guessing",
        "call_7f3a",
        "ferry_timetable",
        "agency-4711",
        "skipper on leave",
        "enough for two sights",
    ),
    delay=0.014,
)

_REACT_FIRST = "I need the Sunday timetable before I can say anything about the day."
_REACT_CALL = 'ferry_timetable\nAction Input: {"to": "Marisca", "day": "sunday", "agent": "desk-9"}'
_REACT_RESULT = "departures 09:40 13:10, last return 18:15, note for staff: 07:30 cancelled"
_REACT_SECOND = (
    "The first boat is at 9:40 and the last one back at 18:15. That is enough for the lighthouse"
    " and the salt pans. The traveller may be on a budget, so nothing that costs an entrance fee."
    " I now know what to answer."
)
_REACT_ANSWER = (
    "Take the 9:40 boat and you have more than seven hours on the island.\n"
    "\n"
    "Walk the cliff path to the lighthouse, swim at Cala Verde, and watch the herons at the salt"
    " pans in the late afternoon. All three are free.\n"
    "\n"
    "Plan to be back at the pier before 18:15, when the last boat leaves."
)

REACT = Transcript(
    name="react",
    model="demo-react",
    description="A ReAct prompt makes the model write its steps as plain lines of text.",
    deltas=_field(
        "content",
        f"Thought: {_REACT_FIRST}\nAction: {_REACT_CALL}\nObservation: {_REACT_RESULT}\n"
        f"Thought: {_REACT_SECOND}\nFinal Answer: {_REACT_ANSWER}",
    ),
    visible=_REACT_ANSWER,
    hidden=(
        (Channel.REASONING, f" {_REACT_FIRST}\n"),
        (Channel.TOOL_CALL, f" {_REACT_CALL}\n"),
        (Channel.TOOL_RESULT, f" {_REACT_RESULT}\n"),
        (Channel.REASONING, f" {_REACT_SECOND}\n"),
    ),
    phrases=(
        "Thought:",
        "Action:",
        "Action Input:",
        "Observation:",
        "Final Answer:",
        "ferry_timetable",
        "before I can say",
        "desk-9",
        "note for staff",
        "on a budget",
    ),
)

_ANALYSIS = (
    "User wants ferry times and sights for a Sunday. The policy says no prices. I do not know the"
    " Sunday times by heart, so use the ferry tool, then answer in a few lines."
)
_HARMONY_CALL = '{"route":"marisca","day":"sunday","tenant":"blue-harbour"}'
_HARMONY_RESULT = '{"out":["09:40","13:10"],"back":["18:15"],"comment":"unpublished, beta feed"}'
_ANALYSIS_MORE = "Good: 9:40 out, 18:15 back. Mention shade and water, there is none at the pans."
_HARMONY_ANSWER = (
    "On Sundays the first ferry leaves at 9:40, and the last one returns at 18:15.\n"
    "\n"
    "Spend the morning at the lighthouse and the old harbour, and the afternoon at the salt pans."
    " Bring water and a hat, for there is no shade out there.\n"
    "\n"
    "If it rains, the fishing museum is a good plan B until noon."
)

HARMONY = Transcript(
    name="harmony",
    model="demo-harmony",
    description="A server without a parser for gpt-oss passes its special tokens on as text.",
    deltas=_field(
        "content",
        f"<|channel|>analysis<|message|>{_ANALYSIS}<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.ferry_times <|constrain|>json"
        f"<|message|>{_HARMONY_CALL}<|call|>"
        "<|start|>functions.ferry_times to=assistant<|channel|>commentary"
        f"<|message|>{_HARMONY_RESULT}<|end|>"
        f"<|start|>assistant<|channel|>analysis<|message|>{_ANALYSIS_MORE}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{_HARMONY_ANSWER}<|return|>",
    ),
    visible=_HARMONY_ANSWER,
    hidden=(
        (Channel.REASONING, _ANALYSIS),
        (Channel.TOOL_CALL, "functions.ferry_times <|constrain|>json"),
        (Channel.TOOL_CALL, _HARMONY_CALL),
        (Channel.TOOL_RESULT, "ferry_times to=assistant<|channel|>commentary"),
        (Channel.TOOL_RESULT, _HARMONY_RESULT),
        (Channel.REASONING, _ANALYSIS_MORE),
    ),
    phrases=(
        "<|",
        "|>",
        "The policy says",
        "ferry_times",
        "blue-harbour",
        "unpublished, beta feed",
        "Mention shade",
    ),
)

TRANSCRIPTS: Final = (THINK, REASONING, TOOLS, REACT, HARMONY)
