"""A scripted upstream, a client that sees every byte, and the sidecar between the two.

Both ends of the proxy are raw sockets in the hands of the test, which says step by step what each
of them sends and what it waits for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple

from sidecar.rules.accesssection import Access
from sidecar.rules.catalogue import Catalogue, shipped_catalogue
from sidecar.rules.config import (
    Config,
    Drain,
    Limits,
    RuleSection,
    RuleSpec,
    built_in_config,
)
from sidecar.rules.configvalues import AccessLog, Address, WebSockets
from sidecar.rules.match import Match
from sidecar.rules.statussection import SILENT, StatusSpec
from sidecar.rules.upstreamsection import Timeouts
from sidecar.server.app import Addresses, Running, serving

NO_ACCESS = Access()
LIMIT = 20.0
"""Seconds for one test: a hang fails."""

Record = dict[str, Any]

DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"
"""The end of a body in chunked coding."""

# --- events -------------------------------------------------------------------------------------


def event(value: Any) -> bytes:
    """``value`` as an event, in the compact JSON that leaves the sidecar as it came."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _envelope(kind: str) -> Record:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m"}


def chunk(delta: Record, finish: str | None = None, index: int = 0, **envelope: Any) -> bytes:
    """A chat completion chunk with one choice."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event(_envelope("chat.completion.chunk") | {"choices": [choice]} | envelope)


def text(content: str, index: int = 0) -> bytes:
    """A chunk of visible text."""
    return chunk({"content": content}, index=index)


ROLE = chunk({"role": "assistant", "content": ""})
FINISH = chunk({}, "stop")


def document(message: Record, finish: str = "stop") -> bytes:
    """A whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    record = _envelope("chat.completion") | {"choices": [choice], "usage": usage}
    return json.dumps(record, separators=(",", ":")).encode()


def payloads(stream: bytes) -> list[Any]:
    """The events of a stream as values, its end mark as a string."""
    blocks = stream.decode().split("\n\n")
    assert blocks.pop() == "", f"the stream does not end with a blank line: {stream[-80:]!r}"
    assert all(block.startswith("data:") for block in blocks)
    datas = [block[5:].removeprefix(" ") for block in blocks]
    return [
        data if data.startswith("[DONE]") else json.loads(data, parse_constant=_refuse)
        for data in datas
    ]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def visible(stream: bytes, index: int = 0) -> str:
    """The text that a client shows of one choice."""
    return "".join(
        choice["delta"].get("content") or ""
        for payload in payloads(stream)
        if isinstance(payload, dict)
        for choice in payload.get("choices") or ()
        if choice["index"] == index
    )


# --- HTTP ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """The head of a message, as it is on the wire."""

    start: str
    fields: list[tuple[str, str]]

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.start.split(" ")[1])

    @property
    def target(self) -> str:
        """The target of a request."""
        return self.start.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """The values of a field, in their order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """The value of a field that occurs at most once."""
        values = self.all(name)
        assert len(values) < 2, f"{name} occurs {len(values)} times"
        return values[0] if values else None


class Answer(NamedTuple):
    """A response that has arrived as a whole."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """Its status."""
        return self.head.status

    @property
    def error(self) -> Record:
        """The error object of its body, complete as an SDK expects it."""
        error = json.loads(self.body)["error"]
        assert isinstance(error, dict)
        assert set(error) == {"message", "type", "code", "param"}
        assert error["message"]
        return error


def request(
    method: str, target: str, *fields: str, body: bytes | None = None, host: str = "sidecar"
) -> bytes:
    """A request; ``fields`` are header lines. A body is sent with its length."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chat(*fields: str, path: str = "/v1/chat/completions", **more: Any) -> bytes:
    """A request for a streamed chat completion; ``more`` are keys of its body."""
    question = [{"role": "user", "content": "?"}]
    body = {"model": "m", "messages": question, "stream": True} | more
    fields = ("Content-Type: application/json", *fields)
    return request("POST", path, *fields, body=json.dumps(body).encode())


