"""What the doctor says: to people in lines, to scripts in JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.doctor.advice import ADVICE
from sidecar.doctor.diagnosis import Diagnosis
from sidecar.doctor.products import Product
from sidecar.doctor.stream import Stream
from sidecar.doctor.trouble import Trouble
from sidecar.printable import printable


def lines(url: str, stream: Stream, diagnosis: Diagnosis) -> Iterator[str]:
    """For people."""
    verdict = str(diagnosis.pace) if diagnosis.pace else "too few events to tell"
    yield f"{printable(url)}: {verdict}"
    yield f"  {_times(stream)}"
    yield f"  {_head(stream)}"
    names = ", ".join(diagnosis.products)
    yield f"  in front: {names or 'nothing that says its name'}"
    for finding in diagnosis.findings:
        mark = "!!" if finding.trouble.is_fault else " !"
        yield f"{mark} {finding.trouble}: {finding.text}"
    advice = list(_advice(diagnosis))
    if advice:
        yield "what to change:"
        yield from (f"   {product} ({trouble}): {text}" for trouble, product, text in advice)


def record(url: str, stream: Stream, diagnosis: Diagnosis) -> dict[str, Any]:
    """For scripts."""
    return {
        "url": url,
        "fine": diagnosis.fine,
        "pace": diagnosis.pace,
        "pace_without_headers": diagnosis.plain,
        "events": len(stream.events),
        "reads": stream.reads,
        "first_event": round(stream.events[0].at, 3) if stream.events else None,
        "last_event": round(stream.events[-1].at, 3) if stream.events else None,
        "ended": round(stream.ended_at, 3),
        "complete": stream.done,
        "http": stream.version,
        "server": stream.headers.get("Server"),
        "via": stream.headers.get("Via"),
        "content_encoding": stream.headers.get("Content-Encoding"),
        "in_front": list(diagnosis.products),
        "findings": [
            {"trouble": trouble, "fault": trouble.is_fault, "text": text}
            for trouble, text in diagnosis.findings
        ],
        "advice": [
            {"product": product, "trouble": trouble, "text": text}
            for trouble, product, text in _advice(diagnosis)
        ],
    }


def _times(stream: Stream) -> str:
    if not stream.events:
        return f"no event in {stream.ended_at:.1f} s"
    first, last = stream.events[0].at, stream.events[-1].at
    return (
        f"events: {len(stream.events)}, reads: {stream.reads}, the first after {first:.2f} s, the"
        f" last {last - first:.2f} s later"
    )


def _head(stream: Stream) -> str:
    headers = stream.headers
    framing = headers.get("Transfer-Encoding") or (
        "with a length" if "Content-Length" in headers else "until the connection ends"
    )
    said = [f"HTTP/{stream.version}", framing]
    said += [f"{name}: {headers[name]}" for name in ("Server", "Via") if name in headers]
    return printable(", ".join(said))


def _advice(diagnosis: Diagnosis) -> Iterator[tuple[Trouble, Product, str]]:
    """For what was recognised, first; for the others only where something is broken, since who did
    it need not be who shows."""
    for finding in diagnosis.findings:
        table = ADVICE.get(finding.trouble, {})
        known = [product for product in table if product in diagnosis.products]
        others = [product for product in table if product not in diagnosis.products]
        for product in known + (others if finding.trouble.is_fault else []):
            yield finding.trouble, product, table[product]
