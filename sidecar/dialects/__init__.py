"""How a status is written on the wire: one module for each way. Pure: no I/O, no clock.

A further one is a module beside these and a line in :data:`DIALECTS`; ``check_dialect`` of the
tests says what it must do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.core.status import Dialect, Form
from sidecar.dialects.chunk import write_chunk
from sidecar.dialects.comment import write_comment
from sidecar.dialects.event import write_event
from sidecar.dialects.open_webui import write_open_webui
from sidecar.dialects.text import write_content, write_reasoning
from sidecar.dialects.typed import write_typed

DIALECTS: Final[Mapping[Form, Dialect]] = {
    Form.CHUNK: write_chunk,
    Form.COMMENT: write_comment,
    Form.EVENT: write_event,
    Form.REASONING: write_reasoning,
    Form.CONTENT: write_content,
    Form.OPEN_WEBUI: write_open_webui,
    Form.TYPED: write_typed,
}
