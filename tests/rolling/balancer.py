"""A real nginx in front of some sidecars, and what an orchestrator does to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sidecar.rules.configvalues import Address
from tests.server.scripted import Peer, request

_PATH: Final = f"{os.environ['PATH']}:/usr/sbin"
NGINX: Final = shutil.which("nginx", path=_PATH)

_CONFIG: Final = """
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream sidecars {{
    {servers}
  }}
  server {{
    listen unix:{folder}/socket;
    location = /generation {{ return 200 "{generation}"; }}
    location / {{
      proxy_pass http://sidecars;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_next_upstream error timeout;
      proxy_read_timeout 300s;
      add_header X-Served-By $upstream_addr;
    }}
  }}
}}
"""


class Balancer:
    """It learns only from connections that fail that a sidecar is gone; that one is going, whoever
    watches `/readyz` has to tell it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0

    async def client(self) -> Peer:
        """A new connection."""
        return Peer(*await asyncio.open_unix_connection(self._folder / "socket", limit=2**24))

    def write(self, servers: Sequence[Address]) -> None:
        """Where requests go from the next reload on."""
        lines = [f"server {server} max_fails=1 fail_timeout=5s;" for server in servers]
        self._generation += 1
        text = _CONFIG.format(
            folder=self._folder, servers="\n    ".join(lines), generation=self._generation
        )
        (self._folder / "nginx.conf").write_text(text, encoding="utf-8")

    def command(self, *options: str) -> None:
        """Run nginx, which goes into the background or speaks to what is there."""
        assert NGINX is not None
        log = ("-e", str(self._folder / "error.log"))
        subprocess.run([NGINX, *log, "-c", self._folder / "nginx.conf", *options], check=True)

    async def send_to(self, *servers: Address) -> None:
        """New requests go to these; what is under way stays where it is."""
        self.write(servers)
        self.command("-s", "reload")
        served = b""
        while served != str(self._generation).encode():
            async with await self.client() as client:
                served = (await client.ask(request("GET", "/generation"))).body


@contextmanager
def balancing(folder: Path, *servers: Address) -> Iterator[Balancer]:
    """An nginx that listens."""
    balancer = Balancer(folder)
    balancer.write(servers)
    balancer.command()
    try:
        yield balancer
    finally:
        balancer.command("-s", "stop")
