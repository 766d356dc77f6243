"""Real nginxes in front of a sidecar, each with what one set-up has."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.rolling.balancer import NGINX
from tests.test_cli import free_ports

_CONFIG: Final = """
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {servers}
}}
"""

_SERVER: Final = """
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://{behind}; {directives} }}
  }}
"""


@contextmanager
def proxies(
    folder: Path, sidecar: str, setups: Mapping[str, tuple[str, str]]
) -> Iterator[Mapping[str, str]]:
    """Where each of ``setups`` listens, by its name: directives of its location, and the name of
    the set-up behind it, which stands before it; the ``sidecar``, if that is empty."""
    assert NGINX is not None
    addresses: dict[str, str] = {}
    servers = ""
    ports = free_ports(len(setups))
    for port, (name, (directives, behind)) in zip(ports, setups.items(), strict=True):
        servers += _SERVER.format(
            port=port, behind=addresses.get(behind, sidecar), directives=directives
        )
        addresses[name] = f"127.0.0.1:{port}"
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, servers=servers), encoding="utf-8")
    command = [NGINX, "-e", str(folder / "error.log"), "-c", str(config)]
    subprocess.run(command, check=True)
    try:
        yield addresses
    finally:
        subprocess.run([*command, "-s", "stop"], check=True)
