"""The AI SDK in Node, with each of its providers that speaks one of the wire formats."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from .node_setup import FOLDER
from .rig import RULES, Rule, each_rule, secrets_in
from .shapes import INPUT, PARAMETERS, SUMMARY, THOUGHT, TOOL

pytestmark = pytest.mark.asyncio(loop_scope="session")

REASONING = {
    "openai.responses": SUMMARY,
    "openai.chat": "",
    "openai-compatible": THOUGHT,
    "anthropic": THOUGHT,
}
"""What each provider shows of the reasoning where it is kept: OpenAI's chat has no field for it."""

PATIENCE = 60.0
"""Seconds for all the answers."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def told(origin: str, node: Path) -> Any:
    """What an application got, by provider, model and way; from one process: Node starts slowly."""
    asked = {
        "origin": origin,
        "providers": list(REASONING),
        "models": [rule.name for rule in RULES],
        "tool": {"name": TOOL, "parameters": PARAMETERS},
    }
    process = await asyncio.create_subprocess_exec(
        node, FOLDER / "ask.mjs", json.dumps(asked), stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0
    return json.loads(output)


@each_rule
@pytest.mark.parametrize("provider", REASONING)
@pytest.mark.parametrize("way", ["streamed", "whole"])
async def test_an_answer(told: Any, way: str, provider: str, rule: Rule) -> None:
    """The application gets what the rule leaves, and no error."""
    got = told[provider][rule.name][way]
    assert got["errors"] == []
    assert got["text"] == rule.text
    assert got["reasoning"] == (REASONING[provider] if rule.reasoning else "")
    assert got["calls"] == ([{"name": TOOL, "input": INPUT}] if rule.calls else [])
    assert got["finish"] == ("tool-calls" if rule.calls else "stop")
    assert secrets_in(got["seen"]) == rule.secrets
