"""Bodies of HTTP errors: the shapes that upstreams have, and each wire format's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sidecar.wire.errors import UPSTREAM_ERROR, plain
from sidecar.wire.fields import Record

ErrorShape = Callable[[int, Record], Record]
"""Makes the body of an HTTP error of its status and the error: an object as OpenAI's API has it, of
which ``message`` is there for certain, and the ``request_id`` if there is one."""

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""https://docs.claude.com/en/api/errors"""


def openai_error(status: int, error: Record) -> Record:
    """The body of OpenAI's API."""
    kind = "invalid_request_error" if status < 500 else UPSTREAM_ERROR
    return {
        "error": {
            "message": error["message"],
            "type": error.get("type") or kind,
            "code": error.get("code"),
            "param": error.get("param"),
        }
    }


def messages_error(status: int, error: Record) -> Record:
    """The body of Anthropic's API."""
    kind = error.get("type")
    if kind is None or kind == UPSTREAM_ERROR:
        other = "invalid_request_error" if status < 500 else "api_error"
        kind = _ANTHROPIC_TYPES.get(status, other)
    body = {"type": "error", "error": {"type": kind, "message": error["message"]}}
    request_id = error.get("request_id")
    return body if request_id is None else body | {"request_id": request_id}


def ollama_error(_: int, error: Record) -> Record:
    """The body of Ollama's API."""
    return {"error": error["message"]}


def reported(document: Any) -> tuple[Any, str | None]:
    """The error in the document of an error answer, an object or a message (None if it is none
    that can be read), and the id that it gives the request (Anthropic)."""
    if not isinstance(document, dict):
        return None, None
    return _reported(document), plain(document.get("request_id"))


def _reported(document: Record) -> Any:
    error = document.get("error")
    if error and isinstance(error, dict | str):  # OpenAI, Anthropic, Azure; Ollama, TGI
        return error
    if isinstance(document.get("message"), str):  # vLLM of old
        return document
    detail = document.get("detail")  # FastAPI
    if isinstance(detail, dict):
        return _reported(detail)
    if isinstance(detail, list):
        return _invalid(detail)
    return detail if detail and isinstance(detail, str) else None


def _invalid(details: list[Any]) -> Record | None:
    """What is wrong with a request, of pydantic's list; not its ``input``, which quotes the
    prompt."""
    found = [detail for detail in details if isinstance(detail, dict)]
    complaints = list(filter(None, map(_complaint, found)))
    if not complaints:
        return None
    return {"message": "; ".join(complaints), "param": _place(found[0]) or None}


def _complaint(detail: Record) -> str:
    message = detail.get("msg")
    if not isinstance(message, str):
        return ""
    place = _place(detail)
    return f"{place}: {message}" if place else message


def _place(detail: Record) -> str:
    """Where in the request, as ``messages[0].content``."""
    where = detail.get("loc")
    steps = list(_steps(where)) if isinstance(where, list) else []
    return "".join(steps).removeprefix(".body").removeprefix(".")


def _steps(where: list[Any]) -> Iterator[str]:
    for step in where:
        if type(step) is int:
            yield f"[{step}]"
        elif isinstance(step, str):
            yield f".{step}"
