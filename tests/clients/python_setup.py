"""Installs what the Python clients need that are built upon the SDKs, once, in an environment of
their own: they bring a plugin for pytest and many packages that the sidecar must not come to lean
on."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "python"

_PATIENCE: Final = 600.0
"""Seconds for an installation from the registry."""


def prepared_python() -> Path:
    """A Python that can run the scripts in :data:`FOLDER`.

    Several processes may ask at the same time. Raises CalledProcessError if pip fails.
    """
    environment = FOLDER / ".venv"
    python, installed = environment / "bin" / "python", environment / ".installed"
    requirements = FOLDER / "requirements.txt"
    with requirements.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = f"{sys.version}\n{lock.read()}"
        if not installed.exists() or installed.read_text() != state:
            _run(sys.executable, "-m", "venv", "--clear", str(environment))
            quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
            locked = ("--no-deps", "--require-hashes", "-r", str(requirements))
            _run(str(python), "-m", "pip", "install", *quiet, *locked)
            installed.write_text(state)
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=_PATIENCE)
