"""``sidecar serve``."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import click

from sidecar.cli.shared import address, fail, run
from sidecar.errors import ConfigError


@click.command(short_help="Serve, by a file or with the built-in rules.")
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
    """Serve, by a file (--config) or with the built-in rules in front of --upstream.

    \b
    sidecar serve --upstream http://127.0.0.1:8000/v1
    sidecar serve --config sidecar.yaml --listen 0.0.0.0:8080
    """
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
            config = replace(config, listen=address("--listen", listen))
        if admin:
            config = replace(config, admin=address("--admin", admin))
        if config.listen == config.admin and config.listen.port:
            raise click.UsageError(f"--listen and --admin are both {config.listen}.")
        run(serve_config(config, catalogue))
    except ConfigError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot listen: {error.strerror or error}")
