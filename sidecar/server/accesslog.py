"""The line that tells of a request when it has ended: who, what, how long, and nothing of what was
said."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from sidecar.rules.configvalues import AccessLog

log = logging.getLogger("sidecar")

Fields = Mapping[str, str | int | float | bool | None]
Write = Callable[[Fields], None]

_BARE: Final = re.compile(r"[A-Za-z0-9._:/@+-]+")
"""What logfmt need not quote."""


def access_log(form: AccessLog, out: TextIO | None = None) -> Write:
    """What writes the line of a request to ``out``, standard output if None is given. Where that
    fails, the line is lost, and the log says so once."""
    if form is AccessLog.OFF:
        return lambda _: None
    line = _json if form is AccessLog.JSON else _logfmt
    fails = False

    def write(fields: Fields) -> None:
        nonlocal fails
        stream = sys.stdout if out is None else out
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")} | dict(fields)
        said = {key: value for key, value in stamped.items() if value is not None}
        try:
            stream.write(line(said) + "\n")
            stream.flush()
        except OSError as error:
            # A full disk, or a reader that is gone: the request was served all the same.
            if not fails:
                log.warning("the access log cannot be written: %s", error.strerror)
            fails = True
        else:
            fails = False

    return write


def _json(fields: Fields) -> str:
    return json.dumps(fields, separators=(",", ":"))


def _logfmt(fields: Fields) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
