"""``sidecar capture``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import click

from sidecar.cli.shared import base_url, fail, request_headers, run

_LIMIT = 8 * 1024 * 1024
"""Bytes of one event, as `limits.event` has by default."""


@click.command(short_help="Record a stream for `replay`.")
@click.option(
    "--upstream", required=True, metavar="URL", help="The base_url of the server that is recorded."
)
@click.option("--model", metavar="NAME", help="The model that is asked in a chat.")
@click.option("--prompt", default="Hello!", show_default=True, help="What it is asked.")
@click.option(
    "--body",
    "body_path",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The whole request as JSON, instead of --model and --prompt.",
)
@click.option(
    "--path", default="/chat/completions", show_default=True, help="What is asked, behind the URL."
)
@click.option(
    "--header", "headers", metavar="NAME:VALUE", multiple=True, help="One more request header."
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where it is written; it must not exist.",
)
def capture(
    upstream: str,
    model: str | None,
    prompt: str,
    body_path: Path | None,
    path: str,
    headers: tuple[str, ...],
    output: Path,
) -> None:
    """Record the event stream of a model server, with when each event came.

    Neither the request nor any header is written; the answer is. A key is taken from
    UPSTREAM_API_KEY or OPENAI_API_KEY. Ctrl-C ends it, and what has come is kept.

    \b
    sidecar capture --upstream http://127.0.0.1:8000/v1 --model qwen3 -o answer.sse
    sidecar capture --upstream http://127.0.0.1:8000/v1 --body request.json -o answer.sse
    """
    from sidecar.capture import NotCaptured
    from sidecar.capture import capture as capture_stream

    url = base_url("--upstream", upstream) + "/" + path.lstrip("/")
    body = json.dumps(_request(model, prompt, body_path)).encode()
    fields = request_headers(headers)
    key = os.environ.get("UPSTREAM_API_KEY") or os.environ.get("OPENAI_API_KEY")
    if key:
        fields.setdefault("Authorization", f"Bearer {key}")
    try:
        with _new(output) as file:
            try:
                captured = run(capture_stream(url, fields, body, file.write, _LIMIT))
            except NotCaptured as error:
                output.unlink()
                fail(f"{url}: {error}")
    except OSError as error:
        fail(f"{output}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)
    said = f"{output}: {captured.events} events in {captured.seconds:.1f} s"
    if not captured.whole:
        fail(f"{said}, and then it broke off")
    click.echo(said, err=True)


def _request(model: str | None, prompt: str, path: Path | None) -> dict[str, Any]:
    """The body of the request, which wants a stream."""
    if (model is None) == (path is None):
        raise click.UsageError("Give either --model NAME or --body FILE.")
    if path is None:
        asked: Any = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    else:
        try:
            asked = json.loads(path.read_bytes())
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise click.BadParameter(f"{path} is not one JSON object.", param_hint="--body")
    return {**asked, "stream": True}


def _new(path: Path) -> IO[bytes]:
    """A file that was not there, for its owner alone: an answer is nobody else's. Each write is in
    it at once."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
