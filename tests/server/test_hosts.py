"""``Host``: by which names the sidecar may be asked, and who tries others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.rules.accesssection import Access
from sidecar.rules.configvalues import Address
from sidecar.server.app import serving

from .scripted import Rig, Upstream, configured, proxied, request, response


def asked(host: str) -> bytes:
    """A request with this ``Host``."""
    return request("GET", "/v1/models", host=host)


def without_host(version: str = "1.1", *fields: str) -> bytes:
    """A request with these headers alone."""
    return "\r\n".join([f"GET /v1/models HTTP/{version}", *fields, "", ""]).encode("latin-1")


async def status(rig: Rig, raw: bytes, address: Address | None = None) -> int:
    """That of the answer; every refusal is a whole error object."""
    async with await rig.client(address) as client:
        answer = await client.ask(raw)
    if answer.status in (400, 421):
        assert answer.error["message"]
    if answer.status == 421:
        assert answer.error["code"] == "misdirected_request"
    return answer.status


async def test_a_request_that_does_not_say_for_whom_it_is() -> None:
    """RFC 9112, 3.2: none, more than one, or one that is none; on either listener."""
    malformed = ("a b", "a,b/", "me@a", "a/b", "http://a", "a:b", "a:123456", "[::1", "::1", "a\\b",
                 "\xe9", "%zz", "a" * 300)  # fmt: skip
    raws = (
        without_host(),
        without_host("1.1", "Host:"),
        without_host("1.1", "Host: a", "Host: a"),
        without_host("1.1", "Host: a", "X: b", "host: c"),
        without_host("1.0", "Host: a", "Host: b"),
        *map(asked, malformed),
    )
    async with proxied() as rig:
        for raw in raws:
            assert await status(rig, raw) == 400, raw
            assert await status(rig, raw, rig.running.admin) == 400, raw
        assert rig.upstream.calls == []


async def test_a_client_of_http_1_0_need_not_say_it() -> None:
    """It has no such header, unless there is a list of names."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert await status(rig, without_host("1.0")) == 200
    async with proxied(access=Access(hosts=("*",))) as rig:
        assert await status(rig, without_host("1.0")) == 400


HOSTS = ("llm.example.com", "*.apps.example.com:8443", "10.1.*", "[::1]", "sidecar:8080")


SERVED = ("llm.example.com", "LLM.Example.COM", "llm.example.com.", "llm.example.com:1",
          "llm.example.com:", "a.apps.example.com:8443", "a.b.apps.example.com:8443", "10.1.2.3",
          "[::1]:8080", "sidecar:8080")  # fmt: skip
NOT_SERVED = ("example.com", "llm.example.com.evil.com", "xllm.example.com", "llmXexample.com",
              "a.apps.example.com", "a.apps.example.com:443", "apps.example.com:8443", "10.2.2.3",
              "[::2]", "sidecar", "sidecar:80", "localhost", "127.0.0.1")  # fmt: skip


async def test_a_list_of_names() -> None:
    """In any case, with any port where the list has none; and nothing but what is listed."""
    async with proxied(access=Access(hosts=HOSTS)) as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        for host in SERVED:
            assert await status(rig, asked(host)) == 200, host
        for host in NOT_SERVED:
            assert await status(rig, asked(host)) == 421, host
        assert len(rig.upstream.calls) == len(SERVED)


REBOUND = ["evil.example", "a.b.evil.example", "127.0.0.1.evil.example", "localhost.evil.example",
           "EVIL.EXAMPLE", "evil.example.", "local.evil"]  # fmt: skip
OURS = ["localhost", "app.localhost", "127.0.0.1", "127.1", "0x7f.1", "[::1]", "sidecar",
        "host.docker.internal", "my-mac.local", "192.168.1.7"]  # fmt: skip


async def test_a_page_whose_name_leads_to_this_machine_is_not_served() -> None:
    """DNS rebinding: its requests have its own public name, and the listener's own port."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        for host in REBOUND:
            for address in (rig.running.data, rig.running.admin):
                raw = asked(f"{host}:{address.port}")
                assert await status(rig, raw, address) == 421, host
        assert rig.upstream.calls == []


async def test_who_is_no_such_page_is_served() -> None:
    """Programs of this machine, and a proxy on it, which passes on its own name and port."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        port = rig.running.data.port
        for host in OURS:
            for said in (host, f"{host}:443", f"{host}:{port}"):
                assert await status(rig, asked(said)) == 200, said
        for said in ("llm.example.com", "llm.example.com:443"):
            assert await status(rig, asked(said)) == 200, said


@pytest.mark.parametrize("listen", ["0.0.0.0", "127.0.0.1"])
async def test_the_rule_is_for_loopback_and_ends_with_a_list(listen: str) -> None:
    """Who listens for others is asked by whatever name they have for it."""
    upstream = Upstream("127.0.0.1")
    access = Access(hosts=("*",) if listen == "127.0.0.1" else ())
    async with upstream.listening("/v1") as url:
        upstream.reply(response("200 OK", body=b"{}"))
        config = replace(configured(url, access=access), listen=Address(listen, 0))
        async with serving(config) as running:
            address = Address("127.0.0.1", running.data.port)
            rig = Rig(upstream, running)
            assert await status(rig, asked(f"evil.example:{address.port}"), address) == 200
