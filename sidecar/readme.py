"""Where the README explains what a file has wrong: its sections, by the keys of the files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sidecar.errors import Mistake
from sidecar.rules.formatfile import FormatSection

_ACCESS: Final = "Who may ask"
_USE: Final = "Use it"
_END: Final = "How it ends"
_COVERS: Final = "What it covers"
_STATUS: Final = "While nothing can be shown"
_LIMITS: Final = "Limits"

SECTIONS: Final = {
    "version": _USE,
    "listen": _USE,
    "admin": _USE,
    "upstream": _USE,
    "auth": _ACCESS,
    "hosts": _ACCESS,
    "cors": _ACCESS,
    "tls": _ACCESS,
    "playground": "See it",
    "reuse_port": _END,
    "drain": _END,
    "limits": _LIMITS,
    "write_timeout": _LIMITS,
    "status": _STATUS,
    "access_log": "Log and spans",
    "models": "Metrics",
    "formats": "The format language",
    "paths": _COVERS,
    "response_headers": _COVERS,
    "websocket": _COVERS,
    "rules": "What happens by default",
    "rules.formats": _COVERS,
    "rules.status": _STATUS,
}
"""By the keys of the configuration."""


def explained(mistakes: Iterable[Mistake]) -> str:
    """The sentence that says where to read on; empty if nothing is known of any of them."""
    found = dict.fromkeys(filter(None, map(_section, mistakes)))
    if not found:
        return ""
    *most, last = [f"“{section}”" for section in found]
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"The README explains this under {listed}."


def _section(mistake: Mistake) -> str:
    keys = [part for part in mistake.path.split(".") if not part.isdigit()]
    if not any(keys):
        return ""
    of_a_format = SECTIONS["formats"] if keys[0] in FormatSection.model_fields else ""
    return SECTIONS.get(".".join(keys[:2])) or SECTIONS.get(keys[0]) or of_a_format
