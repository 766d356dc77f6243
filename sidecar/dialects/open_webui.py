"""A status as Open WebUI's own event, in an empty chunk: it shows the description above the answer
until one is ``done``.

Source: https://docs.openwebui.com/features/extensibility/plugin/development/events/.
"""

from __future__ import annotations

from sidecar.core.progress import Phase
from sidecar.core.status import Carrier, Status

_ENDS = (Phase.ANSWERING, Phase.DONE)


def write_open_webui(status: Status, carrier: Carrier) -> bytes:
    """An empty chunk with a top-level key ``event``."""
    data: dict[str, object] = {"description": status.text, "done": status.phase in _ENDS}
    if not status.text:
        data["hidden"] = True
    return carrier.carry({"event": {"type": "status", "data": data}})
