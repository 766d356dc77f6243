"""What a recorded stream says, whatever its wire format: the texts of its events, by field. Pure.

For showing only: what is not known is left out, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from sidecar.core.framing import EVENTS, LINES
from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.sse import EventTooLarge

ANSWER: Final = "content"
"""The field of the answer's text, whatever the wire format calls it."""

_ANSWERS: Final = frozenset({"content", "text", "response", "output_text", "text_delta"})
_SILENT: Final = frozenset({"role", "id", "type", "signature"})


def spoken(recording: bytes, limit: int) -> list[tuple[str, str]]:
    """The fields and the texts of a recording, in order; ``limit``: bytes of one event."""
    framing = LINES if recording.lstrip().startswith(b"{") else EVENTS
    decoder = framing.decoder(limit)
    texts: list[tuple[str, str]] = []
    with suppress(EventTooLarge):
        for frame in [*decoder.feed(recording), *decoder.finish()[0]]:
            with suppress(MalformedJSON):
                value = parse(frame.data or b"null").value
                if isinstance(value, dict):
                    texts += ((_field(name), text) for name, text in _texts(value) if text)
    return texts


def _field(name: str) -> str:
    return ANSWER if name in _ANSWERS else name


def _texts(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kind = str(event.get("type", ""))
    delta = event.get("delta")
    if isinstance(delta, str):  # of Responses: response.output_text.delta
        yield kind.removeprefix("response.").removesuffix(".delta"), delta
    elif isinstance(delta, dict):  # of Messages
        name = str(delta.get("type", kind)).removesuffix("_delta")
        yield from ((name, text) for _, text in _strings(delta))
    message = event.get("message")
    if isinstance(message, dict) and not kind:  # of Ollama
        yield from _strings(message)
    if isinstance(event.get("response"), str):
        yield "response", event["response"]
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            yield "text", choice["text"] if isinstance(choice.get("text"), str) else ""
            part = choice.get("delta") or choice.get("message")
            if isinstance(part, dict):
                own = "tool result" if part.get("role") == "tool" else ""
                yield from ((own or name, text) for name, text in _strings(part))


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every string in ``value``, by the name of its member, that of a call by ``tool_calls``."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, member in value.items():
            if key not in _SILENT:
                yield from _strings(member, name if name == "tool_calls" else key)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member, name)
