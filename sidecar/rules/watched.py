"""What must be watched to see files change, however they do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def watched(paths: Collection[Path]) -> set[Path]:
    """The files and folders that tell of it, of those that are there: each of ``paths``, the folder
    in which it stands, where an editor puts another one, and both of where a link to it leads,
    which in Kubernetes is another folder after each change of a ConfigMap."""
    found: set[Path] = set()
    for path in paths:
        for each in (path.absolute(), path.resolve()):
            found |= {each, _there(each.parent)}
    return {path for path in found if path.exists()}


def _there(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
