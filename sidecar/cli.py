"""The command line: parses arguments and decides nothing.

Exit codes: 0 fine, 1 the user's file is wrong (or what was checked is), 2 usage.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from sidecar import __version__
from sidecar.errors import ConfigError

# Everything else is imported where it is used: `health` and `--version` must not wait for it.

_ADMIN = "127.0.0.1:9090"
_HEALTH_TIMEOUT = 5.0
"""Seconds: half the usual interval between two checks of a container."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar")
def main() -> None:
    """A reverse proxy that shows people the answer, and nothing else, of a model's stream."""


@main.command(short_help="Serve, by a file or with the built-in rules.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="SIDECAR_CONFIG",
    help="The configuration file.",
)
@click.option("--upstream", metavar="URL", help="The upstream's base URL, with built-in rules.")
@click.option("--listen", metavar="HOST:PORT", envvar="SIDECAR_LISTEN", help="The data plane.")
@click.option("--admin", metavar="HOST:PORT", envvar="SIDECAR_ADMIN", help="The admin plane.")
def serve(
    config_path: Path | None, upstream: str | None, listen: str | None, admin: str | None
) -> None:
    """Serve, by a file (--config) or with the built-in rules in front of --upstream."""
    from sidecar.rules.catalogue import shipped_catalogue, shipped_names
    from sidecar.rules.config import built_in_config, load_config
    from sidecar.server.app import serve as serve_config

    if (config_path is None) == (upstream is None):
        raise click.UsageError("Give either --config FILE or --upstream URL.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        if config_path is not None:
            config = load_config(config_path, os.environ, shipped_names())
        else:
            config = built_in_config(upstream or "")
        catalogue = shipped_catalogue(config.formats)
        if listen:
            config = replace(config, listen=_address("--listen", listen))
        if admin:
            config = replace(config, admin=_address("--admin", admin))
        if config.listen == config.admin and config.listen.port:
            raise click.UsageError(f"--listen and --admin are both {config.listen}.")
        _run(serve_config(config, catalogue))
    except (ConfigError, OSError) as error:
        _fail(str(error))


@main.command(short_help="Check configuration files and format files.")
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


@main.command(short_help="Print a JSON Schema for an editor.")
@click.argument("files", type=click.Choice(["formats", "config"]))
def schema(files: str) -> None:
    """Print the JSON Schema of format files or of the configuration file.

    An editor's YAML plug-in reads it, shows what each key means and marks mistakes. What only
    several keys together can get wrong, and the examples, are for `sidecar check`.
    """
    import json

    from sidecar.rules.schema import config_schema, formats_schema

    value = formats_schema() if files == "formats" else config_schema()
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@main.command(short_help="Put a recorded stream through the engine.")
@click.argument("capture", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, exists=True),
    help="The configuration file; without it, the built-in rules.",
)
@click.option("--rule", "rule_name", help="The rule to apply; without it, the last one.")
@click.option("--cut", type=click.IntRange(min=1), help="Feed the recording in pieces of N bytes.")
@click.option("--explain", is_flag=True, help="Print a line for each event instead of the stream.")
def replay(
    capture: Path, config_path: Path | None, rule_name: str | None, cut: int | None, explain: bool
) -> None:
    """Put a recorded event stream through the engine, without a network."""
    from sidecar.replay import replay as replay_recording
    from sidecar.rules.catalogue import shipped_catalogue, shipped_names
    from sidecar.rules.config import built_in_config, load_config
    from sidecar.rules.ruleset import RuleSet

    try:
        config = (
            load_config(config_path, os.environ, shipped_names())
            if config_path
            else built_in_config("http://127.0.0.1/v1")
        )
        catalogue = shipped_catalogue(config.formats)
    except ConfigError as error:
        _fail(str(error))
    rules = RuleSet(config.rules, catalogue, promoted=config.limits.promoted)
    if not rules.rules:
        raise click.UsageError("The configuration has no rules: nothing is filtered.")
    rule = rules.named(rule_name) if rule_name else next(reversed(rules.rules), None)
    if rule is None:
        names = ", ".join(rule.name for rule in rules.rules) or "none"
        raise click.UsageError(f"There is no rule {rule_name!r}; the rules are: {names}.")
    for out in replay_recording(
        capture.read_bytes(),
        rule,
        limit=config.limits.event,
        cut=cut,
        explain=click.echo if explain else None,
    ):
        if not explain:
            click.echo(out, nl=False)


@main.command(short_help="Show the sidecar at work.")
@click.option("--once", is_flag=True, help="One round of every transcript, then exit.")
@click.option("--listen", metavar="HOST:PORT", envvar="SIDECAR_LISTEN", help="The data plane.")
def demo(once: bool, listen: str | None) -> None:
    """Show the sidecar at work, in front of a small upstream of its own."""
    from sidecar.demo.run import demo as run_demo

    address = _address("--listen", listen) if listen else None
    try:
        sys.exit(_run(run_demo(once=once, listen=address, write=lambda s: click.echo(s, nl=False))))
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError as error:
        _fail(str(error))


@main.command(short_help="Ask a running sidecar whether it is alive.")
@click.option(
    "--admin",
    metavar="HOST:PORT",
    envvar="SIDECAR_ADMIN",
    default=_ADMIN,
    show_default=True,
    help="The admin plane of the sidecar that is asked.",
)
def health(admin: str) -> None:
    """Ask a running sidecar whether it is alive: exit 0 if it is, 1 if not."""
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


def _address(option: str, text: str) -> Any:
    from sidecar.rules.configvalues import parse_address

    try:
        return parse_address(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint=option) from None


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)
