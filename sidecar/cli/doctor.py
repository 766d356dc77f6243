"""``sidecar doctor``."""

from __future__ import annotations

import os
import sys

import click

from sidecar.cli.shared import base_url, echo_json, fail, request_headers, run

_COLOURS = {"!!": "red", " !": "yellow"}
"""Of what the doctor has found, by how its line begins."""


@click.command(short_help="Is the way to a sidecar really streaming?")
@click.option(
    "--url", required=True, metavar="URL", help="The base_url that clients have, …/v1 as a rule."
)
@click.option("--model", metavar="NAME", help="Ask this model for a chat instead of the drip.")
@click.option(
    "--header", "headers", metavar="NAME:VALUE", multiple=True, help="One more request header."
)
@click.option(
    "--events",
    type=click.IntRange(5, 200),
    default=20,
    show_default=True,
    help="How many events the drip has.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.05, 5),
    default=0.1,
    show_default=True,
    help="Seconds between two of them.",
)
@click.option(
    "--idle",
    type=click.FloatRange(0, 600),
    default=0,
    show_default=True,
    help="Seconds of silence after them: 65 finds the idle limit of nginx and of an AWS ALB.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    url: str,
    model: str | None,
    headers: tuple[str, ...],
    events: int,
    interval: float,
    idle: float,
    as_json: bool,
) -> None:
    """Say whether a stream arrives as it is sent, through whatever stands in front of a sidecar.

    Exit 0 if it does, 1 if it does not, or if there is none. A key for it is taken from
    SIDECAR_DOCTOR_KEY or OPENAI_API_KEY. The sidecar's own stream, the drip, needs no model, and
    its events say when they were sent; with --model only their arrival is known, so a model that
    thinks for long and then writes fast looks like a proxy that holds it all back.

    \b
    sidecar doctor --url https://app.example.com/v1
    sidecar doctor --url https://app.example.com/v1 --idle 65
    """
    from sidecar.doctor.refusals import NoStream
    from sidecar.doctor.report import lines, record
    from sidecar.doctor.run import examine_chat, examine_drip

    base = base_url("--url", url)
    fields = request_headers(headers)
    key = os.environ.get("SIDECAR_DOCTOR_KEY") or os.environ.get("OPENAI_API_KEY")
    if key:
        fields.setdefault("Authorization", f"Bearer {key}")
    if sys.stderr.isatty():
        click.echo(f"asking, for {2 * events * interval + idle:.0f} s or so …", err=True)
    asking = (
        examine_chat(base, fields, model)
        if model
        else examine_drip(base, fields, events=events, interval=interval, idle=idle)
    )
    try:
        examined = run(asking)
    except NoStream as error:
        if not as_json:
            fail(f"{base}: {error}")
        echo_json({"url": base, "fine": False, "error": str(error)})
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    if as_json:
        echo_json(record(*examined))
    else:
        for line in lines(*examined):
            click.secho(line, fg=_COLOURS.get(line[:2]))
    sys.exit(0 if examined.diagnosis.fine else 1)
