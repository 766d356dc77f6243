"""A real browser, Debian's Chromium without a window."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import pytest

from .browser import Watched, launched, watched

LIMIT = 60.0
"""Seconds for one page: a hang fails."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Open(Protocol):
    """Opens the playground's page in a window of its own."""

    def __call__(self, origin: str, **options: Any) -> AbstractAsyncContextManager[Watched]:
        """``options`` are those of a browser's context, such as its viewport."""


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens the page; what goes wrong in it fails the test. Each test has a browser of its own, in
    its own event loop: one that outlives a loop may never answer again."""
    if CHROMIUM is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_BROWSER" in os.environ else pytest.skip
        refuse("there is no chromium")
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(LIMIT):
            browser = await stack.enter_async_context(launched(CHROMIUM))

        @asynccontextmanager
        async def open_(origin: str, **options: Any) -> AsyncIterator[Watched]:
            async with asyncio.timeout(LIMIT), watched(browser, origin, **options) as page:
                yield page
                assert page.complaints == []

        yield open_
        async with asyncio.timeout(LIMIT):
            await stack.aclose()
