"""Answers of our own: errors as every SDK reads them (OpenAI's error object)."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from sidecar.core.stream import Fault
from sidecar.wire.errors import error_payload

SERVER = "sidecar"
"""The ``Server`` header; aiohttp's own names its version and the interpreter's."""


class Refusal(Exception):
    """A request that is answered by ourselves, with ``status`` and one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.fault = Fault(code, message)


def error_reply(
    status: int, fault: Fault, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error object with an HTTP status."""
    kind = "invalid_request_error" if status < 500 else "upstream_error"
    return json_reply(status, error_payload(fault, kind), headers)


def json_reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON document."""
    reply = web.Response(status=status, body=body)
    reply.headers.extend(headers or {})
    reply.headers["Content-Type"] = "application/json"
    reply.headers["Server"] = SERVER
    return reply
