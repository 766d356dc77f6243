"""Every wire format keeps the nine promises, and the suite that says so notices one that does not.

For each promise there is a wire format that breaks it: a real one with one thing done wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from sidecar.core.framing import Framing
from sidecar.core.jsontext import Parsed, parse
from sidecar.core.lane import Lane
from sidecar.core.progress import Progress
from sidecar.core.sse import EventTooLarge, Frame, Skip, no_skip
from sidecar.core.stats import Stats, Verdict
from sidecar.core.stream import Fault, Reading
from sidecar.core.unread import Settled
from sidecar.wire.answer import Answer
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from sidecar.wire.ruling import Ruling
from tests.wire import conformance
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import Suite, check_wire_format

per_format = pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda each: each.name)


@per_format
def test_it_keeps_the_promises(wire_format: WireFormat) -> None:
    check_wire_format(wire_format, ADAPTERS[wire_format.name])


# --- formats that do not ------------------------------------------------------------------------


class Like:
    """An answer that is as another, but for what a subclass does wrong."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.framing: Framing = answer.framing

    @property
    def stats(self) -> Stats:
        return self.answer.stats

    @stats.setter
    def stats(self, stats: Stats) -> None:
        raise NotImplementedError

    @property
    def lanes(self) -> Mapping[Any, Lane]:
        return self.answer.lanes

    @property
    def progress(self) -> Progress:
        return self.answer.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        raise NotImplementedError

    @property
    def hesitates(self) -> bool:
        return self.answer.hesitates

    def carry(self, extra: dict[str, object]) -> bytes:
        return self.answer.carry(extra)

    def carry_text(self, key: str, text: str) -> bytes:
        return self.answer.carry_text(key, text)

    def refuse(self, error: Any, status: int) -> list[bytes]:
        return self.answer.refuse(error, status)

    @property
    def settled(self) -> Settled | None:
        return None

    def read(self, event: Parsed) -> Reading:
        return self.answer.read(event)

    def end(self, fault: Fault | None) -> list[bytes]:
        return self.answer.end(fault)

    def read_document(self, document: Parsed) -> bytes | None:
        return self.answer.read_document(document)


class ReadsChunks(Like):
    """1. Takes the end of a chunk for the end of an event."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        decoder = self.framing.decoder

        class Hasty:
            def __init__(self, limit: int) -> None:
                self._decoder = decoder(limit)

            def feed(self, chunk: bytes, skip: Skip = no_skip) -> Iterator[Frame]:
                try:
                    yield from self._decoder.feed(chunk)
                except EventTooLarge:
                    return
                frames, _ = self._decoder.finish()
                yield from frames

            idle = False

            def finish(self) -> tuple[list[Frame], Frame | None]:
                return self._decoder.finish()

        self.framing = self.framing._replace(decoder=Hasty)


class WritesAnew(Like):
    """2. Writes every event anew."""

    def read(self, event: Parsed) -> Reading:
        reading = self.answer.read(event)
        if reading.verdict is not Verdict.PASS:
            return reading
        out = self.framing.write(event.text.replace(b":", b": ", 1), reading.name)
        return Reading(Verdict.REWRITE, (out,), last=reading.last)


class HoldsTooMuch(Like):
    """3. Sends an event with the one after it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._held: tuple[bytes, ...] = ()

    def read(self, event: Parsed) -> Reading:
        reading = self.answer.read(event)
        out, self._held = self._held, _out(self.framing, event, reading)
        if reading.last:
            out, self._held = (*out, *self._held), ()
        return Reading(Verdict.REWRITE if out else Verdict.DROP, out, last=reading.last)

    def end(self, fault: Fault | None) -> list[bytes]:
        return [*self._held, *self.answer.end(fault)]


class Leaks(Like):
    """4. Sends what it should drop."""

    def read(self, event: Parsed) -> Reading:
        reading = self.answer.read(event)
        if reading.verdict is not Verdict.DROP:
            return reading
        return Reading(Verdict.REWRITE, (self.framing.write(event.text, b""),))


class Reorders(HoldsTooMuch):
    """5. Sends an event before the one that came before it."""

    def read(self, event: Parsed) -> Reading:
        reading = self.answer.read(event)
        new = _out(self.framing, event, reading)
        if self._held or reading.last:
            out, self._held = (*new, *self._held), ()
        else:
            out, self._held = (), new
        return Reading(Verdict.REWRITE if out else Verdict.DROP, out, last=reading.last)


class CountsTwice(Like):
    """6. Counts what is hidden whenever it is repeated."""

    def read(self, event: Parsed) -> Reading:
        before = self.stats.hidden_characters.copy()
        reading = self.answer.read(event)
        self.stats.hidden_characters.update(self.stats.hidden_characters - before)
        return reading


class EndsWithoutAWord(Like):
    """7. Says nothing when upstream dies."""

    def end(self, fault: Fault | None) -> list[bytes]:
        self.answer.end(fault)
        return []


class PassesDocuments(Like):
    """8. Reads streams only."""

    def read_document(self, document: Parsed) -> bytes | None:
        self.answer.read_document(document)
        return None


class Remembers(Like):
    """9. Keeps every event."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._events: list[bytes] = []

    def read(self, event: Parsed) -> Reading:
        self._events.append(event.text)
        return self.answer.read(event)


class LooksBack(Like):
    """9. Looks at all events before with every event."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._count = 0

    def read(self, event: Parsed) -> Reading:
        self._count += 1
        for _ in range(self._count):
            parse(b"{}")
        return self.answer.read(event)


def _out(framing: Framing, event: Parsed, reading: Reading) -> tuple[bytes, ...]:
    """What leaves of an event."""
    if reading.verdict is Verdict.PASS:
        return (framing.write(event.text, reading.name),)
    return reading.out


@per_format
@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (ReadsChunks, conformance.check_chunk_invariance),
        (WritesAnew, conformance.check_no_harm),
        (HoldsTooMuch, conformance.check_exact_holding),
        (Leaks, conformance.check_no_leak),
        (Reorders, conformance.check_order),
        (CountsTwice, conformance.check_conservation),
        (EndsWithoutAWord, conformance.check_termination),
        (PassesDocuments, conformance.check_stream_equals_document),
        (Remembers, conformance.check_bounds),
        (LooksBack, conformance.check_bounds),
    ],
)
def test_a_format_that_breaks_a_promise_does_not_pass(
    wire_format: WireFormat, broken: type[Like], check: Callable[[Suite], None]
) -> None:
    def answer(ruling: Ruling) -> Answer:
        return broken(wire_format.answer(ruling))

    with pytest.raises(AssertionError):
        check(Suite(wire_format._replace(answer=answer), ADAPTERS[wire_format.name]))


def test_every_promise_has_a_check() -> None:
    names = {name for name in vars(conformance) if name.startswith("check_")}
    assert {check.__name__ for check in conformance.CHECKS} == names - {"check_wire_format"}
    assert len(conformance.CHECKS) == 9


@per_format
def test_what_does_nothing_wrong_passes(wire_format: WireFormat) -> None:
    def answer(ruling: Ruling) -> Answer:
        return Like(wire_format.answer(ruling))

    suite = Suite(wire_format._replace(answer=answer), ADAPTERS[wire_format.name])
    conformance.check_no_harm(suite)
    conformance.check_stream_equals_document(suite)
