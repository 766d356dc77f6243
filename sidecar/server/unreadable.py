"""Why an answer is none that a wire format can read, in words for the client and for the log."""

from __future__ import annotations

import re
from enum import StrEnum

import aiohttp

from sidecar.server.replies import Refusal
from sidecar.server.upstream import is_readable


class Reason(StrEnum):
    """Why; also a label of the metrics."""

    PATH = "path"
    """It streams, on a path that no wire format knows."""
    STATUS = "status"
    """It succeeds, but not with 200."""
    ENCODING = "encoding"
    CONTENT_TYPE = "content_type"
    DOCUMENT = "document"
    """It is no JSON document of its wire format."""
    EVENT = "event"
    """One of its events is none of its wire format."""


STREAMS = frozenset(
    {
        "application/json-seq",
        "application/jsonl",
        "application/ndjson",
        "application/stream+json",
        "application/x-jsonlines",
        "application/x-ndjson",
        "text/event-stream",
    }
)
"""The content types of answers that come event by event."""

_WORDS = {
    Reason.PATH: "it streams on a path that no wire format knows",
    Reason.STATUS: "its status is {status}",
    Reason.ENCODING: "its content encoding is none that could be undone",
    Reason.CONTENT_TYPE: "its content type is {type}",
    Reason.DOCUMENT: "it is not a JSON document of its wire format",
    Reason.EVENT: "it has an event that is not one of its wire format",
}
_CONTENT_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")
"""What can be nothing but a content type, in a log."""


def may_stream(answer: aiohttp.ClientResponse) -> bool:
    """Whether some client could take the answer for one that comes event by event: browsers go by
    the last of several content types, others by the first (Fetch Standard, "extract a MIME type").
    """
    given = ",".join(answer.headers.getall("Content-Type", ()))
    return any(each.partition(";")[0].strip().lower() in STREAMS for each in given.split(","))


def reason_of(answer: aiohttp.ClientResponse) -> Reason:
    """Why an answer cannot be read of which only the head was."""
    if answer.status != 200:
        return Reason.STATUS
    return Reason.CONTENT_TYPE if is_readable(answer, decoded=True) else Reason.ENCODING


def why(reason: Reason, answer: aiohttp.ClientResponse) -> str:
    """What is wrong with it."""
    kind = answer.content_type
    known = kind if _CONTENT_TYPE.fullmatch(kind) else "none that is known"
    return _WORDS[reason].format(status=answer.status, type=known)


def unreadable(reason: Reason, answer: aiohttp.ClientResponse) -> Refusal:
    """What the client is told."""
    return Refusal(
        502,
        "upstream_malformed",
        f"The upstream server's answer cannot be read: {why(reason, answer)}.",
    )
