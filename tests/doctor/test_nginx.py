"""The doctor, the sidecar and nginx, each a process: every set-up has a diagnosis of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import pytest

from sidecar.doctor.trouble import Trouble
from tests.rolling.balancer import NGINX
from tests.test_cli import UPSTREAM, serving, sidecar

from .nginx import proxies

pytestmark = pytest.mark.skipif(
    NGINX is None and "SIDECAR_REQUIRE_NGINX" not in os.environ, reason="there is no nginx"
)

_GZIP: Final = "gzip on; gzip_types text/event-stream;"


class Expected(NamedTuple):
    """What the doctor says of a set-up. That nginx asks in HTTP/1.0 by default depends on its
    version, and is looked at only where it is set."""

    code: int
    pace: str
    troubles: set[Trouble]
    more: tuple[str, ...] = ()


SETUPS: Final = {
    "default": ("", ""),
    "off": ("proxy_buffering off; proxy_http_version 1.1;", ""),
    "gzip": (_GZIP, ""),
    "inner eats the header": ("", "default"),
    "inner hands it on": ("proxy_pass_header X-Accel-Buffering;", ""),
    "in front of that": ("", "inner hands it on"),
    "ignores the header": ("proxy_ignore_headers X-Accel-Buffering;", ""),
    "impatient": ("proxy_read_timeout 1s; proxy_buffering off;", ""),
    "old HTTP": ("proxy_http_version 1.0; proxy_buffering off;", ""),
}

EXPECTED: Final = {
    "default": Expected(0, "in step", {Trouble.RELIES, Trouble.HEADERS}),
    "off": Expected(0, "in step", {Trouble.HEADERS}),
    "gzip": Expected(0, "in step", {Trouble.COMPRESSED, Trouble.RELIES, Trouble.HEADERS}),
    "inner eats the header": Expected(1, "all at the end", {Trouble.COLLECTED, Trouble.HEADERS}),
    "inner hands it on": Expected(0, "in step", {Trouble.RELIES}),
    "in front of that": Expected(0, "in step", {Trouble.RELIES, Trouble.HEADERS}),
    "ignores the header": Expected(1, "all at the end", {Trouble.COLLECTED, Trouble.HEADERS}),
    "impatient": Expected(1, "in step", {Trouble.SILENCE, Trouble.HEADERS}, ("--idle", "5")),
    "old HTTP": Expected(0, "in step", {Trouble.OLD_HTTP, Trouble.HEADERS}),
}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Where each set-up listens; the sidecar's own address is under the empty name."""
    if NGINX is None:
        pytest.fail("there is no nginx")
    listen = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with (
        serving("--upstream", UPSTREAM, *listen) as running,
        proxies(tmp_path_factory.mktemp("nginx"), running.data, SETUPS) as by_name,
    ):
        yield {"": running.data, **by_name}


def examine(address: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and what it says to scripts. A fifth of a second is long enough for a busy
    machine to keep step."""
    pace = ("--events", "10", "--interval", "0.2")
    said = sidecar("doctor", "--url", f"http://{address}/v1", "--json", *pace, *options)
    assert said.err == ""
    return said.code, json.loads(said.out)


@pytest.mark.parametrize("name", SETUPS)
def test_each_setup_is_told_from_the_others(addresses: Mapping[str, str], name: str) -> None:
    expected = EXPECTED[name]
    code, said = examine(addresses[name], *expected.more)
    troubles = {finding["trouble"] for finding in said["findings"]}
    if Trouble.OLD_HTTP not in expected.troubles:
        troubles.discard(Trouble.OLD_HTTP)
    assert (said["pace"], troubles) == (expected.pace, expected.troubles)
    assert code == expected.code
    assert said["fine"] is (code == 0)
    assert said["in_front"] == ["nginx"]
    advised = {advice["trouble"] for advice in said["advice"] if advice["product"] == "nginx"}
    assert troubles - {Trouble.HEADERS} <= advised


def test_with_nothing_in_front_there_is_nothing_to_say(addresses: Mapping[str, str]) -> None:
    code, said = examine(addresses[""])
    assert (code, said["pace"], said["findings"]) == (0, "in step", [])


def test_people_are_told_what_to_write_into_which_file(addresses: Mapping[str, str]) -> None:
    url = f"http://{addresses['ignores the header']}/v1"
    said = sidecar("doctor", "--url", url)
    assert said.code == 1
    text = said.out.decode()
    assert text.startswith(f"{url}/sidecar/drip: all at the end\n")
    assert "nginx (collected): proxy_buffering off;" in text
    assert "\x1b" not in text
