"""Reads the configuration again, when its files change and when somebody asks (SIGHUP)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from sidecar.errors import ConfigError
from sidecar.metrics import Metrics
from sidecar.rules.config import Config
from sidecar.rules.ruleset import RuleSet
from sidecar.rules.source import NEEDS_RESTART, Read, Source, as_it_listens, changed_keys
from sidecar.rules.watched import watched

log = logging.getLogger("sidecar")

SETTLES: Final = 1.0
"""Seconds from a change until the files are read: editors write in pieces, and some take a file
away before they put the new one there."""

UNWATCHED: Final = "the configuration is not watched (%s): SIGHUP has it read again"

_STEP: Final = 100
"""Milliseconds between two looks of the watching thread at what the system has told it, and so the
time that it takes to end."""

Use = Callable[[Config, RuleSet], None]


class Reloader:
    """Has ``use`` serve by what ``source`` says; ``read`` is what it said at the start.

    A configuration is used as a whole or not at all: while one has a mistake, the one before stays.
    ``asked`` is set when everything is to be read again at once, whether it has changed or not.
    """

    def __init__(
        self, source: Source, read: Read, use: Use, metrics: Metrics, asked: asyncio.Event
    ) -> None:
        self._source = source
        self._read = read
        self._config = read.config
        self._use = use
        self._metrics = metrics
        self._mistake = ""
        """What is wrong with what was read last; empty if that is what is served by."""
        self._wrong: frozenset[Path] = frozenset()
        """The files that it is wrong in."""
        self._asked = asked

    async def run(self) -> None:
        """Reload, until this is cancelled."""
        asked = False
        while True:
            watching = asyncio.create_task(self._change())
            asking = asyncio.create_task(self._asked.wait())
            try:
                # What changes from here on is seen, and what did before is read.
                await asyncio.sleep(0)
                await self._reload(asked=asked)
                await asyncio.wait((watching, asking), return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    await asyncio.wait((asking,), timeout=SETTLES)
                asked = asking.done()
                self._asked.clear()
            finally:
                watching.cancel()
                asking.cancel()
                await asyncio.wait((watching, asking))

    async def _change(self) -> None:
        """Wait until something changes in or beside the files, or in where links to them lead."""
        # Whoever has no file needs none of it.
        from watchfiles import awatch

        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        files = self._source.files(self._config) | self._wrong
        try:
            async for _ in awatch(
                *watched(files),
                watch_filter=None,
                step=_STEP,
                recursive=False,
                ignore_permission_denied=True,
            ):
                return
        except (OSError, RuntimeError) as error:
            # The system may have no watch left (fs.inotify.max_user_watches).
            log.warning(UNWATCHED, _cause(error))
        await asyncio.Future()

    async def _reload(self, *, asked: bool) -> None:
        try:
            # Not on the loop: reading and compiling take tens of milliseconds.
            read = await asyncio.to_thread(self._source.read)
            if read != self._read:
                config = as_it_listens(self._config, read.config)
                self._use(config, await asyncio.to_thread(_compiled, config, read))
                self._config = config
            elif not asked and not self._mistake:
                return
        except ConfigError as error:
            self._fail(_sentence(error), asked, frozenset(Path(m.file) for m in error.mistakes))
        except OSError as error:
            self._fail(f"a file cannot be used ({error.strerror or type(error).__name__})", asked)
        except Exception as error:
            # By its class alone: its text may quote anything.
            self._fail(f"{type(error).__name__} inside the sidecar", asked)
        else:
            self._succeed(read)

    def _succeed(self, read: Read) -> None:
        changed = changed_keys(self._read, read)
        self._read = read
        self._judged("", frozenset())
        new = [key for key in changed if key not in NEEDS_RESTART]
        said = f"new: {_listed(new)}" if new else "nothing is new"
        log.info("the configuration was read again, %s", said)
        differs = changed_keys(Read(self._config, read.catalogue), read)
        if waiting := [key for key in NEEDS_RESTART if key in differs]:
            log.warning("a restart is needed for %s, until then the old stays", _listed(waiting))

    def _fail(self, mistake: str, asked: bool, files: frozenset[Path] = frozenset()) -> None:
        if mistake == self._mistake and not asked:
            return
        self._judged(mistake, files)
        log.error("the configuration cannot be used, the old one stays: %s", mistake)

    def _judged(self, mistake: str, files: frozenset[Path]) -> None:
        self._mistake, self._wrong = mistake, files
        self._metrics.reloaded(not mistake, time.time())


def _cause(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or type(error).__name__


def _compiled(config: Config, read: Read) -> RuleSet:
    return RuleSet(config.rules, read.catalogue, promoted=config.limits.promoted)


def _sentence(error: ConfigError) -> str:
    first, *others = error.mistakes
    more = f" (and {len(others)} more: sidecar check tells all)" if others else ""
    return f"{first}{more}"


def _listed(keys: Sequence[str]) -> str:
    *most, last = keys
    return f"{', '.join(most)} and {last}" if most else last
