"""The admin plane: for this machine alone, to be read and not to be changed by."""

from __future__ import annotations

import pytest

from sidecar.rules.accesssection import Access, CorsPolicy
from sidecar.rules.config import built_in_config

from .scripted import proxied, request

PATHS = ("/healthz", "/readyz", "/metrics", "/admin/observed")
NO_PATHS = ("/", "/admin", "/config", "/reload", "/quit", "/debug", "/v1/models", "/metrics/")


def test_it_is_on_loopback_unless_told_otherwise() -> None:
    assert built_in_config("http://a/v1").admin.host == "127.0.0.1"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"])
async def test_nothing_can_be_done_there(method: str) -> None:
    async with proxied() as rig, await rig.client(rig.running.admin) as client:
        for path in (*PATHS, *NO_PATHS):
            answer = await client.ask(request(method, path, body=b""))
            assert answer.status == 405
            assert answer.head.one("Content-Type") == "application/json"


async def test_there_is_nothing_else() -> None:
    async with proxied() as rig, await rig.client(rig.running.admin) as client:
        for path in NO_PATHS:
            assert (await client.ask(request("GET", path))).status == 404


@pytest.mark.parametrize("path", PATHS)
async def test_no_page_may_read_it(path: str) -> None:
    """Whatever is allowed on the data plane; and no key is asked for, which probes have none of."""
    access = Access(cors=CorsPolicy(("*",), credentials=False, max_age=1.0))
    async with proxied(access=access) as rig, await rig.client(rig.running.admin) as client:
        answer = await client.ask(request("GET", path, "Origin: https://app.example.com"))
    assert answer.status == 200
    assert not [name for name, _ in answer.head.fields if name.lower().startswith("access-")]
