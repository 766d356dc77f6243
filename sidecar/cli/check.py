"""``sidecar check`` and ``sidecar schema``: files, without a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sidecar.cli.shared import echo_json


@click.command(short_help="Check configuration files and format files.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def check(paths: tuple[Path, ...]) -> None:
    """Check configuration files and format files, with every format's examples.

    A PATH is a file or a folder of them. The formats that a configuration names as its own are
    checked with it.
    """
    from sidecar.checking import check as check_paths
    from sidecar.checking import summary

    right, wrong = check_paths(paths, os.environ)
    for file in right:
        click.echo(file)
    for mistake in wrong:
        click.echo(mistake, err=True)
    if wrong:
        sys.exit(1)
    click.echo(summary(right))


@click.command(short_help="Print a JSON Schema for an editor.")
@click.argument("files", type=click.Choice(["formats", "config"]))
def schema(files: str) -> None:
    """Print the JSON Schema of format files or of the configuration file.

    An editor's YAML plug-in reads it, shows what each key means and marks mistakes. What only
    several keys together can get wrong, and the examples, are for `sidecar check`.
    """
    from sidecar.rules.schema import config_schema, formats_schema

    value = formats_schema() if files == "formats" else config_schema()
    echo_json(value)
