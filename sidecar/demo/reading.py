"""One client of the demo: asks for a stream, and notes what arrives and when.

Owns what a client saw. Does not judge it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession

from sidecar.demo.transcripts import QUESTION, Transcript

TOOL_MESSAGE = "role: tool"
"""The field of a piece that is a tool's own message."""


@dataclass(slots=True)
class Reading:
    """What one client has received so far. Times are seconds since its request."""

    first_byte: float | None = None
    first_status: float | None = None
    first_text: float | None = None
    failure: str = ""
    """Why there is no answer, or only a part of it."""
    done: bool = False
    """The stream's end mark came."""
    pieces: list[tuple[str, str]] = field(default_factory=list)
    """What each delta says: the field it is in, and its text."""
    statuses: list[str] = field(default_factory=list)
    """What a person was told meanwhile. They name tools on purpose, and nothing else that is
    hidden, so they are no part of what is searched for leaks."""
    strings: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Every string in every event, by its path; whatever is no JSON, by its line."""
    _role: str = ""

    @property
    def content(self) -> str:
        """The answer's text."""
        return "".join(text for field_, text in self.pieces if field_ == "content")

    @property
    def everything(self) -> str:
        """All that was received, with what was cut over events put together again."""
        return "\n".join("".join(strings) for strings in self.strings.values())

    def take(self, line: str, at: float) -> None:
        """Reads one line of the stream, received ``at`` seconds after the request."""
        self.first_byte = at if self.first_byte is None else self.first_byte
        payload = line.removeprefix("data: ")
        if not payload.startswith("{"):
            self.strings[""].append(line + "\n")
            self.done |= payload == "[DONE]"
            return
        event = json.loads(payload)
        self._take_status(event.pop("sidecar", {}).get("status", {}), at)
        for path, text in _strings(event, ""):
            self.strings[path].append(text)
        if event.get("error"):
            self.failure = event["error"]["message"]
        for choice in event.get("choices", ()):
            self._take_delta(choice["delta"], at)

    def _take_status(self, status: dict[str, Any], at: float) -> None:
        if status.get("text"):
            self.first_status = at if self.first_status is None else self.first_status
            self.statuses.append(status["text"])

    def _take_delta(self, delta: dict[str, Any], at: float) -> None:
        self._role = delta.get("role") or self._role
        for key, text in _texts(delta):
            field_ = TOOL_MESSAGE if self._role == "tool" else key
            if field_ == "content" and self.first_text is None:
                self.first_text = at
            self.pieces.append((field_, text))


async def read(
    session: ClientSession, base_url: str, transcript: Transcript, reading: Reading
) -> None:
    """Asks for ``transcript`` and fills ``reading`` as the stream arrives; a
    server that fails raises nothing, the reading says so."""
    body = {
        "model": transcript.model,
        "stream": True,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    start = time.perf_counter()
    try:
        async with session.post(f"{base_url}/chat/completions", json=body) as response:
            if response.status != 200:
                reading.failure = f"HTTP status {response.status}"
                return
            async for line in response.content:
                reading.take(line.decode().rstrip("\r\n"), time.perf_counter() - start)
    except (ClientError, TimeoutError, ValueError) as error:
        reading.failure = str(error) or type(error).__name__


def _texts(delta: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("reasoning_content", "content"):
        if delta.get(key):
            yield key, delta[key]
    for call in delta.get("tool_calls", ()):
        function = call["function"]
        yield "tool_calls", function.get("name", "") + function.get("arguments", "")


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, path)
