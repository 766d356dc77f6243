"""What every wire format promises, checked on answers that are made here.

An :class:`Adapter` writes an answer, given as abstract pieces, in its format and reads back what a
client receives. Everything else is the same for all formats, and stands here. What a text hides is
not decided here but by a lane of its own (:class:`Oracle`): lanes have tests of their own.
"""

from __future__ import annotations

import gc
import json
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import FunctionType, ModuleType
from typing import Any, ClassVar, NamedTuple

from sidecar.core.channel import Channel
from sidecar.core.document import filter_document
from sidecar.core.framing import LINES, Framing
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy, Reasoning, ToolCalls, ToolResults
from sidecar.core.stats import Stats
from sidecar.core.stream import Fault, StreamFilter
from sidecar.core.vocabulary import Opening, Vocabulary
from sidecar.wire.answer import Answer
from sidecar.wire.formats import WireFormat
from sidecar.wire.ruling import Ruling
from tests.cuts import at_random, every_way, units
from tests.promises import CATALOGUE, LIMIT, cases_in_company, compiled

Json = dict[str, Any]
Event = tuple[str, Json]
"""The name of an event, empty in formats without names, and its JSON."""

# --- what an adapter writes and reads -----------------------------------------------------------


class Kind(StrEnum):
    """What a piece of an answer is."""

    TEXT = "text"
    """One delta of the text that a person reads; it may hold in-band regions."""
    REASONING = "reasoning"
    """One delta of reasoning in a place of its own."""
    CALL = "call"
    """One whole call in a place of its own: ``name``, and its arguments as ``text``."""
    RESULT = "result"
    """What a tool returned, in a place of its own."""
    FINISH = "finish"
    """``text`` says why: ``stop``, ``length`` or ``calls``."""
    # What only a client reads:
    CLOSED = "closed"
    """No more of this text will come: another that follows is read from its beginning."""
    ERROR = "error"
    END = "end"
    """The stream is complete: the end mark, or the event that is the last of its format."""


class Piece(NamedTuple):
    """A piece of an answer, as it is written or read. ``lane`` tells texts apart that come at the
    same time, such as choices."""

    kind: Kind
    text: str = ""
    name: str = ""
    lane: int = 0


class Reader(ABC):
    """Reads one stream as a strict client does."""

    @abstractmethod
    def read(self, name: str, record: Json) -> Iterable[Piece]:
        """What one event says. AssertionError if it is one that breaks clients: a gap in the
        indexes, a delta of what was never announced, a repetition that says something else."""


class Adapter(ABC):
    """How the pieces of an answer are written in one wire format, and read."""

    structured: ClassVar[frozenset[Kind]]
    """What has a place of its own in a stream: of REASONING, CALL, RESULT."""
    whole: ClassVar[frozenset[Kind]]
    """Likewise in a document."""
    moves: ClassVar[frozenset[Kind]]
    """What the rules can move there, out of the text."""
    finishes: ClassVar[frozenset[str]]
    """The reasons that it can say."""
    declares: ClassVar[bool] = True
    """Requests declare tools."""
    lanes: ClassVar[int] = 1
    """How many texts may come at the same time; the suite uses up to two."""
    recordings: ClassVar[Mapping[str, bytes]] = {}
    """Streams as servers send them, of which nothing is hidden, by what sent them."""

    @abstractmethod
    def events(self, answer: Sequence[Piece]) -> list[Event]:
        """The stream of an answer, without the end mark. Each piece of text is one delta."""

    @abstractmethod
    def document(self, answer: Sequence[Piece]) -> Json:
        """The same as a document."""

    @abstractmethod
    def error(self, message: str) -> Event:
        """How upstream reports an error in a stream."""

    @abstractmethod
    def reader(self) -> Reader:
        """A client for one stream."""

    @abstractmethod
    def read_document(self, document: Json) -> Iterable[Piece]:
        """What a document says."""


# --- answers ------------------------------------------------------------------------------------

SECRETS = {
    Kind.REASONING: "Qz7Xk9Wv3J",
    Kind.CALL: "Wm4Tp8Ld2H",
    Kind.RESULT: "Jf6Bn1Rc5Y",
}
"""What stands in hidden text, by what that is."""
PLAN, ASKED, FOUND = SECRETS.values()
TOOL = "find"
THOUGHT = f"<think>{PLAN} it</think>"
CALLED = f'<tool_call>{{"name": "{TOOL}", "arguments": {{"q": "{ASKED}"}}}}</tool_call>'
DIED = Fault("upstream_died", "The upstream server died.")