def response(
    status: str, *fields: str, body: bytes = b"", content_type: str | None = "application/json"
) -> bytes:
    """A response with a length."""
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def stream_head(*fields: str, content_type: str = "text/event-stream") -> bytes:
    """The head of an event stream in chunked coding."""
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}", "Transfer-Encoding: chunked"]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1")


def framed(data: bytes) -> bytes:
    """``data`` as one chunk of chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(*events: bytes) -> bytes:
    """A whole response with an event stream."""
    return stream_head() + b"".join(map(framed, events)) + LAST


class Cut(Exception):
    """The connection ended before the message did."""


class Peer:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    async def send(self, *parts: bytes) -> None:
        """Write, in one piece."""
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    def finish(self) -> None:
        """Close in an orderly way."""
        self.writer.close()

    def abort(self) -> None:
        """Close without a word; what is not sent yet never will be."""
        self.writer.transport.abort()

    async def head(self) -> Head:
        """The next message's head."""
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut from error
        start, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        return Head(start, [(name, value.strip(" ")) for name, _, value in pairs])

    async def chunk(self) -> bytes:
        """One chunk of a body in chunked coding; empty at its end."""
        try:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut from error
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a body."""
        while data := await self.chunk():
            yield data

    async def body(self, head: Head) -> bytes:
        """The body that belongs to ``head``. Raises Cut if the connection ends before it."""
        coding, length = head.one("Transfer-Encoding"), head.one("Content-Length")
        assert coding is None or length is None, "a body is framed in one way"
        if coding is not None:
            assert coding.lower() == "chunked"
            return b"".join([data async for data in self.chunks()])
        try:
            if length is not None:
                return await self.reader.readexactly(int(length))
            if head.start.startswith("HTTP/"):
                return await self.reader.read()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut from error
        return b""

    async def answer(self, *, empty: bool = False) -> Answer:
        """The next response; ``empty``: one that has no body whatever its head says."""
        head = await self.head()
        return Answer(head, b"" if empty else await self.body(head))

    async def ask(self, raw: bytes) -> Answer:
        """Send a request and await its response."""
        await self.send(raw)
        return await self.answer()

    async def gone(self) -> bytes:
        """Wait until the other end has closed; what it sent before."""
        received = bytearray()
        try:
            while data := await self.reader.read(65_536):
                received += data
        except ConnectionError:
            pass
        return bytes(received)


class Call(Peer):
    """A connection at the upstream, with the request that came on it."""

    request: Head

    async def request_body(self) -> bytes:
        """The body of the request."""
        return await self.body(self.request)


class Upstream:
    """A server in the hands of the test: :meth:`accept` each request, or :meth:`reply` to all."""

    def __init__(self, host: str) -> None:
        self.calls: list[Call] = []
        self.base_url = ""
        self._host = host
        self._origin = ""
        self._canned: bytes | None = None
        self._accepted: asyncio.Queue[Call] = asyncio.Queue()
        self._peers: list[Call] = []

    @property
    def host(self) -> str:
        """Its host and port."""
        return self._origin.removeprefix("http://")

    def reply(self, raw: bytes | None) -> None:
        """Answer every request with these bytes, and close; None: :meth:`accept` each again."""
        self._canned = raw

    async def accept(self) -> Call:
        """The next request whose head has arrived."""
        return await self._accepted.get()

    @asynccontextmanager
    async def listening(self, prefix: str) -> AsyncIterator[str]:
        """Listens; yields its base URL, which has the path ``prefix``."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self._origin = f"http://{self._host}:{server.sockets[0].getsockname()[1]}"
        self.base_url = self._origin + prefix
        try:
            yield self.base_url
        finally:
            server.close()
            for peer in self._peers:
                peer.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = Call(reader, writer)
        self._peers.append(call)
        try:
            call.request = await call.head()
            self.calls.append(call)
            if self._canned is None:
                self._accepted.put_nowait(call)
                return
            await call.request_body()
            await call.send(self._canned)
            call.finish()
        except (Cut, ConnectionError):
            call.abort()


# --- the proxy between them ---------------------------------------------------------------------


