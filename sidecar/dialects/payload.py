"""A status as the JSON object that several dialects carry."""

from __future__ import annotations

from sidecar.core.status import Status


def payload(status: Status) -> dict[str, object]:
    """``{"phase", "text", "tool"?, "source"?, "seq", "elapsed_ms"}``."""
    record: dict[str, object] = {"phase": status.phase.value, "text": status.text}
    if status.tool:
        record["tool"] = status.tool
    if status.source is not None:
        record["source"] = {"title": status.source.title, "url": status.source.url}
    return record | {"seq": status.seq, "elapsed_ms": status.elapsed}
