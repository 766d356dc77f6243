"""The demo as a whole, over real sockets."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from sidecar.demo.run import CONFIG_FILE, demo
from sidecar.demo.transcripts import THINK, TRANSCRIPTS
from sidecar.resources import config_dir
from sidecar.rules.catalogue import load_catalogue
from sidecar.rules.config import BUILT_IN_RULES, load_config
from sidecar.rules.configvalues import Address

HIDES_NOTHING = """
upstream: {base_url: "${UPSTREAM_BASE_URL}"}
listen: 127.0.0.1:0
admin: 127.0.0.1:0
rules: []
"""


async def test_one_round_shows_every_transcript_and_leaks_nothing() -> None:
    written: list[str] = []
    assert await demo(once=True, pace=0, write=written.append) == 0
    text = "".join(written)
    for transcript in TRANSCRIPTS:
        assert f"{transcript.name}: {transcript.description}\n  hidden " in text
        assert transcript.visible.splitlines()[-1] in text
    assert text.endswith("\nnothing leaked\n")


async def test_one_round_at_normal_pace_takes_seconds() -> None:
    start = time.perf_counter()
    assert await demo(once=True, write=lambda text: None) == 0
    assert time.perf_counter() - start < 20


async def test_rules_that_hide_nothing_are_found_out(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(HIDES_NOTHING)
    written: list[str] = []
    assert await demo(once=True, pace=0, write=written.append, config_file=file) == 1
    text = "".join(written)
    assert text.count("  hidden  nothing\n") == len(TRANSCRIPTS)
    for transcript in TRANSCRIPTS:
        assert f"\n{transcript.name}: leaked {transcript.phrases[0]!r}\n" in text
    assert "nothing leaked" not in text


async def test_without_a_rule_that_names_it_react_is_found_out(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(HIDES_NOTHING.replace("rules: []", "rules: [{name: default}]"))
    written: list[str] = []
    assert await demo(once=True, pace=0, write=written.append, config_file=file) == 1
    leaks = re.findall(r"^(\w+): leaked", "".join(written), re.MULTILINE)
    assert set(leaks) == {"react"}


@asynccontextmanager
async def _serving_demo(written: list[str], listen: Address | None = None) -> AsyncIterator[str]:
    """The demo in its second part: yields all that it wrote."""
    task = asyncio.create_task(demo(once=False, pace=0, write=written.append, listen=listen))
    try:
        async with asyncio.timeout(20):
            while not written or "Ctrl-C" not in written[-1]:
                assert not task.done(), await task
                await asyncio.sleep(0.01)
        yield "".join(written)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_it_then_serves_and_the_printed_python_gets_the_visible_text() -> None:
    async with _serving_demo([]) as text:
        start = text.index("    import openai")
        snippet = textwrap.dedent(text[start : text.index("\n\n", start)])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", snippet, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert out.decode().replace("\r\n", "\n") == THINK.visible
    assert "\nnothing leaked\n" in text


async def test_it_prints_both_sides_once_if_nobody_watches() -> None:
    async with _serving_demo([]) as text:
        assert text.count("what the model sends") == len(TRANSCRIPTS)
        assert "\x1b" not in text


async def test_its_first_line_is_the_address_of_the_playground() -> None:
    async with _serving_demo([]) as text, ClientSession() as session:
        url = text.splitlines()[0].removeprefix("In a browser: ")
        async with session.get(url) as page:
            assert page.status == 200
            assert "playground" in await page.text()
        assert text.count(url) == 2


async def test_on_a_terminal_it_draws_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    async with _serving_demo([]) as text:
        assert text.count("what the model sends") > len(TRANSCRIPTS)
        assert "\x1b[2m<think>\x1b[0m" in text


async def test_it_is_for_this_machine_alone_unless_it_is_told_otherwise() -> None:
    config = load_config(CONFIG_FILE, {}, load_catalogue(config_dir() / "formats").names())
    assert (config.listen.host, config.admin.host) == ("127.0.0.1", "127.0.0.1")
    async with _serving_demo([]) as text:
        assert set(re.findall(r"http://([^:/]+)", text)) == {"127.0.0.1"}


async def test_it_listens_where_it_is_told(unused_tcp_port: int) -> None:
    async with _serving_demo([], Address("127.0.0.1", unused_tcp_port)) as text:
        assert f"curl -N http://127.0.0.1:{unused_tcp_port}/v1/chat/completions" in text


def test_the_last_rules_of_the_demo_are_the_built_in_ones() -> None:
    catalogue = load_catalogue(config_dir() / "formats")
    config = load_config(CONFIG_FILE, {}, catalogue.names())
    assert config.rules[-len(BUILT_IN_RULES) :] == BUILT_IN_RULES
