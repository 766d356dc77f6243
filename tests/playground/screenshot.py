"""The README's picture of the playground: ``python -m tests.playground.screenshot`` takes it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from sidecar.demo.transcripts import TOOLS

from .browser import launched, watched
from .conftest import CHROMIUM
from .rig import demo

PICTURE: Final = Path(__file__).with_name("screenshot.png")
SIZE: Final = {"width": 1180, "height": 1140}


async def main() -> None:
    """With an answer that is complete."""
    assert CHROMIUM is not None, "there is no chromium"
    async with (
        demo(pace=1.0) as origin,
        launched(CHROMIUM) as browser,
        watched(browser, origin, viewport=SIZE) as seen,
    ):
        await seen.page.get_by_role("radio", name=TOOLS.name).check()
        await seen.ask()
        await seen.page.screenshot(path=PICTURE)


if __name__ == "__main__":
    asyncio.run(main())
