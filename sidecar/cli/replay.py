"""``sidecar replay``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sidecar.cli.shared import fail
from sidecar.errors import ConfigError


@click.command(short_help="Put a recorded stream through the engine.")
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
        fail(str(error))
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
