"""The line of a request: what it tells, and what it never tells."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pytest

from sidecar.core.status import StatusPolicy
from sidecar.rules.configvalues import AccessLog
from sidecar.rules.statussection import StatusSpec
from sidecar.server.accesslog import MAX_WAITING, NOT_READ, Fields, Sink, access_log
from sidecar.wire.formats import WireFormat

from .process import AT_ONCE, running
from .scripted import (
    DONE,
    FINISH,
    LAST,
    LIMIT,
    ROLE,
    Cut,
    Rig,
    chat,
    chunk,
    document,
    event,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    streamed,
    text,
)
from .test_wire_formats import per_format

Line = dict[str, str]
"""The values of a line as text, by their names."""

TRACE = "0af7651916cd43dd8448eb211c80319c"
WHOLE = streamed(ROLE, text("a"), FINISH, DONE)


# --- lines --------------------------------------------------------------------------------------


def read_json(line: str) -> Line:
    """One line of JSON: an object with nothing but names, numbers and truths."""
    value = json.loads(line)
    assert isinstance(value, dict)
    assert all(isinstance(each, str | int | float | bool) for each in value.values())
    return {key: each if isinstance(each, str) else json.dumps(each) for key, each in value.items()}


_PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |$)')


def read_logfmt(line: str) -> Line:
    """One line of logfmt, as strict as its readers are."""
    found: Line = {}
    at = 0
    while at < len(line):
        pair = _PAIR.match(line, at)
        assert pair is not None, line[at:]
        assert pair[1] not in found
        found[pair[1]] = json.loads(pair[2]) if pair[2].startswith('"') else pair[2]
        at = pair.end()
    return found


READERS: dict[AccessLog, Callable[[str], Line]] = {
    AccessLog.JSON: read_json,
    AccessLog.LOGFMT: read_logfmt,
}

per_form = pytest.mark.parametrize("form", READERS, ids=str)


def written(form: AccessLog, fields: Fields) -> str:
    """The line of these fields."""
    out = io.StringIO()
    access_log(form, Sink(_nobody, out))(fields)
    return out.getvalue()


def _nobody() -> None:
    raise AssertionError("a line was dropped")


@per_form
def test_a_line_has_what_it_is_given(form: AccessLog) -> None:
    """In that order, after the time; what is not known is left out."""
    fields: Fields = {"text": "a", "number": 7, "time_": 0.25, "truth": True, "none": None}
    line = written(form, fields)
    assert line.endswith("\n")
    found = READERS[form](line[:-1])
    stamp = datetime.fromisoformat(found.pop("time"))
    assert stamp.tzinfo == UTC
    assert list(found.items()) == [
        ("text", "a"),
        ("number", "7"),
        ("time_", "0.25"),
        ("truth", "true"),
    ]


@per_form
@pytest.mark.parametrize(
    "value",
    ["", " ", "a b", 'a"b', "a\\", "a=b", "a\nb", "a\r\n", "\x00\x1b[31m", "ü模\u2028", "\ud800"],
)
def test_no_value_ends_a_line_or_a_pair(form: AccessLog, value: str) -> None:
    """Whatever it is, the line is one line of ASCII, and the value is what is read back."""
    line = written(form, {"value": value, "next": "b"})
    assert line.isascii()
    assert line[:-1].isprintable()
    found = READERS[form](line[:-1])
    assert (found["value"], found["next"]) == (value, "b")


def test_off_writes_nothing() -> None:
    """And needs no place to write to."""
    assert written(AccessLog.OFF, {"method": "GET"}) == ""
    access_log(AccessLog.OFF, Sink(_nobody))({"method": "GET"})


# --- requests -----------------------------------------------------------------------------------


class Lines:
    """The lines on standard output since the last look."""

    def __init__(self, form: AccessLog, capsys: pytest.CaptureFixture[str]) -> None:
        self.form = form
        self._capsys = capsys

    def raw(self) -> list[str]:
        """As they are."""
        return self._capsys.readouterr().out.splitlines()

    def one(self) -> Line:
        """The only one."""
        [line] = self.raw()
        return READERS[self.form](line)


@pytest.fixture(params=READERS, ids=str)
def lines(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Lines:
    """In each form."""
    return Lines(request.param, capsys)


CLOCKS = {"time_to_upstream_headers", "time_to_first_upstream_event"}
VISIBLE = {"time_to_first_visible_token", "time_to_first_visible_byte"}


def taken(line: Line) -> tuple[Line, set[str]]:
    """A line without its times, of which each is a number of seconds within the whole; and their
    names."""
    stamp = datetime.fromisoformat(line.pop("time"))
    assert stamp.tzinfo == UTC
    whole = float(line.pop("duration"))
    names = {name for name in line if name.startswith("time_to_")}
    assert all(0 <= float(line.pop(name)) <= whole for name in names)
    return line, names


async def test_a_completed_stream(lines: Lines) -> None:
    """Who, what, how long, and what was counted."""
    parts = (
        chunk({"reasoning_content": "hmm"}),
        text("<think>hm</think>a"),
        chunk({"musings": "x"}),
        chunk({}, "stop", usage={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}),
    )
    async with proxied(access_log=lines.form, models=("m",)) as rig:
        rig.upstream.reply(streamed(ROLE, *parts, DONE))
        await rig.ask(chat(f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"))
    line, times = taken(lines.one())
    assert times == CLOCKS | VISIBLE | {"time_to_first_reasoning"}
    assert line == {
        "method": "POST",
        "route": "chat",
        "model": "m",
        "rule": "default",
        "status": "200",
        "outcome": "completed",
        "stream": "true",
        "trace_id": TRACE,
        "hidden_reasoning": "5",
        "hidden_markup": "15",
        "input_tokens": "7",
        "output_tokens": "5",
        "unknown_fields": "1",
    }


async def test_a_document(lines: Lines) -> None:
    """Its times are those of its end."""
    async with proxied(access_log=lines.form, rules=[rule("mine")]) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "a"})))
        await rig.ask(chat(stream=False, model="org/n:7b"))
    line, times = taken(lines.one())
    assert times == CLOCKS | VISIBLE
    assert line == {
        "method": "POST",
        "route": "chat",
        "model": "org/n:7b",
        "rule": "mine",
        "status": "200",
        "outcome": "completed",
        "stream": "false",
        "input_tokens": "1",
        "output_tokens": "2",
    }


async def test_statuses_and_an_early_answer(lines: Lines) -> None:
    """How they were written, and how many; and that the answer began before upstream's."""
    status = StatusSpec(StatusPolicy(first_after=0.0), {})
    async with proxied(access_log=lines.form, status=status) as rig:
        rig.upstream.reply(WHOLE)
        answer = await rig.ask(chat())
    line, _ = taken(lines.one())
    assert line["status_form"] == answer.head.one("X-Sidecar-Status")
    assert line["statuses"] == str(answer.body.count(b'"status":{'))
    assert line["begun_early"] == "true"
    assert "heartbeats" not in line


