"""What is measured by turns: the sidecar by several rules, and what it is compared with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.processes import Command, sidecar_command

Config = dict[str, Any]

_NGINX_PATH = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

_NGINX_CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream models {{ server {server}; {keepalive} }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://models;
      proxy_buffering off;
      proxy_http_version 1.1;
      {header}
    }}
  }}
}}
"""


class Target(NamedTuple):
    """A proxy that can be started, or none."""

    name: str
    command: Command | None
    """None: the clients are the upstream's own."""
    filters: bool = False
    """Whether it hides anything; else what leaves it is what came, to the byte."""
    processes: int = 1
    """So many share its port, each on a core of its own."""


def _bare(upstream: str, port: int, folder: Path, *options: str) -> list[str]:
    module, listen = "tests.bench.passthrough", f"127.0.0.1:{port}"
    return [sys.executable, "-m", module, "--upstream", upstream, "--listen", listen, *options]


def _bare_kept(upstream: str, port: int, folder: Path) -> list[str]:
    return _bare(upstream, port, folder, "--keep")


def _nginx(upstream: str, port: int, folder: Path, *, keep: bool = False) -> list[str]:
    config = _NGINX_CONFIG.format(
        folder=folder,
        server=upstream.removeprefix("http://").partition("/")[0],
        port=port,
        keepalive="keepalive 64; keepalive_requests 1000000;" if keep else "",
        header='proxy_set_header Connection "";' if keep else "",
    )
    file = folder / "nginx.conf"
    file.write_text(config)
    return [str(_NGINX_PATH), "-p", str(folder), "-c", str(file)]


def _sidecar(make: Callable[[str], Config], upstream: str, port: int, folder: Path) -> list[str]:
    """The sidecar with a file of its own."""
    file = folder / f"{port}.yaml"
    file.write_text(json.dumps({"version": 1, **make(upstream)}))  # JSON is YAML
    return sidecar_command(upstream, port, folder, file)


def _no_rule(upstream: str) -> Config:
    return {"upstream": {"base_url": upstream}, "rules": []}


def _all(upstream: str) -> Config:
    return {"upstream": {"base_url": upstream}, "rules": [{"formats": ["all"]}]}


def _kept(upstream: str) -> Config:
    return {"upstream": {"base_url": upstream, "reuse": "always"}}


def _two(upstream: str) -> Config:
    return {"upstream": {"base_url": upstream}, "reuse_port": True}


def _statuses(upstream: str) -> Config:
    texts = {
        "waiting": {"en": "Waiting…", "de": "Wartet …"},
        "thinking": "Thinking…",
        "calling_tool": "Calling {tool}…",
        "tools": {"forecast": "Asking for the weather in {args.city}…"},
        "reading_result": "Reading the result…",
        "answering": "Answering…",
        "done": "Done.",
    }
    status = {"form": "chunk", "first_after": 0, "texts": texts, "sources": "status"}
    return {"upstream": {"base_url": upstream}, "status": status}


NONE = Target("no proxy", None)
PASS_THROUGH = Target("pass-through", _bare)
NO_RULE = Target("no rule", partial(_sidecar, _no_rule))
DEFAULT = Target("default rules", sidecar_command, filters=True)
ALL = Target("all formats", partial(_sidecar, _all), filters=True)
STATUSES = Target("all statuses", partial(_sidecar, _statuses), filters=True)
PASS_THROUGH_KEPT = Target("pass-through, kept", _bare_kept)
DEFAULT_KEPT = Target("default rules, kept", partial(_sidecar, _kept), filters=True)
TWO = Target("two processes", partial(_sidecar, _two), filters=True, processes=2)

NGINX = Target("nginx", _nginx)
NGINX_KEPT = Target("nginx, kept", partial(_nginx, keep=True))

USUAL = (NONE, NGINX, PASS_THROUGH, NO_RULE, DEFAULT, ALL)
LEFT_OUT_OF_SHORT = (NO_RULE, ALL)
KEPT = (NGINX_KEPT, PASS_THROUGH_KEPT, DEFAULT_KEPT)
WITH_KEPT = (*USUAL, *KEPT)


def available(target: Target) -> bool:
    """Whether what it needs is installed."""
    return target not in (NGINX, NGINX_KEPT) or _NGINX_PATH is not None
