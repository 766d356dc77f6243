"""A stream of our own for whoever asks whether streams reach them as they are sent.

It needs no upstream, has the head of every other stream, and each event says when it was sent.
Query: ``events`` at ``interval`` seconds, then ``idle`` seconds of silence and one event more;
``plain=1`` leaves out the headers against buffering, which shows whether the way depends on them.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from aiohttp import web

from sidecar.core.framing import EVENTS
from sidecar.core.jsontext import dump
from sidecar.server.exchange import CutOff, Exchange, Outcome
from sidecar.server.headers import STREAM, Headers
from sidecar.server.replies import Refusal, stream_reply

MOST_EVENTS: Final = 200
LONGEST_INTERVAL: Final = 5.0
LONGEST_IDLE: Final = 600.0
"""Seconds: twice the longest idle limit that a proxy has by default, which is Envoy's."""

_NUMBER = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,6})?")

_SIGNS: Final = (
    "cf-ray",
    "x-amzn-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-forwarded-server",
)
"""Request headers by which proxies are told that leave no trace in an answer. The client gets those
names that were there, and no value."""


class Plan(NamedTuple):
    """What is dripped: so many events, so many seconds apart, and a silence in the end."""

    events: int = 20
    interval: float = 0.1
    idle: float = 0.0
    plain: bool = False


async def drip(request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
    """Drip as the query says. Raises Refusal if it asks for what is not given, CutOff if the client
    leaves."""
    plan = _plan(request.raw_path.partition("?")[2])
    reply = stream_reply(Headers(), EVENTS.content_type)
    if plan.plain:
        for name in STREAM:
            del reply.headers[name]
    if not request.content.at_eof():
        reply.force_close()  # nobody reads a body here
    exchange.begins(reply)
    await reply.prepare(request)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with exchange.streaming():
        try:
            for number in range(1, plan.events + 1):
                await asyncio.sleep(begun + (number - 1) * plan.interval - loop.time())
                sent: dict[str, Any] = {
                    "n": number,
                    "of": plan.events,
                    "t": round(loop.time() - begun, 6),
                }
                if number == 1:
                    sent |= _as_it_came(request)
                await reply.write(_event(sent))
            if plan.idle:
                await asyncio.sleep(plan.idle)
                await reply.write(_event({"idle": plan.idle}))
            await reply.write(EVENTS.mark)
            await reply.write_eof()
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None
    exchange.outcome = Outcome.COMPLETED
    return reply


def _as_it_came(request: web.BaseRequest) -> dict[str, Any]:
    """What the last proxy made of the request."""
    version = request.version
    return {
        "http": f"{version.major}.{version.minor}",
        "signs": [name for name in _SIGNS if name in request.headers],
    }


def _event(value: dict[str, Any]) -> bytes:
    return EVENTS.write(dump(value, exact=False), b"")


def _plan(query: str) -> Plan:
    asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    default = Plan()
    events = _number(asked, "events", default.events, 1, MOST_EVENTS)
    if events != int(events):
        raise _bad("events", 1, MOST_EVENTS)
    return Plan(
        int(events),
        _number(asked, "interval", default.interval, 0, LONGEST_INTERVAL),
        _number(asked, "idle", default.idle, 0, LONGEST_IDLE),
        asked.get("plain") == "1",
    )


def _number(asked: dict[str, str], name: str, default: float, least: float, most: float) -> float:
    if name not in asked:
        return default
    value = float(asked[name]) if _NUMBER.fullmatch(asked[name]) else -1.0
    if not least <= value <= most:
        raise _bad(name, least, most)
    return value


def _bad(name: str, least: float, most: float) -> Refusal:
    return Refusal(400, "bad_request", f"{name} is a number from {least:g} to {most:g}.")