_ALL = tuple(CATALOGUE.resolve(["all"]))

DROP = Policy()
KEEP_REASONING = Policy(reasoning=Reasoning.KEEP)
KEEP_TOOLS = Policy(tool_calls=ToolCalls.KEEP, tool_results=ToolResults.KEEP)
KEEP = Policy(Reasoning.KEEP, ToolCalls.KEEP, ToolResults.KEEP)
DECLARED = Policy(tool_calls=ToolCalls.DECLARED)
MOVE = Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.MOVE)
POLICIES = (DROP, KEEP_REASONING, KEEP_TOOLS, KEEP, DECLARED, MOVE)


def text(*deltas: str, lane: int = 0) -> list[Piece]:
    """A text in these deltas."""
    return [Piece(Kind.TEXT, delta, lane=lane) for delta in deltas]


def thought(*deltas: str) -> list[Piece]:
    """Reasoning in a place of its own, in these deltas."""
    return [Piece(Kind.REASONING, delta) for delta in deltas]


def call(name: str = TOOL) -> Piece:
    """A call in a place of its own."""
    return Piece(Kind.CALL, json.dumps({"q": ASKED}, separators=(",", ":")), name)


RESULT = Piece(Kind.RESULT, f"{FOUND} was found.")

PLAIN: dict[str, list[Piece]] = {
    "plain": text("Hello", " there", ",\n\nfriend."),
    "one delta": text("Hello."),
    "a mention": text("Write `<think>` and", " `x`."),
    "half characters": text("A", "\ud83e", "\udd14", "ß"),
}
"""Nothing is hidden in them, and nothing needs to be held."""
IN_BAND: dict[str, list[Piece]] = {
    "tails like a marker": text("1 <", " 2, a <thi", "s> <tool_"),
    "a mention that is cut": text("Write `<thi", "nk>` and `x`", "."),
    "reasoning": text(THOUGHT, "Hello."),
    "reasoning by the character": text(*f"Hi.\n\n{THOUGHT}\n\nBye <b>."),
    "markers over two deltas": text("A ", THOUGHT[:3], THOUGHT[3:20], THOUGHT[20:] + " B", " <x"),
    "a call": text("Hm.", CALLED[:5], CALLED[5:40], CALLED[40:], " Ha."),
    "both": text(THOUGHT, "\n\nSee: ", CALLED + CALLED, "\nDone."),
    "nothing else": text(THOUGHT),
    "unclosed": text("Hi ", THOUGHT[:14]),
}
"""The text has to be read: all that may be hidden is in it."""
STRUCTURED: dict[str, list[Piece]] = {
    "thinks": [*thought(PLAN[:4], PLAN[4:], ", so."), *text("Hello", ".")],
    "thinks and says no more": thought(PLAN),
    "calls": [*text("Let me look", "."), call()],
    "calls only": [call(), call("other")],
    "thinks twice": [*thought(PLAN), *text("One. "), *thought(PLAN), *text(THOUGHT, "Two.")],
    "thinks and calls": [*thought(PLAN), *text("Hm", ": ", THOUGHT, "so"), call()],
    "an agent's rounds": [*thought(PLAN), *text("Hm."), call(), RESULT, *text("It", " is 4.")],
}
"""Some of what is hidden has a place of its own."""
MIXED: dict[str, list[Piece]] = {
    "holds and calls": [*text("Let me look <thi"), call()],
    "holds and thinks": [*text("Look ", "<"), *thought(PLAN), *text("b> ", THOUGHT)],
    "calls both ways": [*text("Hm.", CALLED), call()],
}
"""Beside it stands text that has to be read."""
ANSWERS = (PLAIN, IN_BAND, STRUCTURED, MIXED)


def declared_ruling(
    policy: Policy, vocabulary: Vocabulary | None = None, start: Opening | None = None
) -> Ruling:
    """What a rule with this policy means for a request that declares one tool."""
    vocabulary = vocabulary or compiled(_ALL, policy)
    return Ruling(policy, vocabulary, frozenset({TOOL}), start)


def named(policy: Policy) -> str:
    """What a failure calls it."""
    return f"{policy.reasoning} {policy.tool_calls} {policy.tool_results}"


# --- what a client reads, and what it should ----------------------------------------------------


