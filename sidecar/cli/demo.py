"""``sidecar demo``."""

from __future__ import annotations

import sys

import click

from sidecar.cli.shared import address, fail, run


@click.command(short_help="Show the sidecar at work.")
@click.option("--once", is_flag=True, help="One round of every transcript, then exit.")
@click.option("--listen", metavar="HOST:PORT", envvar="SIDECAR_LISTEN", help="The data plane.")
def demo(once: bool, listen: str | None) -> None:
    """Show the sidecar at work, in front of a small upstream of its own.

    Without --once it then serves, and its first line is the address of a page, the playground, that
    shows the same in a browser.

    \b
    sidecar demo --once
    """
    from sidecar.demo.run import demo as run_demo

    at = address("--listen", listen) if listen else None
    try:
        sys.exit(run(run_demo(once=once, listen=at, write=lambda s: click.echo(s, nl=False))))
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError as error:
        fail(str(error))
