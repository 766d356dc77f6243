"""Answers made for the tests of the promises: texts as chat streams, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

import pytest

from sidecar.core.channel import Channel, Segment
from sidecar.core.format import Example, Format
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy
from sidecar.core.stream import StreamFilter
from sidecar.core.vocabulary import Opening, Vocabulary
from sidecar.resources import config_dir
from sidecar.rules.catalogue import Catalogue, load_catalogue
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from tests.cuts import EXHAUSTIVE

LIMIT = 1 << 20
CATALOGUE: Catalogue = load_catalogue(config_dir() / "formats")
T = TypeVar("T")
HIDDEN = (Channel.REASONING, Channel.TOOL_CALL, Channel.TOOL_RESULT)


class Case(NamedTuple):
    """One example under the formats that are active together."""

    format: Format
    example: Example
    formats: tuple[Format, ...]
    policy: Policy
    vocabulary: Vocabulary

    @property
    def start(self) -> Opening | None:
        return self.vocabulary.start_in_reasoning if self.example.starts_in_reasoning else None

    def lane(self) -> Lane:
        return Lane(self.vocabulary, start=self.start)

    def chat(self) -> Chat:
        return Chat(Ruling(self.policy, self.vocabulary, start=self.start))


_COMPILED: dict[tuple[tuple[int, ...], Policy], tuple[tuple[Format, ...], Vocabulary]] = {}
"""By identity, for a hash of all formats costs more than a test of one example; kept with the
formats, so that none can take another's place."""


def compiled(formats: tuple[Format, ...], policy: Policy) -> Vocabulary:
    """What lanes look for; made once, as a rule's is."""
    key = tuple(map(id, formats)), policy
    if key not in _COMPILED:
        _COMPILED[key] = formats, Vocabulary(formats, policy)
    return _COMPILED[key][1]


def cases() -> Iterator[Case]:
    """Each example with its format alone and, if it is of the group, with all of ``all``."""
    policy = Policy()
    everything = CATALOGUE.resolve(["all"])
    for format_ in CATALOGUE.formats.values():
        companies = [(format_,), everything] if "all" in format_.groups else [(format_,)]
        for example in format_.examples:
            for formats in companies:
                yield Case(format_, example, formats, policy, compiled(formats, policy))


def cases_in_company() -> Iterator[Case]:
    """Each example once: with all of ``all`` if its format is of that group, or else alone."""
    for case in cases():
        if len(case.formats) > 1 or "all" not in case.format.groups:
            yield case


def in_turn(cases: Iterable[Case], ways: Sequence[T]) -> list[pytest.ParameterSet]:
    """Each case with one of the ``ways``, in turn, so that every family meets them all; with each
    of them if nothing is sampled."""
    return [
        pytest.param(case, way, id=f"{name(case)}-{at}")
        for number, case in enumerate(cases)
        for at, way in enumerate(ways)
        if EXHAUSTIVE or number % len(ways) == at
    ]


def name(case: Case) -> str:
    """What a test report calls the case."""
    company = "alone" if len(case.formats) == 1 else "all"
    return f"{case.format.id}-{company}-{case.example.name}"


def literals(formats: Iterable[Format]) -> set[str]:
    """Every marker of ``formats``, with something in the place of its placeholders."""
    found: set[str] = set()
    for format_ in formats:
        found.update(format_.discard, format_.tail)
        for region in format_.regions:
            found.update(region.open, region.close)
    return set(map(spelled, found))


def spelled(marker: str) -> str:
    """The marker with something in the place of its placeholders."""
    return marker.replace("{name}", "f1").replace("{number}", "7").replace("{space}", "\n")


def places_to_cut(case: Case, text: str) -> list[int]:
    """The places inside of and beside what the lane takes for markers in ``text``, and every
    seventh other one; all of them if nothing is sampled."""
    at, told = 0, set(range(1, len(text), 1 if EXHAUSTIVE else 7))
    for segment in segments(case.lane(), [text]):
        end = at + len(segment.text)
        if segment.channel is Channel.MARKUP:
            told.update(range(max(at, 1), min(end + 1, len(text))))
        at = end
    return sorted(told)


def segments(lane: Lane, pieces: Iterable[str]) -> list[Segment]:
    """What the lane makes of the pieces, to the end; neighbours of one kind are joined."""
    out: list[Segment] = []
    for piece in pieces:
        out += lane.feed(piece)
    return joined([*out, *lane.finish()])


