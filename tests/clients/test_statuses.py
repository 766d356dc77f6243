"""Statuses and heartbeats take nothing from a client: in every form that it may be given it gets
the same text, calls, finish and usage as without them, and the error of an answer that has begun.
"""

from __future__ import annotations

import anthropic
import openai
import pytest

from sidecar.core.status import Form

from .asking import HERE, IN_NODE, IN_PYTHON, Answers, Asked, each_answer, each_error
from .sdks import ASK, Failed, Question
from .statusrig import ERROR, FAILS, PERSON, Rule, asked_by

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAILING = PERSON.name + FAILS

# --- answers ------------------------------------------------------------------------------------


@each_answer(HERE)
async def test_an_sdk(telling: str, client: str, rule: Rule, form: Form) -> None:
    """The openai and anthropic packages, by iterating and by their helpers."""
    got = await ASK[client](Question(telling, rule.name, asked_by(form)))
    assert got == HERE[client].expected(rule, form)


@each_answer(IN_PYTHON)
async def test_upon_an_sdk(in_python: Answers, client: str, rule: Rule, form: Form) -> None:
    """LangChain, LiteLLM and Pydantic AI."""
    expected = IN_PYTHON[client].expected(rule, form)
    assert in_python[Asked(client, IN_PYTHON[client].path, rule.name, form)] == expected._asdict()


@each_answer(IN_NODE)
async def test_in_node(in_node: Answers, client: str, rule: Rule, form: Form) -> None:
    """The openai package in Node, and the AI SDK."""
    expected = IN_NODE[client].expected(rule, form)
    assert in_node[Asked(client, IN_NODE[client].path, rule.name, form)] == expected._asdict()


# --- errors -------------------------------------------------------------------------------------


@each_error(HERE)
async def test_an_error_in_an_sdk(telling: str, client: str, form: Form) -> None:
    """What upstream says instead of an answer is raised, though the answer has begun."""
    with pytest.raises((openai.APIError, anthropic.APIError, Failed), match=ERROR):
        await ASK[client](Question(telling, FAILING, asked_by(form)))


@each_error(IN_PYTHON)
async def test_an_error_upon_an_sdk(in_python: Answers, client: str, form: Form) -> None:
    """The same in LangChain, LiteLLM and Pydantic AI."""
    assert ERROR in in_python[Asked(client, IN_PYTHON[client].path, FAILING, form)]["error"]


@each_error(IN_NODE)
async def test_an_error_in_node(in_node: Answers, client: str, form: Form) -> None:
    """The same in Node."""
    assert ERROR in in_node[Asked(client, IN_NODE[client].path, FAILING, form)]["error"]
