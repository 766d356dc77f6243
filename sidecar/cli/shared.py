"""What several commands need: their options' values, an event loop, a sentence and an exit."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import click

from sidecar.errors import ConfigError


def address(option: str, text: str) -> Any:
    """The value of an option that is a HOST:PORT."""
    from sidecar.rules.configvalues import parse_address

    try:
        return parse_address(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint=option) from None


def base_url(option: str, text: str) -> str:
    """The value of an option that is an URL as clients have it, without a slash at its end."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        right = right and "@" not in parts.netloc  # a password would be shown
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or not text.isascii() or not text.isprintable():
        raise click.BadParameter(
            f"{text!r} is not like https://app.example.com/v1.", param_hint=option
        )
    return text.rstrip("/")


def request_headers(given: tuple[str, ...]) -> Any:
    """The values of --header, in which any case finds."""
    from multidict import CIMultiDict

    headers = CIMultiDict[str]()
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise click.BadParameter(f"{text!r} is not like NAME:VALUE.", param_hint="--header")
        if not value.isprintable():
            raise click.BadParameter(f"the value of {name} is on one line.", param_hint="--header")
        headers.add(name, value.strip())
    return headers


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end of ``main``, and return what it does."""
    from sidecar.cli.eventloop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def echo_json(value: Any) -> None:
    """Print ``value`` for scripts."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def refuse(error: ConfigError) -> NoReturn:
    """Say what is wrong with a file, and where the README explains it, and exit 1."""
    from sidecar.readme import explained

    where = explained(error.mistakes)
    fail(f"{error}\n{where}" if where else str(error))


def fail(text: str) -> NoReturn:
    """Say what is wrong, in a sentence, and exit 1."""
    click.echo(text, err=True)
    sys.exit(1)
