"""Clients, what each of them must get of an answer with statuses, and scripts that ask for many."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from sidecar.core.status import Form

from .sdks import Got
from .shapes import INPUT, PARAMETERS, TOOL
from .statusrig import (
    FAILS,
    PERSON,
    Rule,
    asked_by,
    cases_of,
    forms_of,
    given_for,
    reasoning_shown,
    text_shown,
)

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"

PARSER: Final = "eventsource-parser"

_PATIENCE: Final = 120.0
"""Seconds for all the answers that one script asks for."""


class Client(NamedTuple):
    """A client by the path that it asks, how it calls the end of an answer without calls and of one
    with them, and whether it shows reasoning."""

    path: str
    stopped: str
    called: str
    shows_reasoning: bool = True

    def expected(self, rule: Rule, form: Form) -> Got:
        """What it gets."""
        given = given_for(self.path, form)
        return Got(
            given.value,
            text_shown(self.path, given),
            reasoning_shown(self.path, given, rule) if self.shows_reasoning else "",
            [{"name": TOOL, "input": INPUT}] if rule.runs_tools else [],
            self.called if rule.runs_tools else self.stopped,
            [9, 30],
        )


HERE = {
    "openai": Client(CHAT, "stop", "tool_calls"),
    "openai.stream": Client(CHAT, "stop", "tool_calls"),
    "openai.completions": Client(COMPLETIONS, "stop", ""),
    "openai.responses": Client(RESPONSES, "completed", "completed"),
    "openai.responses.stream": Client(RESPONSES, "completed", "completed"),
    "anthropic": Client(MESSAGES, "end_turn", "tool_use"),
    "anthropic.stream": Client(MESSAGES, "end_turn", "tool_use"),
}
"""In this process."""

IN_PYTHON = {
    "langchain-openai": Client(CHAT, "stop", "tool_calls", shows_reasoning=False),
    "litellm": Client(CHAT, "stop", "tool_calls"),
    "pydantic-ai": Client(CHAT, "stop", "tool_call"),
}
"""In an environment of their own."""

IN_NODE = {
    "openai-node": Client(CHAT, "stop", "tool_calls"),
    "openai-node.stream": Client(CHAT, "stop", "tool_calls"),
    "openai-node.responses": Client(RESPONSES, "completed", "completed"),
    "openai-node.responses.stream": Client(RESPONSES, "completed", "completed"),
    "ai.openai.chat": Client(CHAT, "stop", "tool-calls", shows_reasoning=False),
    "ai.openai-compatible": Client(CHAT, "stop", "tool-calls"),
    "ai.openai.responses": Client(RESPONSES, "stop", "tool-calls"),
    "ai.anthropic": Client(MESSAGES, "stop", "tool-calls"),
}


class Asked(NamedTuple):
    """A question of a script."""

    client: str
    path: str
    model: str
    form: Form


Answers = Mapping[Asked, Any]
"""What a script has printed."""


def questions(clients: Mapping[str, Client]) -> list[Asked]:
    """Each client with each rule and form, and with an error of upstream's in each form."""
    return [
        Asked(name, client.path, model, form)
        for name, client in clients.items()
        for model, form in (
            *((rule.name, form) for rule, form in cases_of(client.path)),
            *((PERSON.name + FAILS, form) for form in forms_of(client.path)),
        )
    ]


def questions_of_parser() -> list[Asked]:
    """Each path with each rule and form, those for hand-written front ends among them."""
    return [
        Asked(PARSER, path, rule.name, form)
        for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
        for rule, form in cases_of(path, for_sdks=False)
    ]


async def answers_to(asked: list[Asked], origin: str, interpreter: Path, script: Path) -> Answers:
    """What a script prints that asks all these questions, in one process: its packages take seconds
    to load."""
    request = {
        "origin": origin,
        "tool": {"name": TOOL, "parameters": PARAMETERS},
        "questions": [one._asdict() | {"headers": asked_by(one.form)} for one in asked],
    }
    # Nothing is fetched, reported, or asked by way of a proxy.
    offline = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGSMITH_TRACING": "false",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1",
    }
    process = await asyncio.create_subprocess_exec(
        interpreter,
        script,
        json.dumps(request),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | offline,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0
    return dict(zip(asked, json.loads(output), strict=True))


def each_answer(clients: Mapping[str, Client]) -> pytest.MarkDecorator:
    """Each client with each rule and form."""
    return pytest.mark.parametrize(
        ("client", "rule", "form"),
        [
            pytest.param(name, rule, form, id=f"{name}-{rule.name}-{form}")
            for name, client in clients.items()
            for rule, form in cases_of(client.path)
        ],
    )


def each_error(clients: Mapping[str, Client]) -> pytest.MarkDecorator:
    """Each client with each form."""
    return pytest.mark.parametrize(
        ("client", "form"),
        [
            pytest.param(name, form, id=f"{name}-{form}")
            for name, client in clients.items()
            for form in forms_of(client.path)
        ],
    )