@dataclass
class Read:
    """What pieces say together; fails on text after a finish, and on anything after the end."""

    texts: dict[int, str] = field(default_factory=dict)
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    results: str = ""
    finishes: dict[int, str] = field(default_factory=dict)
    errors: int = 0
    ended: bool = False

    def add(self, piece: Piece) -> None:
        """One more piece."""
        kind = piece.kind
        assert not self.ended, f"{piece} after the end"
        assert not self.errors or kind is Kind.END, f"{piece} after an error"
        if kind is Kind.TEXT:
            assert not piece.text or piece.lane not in self.finishes, "text after the finish"
            self.texts[piece.lane] = _joined(self.texts.get(piece.lane, "") + piece.text)
        elif kind is Kind.REASONING:
            self.reasoning += piece.text
        elif kind is Kind.CALL:
            self.calls.append((piece.name, piece.text))
        elif kind is Kind.RESULT:
            self.results += piece.text
        elif kind is Kind.FINISH:
            assert piece.lane not in self.finishes, "a second finish"
            self.finishes[piece.lane] = piece.text
        self.errors += kind is Kind.ERROR
        self.ended |= kind is Kind.END

    @property
    def visible(self) -> dict[int, str]:
        """The texts that say something."""
        return {lane: said for lane, said in self.texts.items() if said}


def _joined(said: str) -> str:
    """A surrogate pair cut over two deltas is one character to the reader."""
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class Oracle:
    """What of the texts is visible, by the lanes alone."""

    def __init__(self, ruling: Ruling, *, declares: bool) -> None:
        self.texts: dict[int, str] = {}
        self.moved: dict[Channel, str] = dict.fromkeys(Channel, "")
        """The text of each channel, markers apart."""
        self.taken = 0
        """Characters that came."""
        self._ruling = ruling
        self._declared = ruling.declared if declares else frozenset[str]()
        self._lanes: dict[int, Lane] = {}

    def take(self, piece: Piece) -> None:
        """One more piece of what upstream said."""
        if piece.kind is Kind.TEXT:
            self.taken += len(piece.text)
            if piece.lane not in self._lanes:
                self._lanes[piece.lane] = Lane(
                    self._ruling.vocabulary, self._declared, self._ruling.start
                )
            self._say(piece.lane, self._lanes[piece.lane].feed(piece.text))
        elif piece.kind in (Kind.CLOSED, Kind.FINISH):
            self._close(piece.lane)
        elif piece.kind is Kind.END:
            self.finish()

    def finish(self) -> None:
        """Nothing more will come."""
        for lane in list(self._lanes):
            self._close(lane)

    @property
    def visible(self) -> dict[int, str]:
        """The texts that say something."""
        return {lane: _joined(said) for lane, said in self.texts.items() if said}

    def _close(self, lane: int) -> None:
        if lane in self._lanes:
            self._say(lane, self._lanes.pop(lane).finish())

    def _say(self, lane: int, segments: Iterable[Any]) -> None:
        for segment in segments:
            self.moved[segment.channel] += segment.text
            if segment.channel is Channel.CONTENT:
                self.texts[lane] = self.texts.get(lane, "") + segment.text


class Made(NamedTuple):
    """One answer for the checks."""

    name: str
    pieces: list[Piece]

    @property
    def finished(self) -> list[Piece]:
        """With its finish, once for each lane."""
        return self.finishing("stop")

    def finishing(self, reason: str) -> list[Piece]:
        """With a finish of another reason."""
        lanes = sorted({piece.lane for piece in self.pieces})
        return [*self.pieces, *(Piece(Kind.FINISH, reason, lane=lane) for lane in lanes)]


