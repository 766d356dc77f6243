"""Events that pass unread: never one that a reader would judge, whatever stands in it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from sidecar.core.policy import Policy
from sidecar.core.stream import StreamFilter
from sidecar.core.unread import BETWEEN, Around, Repeated, Stops
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from tests.promises import CATALOGUE, LIMIT

START, END = b'{"a":"b","content":"', b'","c":1}'
DATA, EVENT = Around(START, END), Around(b"data: ", b"\n\n")
STOPS = Stops({"<": "<"})


def event(text: bytes) -> bytes:
    return b"data: " + START + text + END + b"\n\n"


def passes(chunk: bytes, limit: int = LIMIT) -> bool:
    """Whether no event of the chunk must be read, where text is shown."""
    texts: list[str] = []
    repeated = Repeated(DATA, EVENT, limit)
    passes = repeated.shown(chunk, 0, STOPS, texts) == len(chunk) > 0
    alone = repeated.alone(chunk, STOPS)
    assert alone is None or (passes and alone == "".join(texts))
    return passes


def hidden(chunk: bytes) -> list[str] | None:
    """The texts that are hidden, as far as they were taken together; None if an event must be
    read. What is hidden here has no "<"."""
    said: list[str] = []

    def hide(text: str) -> bool:
        said.append(text)
        return "<" not in text

    repeated, position = Repeated(DATA, EVENT, LIMIT), 0
    while position < len(chunk):
        end = repeated.hidden(chunk, position, hide)
        if end == position:
            return None
        position = end
    return said


@pytest.mark.parametrize(
    "texts",
    [
        [b"word"],
        [b" ", b"two", b" three"],
        ["größer, 大, 😀".encode()],
        [rb"\u4f60\u597d", rb"\ud83d\ude00"],
        [rb"a \"quoted\" word, a \\ and a \t"],
        [rb"a line\n", rb"\u000d\n"],
        [b"data: ", b"}"],
    ],
)
def test_text_without_anything_to_judge_passes(texts: list[bytes]) -> None:
    chunk = b"".join(map(event, texts))
    assert passes(chunk)
    for text in texts:
        one = Repeated(DATA, EVENT, LIMIT).alone(event(text), STOPS)
        assert one == json.loads(b'"%b"' % text)
    said = hidden(chunk)
    assert said is not None
    assert "".join(said) == "".join(json.loads(b'"%b"' % text) for text in texts)


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(event(b"a < b"), id="a stop"),
        pytest.param(event(b"a") + event(b"b <"), id="a stop in the second one"),
        pytest.param(event(rb"a \u003c b"), id="an escaped stop"),
        pytest.param(event(b"a\x01"), id="a control character"),
        pytest.param(event(b"\xff"), id="no UTF-8"),
        pytest.param(event(b"\xc3") + event(b"\xa4"), id="half a character in each"),
        pytest.param(event(b"\xc3") + event(b"\xa4" + rb"\t"), id="the same with an escape"),
        pytest.param(event(rb"\ud800"), id="half a pair"),
        pytest.param(event(rb"\x"), id="no escape"),
        pytest.param(event(b'x","reasoning":"y'), id="another member"),
        pytest.param(event(b'x","content":"y'), id="the same member twice"),
        pytest.param(event(b"x\\"), id="a string that goes on"),
        pytest.param(event(b"x\\") + event(b"y"), id="a string that goes on in the next one"),
        pytest.param(event(b"x\\") + event(b"ny"), id="an escape of two events"),
        pytest.param(event(rb"\u00") + event(b"41"), id="a character's number in two events"),
        pytest.param(event(rb"\ud83d") + event(rb"\ude00"), id="a pair in two events"),
        pytest.param(event(b"x\\") + event(b'y","a":"z'), id="a quote less, and one more"),
        pytest.param(event(b"x")[:-1], id="half a blank line"),
        pytest.param(event(b"x")[:-1] + b"\r\n", id="another blank line"),
        pytest.param(event(b"x") + b"\n", id="an empty line"),
        pytest.param(event(b"x") + b": comment\n\n", id="a comment"),
        pytest.param(b": comment\n\n" + event(b"x"), id="a comment before"),
        pytest.param(event(b"x")[:-2] + b"\nid: 1\n\n", id="an id"),
        pytest.param(event(b"x") + event(b"y")[:-3], id="a piece of the next one"),
        pytest.param(b"data: " + START[:-1] + END + b"\n\n", id="one quote for two"),
        pytest.param(event(b"x").replace(b'"c":1', b'"c":2'), id="another value"),
    ],
)
def test_what_may_say_anything_else_is_read(chunk: bytes) -> None:
    assert not passes(chunk)


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(event(b"a < b"), id="a stop"),
        pytest.param(event(b"a") + event(b"b <"), id="a stop in the second one"),
        pytest.param(event(b"\xc3") + event(b"\xa4"), id="half a character in each"),
        pytest.param(event(b'x","reasoning":"y'), id="another member"),
        pytest.param(event(b"x\\") + event(b"y"), id="a string that goes on in the next one"),
        pytest.param(event(b"x") + b": comment\n\n", id="a comment"),
        pytest.param(event(b"x") + event(b"y")[:-3], id="a piece of the next one"),
    ],
)
def test_so_it_is_where_text_is_hidden(chunk: bytes) -> None:
    assert hidden(chunk) is None


@pytest.mark.parametrize("before", [0, 1, 7, 8, 9, 63, 64, 65, 200])
def test_one_event_that_must_be_read_holds_up_no_other(before: int) -> None:
    """However many are judged together."""
    texts: list[str] = []
    chunk = event(b"x") * before + event(b"a < b") + event(b"y") * 100
    end = Repeated(DATA, EVENT, LIMIT).shown(chunk, 0, STOPS, texts)
    assert (end, "".join(texts)) == (len(event(b"x")) * before, "x" * before)


def test_events_that_are_judged_as_one_leave_as_each_would_alone() -> None:
    """What may be a marker's beginning is held back, also where the next one shows it is none."""
    stops, texts = Stops({"<": rf"<(?=t|{BETWEEN}|\Z)"}), list[str]()
    repeated = Repeated(DATA, EVENT, LIMIT)
    chunk = event(b"a") + event(b"b <") + event(b"c") + event(b"d")
    assert repeated.shown(chunk, 0, stops, texts) == len(event(b"a"))
    assert texts == ["a"]
    assert repeated.shown(chunk, len(event(b"a")), stops, texts) == len(event(b"a"))


