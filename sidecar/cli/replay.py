"""``sidecar replay``."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from sidecar.cli.shared import fail
from sidecar.errors import ConfigError


def _speed(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,4}(?:\.[0-9]{1,3})?x?", value) or not float(value.rstrip("x")):
        raise click.BadParameter(f"{value!r} is not like 1x, 0.5x or 20x.")
    return float(value.rstrip("x"))


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
@click.option(
    "--speed", metavar="N", callback=_speed, help="As it came, if it says when: 1x, 0.5x, 20x."
)
@click.option("--explain", is_flag=True, help="Print a line for each event instead of the stream.")
@click.option("--json", "as_json", is_flag=True, help="The same, a line of JSON for each event.")
@click.option("--diff", is_flag=True, help="Print what was recorded and what is left of it.")
def replay(
    capture: Path,
    config_path: Path | None,
    rule_name: str | None,
    cut: int | None,
    speed: float | None,
    explain: bool,
    as_json: bool,
    diff: bool,
) -> None:
    """Put a recorded event stream through the engine, without a network.

    \b
    sidecar replay answer.sse --diff
    sidecar replay answer.sse --config sidecar.yaml --rule people --explain
    sidecar replay answer.sse --speed 1x
    """
    from sidecar.replay import replay as replay_recording

    if explain + as_json + diff > 1:
        raise click.UsageError(
            "--explain, --json and --diff are three ways to show it: choose one."
        )
    rule, limit = _rule(config_path, rule_name)
    recording = capture.read_bytes()
    out = replay_recording(
        recording,
        rule,
        limit=limit,
        cut=cut,
        explain=click.echo if explain else _echo_record if as_json else None,
        wait=_waiting(speed) if speed else None,
    )
    if diff:
        _show_diff(recording, b"".join(out), limit)
    elif explain or as_json:
        for _ in out:
            pass
    else:
        _show(out)


def _rule(config_path: Path | None, name: str | None) -> tuple[Any, int]:
    """The rule that is applied, and the bytes that an event may have."""
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
    rule = rules.named(name) if name else next(reversed(rules.rules), None)
    if rule is None:
        names = ", ".join(rule.name for rule in rules.rules) or "none"
        raise click.UsageError(f"There is no rule {name!r}; the rules are: {names}.")
    return rule, config.limits.event


def _echo_record(explained: Any) -> None:
    click.echo(json.dumps(explained.record(), ensure_ascii=False))


def _waiting(speed: float) -> Callable[[float], None]:
    began = time.monotonic()

    def wait(at: float) -> None:
        time.sleep(max(0.0, began + at / speed - time.monotonic()))

    return wait


def _show(out: Iterator[bytes]) -> None:
    """The stream: its bytes, or on a terminal their text, which steers nothing there."""
    import codecs

    from sidecar.printable import printable_lines

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    is_terminal = sys.stdout.isatty()
    for piece in out:
        click.echo(printable_lines(decoder.decode(piece)) if is_terminal else piece, nl=False)


def _show_diff(raw: bytes, clean: bytes, limit: int) -> None:
    from sidecar.sidebyside import side_by_side
    from sidecar.timing import untimed

    width = shutil.get_terminal_size().columns
    # Where colours are not wanted, click takes them out again.
    click.echo("\n".join(side_by_side(untimed(raw), clean, limit, width, styled=True)))
