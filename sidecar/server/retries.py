"""Which requests are sent to the upstream again, and after how long. Decides, and never waits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

LONGEST: Final = 10.0
"""Seconds that upstream may ask for; whoever is to wait longer decides that for himself."""

_BASE: Final = 0.1
_CAP: Final = 1.0
"""Seconds between which the waits grow that upstream does not ask for: a server that is restarted
or scaled takes a moment, and a person waits meanwhile."""

_OVERLOADED: Final = 429
_RETRIED: Final = frozenset({_OVERLOADED, 502, 503, 504})
_SECONDS = re.compile("[0-9]+")


class Retry(StrEnum):
    """Why a request was sent again; a label of the metrics."""

    CONNECT = "connect"
    STATUS = "status"
    STALE = "stale"
    """Its connection had been kept, and was found closed: this one is always free."""


def backoff(attempt: int, chance: float) -> float:
    """Seconds before the retry number ``attempt``, from 1: exponential, with full jitter, which is
    ``chance``, from 0 to 1."""
    return min(_CAP, _BASE * 2.0 ** (attempt - 1)) * chance


def pause(status: int, headers: Mapping[str, str], attempt: int, chance: float) -> float | None:
    """Seconds before the retry number ``attempt`` of a request that was answered so; None if there
    is to be none.

    ``Retry-After`` (RFC 9110, 10.2.3) says how long, be it in seconds or as a date; a date is
    compared with the answer's own, so that no clock needs to be right. 429 without it is final.
    """
    if status not in _RETRIED:
        return None
    asked = _retry_after(headers)
    if asked is None:
        return None if status == _OVERLOADED else backoff(attempt, chance)
    return asked if asked <= LONGEST else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    then, now = _date(value), _date(headers.get("Date", ""))
    if then is None or now is None:
        return None
    return max(0.0, (then - now).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
