"""``sidecar serve``."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from sidecar.cli.shared import address, fail, refuse, run
from sidecar.errors import ConfigError

_AUTHORITIES = "SSL_CERT_FILE"
"""The variable that tells OpenSSL the file with them (SSL_CTX_set_default_verify_paths(3))."""


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

    When the file changes, or what it names, it is read again, and so it is on SIGHUP: what begins
    then is served by the new rules. While there is a mistake in it, the old ones stay. Only listen,
    reuse_port, admin and tls need a restart.

    \b
    sidecar serve --upstream http://127.0.0.1:8000/v1
    sidecar serve --config sidecar.yaml --listen 0.0.0.0:8080
    """
    # Until it serves nothing is thrown away, and to look for what is takes a tenth of the start.
    gc.disable()
    from sidecar.rules.catalogue import shipped_catalogue
    from sidecar.rules.config import built_in_config
    from sidecar.rules.source import Read, Source

    with _without_authorities():
        from sidecar.server.app import serve as serve_by

    if (config_path is None) == (upstream is None):
        raise click.UsageError("Give either --config FILE or --upstream URL.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    pairs = {"listen": listen, "admin": admin}
    given = {name: address(f"--{name}", text) for name, text in pairs.items() if text}
    try:
        source: Source | None = None
        if config_path is None:
            config = replace(built_in_config(upstream or ""), **given)
            read = Read(config, shipped_catalogue())
        else:
            source = Source(config_path, os.environ, **given)
            read = source.read()
            if not config_path.is_file():
                source = None  # a pipe cannot be read twice
        listens = read.config.listen
        if listens == read.config.admin and listens.port:
            raise click.UsageError(f"--listen and --admin are both {listens}.")
        run(serve_by(read, source))
    except ConfigError as error:
        refuse(error)
    except OSError as error:
        fail(str(error))


@contextmanager
def _without_authorities() -> Iterator[None]:
    """OpenSSL finds none that are trusted by default.

    aiohttp reads them when it is imported, for a context of its own, which takes a twelfth of the
    start and two megabytes. Nothing here uses it: who connects by TLS brings a context
    (:meth:`sidecar.rules.upstreamsection.Tls.context`), made when the variable is as it was.
    """
    before = os.environ.get(_AUTHORITIES)
    os.environ[_AUTHORITIES] = os.devnull
    try:
        yield
    finally:
        del os.environ[_AUTHORITIES]
        if before is not None:
            os.environ[_AUTHORITIES] = before
