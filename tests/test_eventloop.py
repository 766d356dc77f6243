"""The event loop that the commands run on."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CONNECTS = """\
import asyncio, os, socket

from sidecar.cli.shared import run

def threads():
    return len(os.listdir("/proc/self/task"))

async def main():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setblocking(False)
        before = threads()
        await asyncio.get_running_loop().sock_connect(client, server.getsockname())
        print(threads() - before, client.getpeername() == server.getsockname())

run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_an_address_needs_no_resolver() -> None:
    """uvloop would have one of four threads look at it, which may all wait for a name server."""
    pytest.importorskip("uvloop")
    said = subprocess.run(
        [sys.executable, "-c", _CONNECTS], capture_output=True, text=True, timeout=30, check=True
    )
    assert said.stdout == "0 True\n"