def joined(found: Iterable[Segment]) -> list[Segment]:
    """Segments that differ only in where they were cut, made equal."""
    out: list[Segment] = []
    for segment in found:
        if out and (out[-1].channel, out[-1].format_id) == (segment.channel, segment.format_id):
            segment = segment._replace(text=out.pop().text + segment.text)
        out.append(segment)
    return out


def channel_text(found: Iterable[Segment], channel: Channel) -> str:
    """The text of one channel."""
    return "".join(segment.text for segment in found if segment.channel is channel)


# Streams.


def chunk(deltas: dict[int, dict[str, Any]], *, finish: str | None = None, **more: Any) -> Any:
    """One ``chat.completion.chunk``."""
    choices = [
        {"index": index, "delta": delta, "finish_reason": finish} | more
        for index, delta in deltas.items()
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "choices": choices,
    }


def logprobs(text: str) -> dict[str, Any]:
    """The log-probabilities of one token."""
    spelled = list(text.encode("utf-8", "surrogatepass"))
    token = {"token": text, "logprob": -0.5, "bytes": spelled, "top_logprobs": []}
    return {"content": [token], "refusal": None}


def stream(
    *choices: Sequence[str], end: str = "\n", escape: bool = False, repeat: bool = False
) -> bytes:
    """The texts, given in pieces, as an event stream; choices take turns, piece by piece.

    ``escape``: all but letters as JSON escapes. ``repeat``: each delta again as log-probabilities.
    """
    chunks = [chunk({i: {"role": "assistant", "content": ""} for i in range(len(choices))})]
    for turn in zip_longest(*choices):
        for index, piece in enumerate(turn):
            if piece is not None:
                more: dict[str, Any] = {"logprobs": logprobs(piece)} if repeat else {}
                chunks.append(chunk({index: {"content": piece}}, **more))
    chunks += [chunk({index: {}}, finish="stop") for index in range(len(choices))]
    data = [json.dumps(value, separators=(",", ":")) for value in chunks]
    if escape:
        data = [text.replace("<", "\\u003c").replace(">", "\\u003E") for text in data]
    return "".join(f"data: {text}{end}{end}" for text in [*data, "[DONE]"]).encode()


def run(wire: Chat, pieces: Iterable[bytes]) -> bytes:
    """Everything that leaves."""
    transducer = StreamFilter(wire, limit=LIMIT)
    out = [transducer.feed(piece) for piece in pieces]
    return b"".join([*out, transducer.finish()])


def payloads(out: bytes) -> list[str]:
    """The data of the events that left, which are one line each."""
    events = out.replace(b"\r\n", b"\n").decode().split("\n\n")
    assert events.pop() == "", "every event has its blank line"
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    return [event.removeprefix("data: ") for event in events]


def written(chunks: Iterable[Any], separators: tuple[str, str]) -> bytes:
    """The chunks and the end mark as a stream, with JSON as compact or as wide as told."""
    data = [json.dumps(value, separators=separators) for value in chunks]
    return "".join(f"data: {text}\n\n" for text in [*data, "[DONE]"]).encode()


class Answer(NamedTuple):
    """What a client makes of one choice."""

    text: str
    finishes: list[str]


def answers(out: bytes) -> dict[int, Answer]:
    """Each choice as a client reads it; fails if text follows a finish, or the end mark is not
    once and last."""
    *events, done = payloads(out)
    assert done == "[DONE]"
    found: dict[int, Answer] = {}
    for event in events:
        assert event != "[DONE]"
        value = json.loads(event)
        assert "error" not in value, value
        for choice in value["choices"]:
            text, finishes = found.get(choice["index"], Answer("", []))
            content = choice["delta"].get("content") or ""
            assert not (content and finishes), "text after the finish"
            if choice["finish_reason"]:
                finishes = [*finishes, choice["finish_reason"]]
            found[choice["index"]] = Answer(_whole(text + content), finishes)
    return found


def _whole(text: str) -> str:
    """A surrogate pair cut over two deltas is one character to the reader."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def document(*texts: str) -> bytes:
    """The texts as one ``chat.completion``."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices}
    return json.dumps(body, separators=(",", ":")).encode()
