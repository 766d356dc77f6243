"""What is wrong with a stream that came. Pure: the same observations, the same diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from sidecar.doctor.pace import Pace, pace, pace_of_arrivals
from sidecar.doctor.products import Product, products
from sidecar.doctor.stream import Stream
from sidecar.doctor.trouble import Trouble
from sidecar.printable import printable
from sidecar.server.headers import STREAM

HEARTBEAT: Final = "A heartbeat (status.heartbeat) that is shorter keeps answers alive."


class Finding(NamedTuple):
    """One trouble, and what shows it."""

    trouble: Trouble
    text: str


class Diagnosis(NamedTuple):
    """``pace`` is None if too little came. ``plain`` is that of the stream without the headers
    against buffering, if there was one. ``findings``: the worst first."""

    pace: Pace | None
    plain: Pace | None
    products: tuple[Product, ...]
    findings: tuple[Finding, ...]

    @property
    def fine(self) -> bool:
        """The stream came in step, and whole."""
        faults = any(finding.trouble.is_fault for finding in self.findings)
        return self.pace is Pace.IN_STEP and not faults


def of_drip(stream: Stream, plain: Stream | None, *, idle: float) -> Diagnosis:
    """Of a drip that had ``idle`` seconds of silence in it, and of one without the headers against
    buffering, if that was asked for."""
    first = stream.events[0].value if stream.events else {}
    of_stream, of_plain = pace_of_drip(stream), pace_of_drip(plain) if plain else None
    signs = first.get("signs")
    findings = (
        *_collected(stream, of_stream),
        *_cut(stream, idle),
        *_compressed(stream),
        *_relies(of_stream, of_plain),
        *_headers(stream.headers),
        *_old_http(stream, first.get("http")),
    )
    found = products(stream.headers, signs if isinstance(signs, list) else ())
    return Diagnosis(of_stream, of_plain, found, findings)


def of_chat(stream: Stream) -> Diagnosis:
    """Of a chat completion, of which nobody knows when its events were sent."""
    of_stream = pace_of_arrivals([event.at for event in stream.events])
    findings = (
        *_collected(stream, of_stream),
        *_cut(stream, 0),
        *_compressed(stream),
        *_headers(stream.headers),
        *_old_http(stream, None),
    )
    return Diagnosis(of_stream, None, products(stream.headers), findings)


def pace_of_drip(stream: Stream) -> Pace | None:
    """How the events of a drip came, by when they say that they were sent."""
    sent, arrived = [], []
    for event in stream.events:
        with suppress(KeyError, TypeError, ValueError):
            sent.append(float(event.value["t"]))
            arrived.append(event.at)
    return pace(sent, arrived)


def _collected(stream: Stream, of_stream: Pace | None) -> Iterator[Finding]:
    if of_stream in (Pace.IN_BURSTS, Pace.AT_THE_END):
        whole = "Content-Length" in stream.headers
        proof = ", with the length of the whole" if whole else ""
        text = f"The events came {of_stream}{proof}: somebody on the way collects them."
        yield Finding(Trouble.COLLECTED, text)


def _cut(stream: Stream, idle: float) -> Iterator[Finding]:
    if stream.done:
        return
    last = stream.events[-1] if stream.events else None
    silence = stream.ended_at - last.at if last else stream.ended_at
    complete = last is not None and last.value.get("n") == last.value.get("of", 0)
    if idle and complete:
        text = f"It was cut after {silence:.1f} s of silence, of {idle:g}. {HEARTBEAT}"
        yield Finding(Trouble.SILENCE, text)
    else:
        text = f"It broke off after {stream.ended_at:.1f} s and {len(stream.events)} events"
        yield Finding(Trouble.CUT, f"{text}, without its end.")


def _compressed(stream: Stream) -> Iterator[Finding]:
    encoding = stream.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        text = f"It came as {printable(encoding)}, which the sidecar forbids (no-transform): what"
        yield Finding(Trouble.COMPRESSED, f"{text} compresses may hold small events back.")


def _relies(of_stream: Pace | None, of_plain: Pace | None) -> Iterator[Finding]:
    if of_stream is Pace.IN_STEP and of_plain in (Pace.IN_BURSTS, Pace.AT_THE_END):
        yield Finding(
            Trouble.RELIES,
            f"In step only because of X-Accel-Buffering: no; without it the events came {of_plain}."
            " Another proxy in front, or one that takes the header away, would collect them.",
        )


def _headers(headers: Mapping[str, str]) -> Iterator[Finding]:
    lost = [
        name if name not in headers else f"{name} (now {printable(headers[name])[:80]})"
        for name, value in STREAM.items()
        if headers.get(name, "").lower() != value
    ]
    if lost:
        yield Finding(
            Trouble.HEADERS,
            f"Lost on the way: {', '.join(lost)}. What stands further out did not see it.",
        )


def _old_http(stream: Stream, asked: object) -> Iterator[Finding]:
    if asked == "1.0":
        yield Finding(
            Trouble.OLD_HTTP,
            "The sidecar was asked in HTTP/1.0, in which an answer that broke off looks complete.",
        )
    elif stream.version == "1.0":
        yield Finding(
            Trouble.OLD_HTTP,
            "The answer came in HTTP/1.0, in which one that broke off looks complete.",
        )