class Suite:
    """One wire format under test."""

    def __init__(self, wire_format: WireFormat, adapter: Adapter) -> None:
        self.wire_format = wire_format
        self.adapter = adapter
        self.framing: Framing = self.answer(DROP).framing

    def answer(self, policy: Policy, **more: Any) -> Answer:
        """A fresh one; ``more`` are the vocabulary and the start of its ruling."""
        return self.wire_format.answer(declared_ruling(policy, **more))

    def oracle(self, policy: Policy, **more: Any) -> Oracle:
        """What should become of its texts."""
        return Oracle(declared_ruling(policy, **more), declares=self.adapter.declares)

    def made(self, *groups: dict[str, list[Piece]], whole: bool = False) -> Iterator[Made]:
        """The answers that the format can say; ``whole``: in a document."""
        known = self.adapter.whole if whole else self.adapter.structured
        for group in groups:
            for name, pieces in group.items():
                if {piece.kind for piece in pieces} - known <= {Kind.TEXT}:
                    yield Made(name, pieces)

    def stays(self, policy: Policy, piece: Piece) -> bool:
        """Whether a structured piece is the client's under the policy."""
        if piece.kind is Kind.RESULT:
            return policy.tool_results is ToolResults.KEEP
        if policy is MOVE:
            return piece.kind in self.adapter.moves
        if piece.kind is Kind.REASONING:
            return policy.reasoning is Reasoning.KEEP
        if policy is DECLARED:
            return self.adapter.declares and piece.name == TOOL
        return policy.tool_calls is ToolCalls.KEEP

    # Writing.

    def one(self, event: Event, *, spaces: bool = False) -> bytes:
        """One event as a server writes it."""
        name, record = event
        return self.framing.write(written(record, spaces=spaces), name.encode())

    def stream(self, events: Iterable[Event], *, spaces: bool = False, mark: bool = True) -> bytes:
        """These events as a stream, with its end mark or without."""
        out = b"".join(self.one(event, spaces=spaces) for event in events)
        return out + self.framing.mark if mark else out

    def sent(self, answer: Sequence[Piece], *, spaces: bool = False) -> bytes:
        """The whole stream of an answer."""
        return self.stream(self.adapter.events(answer), spaces=spaces)

    def body(self, answer: Sequence[Piece], *, spaces: bool = False) -> bytes:
        """An answer as a document."""
        return written(self.adapter.document(answer), spaces=spaces)

    # Filtering.

    def run(
        self,
        policy: Policy,
        *chunks: bytes,
        fault: Fault | None = None,
        answer: Answer | None = None,
    ) -> bytes:
        """Everything that leaves."""
        transducer = StreamFilter(answer or self.answer(policy), limit=LIMIT)
        out = b"".join(map(transducer.feed, chunks))
        return out + transducer.finish(fault)

    # Reading.

    def pieces(self, raw: bytes, reader: Reader | None = None) -> Iterator[Piece]:
        """What a client reads in a stream, or in more of it."""
        reader = reader or self.adapter.reader()
        for block in split(raw, self.framing):
            if self.framing.mark and block == self.framing.mark:
                yield Piece(Kind.END)
                continue
            name, data = self._parts(block)
            assert data != self.framing.done, "the end mark of another format"
            yield from reader.read(name, json.loads(data))

    def read(self, raw: bytes) -> Read:
        """The same, together."""
        read = Read()
        for piece in self.pieces(raw):
            read.add(piece)
        return read

    def read_document(self, body: bytes) -> Read:
        """What a client reads in a document."""
        read = Read()
        for piece in self.adapter.read_document(json.loads(body)):
            read.add(piece)
        return read

    def expected(self, policy: Policy, raw: bytes, **more: Any) -> dict[int, str]:
        """The texts that are visible of a stream that ends there, however it ends."""
        oracle = self.oracle(policy, **more)
        for piece in self.pieces(raw):
            oracle.take(piece)
        oracle.finish()
        return oracle.visible

    def _parts(self, block: bytes) -> tuple[str, bytes]:
        if self.framing is LINES:
            return "", block
        *names, data = block.removesuffix(b"\n\n").split(b"\n")
        assert len(names) <= 1, block
        assert data.startswith(b"data: "), block
        name = names[0].decode() if names else ""
        assert name.startswith("event: ") or not name, block
        return name.removeprefix("event: "), data.removeprefix(b"data: ")


def written(record: Json, *, spaces: bool = False) -> bytes:
    """JSON as a server writes it."""
    if spaces:
        return json.dumps(record).encode()
    compact = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    try:
        return compact.encode()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8
        return json.dumps(record, separators=(",", ":")).encode()


def split(raw: bytes, framing: Framing) -> list[bytes]:
    """The events of a stream, strictly: each is complete."""
    end = b"\n" if framing is LINES else b"\n\n"
    *blocks, rest = raw.split(end)
    assert rest == b"", f"an event without its end: {rest!r}"
    assert all(block.strip() for block in blocks), "an empty event"
    return [block + end for block in blocks]


# --- the promises -------------------------------------------------------------------------------


