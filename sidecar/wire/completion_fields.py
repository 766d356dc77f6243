"""Every JSON key that a choice of a legacy completion may carry while a rule hides anything.

The envelope is that of a chat completion, and so is most of a choice: what differs is where the
text stands, and how its log-probabilities are written.
"""

from __future__ import annotations

from sidecar.wire.chat_fields import ANY_CHOICE, MESSAGE, REASONING_KEYS
from sidecar.wire.fields import NOTHING, TEXT, Table, an_object
from sidecar.wire.logprobs import TEXT_LOGPROBS

CHOICE: Table = (
    ANY_CHOICE
    | {key: MESSAGE[key] for key in REASONING_KEYS}  # OpenRouter
    | {"text": TEXT, "logprobs": an_object(TEXT_LOGPROBS)}
    | {"delta": NOTHING, "message": NOTHING}  # where no message is read
)
"""A choice of a chunk, or of a document: they have one shape."""
