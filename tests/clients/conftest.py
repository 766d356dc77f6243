"""What all clients share: the addresses of sidecars, and what scripts in Node and in another Python
were answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from . import node_setup, python_setup
from .asking import IN_NODE, IN_PYTHON, Answers, answers_to, questions, questions_of_parser
from .rig import serving_shapes
from .statusrig import serving_statuses


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def origin() -> AsyncIterator[str]:
    """The origin of a sidecar in front of the recorded shapes."""
    async with serving_shapes() as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def telling() -> AsyncIterator[str]:
    """The origin of a sidecar that tells what an answer is doing."""
    async with serving_statuses() as url:
        yield url


@pytest.fixture(scope="session")
def node() -> Path:
    """Node, with the packages that the scripts import."""
    node = node_setup.prepared_node()
    if node is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_NODE" in os.environ else pytest.skip
        refuse("Node and npm are not installed")
    return node


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def in_python(telling: str) -> Answers:
    """What the packages get of it that are built upon the SDKs."""
    python = await asyncio.to_thread(python_setup.prepared_python)
    script = python_setup.FOLDER / "ask.py"
    return await answers_to(questions(IN_PYTHON), telling, python, script)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def in_node(telling: str, node: Path) -> Answers:
    """What the clients in Node get of it."""
    asked = [*questions(IN_NODE), *questions_of_parser()]
    return await answers_to(asked, telling, node, node_setup.FOLDER / "statuses.mjs")