def check_chunk_invariance(suite: Suite) -> None:
    """The bytes that leave do not depend on where the input was cut: a short answer at every two
    places, all of them byte by byte and at random, with LF and with CRLF, and so the recordings."""
    for made in suite.made(*ANSWERS):
        for policy in (DROP, MOVE):
            sent = suite.sent(made.finished)
            for raw in (sent, sent.replace(b"\n", b"\r\n")):
                whole = suite.run(policy, raw)
                for chunks in (units(raw), *at_random(raw, 1)):
                    assert suite.run(policy, *chunks) == whole, (made.name, named(policy), chunks)
    shortest = suite.sent([*text("<th", "ink>x</think>H", "i"), Piece(Kind.FINISH, "stop")])
    whole = suite.run(DROP, shortest)
    for chunks in every_way(shortest):
        assert suite.run(DROP, *chunks) == whole, chunks
    for name, raw in suite.adapter.recordings.items():
        for chunks in (units(raw), *at_random(raw, 4)):
            assert suite.run(DROP, *chunks) == suite.run(DROP, raw), name


def check_no_harm(suite: Suite) -> None:
    """An event in which nothing is hidden leaves as its original bytes, however its JSON is
    written, and so does a document: under a rule that hides everything and finds nothing, and
    under one that finds something and keeps it. The recordings are such streams."""
    for spaces in (False, True):
        for policy in POLICIES:
            for made in suite.made(PLAIN, *((STRUCTURED,) if policy is KEEP else ())):
                sent = suite.sent(made.finished, spaces=spaces)
                assert suite.run(policy, sent) == sent, (made.name, named(policy))
            groups = ANSWERS if policy is KEEP else (PLAIN,)
            for made in suite.made(*groups, whole=True):
                body = suite.body(made.finished, spaces=spaces)
                left = filter_document(body, suite.answer(policy))
                assert left == body, (made.name, named(policy))
    for name, raw in suite.adapter.recordings.items():
        assert suite.run(DROP, raw) == raw, name


def check_exact_holding(suite: Suite) -> None:
    """A visible character is out with the event that makes it certain, and none before: after
    every single event the client has just what a lane would have shown by then."""
    for made in suite.made(*ANSWERS):
        for policy in (DROP, DECLARED, KEEP_REASONING):
            transducer = StreamFilter(suite.answer(policy), limit=LIMIT)
            oracle, came, left = suite.oracle(policy), suite.adapter.reader(), Read()
            client = suite.adapter.reader()
            for event in suite.adapter.events(made.finished):
                for piece in came.read(*event):
                    oracle.take(piece)
                for piece in suite.pieces(transducer.feed(suite.one(event)), client):
                    left.add(piece)
                assert left.visible == oracle.visible, (made.name, named(policy), event)


def check_no_leak(suite: Suite) -> None:
    """Nothing hidden leaves in any byte, streamed or whole, not even three characters of it; nor
    does an error of upstream's quote it. Where the rule keeps it, it does leave. What every family
    of the catalogue writes leaves as its examples say."""
    for made in suite.made(IN_BAND, STRUCTURED, MIXED):
        sent = suite.sent(made.finished)
        for policy in POLICIES:
            _check_secrets(suite, made.name, policy, sent, suite.run(policy, sent))
    for made in suite.made(IN_BAND, STRUCTURED, MIXED, whole=True):
        body = suite.body(made.finished)
        for policy in POLICIES:
            left = filter_document(body, suite.answer(policy))
            _check_secrets(suite, made.name, policy, body, left)
    quoted = suite.stream([suite.adapter.error(f"no {THOUGHT} here")], mark=False)
    assert not _secrets_in(suite.run(DROP, quoted))
    _check_families(suite)


def _check_secrets(suite: Suite, name: str, policy: Policy, came: bytes, left: bytes) -> None:
    allowed = {kind for kind in SECRETS if suite.stays(policy, Piece(kind, name=TOOL))}
    assert _secrets_in(left) <= allowed, (name, named(policy))
    if policy is KEEP:
        assert _secrets_in(left) == _secrets_in(came), name


def _secrets_in(raw: bytes) -> set[Kind]:
    return {
        kind
        for kind, secret in SECRETS.items()
        if any(secret[i : i + 3].encode() in raw for i in range(len(secret) - 2))
    }