@pytest.mark.parametrize("text", [BETWEEN.encode(), b"a" + BETWEEN.encode(), rb"\u007f"])
def test_what_stands_between_texts_may_stand_in_one(text: bytes) -> None:
    texts: list[str] = []
    chunk = event(b"a") + event(text) + event(b"c") + event(b"")
    assert Repeated(DATA, EVENT, LIMIT).shown(chunk, 0, STOPS, texts) == len(chunk)
    assert "".join(texts) == "a" + json.loads(b'"%b"' % text) + "c"


def test_what_is_before_an_event_that_must_be_read_is_not_read() -> None:
    plain, odd = event(b"word"), event(b"a < b")
    repeated = Repeated(DATA, EVENT, LIMIT)
    texts: list[str] = []
    assert repeated.shown(plain + plain + odd + plain, 0, STOPS, texts) == 2 * len(plain)
    assert repeated.shown(odd + plain, len(odd), STOPS, texts) == len(odd) + len(plain)
    assert "".join(texts) == "word" * 3
    assert repeated.text(odd + plain, 0) == ("a < b", len(odd))


def test_a_chunk_larger_than_an_event_may_be_is_read() -> None:
    chunk = event(b"word")
    assert passes(chunk, limit=len(chunk))
    assert not passes(chunk, limit=len(chunk) - 1)


class LongWay(Chat):
    """Reads every event in full."""

    settled = None


PIECES = (
    *("word", " ", "\n", "\n\n", "\r\n", '"', "\\", "\t", "/", "ä", "大", "😀", "`", "```\n", "~"),
    *("<", "<div>", "</", "<think>", "</think>", "<tool_call>", "{", "}", "</tool_call>"),
    *("Thought:", "Action: look", "Final Answer:", "Observation:", "[", "|", "｜", "◁think▷"),
)
DUMPS: tuple[Callable[[object], str], ...] = (
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    lambda value: json.dumps(value, separators=(",", ":")),
    json.dumps,
)
POLICY = Policy()
RULING = Ruling(POLICY, Vocabulary(CATALOGUE.resolve(["all"]), POLICY))


def written(delta: dict[str, str], dump: Callable[[object], str], end: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return f"data: {dump({'id': 'x', 'model': 'm', 'choices': [choice]})}{end}".encode()


def said(out: bytes) -> list[tuple[str, str]]:
    """The texts that leave, joined while their key stays the same."""
    joined: list[tuple[str, str]] = []
    for line in out.splitlines():
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line[6:]).get("choices", []):
            for key, text in choice["delta"].items():
                if joined and joined[-1][0] == key:
                    joined[-1] = key, joined[-1][1] + text
                elif text:
                    joined.append((key, text))
    return joined


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("dump", DUMPS, ids=["utf8", "ascii", "spaced"])
def test_what_passes_unread_is_what_would_have_passed(
    seed: int, dump: Callable[[object], str], end: str
) -> None:
    """Random texts, of which most are plain, in reads of several events and of pieces of one."""
    chance = random.Random(seed)
    texts = [
        "".join(chance.choices(PIECES, k=chance.randint(1, 3)))
        if chance.random() < 0.3
        else " word"
        for _ in range(60)
    ]
    share = 0.6 if seed % 2 else 0.05
    keys = ["reasoning_content" if chance.random() < share else "content" for _ in texts]
    events = [written({"role": "assistant", "content": ""}, dump, end)]
    events += [written({key: text}, dump, end) for key, text in zip(keys, texts, strict=True)]
    sent = b"".join(events) + f"data: [DONE]{end}".encode()
    ways = {"unread": Chat(RULING), "in full": LongWay(RULING)}
    outs = {}
    for way, wire in ways.items():
        stream = StreamFilter(wire, limit=LIMIT)
        outs[way] = b"".join([*map(stream.feed, _reads(events, sent, seed)), stream.finish()])
    assert said(outs["unread"]) == said(outs["in full"])
    assert ways["unread"].stats == ways["in full"].stats


def _reads(events: list[bytes], sent: bytes, seed: int) -> list[bytes]:
    """``sent``, cut now and then between two events, and now and then inside of one."""
    chance = random.Random(seed)
    cuts, position = [0], 0
    for one in events:
        if chance.random() < 0.1:
            cuts.append(position + chance.randrange(1, len(one)))
        position += len(one)
        if chance.random() < 0.6:
            cuts.append(position)
    return [sent[start:end] for start, end in zip(cuts, [*cuts[1:], len(sent)], strict=True)]


def test_a_plain_answer_does_pass_unread() -> None:
    """What the test above compares would be the same if nothing ever did."""
    stream = StreamFilter(Chat(RULING), limit=LIMIT)
    dump = DUMPS[0]
    for text in ("", "One", " two", " three"):
        stream.feed(written({"content": text}, dump, "\n\n"))
    chunk = written({"content": " four"}, dump, "\n\n") * 3
    assert stream.feed(chunk) is chunk
