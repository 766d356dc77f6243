"""``sidecar health``."""

from __future__ import annotations

import sys

import click

_ADMIN = "127.0.0.1:9090"
_HEALTH_TIMEOUT = 5.0
"""Seconds: half the usual interval between two checks of a container."""


@click.command(short_help="Ask a running sidecar whether it is alive.")
@click.option(
    "--admin",
    metavar="HOST:PORT",
    envvar="SIDECAR_ADMIN",
    default=_ADMIN,
    show_default=True,
    help="The admin plane of the sidecar that is asked.",
)
def health(admin: str) -> None:
    """Ask a running sidecar whether it is alive: exit 0 if it is, 1 if not.

    \b
    sidecar health --admin 127.0.0.1:9090
    """
    import http.client
    import urllib.request

    # Nobody wants an answer from the proxy that HTTP_PROXY names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{admin}/healthz", timeout=_HEALTH_TIMEOUT) as reply:
            healthy = reply.status == 200
    except (OSError, ValueError, http.client.HTTPException):
        healthy = False
    click.echo("healthy" if healthy else f"no healthy sidecar at {admin}", err=not healthy)
    sys.exit(0 if healthy else 1)
