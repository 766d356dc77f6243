"""Installs what the Node clients need, once, as it is locked: their packages, and Node where the
system's is old (the optional packages)."""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "node"

_OLDEST: Final = 22
"""The major version of Node that the packages ask for."""
_ARCHITECTURES: Final = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_PATIENCE: Final = 300.0
"""Seconds for an installation from the registry."""


def prepared_node() -> Path | None:
    """A Node that can run the scripts in :data:`FOLDER`; None if the system has no Node or no npm.

    Several processes may ask at the same time. Raises CalledProcessError if npm fails.
    """
    system, npm = shutil.which("node"), shutil.which("npm")
    if system is None or npm is None:
        return None
    node, omit = Path(system), ["--omit=optional"]
    if _major(system) < _OLDEST:
        package = f"node-{sys.platform}-{_ARCHITECTURES[platform.machine()]}"
        node, omit = FOLDER / "node_modules" / package / "bin" / "node", []
    manifest = FOLDER / "package-lock.json"
    installed = FOLDER / "node_modules" / ".installed"
    with manifest.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = "\n".join([lock.read(), *omit])
        if not installed.exists() or installed.read_text() != state:
            quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run([npm, "ci", *quiet, *omit], cwd=FOLDER, check=True, timeout=_PATIENCE)
            installed.write_text(state)
    return node


def _major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    return int(version.stdout.strip().removeprefix("v").split(".")[0])
