"""TLS of the data listener: who is served, by which certificate, and what its files may do."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme
import uvloop

from sidecar.rules.accesssection import Access
from sidecar.rules.certificates import BadCertificate, Tls
from sidecar.server.tls import ReloadingContext
from tests.test_cli import command, environment

from .scripted import (
    DONE,
    FINISH,
    LIMIT,
    ROLE,
    Cut,
    Peer,
    Rig,
    chat,
    framed,
    proxied,
    request,
    response,
    stream_head,
    streamed,
    text,
    visible,
)
from .test_access import ACCESS, MOBILE

AUTHORITY, ELSEWHERE = trustme.CA(), trustme.CA()
WHOLE = streamed(ROLE, text("a"), FINISH, DONE)


class Files:
    """The files of a certificate in a folder, as an operator writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tls = Tls(folder / "tls.crt", folder / "tls.key")
        self.write()

    def write(self, authority: trustme.CA = AUTHORITY) -> bytes:
        """A new certificate, with its key; the certificate as clients see it."""
        issued = authority.issue_cert("localhost", "127.0.0.1", "llm.example.com")
        self.tls.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.tls.key.write_bytes(issued.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    def with_client_ca(self, authority: trustme.CA) -> Tls:
        """The same where clients must have a certificate of ``authority``."""
        path = self.folder / "ca.crt"
        path.write_bytes(authority.cert_pem.bytes())
        return Tls(self.tls.certificate, self.tls.key, path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def client_context(of: trustme.CA | None = None) -> ssl.SSLContext:
    """A client that trusts both authorities, with a certificate of one of them, if any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    AUTHORITY.configure_trust(context)
    ELSEWHERE.configure_trust(context)
    if of is not None:
        of.issue_cert("client@example.com").configure_cert(context)
    return context


# --- served -------------------------------------------------------------------------------------


@asynccontextmanager
async def secure(rig: Rig, context: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A connection to the data plane by TLS."""
    at = rig.running.data
    context = context or client_context()
    async with Peer(*await asyncio.open_connection(at.host, at.port, ssl=context)) as peer:
        yield peer


async def serves_by_tls(tls: Tls) -> None:
    """A stream, piece by piece, and another answer on the same connection."""
    async with proxied(access=Access(tls=tls)) as rig, secure(rig) as client:
        secured = client.writer.get_extra_info("ssl_object")
        assert secured.version() == "TLSv1.3"
        assert secured.selected_alpn_protocol() is None
        await client.send(chat())
        call = await rig.upstream.accept()
        await call.send(stream_head(), framed(ROLE))
        assert (await client.head()).status == 200
        assert await client.chunk() == ROLE
        await call.send(framed(text("a") + FINISH + DONE), b"0\r\n\r\n")
        assert visible(b"".join([part async for part in client.chunks()])) == "a"
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).status == 200


async def test_clients_are_served_by_tls(files: Files) -> None:
    await serves_by_tls(files.tls)


def test_clients_are_served_by_tls_on_uvloop(files: Files) -> None:
    """Which has a TLS of its own."""
    uvloop.run(serves_by_tls(files.tls))


async def long_by_tls(tls: Tls) -> None:
    """Many writes, each of which the system takes at once, add up to more than is ever kept."""
    token = framed(text("a" * 1000))
    async with proxied(access=Access(tls=tls)) as rig, secure(rig) as client:
        await client.send(chat())
        call = await rig.upstream.accept()
        await call.send(stream_head(), framed(ROLE))
        assert (await client.head()).status == 200
        assert await client.chunk() == ROLE
        for _ in range(200):
            await call.send(token)
            assert visible(await client.chunk()) == "a" * 1000


async def test_a_long_answer_by_tls_does_not_stop(files: Files) -> None:
    """asyncio's TLS counts what it has as too much when it has as much as it may."""
    await long_by_tls(files.tls)


def test_a_long_answer_by_tls_does_not_stop_on_uvloop(files: Files) -> None:
    """Which has a TLS of its own."""
    uvloop.run(long_by_tls(files.tls))


async def test_the_real_client(files: Files) -> None:
    """An answer by https for whoever has a key, and its own exception for whoever has none."""
    question: Any = [{"role": "user", "content": "?"}]
    async with proxied(access=Access(keys=ACCESS.keys, tls=files.tls)) as rig:
        rig.upstream.reply(WHOLE)
        base_url = rig.base_url.replace("http://", "https://")
        http = openai.DefaultAsyncHttpxClient(verify=client_context())
        async with openai.AsyncOpenAI(
            base_url=base_url, api_key=MOBILE, max_retries=0, timeout=15.0, http_client=http
        ) as client:
            stream = await client.chat.completions.create(model="m", messages=question, stream=True)
            assert [chunk.choices[0].delta.content async for chunk in stream] == ["", "a", None]
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.with_options(api_key="sk-unknown").chat.completions.create(
                    model="m", messages=question
                )
        assert len(rig.upstream.calls) == 1
    assert caught.value.code == "invalid_api_key"


async def test_http_1_1_is_what_is_spoken(files: Files) -> None:
    """Whatever a client offers besides."""
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with proxied(access=Access(tls=files.tls)) as rig, secure(rig, context) as client:
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


async def test_a_public_name_on_loopback_is_what_its_certificate_says(files: Files) -> None:
    """A page of another name does not get as far as asking."""
    async with proxied(access=Access(tls=files.tls)) as rig, secure(rig) as client:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        host = f"llm.example.com:{rig.running.data.port}"
        assert (await client.ask(request("GET", "/v1/models", host=host))).status == 200


async def test_the_admin_listener_stays_plain(files: Files) -> None:
    async with proxied(access=Access(tls=files.tls)) as rig:
        assert "sidecar_requests_total" in await rig.scrape()


@pytest.mark.parametrize("raw", [request("GET", "/v1/models"), b"\x16\x03\x01\x00\x05hello", b""])
async def test_what_is_no_tls_is_closed(
    files: Files, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, or when a handshake has taken too long; without a word in the log."""
    monkeypatch.setattr("sidecar.server.listener.HANDSHAKE", LIMIT if raw else 0.2)
    async with proxied(access=Access(tls=files.tls)) as rig, await rig.client() as client:
        await client.send(raw)
        assert b"HTTP/" not in await client.gone()
        async with secure(rig) as other:
            assert (await other.ask(request("GET", "/not/served"))).status == 404


@pytest.mark.parametrize(("of", "served"), [(ELSEWHERE, True), (AUTHORITY, False), (None, False)])
async def test_clients_may_need_a_certificate(
    files: Files, of: trustme.CA | None, served: bool
) -> None:
    tls = files.with_client_ca(ELSEWHERE)
    async with proxied(access=Access(tls=tls)) as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        try:
            async with secure(rig, client_context(of)) as client:
                answer = await client.ask(request("GET", "/v1/models"))
            assert answer.status == 200
        except (ssl.SSLError, ConnectionError, Cut):
            assert not served
        assert len(rig.upstream.calls) == served


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_ends_its_answer(files: Files, begun: bool) -> None:
    """As without TLS: before the answer has begun and in the middle of it."""
    async with proxied(access=Access(tls=files.tls)) as rig, secure(rig) as client:
        await client.send(chat())
        call = await rig.upstream.accept()
        if begun:
            await call.send(stream_head(), framed(ROLE))
            await client.head()
        client.abort()
        await call.gone()


# --- new files ----------------------------------------------------------------------------------


class Clock:
    """Seconds that the test counts."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Shaken:
    """A handshake in memory: what the client has seen. Raises SSLError if a side refuses."""

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._server = server.wrap_bio(there, back, server_side=True)
        self._client = (client or client_context()).wrap_bio(back, there, session=session)
        waiting = [self._client, self._server]
        while waiting:
            side = waiting.pop(0)
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
        self._server.write(b"!")
        assert self._client.read(1) == b"!"
        self.certificate = self._client.getpeercert(binary_form=True)
        self.session = self._client.session
        self.resumed = self._client.session_reused


def test_a_new_certificate_is_served_to_new_connections(files: Files) -> None:
    """After a second at most; the files are not looked at more often."""
    clock = Clock()
    old = files.write()
    context = ReloadingContext(files.tls, clock)
    assert Shaken(context).certificate == old
    new = files.write()
    clock.seconds = 0.9
    assert Shaken(context).certificate == old
    clock.seconds = 1.0
    assert Shaken(context).certificate == new


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """Kubernetes swaps one link to a folder; the files that are named are links through it."""
    clock = Clock()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = Files(tmp_path / "one"), Files(tmp_path / "two")
    first, second = one.write(), two.write()
    (tmp_path / "..data").symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
        # The times are no help: both may have been written by the same program.
        for each in (one, two):
            os.utime(each.folder / name, (0, 0))
    context = ReloadingContext(Tls(tmp_path / "tls.crt", tmp_path / "tls.key"), clock)
    assert Shaken(context).certificate == first
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.seconds += 1
    assert Shaken(context).certificate == second


async def test_the_sidecar_serves_the_new_certificate(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who is connected by the old one goes on."""
    monkeypatch.setattr("sidecar.server.tls._LOOKS_EVERY", 0.0)
    async with proxied(access=Access(tls=files.tls)) as rig, secure(rig) as before:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        new = files.write()
        async with secure(rig) as after:
            assert after.writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == new
            for client in (before, after):
                assert (await client.ask(request("GET", "/v1/models"))).status == 200


BROKEN = {
    "no pair": lambda files: files.tls.key.write_bytes(
        AUTHORITY.issue_cert("a").private_key_pem.bytes()
    ),
    "half written": lambda files: files.tls.certificate.write_bytes(b"-----BEGIN CERT"),
    "no file": lambda files: files.tls.certificate.unlink(),
    "a folder": lambda files: (files.tls.key.unlink(), files.tls.key.mkdir()),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_new_files_that_are_wrong_change_nothing(
    files: Files, breaks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once, without a word of the files; and when they are right, they count."""
    caplog.set_level(logging.INFO, "sidecar")
    clock = Clock()
    old = files.write()
    context = ReloadingContext(files.tls, clock)
    breaks(files)
    for _ in range(3):
        clock.seconds += 1
        assert Shaken(context).certificate == old
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("the new certificate cannot be used, the old one stays: ")
    assert str(files.folder) not in record.getMessage()
    assert not record.exc_info
    if files.tls.key.is_dir():
        files.tls.key.rmdir()
    new = files.write()
    clock.seconds += 1
    assert Shaken(context).certificate == new
    assert caplog.messages[1:] == ["the certificate has changed, and was read again"]
    caplog.clear()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_authorities_for_clients_change_too(files: Files, version: ssl.TLSVersion) -> None:
    """An old session is no way round them."""
    clock = Clock()
    context = ReloadingContext(files.with_client_ca(AUTHORITY), clock)
    client = client_context(AUTHORITY)
    client.minimum_version = client.maximum_version = version
    session = Shaken(context, client).session
    assert Shaken(context, client, session).resumed
    files.with_client_ca(ELSEWHERE)
    clock.seconds += 1
    with pytest.raises(ssl.SSLError):
        Shaken(context, client, session)
    Shaken(context, client_context(ELSEWHERE))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1.*:DeprecationWarning")
def test_old_versions_are_not_spoken(files: Files) -> None:
    """By a client that would speak nothing newer; TLS 1.2 is still taken."""
    context = ReloadingContext(files.tls)
    client = client_context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        Shaken(context, client)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    Shaken(context, client)


def test_a_certificate_is_right_at_the_start(files: Files) -> None:
    """What was right when the configuration was read may not be any more."""
    files.tls.key.write_text("")
    with pytest.raises(BadCertificate):
        ReloadingContext(files.tls)


async def test_the_command_says_that_it_serves_https(files: Files) -> None:
    config = files.folder / "sidecar.yaml"
    config.write_text(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: {base_url: http://127.0.0.1:9/v1}\n"
        "drain: {delay: 0}\n"
        "tls: {certificate: tls.crt, key: tls.key}\n",
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        *command("serve", "--config", config),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(2 * LIMIT):
            said = await process.stderr.readline()
    finally:
        process.terminate()
        await process.communicate()
    assert b" serving https://127.0.0.1:" in said
