"""Upstream over TLS, over a Unix socket, or not at all: who is trusted, and what is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from sidecar.rules.upstreamsection import Reuse, Tls
from sidecar.server.app import serving
from sidecar.server.unreachable import UNREACHABLE
from tests.test_cli import command, environment

from .keeping import Keeper, keeping
from .process import DATA, address_said
from .scripted import (
    DONE,
    FINISH,
    LIMIT,
    ROLE,
    Answer,
    Rig,
    Upstream,
    chat,
    configured,
    document,
    request,
    response,
    streamed,
    text,
    visible,
)
from .test_upstream_connections import DIRTY, HONEST, MODELS, STREAM, assert_not_used_again


class Authority:
    """A certificate authority whose files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str) -> ssl.SSLContext:
        """A server that has a certificate for ``names``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self, name: str = "client") -> tuple[Path, Path]:
        """The files of a certificate for a client, and of its key."""
        issued = self._ca.issue_cert("sidecar")
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        certificate.write_bytes(chain)
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def asks(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """``context``, which lets nobody in without a certificate of this authority."""
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.file)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of the log."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


async def assert_refused(
    answer: Answer, status: int, code: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in our words, and one line that names the class of the failure and nothing else."""
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] == "upstream_error"
    assert told(caplog) == [UNREACHABLE % failure]


# --- TLS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reuse", "connections"), [(Reuse.AUTO, 1), (Reuse.ALWAYS, 1), (Reuse.NEVER, 3)]
)
async def test_a_connection_with_tls_is_kept(
    authority: Authority, reuse: Reuse, connections: int
) -> None:
    """One handshake for all requests, unless nothing is to be kept."""
    tls = Tls(ca=authority.file)
    context = authority.server("localhost")
    async with keeping(context=context, host="localhost", tls=tls, reuse=reuse) as kept:
        assert (await kept.ask(MODELS, HONEST))[1].body == b'{"honest":1}'
        assert visible((await kept.ask(chat(), STREAM))[1].body) == "honest"
        whole = document({"content": "a"})
        _, answer = await kept.ask(chat(stream=False), response("200 OK", body=whole))
        assert answer.body == whole
        assert len(kept.keeper.connections) == connections


@pytest.mark.parametrize("dirty", DIRTY.values(), ids=DIRTY)
async def test_a_connection_with_tls_is_kept_only_if_it_is_clean(
    authority: Authority, dirty: bytes
) -> None:
    """The same as without."""
    tls = Tls(ca=authority.file)
    context = authority.server("127.0.0.1")
    async with keeping(context=context, tls=tls) as kept:
        await assert_not_used_again(kept, dirty, chat() if b"204" in dirty else MODELS)


async def test_a_large_question_that_upstream_did_not_read_is_the_last(
    authority: Authority,
) -> None:
    """TLS takes any number of bytes at once: that they were written says nothing."""
    context = authority.server("127.0.0.1")
    async with keeping(context=context, tls=Tls(ca=authority.file), reads=False) as kept:
        async with kept.asking(chat(padding="x" * 16_000_000)) as (asked, answer):
            await asked.peer.send(response("400 Bad", body=b'{"error":{"message":"x"}}'))
            assert (await answer).status == 400
        assert (await kept.ask(MODELS, HONEST))[0] is not asked.peer


async def test_a_large_question_arrives_as_it_is(authority: Authority) -> None:
    """In pieces on its way, and with its length."""
    asked = chat(padding="x" * 300_000)
    context = authority.server("127.0.0.1")
    async with keeping(context=context, tls=Tls(ca=authority.file)) as kept:
        await kept.ask(MODELS, HONEST)
        async with kept.asking(asked) as (got, answer):
            assert got.body == asked.partition(b"\r\n\r\n")[2]
            assert got.head.one("Content-Length") == str(len(got.body))
            got.peer.finish()
            again = await kept.keeper.asked()
            assert again.body == got.body
            await again.peer.send(streamed(ROLE, text("a"), FINISH, DONE))
            assert visible((await answer).body) == "a"


async def test_the_systems_authorities_are_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no others are named; OpenSSL finds the system's by this variable, if it is set."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with keeping(context=authority.server("127.0.0.1")) as kept:
        assert (await kept.ask(MODELS, HONEST))[1].status == 200