@dataclass(frozen=True)
class Rig:
    """An upstream and the sidecar in front of it."""

    upstream: Upstream
    running: Running | Addresses

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"http://{self.running.data}/v1"

    async def client(self, address: Address | None = None) -> Peer:
        """A new connection to the data plane, or to ``address``."""
        at = address or self.running.data
        return Peer(*await asyncio.open_connection(at.host, at.port, limit=2**24))

    async def ask(self, raw: bytes) -> Answer:
        """One request on a connection of its own."""
        async with await self.client() as client:
            return await client.ask(raw)

    @asynccontextmanager
    async def call(self, raw: bytes) -> AsyncIterator[tuple[Peer, Call]]:
        """Send a request; both ends, once its head has arrived at the upstream."""
        async with await self.client() as client:
            await client.send(raw)
            yield client, await self.upstream.accept()

    async def scrape(self) -> str:
        """The text of the metrics."""
        async with await self.client(self.running.admin) as client:
            answer = await client.ask(request("GET", "/metrics"))
        assert answer.status == 200
        return answer.body.decode()


@asynccontextmanager
async def proxied(
    prefix: str = "/v1", *, host: str = "127.0.0.1", seconds: float = LIMIT, **options: Any
) -> AsyncIterator[Rig]:
    """A scripted upstream and the sidecar in front of it, for one test and a bounded time;
    ``options`` are those of :func:`configured`."""
    upstream = Upstream(host)
    async with (
        asyncio.timeout(seconds),
        upstream.listening(prefix) as base_url,
        serving(configured(base_url, **options), _catalogue()) as running,
    ):
        yield Rig(upstream, running)


@cache
def _catalogue() -> Catalogue:
    """The one that ships, which takes longer to read than a test takes."""
    return shipped_catalogue()


def configured(
    url: str,
    *,
    rules: Iterable[RuleSpec] | None = None,
    api_key: str | None = None,
    connect: float = 5.0,
    first_byte: float = 300.0,
    idle: float = 300.0,
    request_limit: int | None = None,
    event_limit: int | None = None,
    promoted: int | None = None,
    streams: int | None = None,
    streams_per_client: int | None = None,
    write_timeout: float = 60.0,
    drain: Drain | None = None,
    reuse_port: bool = False,
    paths: tuple[str, ...] = (),
    response_headers: tuple[str, ...] = (),
    websocket: WebSockets = WebSockets.REFUSE,
    status: StatusSpec = SILENT,
    built_in: bool = False,
    access_log: AccessLog = AccessLog.OFF,
    models: tuple[str, ...] | None = (),
    access: Access = NO_ACCESS,
    **upstream: Any,
) -> Config:
    """The defaults in front of ``url``, on free ports, with what a test wants otherwise; ``status``
    is that of the built-in rules, unless they are to be as they are (``built_in``), and
    ``upstream`` is what else there is to say of the upstream."""
    config = built_in_config(url)
    return replace(
        config,
        listen=Address("127.0.0.1", 0),
        admin=Address("127.0.0.1", 0),
        upstream=replace(
            config.upstream,
            api_key=api_key,
            timeouts=Timeouts(connect, first_byte, idle),
            **upstream,
        ),
        limits=Limits(
            request_limit or config.limits.request_body,
            event_limit or config.limits.event,
            promoted or config.limits.promoted,
            streams or config.limits.streams,
            streams_per_client,
        ),
        write_timeout=write_timeout,
        drain=drain or config.drain,
        reuse_port=reuse_port,
        rules=(
            tuple(replace(built_in, status=status) for built_in in config.rules)
            if rules is None and not built_in
            else config.rules
            if rules is None
            else tuple(rules)
        ),
        access_log=access_log,
        models=models,
        paths=paths,
        response_headers=response_headers,
        websocket=websocket,
        access=access,
    )


def rule(
    name: str = "only",
    *,
    match: Match | None = None,
    formats: Iterable[str] = ("all",),
    status: StatusSpec = SILENT,
    **wishes: Any,
) -> RuleSpec:
    """A rule; ``wishes`` are its other keys, as a file has them."""
    section = RuleSection(**wishes)
    match = match or Match()
    return RuleSpec(name, match, tuple(formats), section.policy, status, section.request_fields)
