"""The bytes of answers with statuses, as a reader that forgives nothing and eventsource-parser see
them: each status in its form, in its order, and all else as it is without them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final, get_args

import aiohttp
import pytest
from openai.types.responses import ResponseStreamEvent

from sidecar.core.status import Beat, Form
from sidecar.server.statusform import HEADER

from .asking import CHAT, COMPLETIONS, MESSAGES, PARSER, RESPONSES, Answers, Asked
from .sdks import BODIES
from .shapes import Record
from .statusrig import (
    Rule,
    Step,
    asked_by,
    cases_of,
    given_for,
    reasoning_shown,
    text_shown,
    told,
)
from .strictreader import DONE, Event, Events, read_strictly

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES: Final[dict[str, set[str]]] = {
    CHAT: set(),
    COMPLETIONS: set(),
    RESPONSES: {
        *(
            get_args(one.model_fields["type"].annotation)[0]
            for one in get_args(get_args(ResponseStreamEvent)[0])
        ),
        "keepalive",
    },
    MESSAGES: {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    },
}
"""The names of the events of each wire format."""

KEYS: Final = {Form.CHUNK: "sidecar", Form.OPEN_WEBUI: "event"}
"""The top-level key of a status in an event that says nothing else."""

_MADE = re.compile(r"\brs_[0-9a-f]{16}\b")
"""Of an item that the sidecar has made: it is another one in every answer."""


# --- reading ------------------------------------------------------------------------------------


def said_of(event: Event) -> Any:
    """What a chat's or a completion's event says of its one choice; None if it has none."""
    choices = event.data["choices"] if event.data != DONE else []
    return choices[0] if choices else None


def says_nothing(event: Event, path: str) -> bool:
    """Whether it is only a sign of life."""
    if path in (RESPONSES, MESSAGES):
        return event.data in ({"type": "keepalive"}, {"type": "ping"})
    said = said_of(event)
    if said is None or said["finish_reason"] is not None:
        return False
    return not (said.get("text") or said.get("delta"))


def status_in(event: Event, form: Form) -> Step | None:
    """The status that the event is, if it is one; its phase is empty where the form has none."""
    data = event.data
    if data == DONE:
        return None
    if form is Form.CHUNK and "sidecar" in data:
        status = data["sidecar"]["status"]
        return Step(status["phase"], status["text"])
    if form is Form.EVENT and event.name == "status":
        return Step(data["phase"], data["text"])
    if form is Form.OPEN_WEBUI and "event" in data:
        return Step("", data["event"]["data"]["description"])
    if form is Form.TYPED and data.get("type") == "status":
        return Step("", data["content"])
    return None


def statuses_in(seen: Events, form: Form) -> list[Step]:
    """All statuses, in their order."""
    marked = [one.removeprefix("status ") for one in seen.comments if one.startswith("status ")]
    comments = [Step(status["phase"], status["text"]) for status in map(json.loads, marked)]
    # A chunk is a comment where the format can have none yet: before a response is announced.
    return comments + [
        step for event in seen.events if (step := status_in(event, form)) is not None
    ]


def rest_of(seen: Events, path: str, form: Form) -> list[Event]:
    """The answer itself."""
    return [
        Event(event.name, json.loads(_MADE.sub("rs_made", json.dumps(event.data))))
        for event in seen.events
        if status_in(event, form) is None and not says_nothing(event, path)
    ]


def text_of(events: Iterable[Event], key: str) -> str:
    """The text under this key of a chat's deltas, or of a completion's choices."""
    said = [choice.get("delta", choice) for event in events if (choice := said_of(event))]
    return "".join(delta.get(key) or "" for delta in said)


# --- checking -----------------------------------------------------------------------------------


def check(seen: Events, bare: Events, path: str, rule: Rule, asked: Form) -> None:
    """``seen`` has the statuses of the answer that ``bare`` is without them."""
    form = given_for(path, asked)
    check_statuses(statuses_in(seen, form), path, rule, form)
    check_shapes(seen, path, form)
    check_beats(seen, path, rule, form)
    rest = rest_of(seen, path, form)
    if form in (Form.CONTENT, Form.REASONING):
        content = "text" if path == COMPLETIONS else "content"
        assert text_of(rest, content) == text_shown(path, form)
        assert text_of(rest, "reasoning_content") == reasoning_shown(path, form, rule)
    else:
        assert rest == rest_of(bare, path, Form.OFF)


def check_statuses(statuses: list[Step], path: str, rule: Rule, form: Form) -> None:
    """They are those of the answer, in their order; only a heartbeat repeats one."""
    if form in (Form.OFF, Form.CONTENT, Form.REASONING):
        assert not statuses
        return
    expected = told(path)
    if form in (Form.OPEN_WEBUI, Form.TYPED):
        expected = [step._replace(kind="") for step in expected]
    if rule.beat is Beat.STATUS:
        assert len(statuses) > len(expected)
        statuses = [step for step, _ in groupby(statuses)]
    assert statuses == expected


def check_shapes(seen: Events, path: str, form: Form) -> None:
    """Each event is one of the wire format's; what carries a status says nothing else."""
    for name, data in seen.events:
        if status_in(Event(name, data), form) is not None:
            if form in KEYS:
                bare = {key: value for key, value in data.items() if key != KEYS[form]}
                assert says_nothing(Event(name, bare), path)
        elif path in (RESPONSES, MESSAGES):
            assert name == data["type"]
        else:
            assert not name
            assert data == DONE or isinstance(data["choices"], list)
    ends = [event.data == DONE for event in seen.events]
    assert ends == [False] * (len(ends) - 1) + [path in (CHAT, COMPLETIONS)]


