"""An upstream that pauses, the sidecar before it that tells what it does meanwhile, and all that is
told and said of each answer.

The name of a rule is the model by which a request chooses it; with ``-fails`` behind it, upstream
answers with an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiohttp import web

from sidecar.core.status import Beat, Form, StatusPolicy
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.rules.statussection import StatusSpec
from sidecar.server.statusform import HEADER
from sidecar.wire.formats import WIRE_FORMATS
from tests.server.scripted import chunk, event, rule

from .rig import serving_before
from .shapes import (
    ANSWER,
    ANSWERS,
    CALL,
    REASONING,
    SUMMARY,
    THOUGHT,
    TOOL,
    Answer,
    Record,
    chat,
    pieces,
)

FAILS: Final = "-fails"
ERROR: Final = "The upstream has no more room."
"""What upstream says instead of an answer."""

_BEAT: Final = 0.01
_SILENCE: Final = 0.05
"""Seconds for which upstream says nothing, which is several heartbeats."""

SEARCH: Final = "search"
"""A tool that the server runs by itself, and that no request declares."""


# --- upstream -----------------------------------------------------------------------------------


def _chat(body: Record) -> Answer:
    """The chat of the shapes, with a tool of the server's own after the first thoughts."""
    events, document = chat(body)
    envelope = {"id": document["id"], "created": document["created"], "model": document["model"]}
    function = {"name": SEARCH, "arguments": f'{{"query": "{CALL}"}}'}
    call = {"index": 0, "id": f"call_0_{CALL}", "type": "function", "function": function}
    turn: list[Record] = [
        {"tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_0_{CALL}", "content": CALL},
        {"role": "assistant"},
    ]
    thought = 1 + len(pieces(THOUGHT))
    between = [chunk(delta, **envelope) for delta in turn]
    return Answer([*events[:thought], *between, *events[thought:]], document)


