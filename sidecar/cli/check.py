"""``sidecar check`` and ``sidecar schema``: files, without a server."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from sidecar.cli.shared import echo_json

_AFRESH = "\r\x1b[K"
"""Begins the line of a terminal again."""


@click.command(short_help="Check configuration files and format files.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check configuration files and format files, with every format's examples.

    A PATH is a file or a folder of them. The formats that a configuration names as its own are
    checked with it.

    \b
    sidecar check sidecar.yaml
    sidecar check config/formats
    """
    from sidecar.checking import check as check_paths
    from sidecar.checking import summary

    live = sys.stderr.isatty()
    right, wrong = check_paths(paths, os.environ, begins=_tell if live else None)
    if live:
        click.echo(_AFRESH, err=True, nl=False)
    if as_json:
        files = [{**file._asdict(), "path": str(file.path)} for file in right]
        echo_json({"right": files, "wrong": [asdict(mistake) for mistake in wrong]})
    else:
        for file in right:
            click.echo(file)
        for mistake in wrong:
            click.echo(mistake, err=True)
    if wrong:
        sys.exit(1)
    if not as_json:
        click.echo(summary(right))


def _tell(path: Path) -> None:
    click.echo(f"{_AFRESH}checking {path.name} …", err=True, nl=False)


@click.command(short_help="Print a JSON Schema for an editor.")
@click.argument("files", type=click.Choice(["formats", "config"]))
def schema(files: str) -> None:
    """Print the JSON Schema of format files or of the configuration file.

    An editor's YAML plug-in reads it, shows what each key means and marks mistakes. What only
    several keys together can get wrong, and the examples, are for `sidecar check`.

    \b
    sidecar schema formats > formats.schema.json
    """
    from sidecar.rules.schema import config_schema, formats_schema

    value = formats_schema() if files == "formats" else config_schema()
    echo_json(value)