def check_beats(seen: Events, path: str, rule: Rule, form: Form) -> None:
    """There are signs of life of the rule's kind, before all else if the answer is begun before
    upstream's."""
    beats = {comment for comment in seen.comments if not comment.startswith("status ")}
    if form is Form.OFF:
        assert beats <= {"keep-alive"}
        return
    events = [event for event in seen.events if status_in(event, form) is None]
    if path == RESPONSES and rule.beat is Beat.CHUNK:
        assert beats == {"keep-alive"}
        assert any(says_nothing(event, path) for event in events)
        return
    assert beats == ({"keep-alive"} if rule.beat is Beat.COMMENT else set())
    assert says_nothing(events[0], path) is (rule.beat is Beat.CHUNK)


# --- the readers --------------------------------------------------------------------------------

each_answer = pytest.mark.parametrize(
    ("path", "rule", "form"),
    [
        pytest.param(path, rule, form, id=f"{path.removeprefix('/v1/')}-{rule.name}-{form}")
        for path in NAMES
        for rule, form in cases_of(path, for_sdks=False)
    ],
)


async def read(origin: str, path: str, rule: Rule, form: Form) -> Events:
    """The events of an answer, read strictly."""
    body = BODIES[path] | {"model": rule.name, "stream": True}
    async with (
        aiohttp.ClientSession(origin, headers=asked_by(form)) as session,
        session.post(path, json=body) as response,
    ):
        assert response.headers[HEADER] == given_for(path, form)
        stream = await response.read()
    names = {"status"} if form is Form.EVENT else set()
    return read_strictly(stream, NAMES[path] | names)


@each_answer
async def test_a_strict_reader(telling: str, path: str, rule: Rule, form: Form) -> None:
    """No line is there that any client in use cannot read."""
    bare = await read(telling, path, rule, Form.OFF)
    check(await read(telling, path, rule, form), bare, path, rule, form)


@each_answer
async def test_eventsource_parser(in_node: Answers, path: str, rule: Rule, form: Form) -> None:
    """A front end that is written by hand finds each status, and the same answer."""
    seen, bare = (parsed(in_node[Asked(PARSER, path, rule.name, one)]) for one in (form, Form.OFF))
    check(seen, bare, path, rule, form)


def parsed(answer: Record) -> Events:
    """What the script has printed."""
    events = [
        Event(name, data if data == DONE else json.loads(data)) for name, data in answer["events"]
    ]
    return Events(events, answer["comments"])
