"""What an answer says that is no stream: one sentence, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.printable import printable

_LONGEST: Final = 300
"""Characters that are quoted of an answer."""

_ADVICE: Final = {
    401: "It wants a key: put one into the environment as SIDECAR_DOCTOR_KEY.",
    403: "Whoever stands in front does not let this request in.",
    404: "There is no drip at this URL: it is no sidecar, an older one, or the path in front of it"
    " is another. Is the URL the base_url of your clients? --model NAME asks for a chat instead.",
    407: "Whoever stands in front wants to know who asks (a proxy of its own).",
    421: "The sidecar does not know this name: add it to `hosts` in its configuration.",
    429: "There are too many requests; ask again later.",
    502: "Whoever stands in front cannot reach the sidecar.",
    503: "It is not ready, or too busy; ask again later.",
    504: "Whoever stands in front got no answer from the sidecar in time.",
}


class NoStream(Exception):
    """There is no stream that could be examined; the text says why, and what would be right."""


def refused(status: int, headers: Mapping[str, str], body: bytes) -> NoStream:
    """What to tell of an answer that is no event stream."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if 300 <= status < 400:
        target = printable(headers.get("Location", "nowhere"))[:_LONGEST]
        return NoStream(f"It redirects ({status}) to {target}: is that the URL to ask, or a login?")
    if status == 200 and kind == "text/html":
        return NoStream(
            "An HTML page came instead of a stream: a login page, or a front end that answers"
            " every path. Give the base_url of the API."
        )
    if status == 200:
        return NoStream(
            f"It answers with {printable(kind) or 'no type'} instead of an event stream."
        )
    said = message_of(body)
    return NoStream(
        " ".join(
            part
            for part in (
                f"It answers with {status}.",
                _ADVICE.get(status, ""),
                f"It says: {said}" if said else "",
            )
            if part
        )
    )


def message_of(body: bytes) -> str:
    """The message of an error object; empty if it is none."""
    try:
        value = parse(body).value
    except MalformedJSON:
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return printable(message)[:_LONGEST] if isinstance(message, str) else ""