def _completion(body: Record) -> Answer:
    """A legacy completion with reasoning between markers."""
    envelope = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}

    def said(text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return event(envelope | {"choices": [choice]})

    usage = {"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 39}
    events = [
        *map(said, pieces(f"<think>{REASONING}</think>\n\n{ANSWER}")),
        said("", "stop"),
        event(envelope | {"choices": [], "usage": usage}),
        b"data: [DONE]\n\n",
    ]
    return Answer(events, {})


_ANSWERS: Final[dict[str, Callable[[Record], Answer]]] = ANSWERS | {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
}


async def _answer(request: web.Request) -> web.StreamResponse:
    """Silence, a third of the answer, silence, and the rest."""
    body: dict[str, Any] = await request.json()
    await asyncio.sleep(_SILENCE)
    if body["model"].endswith(FAILS):
        error = {"message": ERROR, "type": "rate_limit_error", "code": "full", "param": None}
        return web.json_response({"type": "error", "error": error}, status=429)
    events = _ANSWERS[request.path](body).events
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for index, one in enumerate(events):
        if index == len(events) // 3:
            await asyncio.sleep(_SILENCE)
        await response.write(one)
    await response.write_eof()
    return response


# --- the sidecar --------------------------------------------------------------------------------


class Rule(NamedTuple):
    """Whose answers they are, and what the heartbeats are."""

    name: str
    runs_tools: bool = False
    """Calls to declared tools stay, and reasoning in fields of its own; or else nothing does."""
    beat: Beat = Beat.COMMENT

    @property
    def spec(self) -> RuleSpec:
        """The rule as the sidecar has it: the answer begins at once, and a request may choose."""
        policy = StatusPolicy(first_after=0.0, heartbeat=_BEAT, beat=self.beat, choose=True)
        return rule(
            self.name,
            match=Match(model=(self.name, self.name + FAILS)),
            status=StatusSpec(policy, {}),
            reasoning="move" if self.runs_tools else "drop",
            tool_calls="declared" if self.runs_tools else "drop",
        )


PERSON: Final = Rule("person")
AGENT: Final = Rule("agent", runs_tools=True)
CHUNK_BEATS: Final = Rule("chunk-beats", beat=Beat.CHUNK)
STATUS_BEATS: Final = Rule("status-beats", beat=Beat.STATUS)

RULES: Final = (PERSON, AGENT, CHUNK_BEATS, STATUS_BEATS)


@asynccontextmanager
async def serving_statuses() -> AsyncIterator[str]:
    """Upstream and sidecar on free ports; yields the origin of the sidecar."""
    async with serving_before(_answer, _ANSWERS, [one.spec for one in RULES]) as url:
        yield url


# --- what is asked ------------------------------------------------------------------------------


def forms_of(path: str, *, for_sdks: bool = True) -> list[Form]:
    """The forms that a status may have there, with ``auto``, for which nothing is asked, and
    ``off``; ``for_sdks``: without those that are for hand-written front ends."""
    (offered,) = [one.forms for one in WIRE_FORMATS if one.path == path]
    by_hand = (Form.EVENT, Form.TYPED) if for_sdks else ()
    return [Form.OFF, Form.AUTO, *(form for form in offered if form not in by_hand)]


def cases_of(path: str, *, for_sdks: bool = True) -> list[tuple[Rule, Form]]:
    """Each rule with each form; the rules with other heartbeats with the default and without."""
    rules = [PERSON, AGENT] if path in ANSWERS else [PERSON]
    cases = [(one, form) for one in rules for form in forms_of(path, for_sdks=for_sdks)]
    others = [(one, form) for one in (CHUNK_BEATS, STATUS_BEATS) for form in (Form.OFF, Form.AUTO)]
    return [*cases, *others]


def asked_by(form: Form) -> dict[str, str]:
    """The header of a request that asks for it."""
    return {} if form is Form.AUTO else {HEADER: form.value}


def given_for(path: str, form: Form) -> Form:
    """The form that the answer has."""
    return forms_of(path)[2] if form is Form.AUTO else form


# --- what is told, and what is said -------------------------------------------------------------


class Step(NamedTuple):
    """A status, or a text of the answer: ``reasoning``, or ``text``."""

    kind: str
    text: str = ""


_SAID: Final = ("reasoning", "text")

_WAITING = Step("waiting", "Thinking…")
_THINKING = Step("thinking", "Thinking…")
_CALLING = Step("calling_tool", f"Calling {TOOL}…")
_ANSWERING = Step("answering")
_DONE = Step("done")
_THOUGHT = Step("reasoning", THOUGHT)
_SUMMARY = Step("reasoning", SUMMARY)
_TEXT = Step("text", ANSWER)

_STEPS: Final = {
    "/v1/chat/completions": (
        _WAITING,
        _THINKING,
        _THOUGHT,
        Step("calling_tool", f"Calling {SEARCH}…"),
        Step("reading_result", "Reading the result…"),
        _THINKING,
        _ANSWERING,
        _TEXT,
        _CALLING,
        _DONE,
    ),
    "/v1/completions": (_WAITING, _THINKING, _ANSWERING, _TEXT, _DONE),
    "/v1/responses": (
        _WAITING,
        _THINKING,
        _SUMMARY,
        _CALLING,
        _THINKING,
        _ANSWERING,
        _TEXT,
        _DONE,
    ),
    "/v1/messages": (_WAITING, _THINKING, _THOUGHT, _ANSWERING, _TEXT, _CALLING, _DONE),
}
"""By path, in their order."""


def told(path: str) -> list[Step]:
    """The statuses of the answer."""
    return [step for step in _STEPS[path] if step.kind not in _SAID]


def text_shown(path: str, form: Form) -> str:
    """The text of the answer, in which the form ``content`` has its paragraphs."""
    return _shown(path, {"text"}, ("\n\n", "\n\n") if form is Form.CONTENT else None)


def reasoning_shown(path: str, form: Form, rule: Rule) -> str:
    """The reasoning in fields of its own, in which the form ``reasoning`` has its lines."""
    said = {"reasoning"} if rule.runs_tools else set()
    return _shown(path, said, ("", "\n") if form is Form.REASONING else None)


def _shown(path: str, said: set[str], around: tuple[str, str] | None) -> str:
    """``around``: what stands before a status that follows text of the answer, and after every one.
    A status that says the same as the one before says nothing."""
    shown: list[str] = []
    latest, begun = "", False
    for step in _STEPS[path]:
        begun = begun or step.kind == "text"
        if step.kind in said:
            shown.append(step.text)
        if step.kind in _SAID or around is None:
            continue
        if step.text and step.text != latest:
            before, after = around
            shown.append((before if begun else "") + step.text + after)
        latest = step.text
    return "".join(shown)
