"""The same lanes over one complete JSON body, for answers that are not streamed."""

from __future__ import annotations

from typing import Protocol

from sidecar.core.jsontext import Parsed, parse


class DocumentWire(Protocol):
    """One answer in one wire format, as a single document."""

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge the whole answer: the document for the client, None if it is the same. Raises
        MalformedChunk if it cannot be one."""


def filter_document(body: bytes, wire: DocumentWire) -> bytes:
    """The body for the client: the original bytes if nothing was hidden in it.

    Raises MalformedJSON, or MalformedChunk, if it is no answer that can be read.
    """
    judged = wire.read_document(parse(body))
    return body if judged is None else judged