def _check_families(suite: Suite) -> None:
    for case in cases_in_company():
        more = {"vocabulary": case.vocabulary, "start": case.start}
        finish = Piece(Kind.FINISH, "stop")
        for deltas in at_random(case.example.text, 1):
            sent = suite.sent([*text(*filter(None, deltas)), finish])
            left = suite.read(suite.run(DROP, sent, answer=suite.answer(DROP, **more)))
            assert left.texts.get(0, "") == case.example.visible, (case.format.id, deltas)
        body = suite.body([*text(case.example.text), finish])
        left = suite.read_document(filter_document(body, suite.answer(DROP, **more)))
        assert left.texts.get(0, "") == case.example.visible, (case.format.id, case.example.name)


def check_order(suite: Suite) -> None:
    """Visible text keeps its order and stays with its text: of two that come at the same time
    each is what it is alone, and what stays of the rest is whole and in its order too."""
    for made in suite.made(*ANSWERS):
        for policy in POLICIES:
            sent = suite.sent(made.finished)
            left = suite.read(suite.run(policy, sent))
            assert left.visible == suite.expected(policy, sent), (made.name, named(policy))
            kept = [piece for piece in made.pieces if piece.kind is not Kind.TEXT]
            kept = [piece for piece in kept if suite.stays(policy, piece)]
            if policy is MOVE:
                continue  # What comes out of the text is checked below.
            calls = [(piece.name, piece.text) for piece in kept if piece.kind is Kind.CALL]
            assert left.calls == calls, (made.name, named(policy))
            for kind, said in ((Kind.REASONING, left.reasoning), (Kind.RESULT, left.results)):
                assert said == "".join(piece.text for piece in kept if piece.kind is kind)
    _check_moving(suite)
    if suite.adapter.lanes > 1:
        _check_side_by_side(suite)


def _check_moving(suite: Suite) -> None:
    for made in suite.made(IN_BAND):
        sent = suite.sent(made.finished)
        oracle = suite.oracle(MOVE)
        for piece in suite.pieces(sent):
            oracle.take(piece)
        left = suite.read(suite.run(MOVE, sent))
        moves = suite.adapter.moves
        reasoning = oracle.moved[Channel.REASONING] if Kind.REASONING in moves else ""
        assert left.reasoning == reasoning, made.name
        count = sent.count(ASKED.encode()) and oracle.moved[Channel.TOOL_CALL].count(ASKED)
        calls = [(TOOL, {"q": ASKED})] * count if Kind.CALL in moves else []
        assert [(name, json.loads(said)) for name, said in left.calls] == calls, made.name


def _check_side_by_side(suite: Suite) -> None:
    texts = [made.pieces for made in suite.made(PLAIN, IN_BAND)]
    for one, other in zip(texts, [*texts[1:], texts[0]], strict=True):
        both: list[Piece] = []
        for turn in range(max(len(one), len(other))):
            both += [piece._replace(lane=0) for piece in one[turn : turn + 1]]
            both += [piece._replace(lane=1) for piece in other[turn : turn + 1]]
        left = suite.read(suite.run(DROP, suite.sent(Made("both", both).finished)))
        for lane, alone in enumerate((one, other)):
            sent = suite.sent(Made("alone", alone).finished)
            assert left.texts.get(lane, "") == suite.expected(DROP, sent).get(0, "")


_FIELDS = {
    Kind.REASONING: Channel.REASONING,
    Kind.CALL: Channel.TOOL_CALL,
    Kind.RESULT: Channel.TOOL_RESULT,
}


def check_conservation(suite: Suite) -> None:
    """Every character is accounted for: of a text it is shown or counted as hidden, once, however
    often the format repeats it; of what has a place of its own it is counted if it is hidden, and
    only then. A document counts what the stream counts. Nothing made here is unknown."""
    for made in suite.made(*ANSWERS):
        sent = suite.sent(made.finished)
        for policy in POLICIES:
            answer, oracle = suite.answer(policy), suite.oracle(policy)
            suite.run(policy, sent, answer=answer)
            for piece in suite.pieces(sent):
                oracle.take(piece)
            oracle.finish()
            where = (made.name, named(policy))
            shown = sum(map(len, oracle.texts.values()))
            assert shown + _of_text(answer.stats).total() == oracle.taken, where
            _check_fields(suite, made, policy, answer.stats.hidden_characters)
            assert answer.stats.unknown_fields == 0, where
            if {piece.kind for piece in made.pieces} <= suite.adapter.whole | {Kind.TEXT}:
                whole = suite.answer(policy)
                filter_document(suite.body(made.finished), whole)
                _check_fields(suite, made, policy, whole.stats.hidden_characters)
                assert _of_text(whole.stats) == _of_text(answer.stats), where
                assert whole.stats.unknown_fields == 0, where


