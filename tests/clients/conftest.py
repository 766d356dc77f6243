"""What all clients share: the sidecar's address, and a Node with its packages."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from .node_setup import prepared_node
from .rig import serving_shapes


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def origin() -> AsyncIterator[str]:
    """The origin of a sidecar in front of the recorded shapes."""
    async with serving_shapes() as url:
        yield url


@pytest.fixture(scope="session")
def node() -> Path:
    """Node, with the packages that the scripts import."""
    node = prepared_node()
    if node is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_NODE" in os.environ else pytest.skip
        refuse("Node and npm are not installed")
    return node
