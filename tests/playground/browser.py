"""The playground's page as a browser shows it: what it holds, and what goes wrong in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright, expect

ARTEFACTS: Final = Path(__file__).parents[1] / "artefacts" / "playground"
"""Screenshots, for whoever wants to see what a test saw."""
PATIENCE: Final = 30_000
"""Milliseconds; nothing takes a tenth of it on a machine that is not busy."""

MARKS: Final = ("first_byte", "first_reasoning", "first_status", "first_visible", "done")

_WATCH = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    for (const { node, previousRect: was, currentRect: is } of entry.sources) {
      const what = node?.id || node?.outerHTML?.slice(0, 60) || node?.data?.slice(0, 60);
      window.shifts.push(`${what}: from ${was.x},${was.y} to ${is.x},${is.y}`);
    }
  }
}).observe({ type: "layout-shift", buffered: true });
"""

expect.set_options(timeout=PATIENCE)


class Watched:
    """A page, and every complaint of it: exceptions, and what the console calls an error."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._hear(said.type, said.text))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    async def ask(self) -> None:
        """Press the button, and wait until the answer is complete."""
        await self.page.get_by_role("button", name="Ask").click()
        await self.done()

    async def done(self) -> None:
        """Wait until the answer is complete, on both sides."""
        await expect(self.page.get_by_role("status")).to_have_text(re.compile("^Done after"))
        await expect(self.page.get_by_role("button", name="Stop")).to_be_disabled()

    async def answer(self) -> str:
        """The text of the answer, to the character."""
        return await self.page.locator("#answer").text_content() or ""

    async def height(self) -> float:
        """That of the answer's area."""
        box = await self.page.locator("#answer").bounding_box()
        assert box is not None
        return box["height"]

    async def written(self, channel: str) -> str:
        """What the left side shows of one channel."""
        parts = self.page.locator(f"#raw [data-channel={channel}]")
        return "".join(await parts.all_text_contents())

    async def times(self, side: str) -> dict[str, float]:
        """The seconds in the table, by the marks that have happened."""
        cells = {mark: self.page.locator(f"#{side}-{mark}") for mark in MARKS}
        texts = {mark: await cell.text_content() or "" for mark, cell in cells.items()}
        return {mark: float(text.split()[0]) for mark, text in texts.items() if text != "–"}

    async def shifts(self) -> list[str]:
        """What has moved on the page, and whither (Layout Instability API)."""
        found: list[str] = await self.page.evaluate("window.shifts")
        return found

    async def shoot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


@asynccontextmanager
async def launched(executable: str) -> AsyncIterator[Browser]:
    """The browser at that path."""
    async with async_playwright() as playwright:
        # In a container there is neither a sandbox for it nor a large /dev/shm.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=executable, args=options)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def watched(browser: Browser, origin: str, **options: Any) -> AsyncIterator[Watched]:
    """The page of the playground at ``origin``, ready to be used."""
    context = await browser.new_context(**options)
    try:
        await context.add_init_script(_WATCH)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        seen = Watched(page)
        await page.goto(f"{origin}/playground")
        await expect(page.get_by_role("main")).to_be_visible()
        yield seen
    finally:
        await context.close()