def _of_text(stats: Stats) -> Counter[tuple[Channel, str]]:
    """The characters that were hidden in texts, by channel and format."""
    counted = stats.hidden_characters.items()
    return Counter({key: count for key, count in counted if key[1] != "field" and count})


def _check_fields(
    suite: Suite, made: Made, policy: Policy, hidden: Counter[tuple[Channel, str]]
) -> None:
    for kind, channel in _FIELDS.items():
        gone = [p for p in made.pieces if p.kind is kind and not suite.stays(policy, p)]
        count = sum(len(piece.text) for piece in gone)
        more = 0
        if kind is Kind.CALL:
            # Its name may be counted too, and a space after the colon of parsed arguments.
            more = sum(len(piece.name) + 1 for piece in gone)
        where = (made.name, named(policy), channel)
        assert count <= hidden[channel, "field"] <= count + more, where


def check_termination(suite: Suite) -> None:
    """A complete answer has one finish for each of its choices, after all its text, says why it
    ended as the rule has it, and one end mark, once and last; what upstream sends after that does
    not leave. One that breaks off after any of its events, sends what is not JSON, or reports an
    error, gives its held text and then the error of its format, and no clean finish."""
    for made in suite.made(*ANSWERS):
        for policy in (DROP, KEEP, DECLARED):
            for reason in suite.adapter.finishes:
                _check_finish(suite, made, policy, reason)
        _check_deaths(suite, made, DROP)


def _check_finish(suite: Suite, made: Made, policy: Policy, reason: str) -> None:
    sent = suite.sent(made.finishing(reason))
    left = suite.read(suite.run(policy, sent, sent))
    upstream = suite.read(sent)
    assert left.ended, made.name
    assert not left.errors, made.name
    told = reason
    if reason == "calls" and policy is not KEEP:
        hidden = any(p.kind is Kind.CALL and not suite.stays(policy, p) for p in made.pieces)
        hidden |= CALLED in "".join(p.text for p in made.pieces) and policy is DROP
        told = "stop" if hidden and not left.calls else reason
    assert left.finishes == dict.fromkeys(upstream.finishes, told), (made.name, named(policy))
    if Kind.CALL not in {piece.kind for piece in made.pieces} and suite.adapter.whole:
        whole = suite.read_document(
            filter_document(suite.body(made.finishing(reason)), suite.answer(policy))
        )
        assert whole.finishes == left.finishes or reason == "calls", (made.name, named(policy))


def _check_deaths(suite: Suite, made: Made, policy: Policy) -> None:
    events = suite.adapter.events(made.finished)
    for count in range(len(events) + 1):
        sent = suite.stream(events[:count], mark=False)
        upstream = suite.read(sent)
        if upstream.ended:
            continue
        visible = suite.expected(policy, sent)
        ways = {
            "closed": suite.run(policy, sent),
            "died": suite.run(policy, sent, fault=DIED),
            "not JSON": suite.run(policy, sent + suite.framing.write(b'{"a":', b"")),
            "error": suite.run(policy, sent + suite.one(suite.adapter.error("It broke."))),
        }
        for way, out in ways.items():
            left = suite.read(out)
            where = (made.name, named(policy), way, count)
            assert left.visible == visible, where
            if upstream.finishes:
                assert left.errors or left.ended, where
            else:
                assert left.errors == 1, where
                assert not left.finishes, where


def check_stream_equals_document(suite: Suite) -> None:
    """The same answer as one document says the same: text, reasoning, calls, and why it ended."""
    for made in suite.made(*ANSWERS, whole=True):
        for policy in POLICIES:
            streamed = suite.read(suite.run(policy, suite.sent(made.finished)))
            body = filter_document(suite.body(made.finished), suite.answer(policy))
            whole = suite.read_document(body)
            where = (made.name, named(policy))
            assert whole.visible == streamed.visible, where
            assert whole.reasoning == streamed.reasoning, where
            assert _parsed(whole.calls) == _parsed(streamed.calls), where
            assert whole.finishes == streamed.finishes, where