@pytest.mark.parametrize(
    ("raw", "asked", "said"),
    [
        (b"", request("GET", "/secret"),
         ("GET", "refused", "none", "none", "404", "refused", "not_found")),
        (b"", chat("Content-Encoding: gzip"),
         ("POST", "chat", "none", "none", "415", "refused", "unsupported_encoding")),
        (b"", request("POST", "/v1/chat/completions", body=b"x"),
         ("POST", "chat", "none", "none", "400", "refused", "invalid_json")),
        (response("200 OK"), request("GET", "/v1/models"),
         ("GET", "api", "none", "none", "200", "completed", None)),
        (response("404 Not"), request("GET", "/v1/models/m"),
         ("GET", "api", "none", "none", "404", "completed", None)),
        (response("500 Oops", body=b"{}"), chat(),
         ("POST", "chat", "m", "default", "500", "upstream_error", "upstream_error")),
        (response("429 Slow", body=b"{}"), chat(),
         ("POST", "chat", "m", "default", "429", "upstream_error", "upstream_error")),
        (response("200 OK", body=b"x"), chat(),
         ("POST", "chat", "m", "default", "502", "upstream_error", "upstream_malformed")),
        (b"", chat(),
         ("POST", "chat", "m", "default", "502", "upstream_error", "upstream_closed")),
        (streamed(ROLE), chat(),
         ("POST", "chat", "m", "default", "200", "upstream_incomplete", "upstream_incomplete")),
        (streamed(ROLE, event({"error": {"message": "m"}})), chat(),
         ("POST", "chat", "m", "default", "200", "upstream_incomplete", "upstream_error")),
        (streamed(ROLE, b"data: x\n\n"), chat(),
         ("POST", "chat", "m", "default", "200", "upstream_incomplete", "upstream_malformed")),
        (response("503 Busy"), request("GET", "/v1/models"),
         ("GET", "api", "none", "none", "503", "upstream_error", "upstream_error")),
        (WHOLE, chat(model=""), ("POST", "chat", "none", "default", "200", "completed", None)),
        (WHOLE, chat(model="a b"), ("POST", "chat", "other", "default", "200", "completed", None)),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)  # fmt: skip
async def test_what_became_of_it(
    raw: bytes, asked: bytes, said: tuple[str | None, ...], lines: Lines
) -> None:
    """One line for each request, whatever became of it; our own code says what went wrong."""
    async with proxied(access_log=lines.form) as rig:
        rig.upstream.reply(raw)
        await rig.ask(asked)
    line, _ = taken(lines.one())
    names = ("method", "route", "model", "rule", "status", "outcome", "error")
    assert tuple(map(line.get, names)) == said


@pytest.mark.parametrize("head_first", [False, True])
async def test_a_client_that_left(head_first: bool, lines: Lines) -> None:
    """There is a status only if the answer had begun."""
    async with proxied(access_log=lines.form) as rig:
        async with rig.call(chat()) as (client, call):
            if head_first:
                await call.send(stream_head(), framed(text("a")))
                await client.head()
                await client.chunk()
            else:
                await call.request_body()
            client.abort()
            await call.gone()
        line, times = taken(lines.one())
    assert line["outcome"] == "client_gone"
    assert "error" not in line
    assert line.get("status") == ("200" if head_first else None)
    assert line["stream"] == ("true" if head_first else "false")
    assert times == (CLOCKS | VISIBLE if head_first else set())


@pytest.mark.parametrize("head_first", [False, True])
async def test_an_upstream_that_is_silent(head_first: bool, lines: Lines) -> None:
    """The status is what the client got."""
    waiting = proxied(access_log=lines.form, first_byte=0.3, idle=0.3)
    async with waiting as rig, rig.call(chat()) as (client, call):
        if head_first:
            await call.send(stream_head(), framed(ROLE))
        await client.answer()
        await call.gone()
    line, times = taken(lines.one())
    assert line["outcome"] == line["error"] == "upstream_timeout"
    assert line["status"] == ("200" if head_first else "504")
    assert times == ({"time_to_upstream_headers"} if head_first else set())


async def test_off_tells_of_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    """However it ends."""
    async with proxied(access_log=AccessLog.OFF) as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat())
        await rig.ask(request("GET", "/secret"))
    assert capsys.readouterr().out == ""


