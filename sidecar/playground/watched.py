"""A chat answer that tells a run what the engine makes of every piece of it."""

from __future__ import annotations

from typing import Any

from sidecar.core.jsontext import Parsed
from sidecar.core.stream import Reading
from sidecar.playground.runs import Run
from sidecar.wire.chat import Chat
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from sidecar.wire.ruling import Ruling


class WatchedChat(Chat):
    """Judges as :class:`~sidecar.wire.chat.Chat` does; only the short ways, which do not look at a
    text that is certain to pass, are not taken."""

    def __init__(self, ruling: Ruling, run: Run) -> None:
        super().__init__(ruling._replace(tell=run.judge))
        self._run = run
        run.begin()

    @property
    def settled(self) -> None:
        """None: every event is read in full."""
        return None

    def read(self, event: Parsed) -> Reading:
        """Judge one chunk, and tell that it came. Raises MalformedChunk."""
        self._run.hear()
        if isinstance(event.value, dict) and event.value.get("error"):
            self._run.fail(event.value["error"])
        return super().read(event)

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What a client is told of upstream's ``error``, which is told as it is."""
        self._run.fail(error)
        return super().refuse(error, status)


def watched_formats(run: Run) -> tuple[WireFormat, ...]:
    """The wire formats, of which chat tells ``run``."""
    return tuple(
        wire_format._replace(answer=lambda ruling: WatchedChat(ruling, run))
        if wire_format.answer is Chat
        else wire_format
        for wire_format in WIRE_FORMATS
    )
