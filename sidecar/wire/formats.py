"""The wire formats: what they are called, where they are served, and how their answers are read.

A further one is a module beside this one and a line here; ``check_wire_format`` of the tests says
what it must do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.wire.answer import Answer
from sidecar.wire.chat import Chat
from sidecar.wire.completions import Completions
from sidecar.wire.errorshapes import ErrorShape, messages_error, ollama_error, openai_error
from sidecar.wire.messages import Messages
from sidecar.wire.ollama import OllamaChat, OllamaGenerate
from sidecar.wire.responses import Responses
from sidecar.wire.ruling import Ruling


class WireFormat(NamedTuple):
    """One wire format. ``name`` is also the label of its metrics; ``path`` is that of the requests
    whose answers are written so, when they are POST. ``error`` makes the bodies of its errors."""

    name: str
    path: str
    answer: Callable[[Ruling], Answer]
    error: ErrorShape


WIRE_FORMATS: Final = (
    WireFormat("chat", "/v1/chat/completions", Chat, openai_error),
    WireFormat("completions", "/v1/completions", Completions, openai_error),
    WireFormat("responses", "/v1/responses", Responses, openai_error),
    WireFormat("messages", "/v1/messages", Messages, messages_error),
    WireFormat("ollama_chat", "/api/chat", OllamaChat, ollama_error),
    WireFormat("ollama_generate", "/api/generate", OllamaGenerate, ollama_error),
)
