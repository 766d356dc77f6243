"""The verdicts that the cases share: an answer is complete, or an error that nobody overlooks.

Streams are read here by the HTML Standard alone, 9.2.6, and not by the code that is tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import pytest

from sidecar.rules.configvalues import AccessLog
from tests.server.scripted import Answer, Record, Rig, proxied

SECRET: Final = "s3cr3t-k3y"
"""What is hidden, or a key, or a prompt: it leaves in no answer, header, log line or metric."""

CODES = {
    "upstream_closed",
    "upstream_event_too_large",
    "upstream_incomplete",
    "upstream_malformed",
    "upstream_timeout",
}
"""Those of our own errors in a stream."""


# --- how a request ended, as we tell it -----------------------------------------------------------


class Ended(NamedTuple):
    """The outcome of a request, and why if it is no success."""

    outcome: str
    error: str | None = None


COMPLETED: Final = Ended("completed")
GONE: Final = Ended("client_gone")


class Told:
    """What counters and the access log tell of the requests of one test."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def lines(self) -> list[Record]:
        """The lines of the access log since the last look."""
        said = self._capsys.readouterr().out
        assert SECRET not in said
        return [json.loads(line) for line in said.splitlines()]

    async def all(self, rig: Rig, *, route: str = "chat") -> list[Ended]:
        """How the requests of ``route`` ended since the last look, by the log; the counters of the
        sidecar, which it is the first look at, must have counted as many of each."""
        lines = self.lines()
        ended = [Ended(line["outcome"], line.get("error")) for line in lines]
        assert {line["route"] for line in lines} <= {route}
        scraped = await rig.scrape()
        assert SECRET not in scraped
        counted = {
            found[1]: int(float(found[2]))
            for found in re.finditer(
                rf'^sidecar_requests_total\{{.*outcome="(\w+)",route="{route}".*\}} (\S+)$',
                scraped,
                re.MULTILINE,
            )
        }
        outcomes = [each.outcome for each in ended]
        assert counted == {outcome: outcomes.count(outcome) for outcome in outcomes}
        return ended

    async def one(self, rig: Rig, *, route: str = "chat") -> Ended:
        """How the only request ended."""
        [ended] = await self.all(rig, route=route)
        return ended


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[Rig]:
    """A rig that writes its access log; ``options`` are those of :func:`proxied`."""
    async with proxied(access_log=AccessLog.JSON, **options) as rig:
        yield rig


# --- streams --------------------------------------------------------------------------------------


class Event(NamedTuple):
    """One event that was dispatched."""

    name: str
    data: Any
    """The value of its JSON, or ``[DONE]``."""


_LINE_END = re.compile(r"\r\n|\n|\r")


def events(stream: bytes) -> list[Event]:
    """The events of a stream. It has nothing else but blank lines: no comments, ids or retries, and
    no line that is not ended."""
    assert SECRET.encode() not in stream
    *lines, rest = _LINE_END.split(stream.decode().removeprefix("\ufeff"))
    assert rest == "", f"the last line has no end: {rest!r}"
    return list(_dispatched(lines))


def _dispatched(lines: list[str]) -> Iterator[Event]:
    name, said = "", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            said.append(value)
        elif field == "event":
            name = value
        else:
            assert line == "", f"neither data nor an event: {line!r}"
            if said:
                yield Event(name, _value("\n".join(said)))
            name, said = "", []
    assert not said, "an event that is not ended"


def _value(data: str) -> Any:
    return data if data == "[DONE]" else json.loads(data, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


# --- chat -----------------------------------------------------------------------------------------


def complete(answer: Answer, shown: str, *, finish: str = "stop") -> None:
    """All visible text, the model's finish after it, and the end mark, once and last."""
    *said, end = _chat(answer)
    assert end == "[DONE]"
    assert "[DONE]" not in said
    assert not [each for each in said if each.get("error")]
    assert _text(said) == shown
    assert _finishes(said) == [finish]


def broken(answer: Answer, shown: str, code: str) -> Record:
    """The visible text that came before, then one error of ours, which every SDK raises, and the
    end mark; no finish. Returns the error."""
    *said, last, end = _chat(answer)
    assert end == "[DONE]"
    assert set(last) == {"error"}
    error = last["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"]
    assert error["type"] == "upstream_error"
    assert error["code"] == code
    assert not [each for each in said if each == "[DONE]" or "error" in each]
    assert _text(said) == shown
    assert _finishes(said) == []
    return dict(error)


def refused(answer: Answer, status: int, code: str) -> None:
    """An error answer of ours, in the form that every SDK raises, that repeats nothing."""
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] == ("upstream_error" if status >= 500 else "invalid_request_error")
    assert answer.head.one("Content-Type") == "application/json"
    assert answer.head.one("Server") == "sidecar"
    assert SECRET not in answer.body.decode() + str(answer.head)


def _chat(answer: Answer) -> list[Any]:
    assert answer.status == 200
    assert answer.head.one("Content-Type") == "text/event-stream"
    assert SECRET not in str(answer.head)
    found = events(answer.body)
    assert {event.name for event in found} <= {""}
    return [event.data for event in found]


def _choices(said: list[Any]) -> Iterator[Record]:
    return (choice for each in said for choice in each.get("choices") or ())


def _text(said: list[Any]) -> str:
    text = "".join((choice.get("delta") or {}).get("content") or "" for choice in _choices(said))
    # Half a character in each of two deltas is one.
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _finishes(said: list[Any]) -> list[str]:
    return [choice["finish_reason"] for choice in _choices(said) if choice.get("finish_reason")]
