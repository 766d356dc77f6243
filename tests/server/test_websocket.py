"""WebSockets, between a real client and a real upstream: refused, or carried as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import RawTestServer
from yarl import URL

from sidecar.rules.configvalues import WebSockets
from sidecar.rules.upstreamsection import Reuse
from sidecar.server.app import Running, serving

from .scripted import LIMIT, Rig, Upstream, configured, proxied, request, response
from .test_metrics import outcomes

HANDSHAKE = (
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Connection: Upgrade",
    "Upgrade: websocket",
)
TARGET = "/v1/realtime?model=m%2F1&x="


class Ends(NamedTuple):
    """The two ends of a tunnel; ``asked`` is the request as upstream got it."""

    client: aiohttp.ClientWebSocketResponse
    upstream: web.WebSocketResponse
    asked: web.BaseRequest
    session: aiohttp.ClientSession


class Tunnels:
    """Opens WebSockets through a sidecar to an upstream that speaks the subprotocols ``speaks``."""

    def __init__(self, speaks: Sequence[str]) -> None:
        self.running: Running
        self._speaks = speaks
        self._opened: asyncio.Queue[tuple[web.BaseRequest, web.WebSocketResponse]] = asyncio.Queue()

    async def accept(self, asked: web.BaseRequest) -> web.StreamResponse:
        """The upstream's handler: it is done when its socket is closed."""
        socket = web.WebSocketResponse(protocols=self._speaks, autoping=False, max_msg_size=0)
        await socket.prepare(asked)
        self._opened.put_nowait((asked, socket))
        await self._opened.join()
        return socket

    @asynccontextmanager
    async def open(
        self, protocols: Sequence[str] = (), headers: dict[str, str] | None = None
    ) -> AsyncIterator[Ends]:
        """One that both ends have opened."""
        url = f"http://{self.running.data}{TARGET}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                URL(url, encoded=True),
                protocols=protocols,
                headers=headers,
                autoping=False,
                max_msg_size=0,
            ) as client,
        ):
            asked, upstream = await self._opened.get()
            try:
                yield Ends(client, upstream, asked, session)
            finally:
                self._opened.task_done()

    async def outcomes(self) -> dict[tuple[str, str, str], float]:
        """What was counted, once the request is over."""
        rig = Rig(Upstream(""), self.running)
        while not (found := outcomes(await rig.scrape())):
            pass
        return found


@asynccontextmanager
async def tunnels(speaks: Sequence[str] = (), **options: Any) -> AsyncIterator[Tunnels]:
    """An upstream and a sidecar before it that lets WebSockets pass."""
    found = Tunnels(speaks)
    async with asyncio.timeout(LIMIT), RawTestServer(found.accept) as server:
        config = configured(str(server.make_url("/v1")), websocket=WebSockets.PASS, **options)
        async with serving(config) as found.running:
            yield found


# --- opening ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GET", HANDSHAKE),
        ("GET", ("upgrade: WebSocket", "connection: keep-alive, UPGRADE")),
        ("GET", ("Upgrade: foo/1, websocket", "Connection: Upgrade")),
        ("GET", ("Upgrade: foo", "Upgrade: websocket", "Connection: x", "Connection: Upgrade")),
        ("POST", HANDSHAKE),
    ],
)
async def test_it_is_refused_by_default(method: str, fields: tuple[str, ...]) -> None:
    """However the upgrade is written; nothing reaches upstream."""
    async with proxied() as rig:
        answer = await rig.ask(request(method, TARGET, *fields))
        assert rig.upstream.calls == []
        assert outcomes(await rig.scrape()) == {("api", "none", "refused"): 1.0}
    assert answer.status == 501
    assert answer.error["code"] == "not_supported"


@pytest.mark.parametrize("websocket", WebSockets)
async def test_what_asks_for_no_upgrade_of_its_connection_is_an_ordinary_request(
    websocket: WebSockets,
) -> None:
    """The header means something only if ``Connection`` names it (RFC 9110, 7.8)."""
    async with proxied(websocket=websocket) as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(request("GET", "/v1/models", "Upgrade: websocket"))
        assert rig.upstream.calls[0].request.all("Upgrade") == []
    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "fields", "body"),
    [
        ("GET", HANDSHAKE[1:], None),
        ("GET", (HANDSHAKE[0], "Sec-WebSocket-Key: short", *HANDSHAKE[2:]), None),
        ("GET", (*HANDSHAKE[:3], "Upgrade: foo, websocket"), None),
        ("GET", HANDSHAKE, b"{}"),
        ("POST", HANDSHAKE, None),
    ],
    ids=["version", "key", "two-protocols", "body", "method"],
)
async def test_a_bad_handshake_is_refused(
    method: str, fields: tuple[str, ...], body: bytes | None
) -> None:
    """Before upstream hears of it."""
    async with proxied(websocket=WebSockets.PASS) as rig:
        answer = await rig.ask(request(method, TARGET, *fields, body=body))
        assert rig.upstream.calls == []
    assert answer.status == 400
    assert "handshake" in answer.error["message"]


