"""A real browser, Debian's Chromium without a window."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
import pytest_asyncio

from .browser import Watched, launched, watched

LIMIT = 60.0
"""Seconds for one page: a hang fails."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Open(Protocol):
    """Opens the playground's page in a window of its own."""

    def __call__(self, origin: str, **options: Any) -> AbstractAsyncContextManager[Watched]:
        """``options`` are those of a browser's context, such as its viewport."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def opened() -> AsyncIterator[Open]:
    """Opens the page; what goes wrong in it fails the test."""
    if CHROMIUM is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_BROWSER" in os.environ else pytest.skip
        refuse("there is no chromium")
    async with launched(CHROMIUM) as browser:

        @asynccontextmanager
        async def open_(origin: str, **options: Any) -> AsyncIterator[Watched]:
            async with asyncio.timeout(LIMIT), watched(browser, origin, **options) as page:
                yield page
                assert page.complaints == []

        yield open_
