"""A WebSocket between a client and upstream: message by message, and nothing of it is filtered."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, TypeAlias

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from sidecar.core.stream import Fault
from sidecar.rules.config import Config
from sidecar.server import headers as passed
from sidecar.server.exchange import Exchange, Outcome
from sidecar.server.replies import SERVER, Refusal, error_reply
from sidecar.server.upstream import CLOSING, Declined, UpstreamClient
from sidecar.wire.errors import UPSTREAM_ERROR

_Socket: TypeAlias = web.WebSocketResponse[bool] | aiohttp.ClientWebSocketResponse[bool]

PROTOCOLS: Final = "Sec-WebSocket-Protocol"
_OF_EACH_CONNECTION = (
    PROTOCOLS,
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
)
"""The headers of a handshake, which is one with the client and another one with upstream."""

KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""How the subprotocol begins by which a browser, which can set no header, sends OpenAI its key."""

_CARRIED = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})


class _End(NamedTuple):
    """How a tunnel ended. ``code`` and ``reason`` are what a side is told that is still there."""

    code: int
    outcome: Outcome
    reason: str = ""


_STOPPED = _End(WSCloseCode.GOING_AWAY, Outcome.CLIENT_GONE)
_MALFORMED = _End(WSCloseCode.GOING_AWAY, Outcome.REFUSED)
_BROKEN = _End(
    WSCloseCode.BAD_GATEWAY, Outcome.UPSTREAM_INCOMPLETE, "the upstream server closed it"
)
_SILENT = _End(WSCloseCode.GOING_AWAY, Outcome.UPSTREAM_TIMEOUT, "nothing was said for too long")


class _Side(NamedTuple):
    """``gone`` is how the tunnel ends if this connection does without a word; ``malformed``, if a
    message on it cannot be read, or is too large."""

    socket: _Socket
    gone: _End
    malformed: _End


def opens_websocket(request: web.BaseRequest) -> bool:
    """Whether a client asks for one, be it in the right way or not (RFC 6455, 4.1)."""
    return _lists(request, "Upgrade", "websocket") and _lists(request, "Connection", "upgrade")


async def tunnel(
    request: web.BaseRequest, exchange: Exchange, upstream: UpstreamClient, url: str, config: Config
) -> web.StreamResponse:
    """Open the WebSocket at ``url`` for the client too, and carry what each side says to the other
    until one of them is done.

    A message is held until it is complete, so none may be larger than an event of a stream. Raises
    Refusal if the handshake is not valid, or if there is no upstream.
    """
    limit, key = config.limits.event, config.upstream.api_key
    reply: web.WebSocketResponse[bool] = web.WebSocketResponse(
        timeout=CLOSING,
        autoclose=False,
        autoping=False,
        compress=False,
        max_msg_size=limit,
        decode_text=False,
    )
    handshake = _without_protocols(request)
    if request.method != "GET" or request.body_exists or not reply.can_prepare(handshake):
        raise Refusal(400, "bad_request", "The WebSocket handshake is not valid.")
    headers = passed.to_upstream(
        exchange.headers.items(), api_key=key, filtered=False, version=request.version
    )
    protocols = [
        protocol
        for protocol in members(",".join(headers.getall(PROTOCOLS, ())))
        if key is None or not protocol.startswith(KEY_PROTOCOL)
    ]
    for name in _OF_EACH_CONNECTION:
        headers.popall(name, None)
    try:
        there = await upstream.websocket(
            url, headers, protocols, limit=limit, retried=exchange.retried
        )
    except Declined as declined:
        exchange.outcome = Outcome.UPSTREAM_ERROR
        harmless = passed.harmless(declined.headers.items(), config.response_headers)
        fault = Fault(
            UPSTREAM_ERROR,
            f"The upstream server answered the WebSocket handshake with status {declined.status}.",
        )
        return error_reply(declined.status, fault, harmless)
    exchange.heard(101)
    end = _STOPPED
    try:
        reply.headers["Server"] = SERVER
        reply.headers["Via"] = passed.VIA
        if there.protocol is not None:
            reply.headers[PROTOCOLS] = there.protocol
        await reply.prepare(handshake)
        end = await _carry(
            _Side(reply, _STOPPED, _MALFORMED),
            _Side(there, _BROKEN, _BROKEN),
            exchange,
            config.upstream.timeouts.idle,
        )
    finally:
        reason = end.reason.encode()
        # Whatever becomes of the one must not keep the other open.
        await asyncio.gather(
            reply.close(code=end.code, message=reason),
            there.close(code=end.code, message=reason),
            return_exceptions=True,
        )
    return reply


def _without_protocols(request: web.BaseRequest) -> web.BaseRequest:
    """``request`` as aiohttp may see it. It is upstream that chooses a subprotocol; aiohttp would
    choose too, and log what the client offers, of which one may be a key."""
    headers = passed.Headers(request.headers)
    headers.popall(PROTOCOLS, None)
    return request.clone(headers=headers)


async def _carry(client: _Side, upstream: _Side, exchange: Exchange, idle: float) -> _End:
    """Carry messages both ways until one side is done, or neither says anything for ``idle``
    seconds."""
    pumps: list[asyncio.Task[_End]] = []
    try:
        async with asyncio.timeout(idle) as scope:
            pumps = [
                asyncio.create_task(_pump(source, sink, exchange, scope, idle))
                for source, sink in ((client, upstream), (upstream, client))
            ]
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
    except TimeoutError:
        exchange.outcome = _SILENT.outcome
        return _SILENT
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    source: _Side, sink: _Side, exchange: Exchange, scope: asyncio.Timeout, idle: float
) -> _End:
    """Carry what ``source`` says. Awaiting each write is the back-pressure: meanwhile nothing more
    is read than fits aiohttp's buffer."""
    loop = asyncio.get_running_loop()
    end: _End | None = None
    while end is None:
        message = await source.socket.receive()
        if message.type in _CARRIED:
            scope.reschedule(loop.time() + idle)
            try:
                await sink.socket.send_frame(message.data, message.type)
            except ConnectionError:
                end = sink.gone
        elif message.type is WSMsgType.CLOSE:
            # A close need not have a code, but cannot be sent on without one.
            end = _End(message.data or WSCloseCode.OK, Outcome.COMPLETED, message.extra or "")
        else:
            end = source.malformed if message.type is WSMsgType.ERROR else source.gone
    # At once: the handler is cancelled when the client's connection closes, even if we closed it.
    exchange.outcome = end.outcome
    return end


def members(listed: str) -> list[str]:
    """The members of a header that is a list (RFC 9110, 5.6.1)."""
    return [member for member in map(str.strip, listed.split(",")) if member]


def _lists(request: web.BaseRequest, name: str, token: str) -> bool:
    listed = ",".join(request.headers.getall(name, ()))
    return any(member.lower() == token for member in members(listed))