async def test_scrapes_and_checks_of_health_have_no_line(lines: Lines) -> None:
    """Only the data plane is told of."""
    async with proxied(access_log=lines.form) as rig:
        await rig.scrape()
        async with await rig.client(rig.running.admin) as client:
            await client.ask(request("GET", "/healthz"))
    assert lines.raw() == []


async def test_the_lines_of_requests_at_the_same_time(lines: Lines) -> None:
    """None is cut by another."""
    async with proxied(access_log=lines.form) as rig:
        rig.upstream.reply(WHOLE)
        await asyncio.gather(*(rig.ask(chat(model=f"m{number}")) for number in range(20)))
    found = [READERS[lines.form](line) for line in lines.raw()]
    assert {line["model"] for line in found} == {f"m{number}" for number in range(20)}
    assert len(found) == 20


# --- secrets ------------------------------------------------------------------------------------

SECRET = "HUSH-7f3a"

HEADERS = (
    f"Authorization: Bearer {SECRET}",
    f"x-api-key: {SECRET}",
    f"Cookie: session={SECRET}",
    f"User-Agent: {SECRET}",
    f"Referer: http://{SECRET}/",
    f"X-Forwarded-For: {SECRET}",
    f"X-{SECRET}: {SECRET}",
    f"Accept-Language: {SECRET}",
    f"X-Sidecar-Status: {SECRET}",
    f"traceparent: {SECRET}",
    f"tracestate: {SECRET}",
    f'X-Request-Id: "{SECRET}" status=200',
)
ASKED: dict[str, Any] = {
    "model": f"{SECRET} {{}}",
    "messages": [
        {"role": "system", "content": SECRET},
        {"role": SECRET, "content": [{"type": "text", "text": SECRET}]},
    ],
    "input": SECRET,
    "prompt": SECRET,
    "tools": [{"type": "function", "function": {"name": SECRET, "description": SECRET}}],
    "user": SECRET,
    "metadata": {SECRET: SECRET},
    SECRET: SECRET,
}
CALL = {
    "index": 0,
    "id": SECRET,
    "type": "function",
    "function": {"name": SECRET, "arguments": json.dumps({SECRET: SECRET})},
}
ERROR = {"error": {"message": SECRET, "type": SECRET, "code": SECRET, "param": SECRET}}
TOLD = (f"X-Request-Id: {SECRET}", f"Server: {SECRET}", f"Set-Cookie: {SECRET}")


