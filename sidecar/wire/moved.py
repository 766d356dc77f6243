"""Calls on their way out of an answer's text into ``tool_calls`` (``tool_calls: move``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

from sidecar.core.progress import Progress
from sidecar.wire.calls import CallFilter
from sidecar.wire.fields import Record
from sidecar.wire.textcalls import CallsInText


def call_ids(seed: str) -> Iterator[str]:
    """Ids for the calls of one answer; ``seed`` keeps those of two answers apart."""
    return (f"call_{seed}{number:04d}" for number in count(1))


class MovedCalls(CallsInText):
    """The calls in the text of one choice, message by message, as deltas of ``tool_calls``
    (OpenAI API reference, "Chat completion chunk").

    ``calls`` are those in fields, which share their indexes. ``schemas`` are the declared tools'
    parameters.
    """

    def __init__(
        self,
        progress: Progress,
        schemas: Mapping[str, object],
        calls: CallFilter,
        ids: Iterator[str],
    ) -> None:
        super().__init__(progress, schemas)
        self.unreadable = False
        """A call could not be read as its family writes it."""
        self._calls = calls
        self._ids = ids
        self._index = 0
        """The index of the latest call."""
        self._deltas: list[Record] = []

    def take_deltas(self, *, whole: bool) -> list[Record]:
        """The deltas since the last time; ``whole``: complete calls, without their indexes."""
        deltas, self._deltas = self._deltas, []
        if whole:
            for delta in deltas:
                del delta["index"]
        return deltas

    def _begun(self, name: str) -> None:
        super()._begun(name)
        self._index = self._calls.take_index()
        self._deltas.append(
            {
                "index": self._index,
                "id": next(self._ids),
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
        )

    def _argued(self, piece: str) -> None:
        super()._argued(piece)
        if self._deltas:
            self._deltas[-1]["function"]["arguments"] += piece
        else:
            self._deltas.append({"index": self._index, "function": {"arguments": piece}})

    def _broken(self) -> None:
        super()._broken()
        self.unreadable = True
