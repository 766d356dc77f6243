"""What can be wrong with the way of a stream."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """By the name that scripts get."""

    COLLECTED = "collected"
    """Events were held, and let go together."""
    CUT = "cut"
    """The stream ended before its end."""
    SILENCE = "cut in silence"
    """It ended while nothing was sent."""
    COMPRESSED = "compressed"
    RELIES = "relies on a header"
    """In step, but only because somebody obeys a header."""
    HEADERS = "headers lost"
    OLD_HTTP = "HTTP/1.0"

    @property
    def is_fault(self) -> bool:
        """Whether it breaks streams now; the others may, with one more proxy or by bad luck."""
        return self in (Trouble.COLLECTED, Trouble.CUT, Trouble.SILENCE)