def _streamed(*events: bytes) -> bytes:
    return stream_head(*TOLD) + b"".join(map(framed, events)) + LAST


ANSWERS = {
    "stream": _streamed(
        chunk({"role": SECRET, "content": ""}, model=SECRET, id=SECRET, system_fingerprint=SECRET),
        chunk({"reasoning_content": SECRET, "tool_calls": [CALL]}),
        text(f"<think>{SECRET}</think>{SECRET}"),
        text(f'<tool_call>{{"name": "{SECRET}", "arguments": {{"{SECRET}": 1}}}}</tool_call>'),
        chunk({"role": "tool", "content": SECRET, SECRET: SECRET}),
        chunk({}, SECRET, usage={"prompt_tokens": SECRET, SECRET: 1}),
        DONE,
    ),
    "error in a stream": _streamed(ROLE, event(ERROR)),
    "no JSON": _streamed(ROLE, f"data: {SECRET}\n\n".encode()),
    "document": response(
        "200 OK",
        *TOLD,
        body=document({"content": SECRET, "reasoning": SECRET, "tool_calls": [CALL]}, SECRET),
    ),
    "error": response(f"500 {SECRET}", *TOLD, body=json.dumps(ERROR).encode()),
    "text": response("200 OK", *TOLD, body=SECRET.encode(), content_type="text/plain"),
    "no HTTP": SECRET.encode(),
    "nothing": b"",
}


