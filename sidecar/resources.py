"""Where the files that ship with the package are. Knows nothing of what is in them."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """The folder that holds ``sidecar.yaml`` and ``formats/``.

    Installed, it is part of the package; in a checkout it stands next to it.
    """
    package = Path(__file__).resolve().parent
    packaged = package / "config"
    return packaged if packaged.is_dir() else package.parent / "config"
