"""Runs the demo: the upstream, the sidecar in front of it, and a client of each."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import ClientSession, ClientTimeout

from sidecar.demo.reading import Reading, read
from sidecar.demo.report import Round, conclusion, faults, how_to_call, sides, summary
from sidecar.demo.transcripts import TRANSCRIPTS, Transcript
from sidecar.demo.upstream import upstream
from sidecar.playground.plane import PATH
from sidecar.rules.catalogue import shipped_catalogue
from sidecar.rules.config import Config, load_config
from sidecar.rules.configvalues import Address
from sidecar.server.app import serving
from sidecar.terminal import Screen, columns

Write = Callable[[str], None]

CONFIG_FILE: Final = Path(__file__).with_name("demo.yaml")

_FRAME: Final = 0.05
"""Seconds between two frames on the terminal."""
# Longer than the hidden part of any transcript, in which the clean stream is silent.
_TIMEOUT: Final = ClientTimeout(total=None, sock_read=10)


async def demo(
    *,
    once: bool,
    write: Write,
    listen: Address | None = None,
    pace: float = 1.0,
    config_file: Path = CONFIG_FILE,
) -> int:
    """Streams every transcript, raw and through the sidecar, and shows both.

    ``once``: all at the same time, with a report of each; otherwise one after another, live if
    standard output is a terminal, and then it serves until it is cancelled. ``write`` is as that
    of a text file, ``listen`` where the sidecar listens (a free port if none is given), ``pace`` a
    factor for the delays between tokens. ``config_file`` gets the upstream's URL in
    ``UPSTREAM_BASE_URL``. Returns 0, or 1 if anything leaked or any visible text was lost.
    """
    async with upstream(pace) as origin:
        config = _config(config_file, origin, listen)
        async with serving(config) as running, ClientSession(timeout=_TIMEOUT) as session:
            stage = _Stage(session, origin, f"http://{running.data}/v1")
            page = f"http://{running.admin}{PATH}"
            if not once:
                _write_lines(write, (f"In a browser: {page}", ""))
            rounds = await (_all_at_once if once else _one_by_one)(stage, write)
            _write_lines(write, conclusion(rounds))
            if not once:
                _write_lines(write, ("", *how_to_call(stage.sidecar, stage.upstream, page)))
                await asyncio.Event().wait()
            return 1 if any(map(faults, rounds)) else 0


class _Stage(NamedTuple):
    session: ClientSession
    upstream: str
    sidecar: str

    async def play(self, round_: Round) -> None:
        """Asks for one transcript on both sides at the same moment, until both have ended."""
        await asyncio.gather(
            read(self.session, self.upstream, round_.transcript, round_.raw),
            read(self.session, self.sidecar, round_.transcript, round_.clean),
        )


def _config(path: Path, origin: str, listen: Address | None) -> Config:
    catalogue = shipped_catalogue()
    config = load_config(path, {"UPSTREAM_BASE_URL": origin}, catalogue.names())
    return replace(config, listen=listen or config.listen)


async def _all_at_once(stage: _Stage, write: Write) -> list[Round]:
    rounds = [_new_round(transcript) for transcript in TRANSCRIPTS]
    await asyncio.gather(*map(stage.play, rounds))
    for round_ in rounds:
        _write_lines(write, (*summary(round_, shown=True), ""))
    return rounds


async def _one_by_one(stage: _Stage, write: Write) -> list[Round]:
    rounds = []
    for transcript in TRANSCRIPTS:
        round_ = _new_round(transcript)
        rounds.append(round_)
        await _show(stage, round_, write)
        _write_lines(write, ("", *summary(round_, shown=False), ""))
    return rounds


async def _show(stage: _Stage, round_: Round, write: Write) -> None:
    """Plays ``round_`` and draws it: as it arrives on a terminal, otherwise once at the end."""
    live = sys.stdout.isatty()
    screen = Screen(write)
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(stage.play(round_))
        while live and not playing.done():
            # What has scrolled away cannot be drawn over.
            screen.draw(_rows(round_, styled=True)[1 - shutil.get_terminal_size().lines :])
            await asyncio.wait((playing,), timeout=_FRAME)
    if live:
        screen.draw(_rows(round_, styled=True))
    else:
        _write_lines(write, _rows(round_, styled=False))


def _rows(round_: Round, *, styled: bool) -> list[str]:
    return columns(*sides(round_), shutil.get_terminal_size().columns, styled=styled)


def _new_round(transcript: Transcript) -> Round:
    return Round(transcript, Reading(), Reading())


def _write_lines(write: Write, lines: Iterable[str]) -> None:
    write("".join(f"{line}\n" for line in lines))