async def test_the_command_trusts_the_systems_authorities(authority: Authority) -> None:
    """It hides them from aiohttp, which would read them when it is imported, and for nothing."""
    keeper = Keeper()
    listening = await asyncio.start_server(
        keeper.serve, "127.0.0.1", 0, ssl=authority.server("127.0.0.1")
    )
    port = listening.sockets[0].getsockname()[1]
    free = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *command("serve", "--upstream", f"https://127.0.0.1:{port}/v1", *free),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(SSL_CERT_FILE=str(authority.file)),
    )
    assert process.stderr is not None
    try:
        async with listening, asyncio.timeout(LIMIT):
            address = await address_said(process.stderr, DATA)
            _, client = await asyncio.open_connection(address.host, address.port)
            client.write(MODELS)
            assert (await keeper.asked()).head.start == "GET /v1/models HTTP/1.1"
            client.close()
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_an_unknown_authority(
    authority: Authority, stranger: Authority, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the server's certificate, be ours the system's or one of our own."""
    context = stranger.server("127.0.0.1")
    for tls in (Tls(), Tls(ca=authority.file)):
        caplog.clear()
        async with keeping(context=context, tls=tls) as kept:
            answer = await kept.rig.ask(chat(path=path))
            await assert_refused(answer, 502, "upstream_tls", "certificate_not_trusted", caplog)
            assert b"certificate is not trusted" in answer.body
            assert kept.keeper.connections == []


@pytest.mark.parametrize(
    ("names", "host", "server_name"),
    [
        (["127.0.0.1"], "localhost", None),
        (["localhost"], "127.0.0.1", None),
        (["localhost"], "localhost", "models.example"),
    ],
)
async def test_a_certificate_for_another_name(
    authority: Authority,
    names: list[str],
    host: str,
    server_name: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The authority is right, and the server is not the one that was meant."""
    tls = Tls(ca=authority.file, server_name=server_name)
    async with keeping(context=authority.server(*names), host=host, tls=tls) as kept:
        answer = await kept.rig.ask(MODELS)
        await assert_refused(answer, 502, "upstream_tls", "certificate_name", caplog)
        assert kept.keeper.connections == []


@pytest.mark.parametrize(
    ("host", "server_name", "seen"),
    [
        ("localhost", None, "localhost"),
        ("localhost", "models.example", "models.example"),
        ("127.0.0.1", "models.example", "models.example"),
        ("127.0.0.1", None, None),
    ],
)
async def test_the_name_that_is_asked_for(
    authority: Authority, host: str, server_name: str | None, seen: str | None
) -> None:
    """SNI (RFC 6066, 3) is the host, or the name of the configuration; an address is none. Host is
    that of the URL all the same."""
    asked_for: list[str | None] = []
    context = authority.server("localhost", "127.0.0.1", "models.example")
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    tls = Tls(ca=authority.file, server_name=server_name)
    async with (
        keeping(context=context, host=host, tls=tls) as kept,
        kept.asking(MODELS) as (asked, answer),
    ):
        assert (asked.head.one("Host") or "").partition(":")[0] == host
        await asked.peer.send(HONEST)
        assert (await answer).status == 200
    assert asked_for == [seen]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_asks_who_we_are(
    authority: Authority,
    stranger: Authority,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It lets in whom it knows. In TLS 1.3 it refuses when the handshake is over for us."""
    context = authority.asks(authority.server("127.0.0.1"))
    context.maximum_version = version
    certificate, key = authority.client()
    known = Tls(authority.file, certificate, key)
    async with keeping(context=context, tls=known) as kept:
        assert (await kept.ask(MODELS, HONEST))[1].status == 200
        assert (await kept.ask(chat(), STREAM))[1].status == 200
        assert len(kept.keeper.connections) == 1
    unknown = Tls(authority.file, *stranger.client())
    for tls in (Tls(ca=authority.file), unknown):
        caplog.clear()
        async with shaking_hands(context) as url, serving(configured(url, tls=tls)) as running:
            answer = await Rig(Upstream(""), running).ask(MODELS)
        await assert_refused(answer, 502, "upstream_tls", "tls", caplog)


@asynccontextmanager
async def shaking_hands(context: ssl.SSLContext) -> AsyncIterator[str]:
    """A server that does nothing else, once. It says why it does not want to, which asyncio's own
    keeps to itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(LIMIT)

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted.dup() as plain:
                with suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True) as tls:
                    tls.recv(1)
                plain.shutdown(socket.SHUT_WR)
                with suppress(ConnectionError):
                    while plain.recv(65_536):
                        pass

        thread = asyncio.get_running_loop().run_in_executor(None, serve)
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        await thread


async def test_a_handshake_that_breaks_off(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word, as asyncio's servers do to whom they do not know."""
    context = authority.asks(authority.server("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with keeping(context=context, tls=Tls(ca=authority.file)) as kept:
        answer = await kept.rig.ask(MODELS)
    await assert_refused(answer, 502, "upstream_tls", "tls_handshake", caplog)


async def test_a_server_that_knows_no_tls(caplog: pytest.LogCaptureFixture) -> None:
    """It answers the handshake in plain HTTP."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with asyncio.timeout(LIMIT), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with serving(configured(url)) as running:
            answer = await Rig(Upstream(""), running).ask(MODELS)
    await assert_refused(answer, 502, "upstream_tls", "tls", caplog)


async def test_a_handshake_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """It is a part of connecting, and has its time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        async with asyncio.timeout(LIMIT), serving(configured(url, connect=0.3)) as running:
            answer = await Rig(Upstream(""), running).ask(MODELS)
    await assert_refused(answer, 504, "upstream_unreachable", "connect_timeout", caplog)


async def test_a_server_that_wants_tls_and_gets_none(authority: Authority) -> None:
    """A base_url that lacks its s: not one byte of a request is understood."""
    async with keeping(context=authority.server("127.0.0.1")) as kept:
        url = f"http://127.0.0.1:{kept.port}/v1"
        async with serving(configured(url)) as running:
            answer = await Rig(Upstream(""), running).ask(MODELS)
    assert answer.status == 502
    assert answer.error["code"] in ("upstream_malformed", "upstream_closed")


# --- other ways, and none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reuse", "connections"), [(Reuse.AUTO, 2), (Reuse.NEVER, 2), (Reuse.ALWAYS, 1)]
)
async def test_a_unix_socket(tmp_path: Path, reuse: Reuse, connections: int) -> None:
    """It is connected to; the URL still says what is asked for."""
    path = tmp_path / "model.sock"
    async with keeping(unix_socket=path, host="models.example", reuse=reuse) as kept:
        async with kept.asking(chat()) as (asked, answer):
            assert asked.head.one("Host") == "models.example"
            assert asked.head.target == "/v1/chat/completions"
            await asked.peer.send(STREAM)
            assert visible((await answer).body) == "honest"
        assert (await kept.ask(MODELS, HONEST))[1].body == b'{"honest":1}'
        assert len(kept.keeper.connections) == connections


async def test_a_unix_socket_that_is_not_there_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each request looks for it anew."""
    path = tmp_path / "model.sock"
    async with (
        asyncio.timeout(LIMIT),
        serving(configured("http://localhost/v1", unix_socket=path)) as running,
    ):
        rig = Rig(Upstream(""), running)
        await assert_refused(
            await rig.ask(MODELS), 502, "upstream_unreachable", "unreachable", caplog
        )
        async with keeping(unix_socket=path) as kept:
            asking = asyncio.create_task(rig.ask(MODELS))
            await (await kept.keeper.asked()).peer.send(HONEST)
            assert (await asking).status == 200


async def test_a_name_that_does_not_resolve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And is asked for again by the next request: only answers are remembered."""
    asked = 0

    async def fails(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "s3cr3t")

    async with (
        asyncio.timeout(LIMIT),
        serving(configured("http://models.example/v1")) as running,
    ):
        rig = Rig(Upstream(""), running)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fails)
        for _ in range(2):
            answer = await rig.ask(MODELS)
            await assert_refused(answer, 502, "upstream_unreachable", "dns", caplog)
            assert b"cannot be resolved" in answer.body
    assert asked == 2


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is one, and not a matter of time."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with asyncio.timeout(LIMIT), serving(configured(url)) as running:
            answer = await Rig(Upstream(""), running).ask(request("GET", "/v1/models"))
    await assert_refused(answer, 502, "upstream_unreachable", "refused", caplog)
