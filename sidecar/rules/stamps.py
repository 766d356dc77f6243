"""What changes with a file, so that a change is seen without reading it."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from sidecar.rules.catalogue import format_files

Stamp: TypeAlias = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes with a file, and with where a link to it leads; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def stamps(paths: Collection[Path]) -> dict[Path, Stamp]:
    """Those of ``paths``, and of the format files in those that are folders."""
    found = {path: stamp(path) for path in paths}
    for folder in paths:
        with suppress(OSError):
            found |= {file: stamp(file) for file in format_files(folder)}
    return found
