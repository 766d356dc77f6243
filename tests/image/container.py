"""Runs a command in a file system, as Kubernetes' restricted profile runs a container."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

USER: Final = 65532
"""And group."""
_SHELLS: Final = ("bash", "dash")


def boxed(root: Path, environment: Mapping[str, str], *options: str) -> list[str]:
    """What stands before a command: it is the first process, nobody can write, nobody has a shell
    or a capability. ``options`` are more of bubblewrap's."""
    return [
        *("bwrap", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"),
        *(word for name in _SHELLS for word in ("--ro-bind", "/dev/null", f"/usr/bin/{name}")),
        *("--unshare-pid", "--as-pid-1", "--die-with-parent", "--clearenv", *options),
        *(word for name, value in environment.items() for word in ("--setenv", name, value)),
        # A user namespace would make the files the user's own: so the number is changed for real.
        *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *("--cap-add", "CAP_SETPCAP", "--", "setpriv", f"--reuid={USER}", f"--regid={USER}"),
        *("--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"),
    ]
