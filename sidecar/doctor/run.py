"""Asks, and judges what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from sidecar.core.jsontext import dump
from sidecar.doctor.asking import Question, ask
from sidecar.doctor.diagnosis import Diagnosis, of_chat, of_drip, pace_of_drip
from sidecar.doctor.pace import Pace
from sidecar.doctor.stream import Stream
from sidecar.server.routes import DRIP, PREFIX

MARGIN: Final = 30.0
"""Seconds that a drip may take longer than it is: for the way, and for a proxy that is slow."""

CHAT: Final = 120.0
"""Seconds for a chat completion."""

_PROMPT: Final = "Count from 1 to 50 in words, and write nothing else."
"""Long enough to stream, and nothing to think about."""


class Examined(NamedTuple):
    """What was asked, what came, and what that means."""

    url: str
    stream: Stream
    diagnosis: Diagnosis


async def examine_drip(
    base_url: str, headers: Mapping[str, str], *, events: int, interval: float, idle: float
) -> Examined:
    """Ask the sidecar at ``base_url``, which is that of a client, for its own stream, and if that
    came in step for one without headers against buffering. Raises NoStream."""
    url = base_url + DRIP.removeprefix(PREFIX)
    query = f"{url}?events={events}&interval={interval:g}"
    patience = events * interval + MARGIN
    stream = await ask(Question(f"{query}&idle={idle:g}", headers, patience + idle))
    plain = None
    if pace_of_drip(stream) is Pace.IN_STEP:
        # Not at the same time: a client may be allowed one answer only.
        plain = await ask(Question(f"{query}&plain=1", headers, patience))
    return Examined(url, stream, of_drip(stream, plain, idle=idle))


async def examine_chat(base_url: str, headers: Mapping[str, str], model: str) -> Examined:
    """Ask ``model`` for a streamed chat completion at ``base_url``. Raises NoStream."""
    url = f"{base_url}/chat/completions"
    asked = {"model": model, "stream": True, "messages": [{"role": "user", "content": _PROMPT}]}
    stream = await ask(Question(url, headers, CHAT, dump(asked, exact=False)))
    return Examined(url, stream, of_chat(stream))
