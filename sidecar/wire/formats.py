"""The wire formats: what they are called, where they are served, and how their answers are read.

A further one is a module beside this one and a line here; ``check_wire_format`` of the tests says
what it must do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.core.status import Form
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
    whose answers are written so, when they are POST. ``error`` makes the bodies of its errors.
    ``forms`` are those that a status may have in it, the first if nothing else is wished."""

    name: str
    path: str
    answer: Callable[[Ruling], Answer]
    error: ErrorShape
    forms: tuple[Form, ...]


_CHUNK, _COMMENT, _EVENT, _TYPED = Form.CHUNK, Form.COMMENT, Form.EVENT, Form.TYPED
_REASONING, _CONTENT, _OPEN_WEBUI = Form.REASONING, Form.CONTENT, Form.OPEN_WEBUI

# What breaks no known client comes first. Nobody has asked the clients of NDJSON: their default is
# to be told nothing.
_OF_CHAT = (_CHUNK, _COMMENT, _EVENT, _REASONING, _CONTENT, _OPEN_WEBUI, _TYPED)
_OF_COMPLETIONS = (_CHUNK, _COMMENT, _EVENT, _CONTENT, _TYPED)
_OF_RESPONSES = (_COMMENT, _CHUNK, _EVENT, _TYPED)
_OF_MESSAGES = (_CHUNK, _COMMENT, _EVENT, _TYPED)
_OF_LINES = (Form.OFF, _CHUNK)

WIRE_FORMATS: Final = (
    WireFormat("chat", "/v1/chat/completions", Chat, openai_error, _OF_CHAT),
    WireFormat("completions", "/v1/completions", Completions, openai_error, _OF_COMPLETIONS),
    WireFormat("responses", "/v1/responses", Responses, openai_error, _OF_RESPONSES),
    WireFormat("messages", "/v1/messages", Messages, messages_error, _OF_MESSAGES),
    WireFormat("ollama_chat", "/api/chat", OllamaChat, ollama_error, _OF_LINES),
    WireFormat("ollama_generate", "/api/generate", OllamaGenerate, ollama_error, _OF_LINES),
)