def _parsed(calls: Iterable[tuple[str, str]]) -> list[tuple[str, Any]]:
    return [(name, json.loads(said)) for name, said in calls]


_DELTAS: dict[str, list[Piece]] = {
    "text": text("Hello, ", "there. "),
    "regions": text(THOUGHT, "Hm. "),
    "reasoning": thought(PLAN),
}
_ROUNDS: dict[str, list[Piece]] = {"rounds": [*thought(PLAN), *text("Hm. ")]}


def check_bounds(suite: Suite) -> None:
    """Time is linear and memory bounded, by count: twice the deltas cost about twice the calls of
    functions, four times the deltas leave no more behind in memory, no more leaves than came and
    a constant, and of texts that have ended no lane stays open."""
    for policy in (DROP, KEEP_REASONING):
        for made in suite.made(_DELTAS, _ROUNDS):
            once, twice, often = (_cost(suite, policy, made.pieces * n) for n in (30, 60, 120))
            assert twice.calls < 2.2 * once.calls + 200, (made.name, named(policy))
            assert twice.left < twice.came + 4096, (made.name, named(policy))
            assert often.lanes <= suite.adapter.lanes, (made.name, named(policy))
            if made.name in _DELTAS:
                assert often.weight < once.weight + 2048, (made.name, named(policy))


_SAYING = (Kind.TEXT, Kind.REASONING)


class Cost(NamedTuple):
    """What one answer without a finish cost: calls of functions, bytes that came and that left,
    bytes that it held when the last of its deltas had come, and the most lanes that were open."""

    calls: int
    came: int
    left: int
    weight: int
    lanes: int


def _cost(suite: Suite, policy: Policy, pieces: Sequence[Piece]) -> Cost:
    answer = suite.answer(policy)
    transducer = StreamFilter(answer, limit=LIMIT)
    reader = suite.adapter.reader()
    calls = came = left = lanes = weight = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    events = suite.adapter.events(pieces)
    deltas = [any(piece.kind in _SAYING for piece in reader.read(*event)) for event in events]
    last = len(deltas) - 1 - deltas[::-1].index(True)
    for number, event in enumerate(events):
        chunk = suite.one(event)
        sys.setprofile(count)
        out = transducer.feed(chunk)
        sys.setprofile(before)
        came += len(chunk)
        left += len(out)
        lanes = max(lanes, len(answer.lanes))
        if number == last:
            weight = bytes_held(transducer, policy)
    return Cost(calls, came, left, weight, lanes)


def bytes_held(root: object, policy: Policy) -> int:
    """The bytes of everything that ``root`` refers to, less what all answers of a rule share."""
    seen = set(map(id, _reachable(declared_ruling(policy), set())))
    return sum(map(sys.getsizeof, _reachable(root, seen)))


def _reachable(root: object, seen: set[int]) -> list[object]:
    """``root`` and all that it refers to, but for what was seen and what is code."""
    found, waiting = [], [root]
    while waiting:
        value = waiting.pop()
        if id(value) not in seen and not isinstance(value, (type, ModuleType, FunctionType)):
            seen.add(id(value))
            found.append(value)
            waiting += gc.get_referents(value)
    return found


CHECKS: tuple[Callable[[Suite], None], ...] = (
    check_chunk_invariance,
    check_no_harm,
    check_exact_holding,
    check_no_leak,
    check_order,
    check_conservation,
    check_termination,
    check_stream_equals_document,
    check_bounds,
)


def check_wire_format(wire_format: WireFormat, adapter: Adapter) -> None:
    """Check that a wire format keeps the nine promises. AssertionError if it does not.

    ``adapter`` writes answers in the format and reads them back. The answers are texts with and
    without in-band regions, reasoning, calls and results in places of their own, and rounds of
    them, under rules that drop, keep, move, and keep what is declared:

    1. Cut anywhere, the same bytes leave.
    2. Where nothing is hidden the original bytes leave, of every event and of a document.
    3. A visible character leaves with the event that makes it certain.
    4. Nothing hidden leaves in any byte, unless the rule keeps it.
    5. Visible text keeps its order; texts that come at the same time do not affect each other.
    6. Every character is shown or counted, once.
    7. One finish, one end; an answer that breaks off anywhere gives its held text and an error.
    8. A document says what the stream says.
    9. Calls of functions are linear in the events, and what is remembered does not grow.
    """
    suite = Suite(wire_format, adapter)
    for check in CHECKS:
        check(suite)
