"""The command line: parses arguments and decides nothing. A file for each command.

Exit codes: 0 fine, 1 the user's file is wrong (or what was checked is), 2 usage.
A command imports what it runs when it runs: `health` and `--version` must not wait for it.
"""

from __future__ import annotations

import os

import click

from sidecar import __version__
from sidecar.cli.capture import capture
from sidecar.cli.check import check, schema
from sidecar.cli.completion import completion
from sidecar.cli.demo import demo
from sidecar.cli.doctor import doctor
from sidecar.cli.health import health
from sidecar.cli.replay import replay
from sidecar.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar")
@click.pass_context
def main(context: click.Context) -> None:
    """A reverse proxy that shows people the answer, and nothing else, of a model's stream."""
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        context.color = False


for _command in (serve, check, schema, capture, replay, demo, doctor, health, completion):
    main.add_command(_command)