def requests_with_secrets(path: str) -> list[bytes]:
    """Requests that hold the secret wherever one can stand."""
    return [
        chat(*HEADERS, path=f"{path}?key={SECRET}", **ASKED),
        chat(*HEADERS, path=path, **ASKED | {"stream": False}),
        request("POST", path, *HEADERS, body=SECRET.encode()),
        request("GET", f"/v1/models/{SECRET}?{SECRET}", *HEADERS),
        request("POST", f"/v1/files/{SECRET}", *HEADERS, body=SECRET.encode()),
        request("GET", f"/{SECRET}", *HEADERS),
    ]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_no_line_tells_what_was_said(
    answer: bytes, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither prompts nor answers, keys, arguments, paths and headers, of clients or upstream."""
    status = StatusSpec(StatusPolicy(first_after=0.0, choose=False), {})
    asked = requests_with_secrets("/v1/chat/completions")
    async with proxied(access_log=lines.form, status=status, api_key=f"{SECRET}-ours") as rig:
        rig.upstream.reply(answer)
        for raw in asked:
            with suppress(Cut):
                await rig.ask(raw)
        assert any(SECRET in str(call.request) for call in rig.upstream.calls)
    raw_lines = lines.raw()
    assert len(raw_lines) == len(asked)
    for line in raw_lines:
        assert SECRET.lower() not in line.lower()
        READERS[lines.form](line)
    assert SECRET.lower() not in caplog.text.lower()


@per_format
async def test_no_line_tells_what_was_asked(wire_format: WireFormat, lines: Lines) -> None:
    """In any wire format."""
    asked = requests_with_secrets(wire_format.path)
    async with proxied(access_log=lines.form) as rig:
        rig.upstream.reply(ANSWERS["document"])
        for raw in asked:
            with suppress(Cut):
                await rig.ask(raw)
    raw_lines = lines.raw()
    assert len(raw_lines) == len(asked)
    assert not [line for line in raw_lines if SECRET.lower() in line.lower()]


# --- where it goes ------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[TextIO]:
    """A file to which nothing can be written."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("this system has no full disk")
    full = path.open("w", encoding="utf-8")
    try:
        yield full
    finally:
        with suppress(OSError):
            full.close()


class Pipe:
    """A pipe that is full, and what came out of it."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(writing, False)
        self._filling = 0
        with suppress(BlockingIOError):
            while True:
                self._filling += os.write(writing, b"." * 4096)
        os.set_blocking(writing, True)
        self.out = os.fdopen(writing, "w", encoding="utf-8")

    def read(self) -> str:
        """What has come since the last time, without what filled it."""
        said = b""
        with suppress(BlockingIOError):
            while piece := os.read(self.reading, 65_536):
                said += piece
        filling, self._filling = self._filling, 0
        return said[filling:].decode()

    def close(self) -> None:
        """Both ends."""
        self.read()
        self.out.close()
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A full one."""
    made = Pipe()
    yield made
    made.close()


async def test_lines_wait_in_their_order_until_somebody_reads(pipe: Pipe) -> None:
    sink = Sink(_nobody, pipe.out)
    for number in range(300):
        sink.write(f"{number}\n")
    assert pipe.read() == ""
    sink.write("300\n")
    await sink.close()
    assert pipe.read().split() == [str(number) for number in range(301)]


async def test_a_reader_that_comes_back_is_noticed(pipe: Pipe) -> None:
    sink, come = Sink(_nobody, pipe.out), asyncio.Event()
    sink.write("a\n")
    assert pipe.read() == ""
    asyncio.get_running_loop().add_reader(pipe.reading, come.set)
    async with asyncio.timeout(LIMIT):
        await come.wait()
    asyncio.get_running_loop().remove_reader(pipe.reading)
    assert pipe.read() == "a\n"


async def test_what_waits_is_bounded_and_what_is_dropped_is_told(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    dropped: list[None] = []
    sink = Sink(lambda: dropped.append(None), pipe.out)
    line = "x" * 4095 + "\n"
    fit = MAX_WAITING // len(line)
    for _ in range(fit + 3):
        sink.write(line)
    assert len(dropped) == 3
    read = [pipe.read()]
    asyncio.get_running_loop().add_reader(pipe.reading, lambda: read.append(pipe.read()))
    await sink.close()
    asyncio.get_running_loop().remove_reader(pipe.reading)
    read.append(pipe.read())
    assert "".join(read) == line * fit
    assert [record.getMessage() for record in caplog.records] == [NOT_READ % 3]


async def test_who_never_reads_does_not_keep_it_from_ending(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Sink(_nobody, pipe.out)
    sink.write("a\n")
    sink.write("b\n")
    await sink.close()
    assert [record.getMessage() for record in caplog.records] == [NOT_READ % 2]


async def test_a_log_that_nobody_reads_stops_no_answer(pipe: Pipe) -> None:
    with redirect_stdout(pipe.out):
        async with proxied(access_log=AccessLog.JSON) as rig:
            for _ in range(3):
                rig.upstream.reply(WHOLE)
                assert (await rig.ask(chat())).status == 200
            assert pipe.read() == ""
    assert [read_json(line)["status"] for line in pipe.read().splitlines()] == ["200"] * 3


async def test_a_log_that_cannot_be_written_fails_no_request(
    full_disk: TextIO, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, or a reader that is gone, is no reason to answer nobody; it is told once."""
    caplog.set_level(logging.INFO, "sidecar")
    with redirect_stdout(full_disk):
        async with proxied(access_log=AccessLog.JSON) as rig:
            for raw in (WHOLE, response("200 OK", body=document({"content": "a"})), b"") * 2:
                rig.upstream.reply(raw)
                assert (await rig.ask(chat())).status == (200 if raw else 502)
    told = [record.getMessage() for record in caplog.records]
    assert [said for said in told if "access log" in said] == [
        "the access log cannot be written: No space left on device"
    ]
    caplog.clear()


@asynccontextmanager
async def command(form: str, folder: Path) -> AsyncIterator[tuple[Rig, asyncio.StreamReader]]:
    """The real command in front of a scripted upstream, and its standard output."""
    async with running(folder, f"{AT_ONCE}access_log: {form}\n") as sidecar:
        yield sidecar.rig, sidecar.out
        sidecar.process.terminate()
        code, rest, log = await sidecar.ended()
        assert (code, rest) == (0, ""), log


@per_form
async def test_the_lines_of_the_command(form: AccessLog, tmp_path: Path) -> None:
    """Each is on standard output as soon as its request has ended, and nothing else is."""
    async with command(form.value, tmp_path) as (rig, out):
        rig.upstream.reply(WHOLE)
        for raw, said in (
            (chat(*HEADERS), ("POST", "chat", "m", "default", "200", "completed")),
            (
                chat(*HEADERS, **ASKED),
                ("POST", "chat", "other", "tools-declared", "200", "completed"),
            ),
            (request("GET", f"/{SECRET}"), ("GET", "refused", "none", "none", "404", "refused")),
        ):
            await rig.ask(raw)
            came = (await out.readline()).decode()
            assert came.endswith("\n")
            assert SECRET not in came
            line, _ = taken(READERS[form](came[:-1]))
            names = ("method", "route", "model", "rule", "status", "outcome")
            assert tuple(line[name] for name in names) == said


async def test_the_command_is_silent_if_the_log_is_off(tmp_path: Path) -> None:
    """Nothing is on its standard output when it has ended."""
    async with command("'off'", tmp_path) as (rig, _):
        rig.upstream.reply(WHOLE)
        assert (await rig.ask(chat())).status == 200