async def test_a_path_that_is_not_served_is_not_opened() -> None:
    """What is refused as a request is refused as a WebSocket."""
    async with proxied(websocket=WebSockets.PASS) as rig:
        assert (await rig.ask(request("GET", "/metrics", *HANDSHAKE))).status == 404
        assert rig.upstream.calls == []


async def test_upstream_gets_the_request_as_it_came() -> None:
    """Path, query and headers; those of the handshake are our own."""
    headers = {"Authorization": "Bearer sk-client", "OpenAI-Beta": "realtime=v1"}
    async with tunnels() as opened, opened.open(headers=headers) as (client, _, asked, _):
        assert asked.raw_path == TARGET
        assert headers.items() <= dict(asked.headers).items()
        assert asked.headers.getall("Upgrade") == ["websocket"]
        assert "Sec-WebSocket-Protocol" not in asked.headers
        assert client.protocol is None


@pytest.mark.parametrize("reuse", Reuse)
async def test_its_connection_is_its_own(reuse: Reuse) -> None:
    """It carries messages both ways as long as it is open, and nothing after that."""
    async with tunnels(reuse=reuse) as opened:
        for _ in range(2):
            async with opened.open() as ends:
                for size in (0, 1, 2, 100_000):
                    await ends.client.send_bytes(bytes(size))
                    assert await ends.upstream.receive_bytes() == bytes(size)
                    await ends.upstream.send_bytes(bytes(size))
                    assert await ends.client.receive_bytes() == bytes(size)


OFFERED = ("openai-insecure-api-key.sk-client", "openai-beta.v1", "realtime")


@pytest.mark.parametrize("api_key", [None, "sk-own"])
async def test_upstream_chooses_the_subprotocol(api_key: str | None) -> None:
    """All that the client offers reaches it, less a key that ours replaces, and no log."""
    async with (
        tunnels(("realtime",), api_key=api_key) as opened,
        opened.open(OFFERED, {"Authorization": "Bearer sk-client"}) as (client, _, asked, _),
    ):
        sent = OFFERED if api_key is None else OFFERED[1:]
        assert asked.headers["Sec-WebSocket-Protocol"].split(",") == list(sent)
        assert asked.headers.getall("Authorization") == [f"Bearer {api_key or 'sk-client'}"]
        assert client.protocol == "realtime"


@pytest.mark.parametrize(
    ("raw", "status", "counted"),
    [
        (response("401 Unauthorized", body=b"sk-client"), 401, "upstream_error"),
        (response("429 Too Many", "Retry-After: 3", body=b"{}"), 429, "upstream_error"),
        (response("503 No"), 503, "upstream_error"),
        (response("200 OK", body=b"{}"), 502, "upstream_error"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
         b"Sec-WebSocket-Accept: x\r\n\r\n", 502, "upstream_error"),
        (b"not HTTP\r\n\r\n", 502, "upstream_error"),
    ],
    ids=["401", "429", "503", "200", "bad-accept", "no-http"],
)  # fmt: skip
async def test_an_upstream_that_does_not_open_it(raw: bytes, status: int, counted: str) -> None:
    """The client gets its status, or 502 where that is no error, and nothing else of it."""
    async with proxied(websocket=WebSockets.PASS) as rig:
        rig.upstream.reply(raw)
        answer = await rig.ask(request("GET", TARGET, *HANDSHAKE))
        assert outcomes(await rig.scrape()) == {("api", "none", counted): 1.0}
    assert answer.status == status
    assert "sk-client" not in answer.body.decode()
    assert answer.error["message"]
    assert answer.head.one("Retry-After") == ("3" if status == 429 else None)


async def test_a_redirect_is_not_followed() -> None:
    """It could lead the client's key anywhere."""
    async with proxied(websocket=WebSockets.PASS) as rig:
        elsewhere = f"Location: {rig.upstream.base_url}/elsewhere"
        rig.upstream.reply(response("307 Temporary Redirect", elsewhere))
        answer = await rig.ask(request("GET", TARGET, *HANDSHAKE))
        assert [call.request.target for call in rig.upstream.calls] == [TARGET]
    assert answer.status == 502


# --- what is said -------------------------------------------------------------------------------


async def test_every_message_is_carried_both_ways() -> None:
    """Texts, bytes, pings and pongs, in their order and unfiltered."""
    said: list[tuple[WSMsgType, bytes]] = [
        (WSMsgType.TEXT, "<think>é\u2028</think>".encode()),
        (WSMsgType.PING, b"p"),
        (WSMsgType.BINARY, bytes(range(256)) * 1000),
        (WSMsgType.PONG, b""),
        (WSMsgType.TEXT, b""),
    ]
    async with tunnels() as opened, opened.open() as (client, upstream, _, _):
        for source, sink in ((client, upstream), (upstream, client)):
            for kind, data in said:
                await source.send_frame(data, kind)
            for kind, data in said:
                message = await sink.receive()
                assert message.type is kind
                assert message.data == (data.decode() if kind is WSMsgType.TEXT else data)


@pytest.mark.parametrize("by", ["client", "upstream"])
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "session expired"), (1011, "é")])
async def test_a_close_is_carried_with_its_code(by: str, code: int, reason: str) -> None:
    """Whoever closes; the other end answers it."""
    async with tunnels() as opened:
        async with opened.open() as ends:
            ours, theirs = (
                (ends.client, ends.upstream) if by == "client" else (ends.upstream, ends.client)
            )
            closing = asyncio.create_task(ours.close(code=code, message=reason.encode()))
            message = await theirs.receive()
            await closing
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, reason)
        assert ours.close_code == code
        assert await opened.outcomes() == {("api", "none", "completed"): 1.0}


async def test_an_upstream_that_dies_closes_the_client() -> None:
    """With the code of a gateway."""
    async with tunnels() as opened:
        async with opened.open() as (client, _, asked, _):
            assert asked.transport is not None
            asked.transport.abort()
            message = await client.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1014)
        assert await opened.outcomes() == {("api", "none", "upstream_incomplete"): 1.0}


async def test_a_client_that_dies_closes_upstream() -> None:
    """It is told that nobody is there any more."""
    async with tunnels() as opened:
        async with opened.open() as (_, upstream, _, session):
            await session.close()
            message = await upstream.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        assert await opened.outcomes() == {("api", "none", "client_gone"): 1.0}


async def test_a_silent_tunnel_is_closed() -> None:
    """A peer that is gone without a word would hold it for ever; one that speaks keeps it open."""
    idle = 0.5
    async with tunnels(idle=idle) as opened:
        async with opened.open() as (client, upstream, _, _):
            now = asyncio.get_running_loop().time
            late = now() + 1.2 * idle
            while now() < late:
                await client.ping()
                assert (await upstream.receive()).type is WSMsgType.PING
            assert (await client.receive()).data == 1001
            assert (await upstream.receive()).data == 1001
        assert await opened.outcomes() == {("api", "none", "upstream_timeout"): 1.0}


@pytest.mark.parametrize(
    ("by", "codes", "outcome"),
    [("client", (1009, 1001), "refused"), ("upstream", (1014, 1009), "upstream_incomplete")],
)
async def test_a_message_that_is_too_large_ends_it(
    by: str, codes: tuple[int, int], outcome: str
) -> None:
    """Each end is told, and nothing of it is carried."""
    async with tunnels(event_limit=1024) as opened:
        async with opened.open() as (client, upstream, _, _):
            await (client if by == "client" else upstream).send_bytes(b"x" * 1025)
            assert ((await client.receive()).data, (await upstream.receive()).data) == codes
        assert await opened.outcomes() == {("api", "none", outcome): 1.0}


async def test_an_end_that_does_not_read_slows_the_other_down() -> None:
    """It can send what fits into buffers; then the rest is carried."""
    piece = b"x" * 1_000_000
    count = 40  # the kernel's buffers on the way hold less than half of it
    async with tunnels() as opened, opened.open() as (client, upstream, _, _):

        async def flood() -> None:
            for _ in range(count):
                await upstream.send_bytes(piece)

        flooding = asyncio.create_task(flood())
        # Without back-pressure the whole of it is taken in far less time.
        done, _ = await asyncio.wait({flooding}, timeout=1.0)
        assert not done
        for _ in range(count):
            assert await client.receive_bytes() == piece
        await flooding
