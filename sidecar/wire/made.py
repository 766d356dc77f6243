"""Items of a Responses answer that are ours: what was moved out of the text, or stands for it."""

from __future__ import annotations

from sidecar.wire.fields import Record

MAX_MADE = 8_388_608
"""Characters of all such items together. Their last events, and that of the answer, repeat the
whole text, and an event of this size is over the limit of any client."""


class MadeItem:
    """One item: the records of its events, without their sequence numbers."""

    def __init__(self, item: Record, index: int, kind: str, key: str) -> None:
        self.index = index
        self.item = item
        """As it is so far."""
        self._kind = kind
        self._key = key
        self._texts: list[str] = []

    @classmethod
    def reasoning(cls, item_id: str, index: int) -> MadeItem:
        """Reasoning, as raw text."""
        item: Record = {"id": item_id, "type": "reasoning", "summary": [], "content": []}
        return cls(item, index, "reasoning_text", "text")

    @classmethod
    def call(cls, item_id: str, index: int, call_id: str, name: str) -> MadeItem:
        """A call of a function."""
        item = {"id": item_id, "type": "function_call", "call_id": call_id, "name": name}
        return cls(item | {"arguments": ""}, index, "function_call_arguments", "arguments")

    @classmethod
    def message(cls, item_id: str, index: int) -> MadeItem:
        """A message of one part."""
        item = {"id": item_id, "type": "message", "role": "assistant", "content": []}
        return cls(item, index, "output_text", "text")

    def begin(self) -> list[Record]:
        """The events that announce it."""
        added: Record = {
            "type": "response.output_item.added",
            "output_index": self.index,
            "item": self.item | {"status": "in_progress"},
        }
        return [added, *self._part("added", "")]

    def say(self, text: str) -> Record:
        """More of its text."""
        self._texts.append(text)
        return {"type": f"response.{self._kind}.delta", **self._where, "delta": text} | self._more

    def end(self, status: str = "completed") -> list[Record]:
        """The events that complete it, and with it :attr:`item`."""
        text = "".join(self._texts)
        done = {"type": f"response.{self._kind}.done", **self._where, self._key: text} | self._more
        part = self._part("done", text)
        if self.item["type"] == "function_call":
            self.item["arguments"] = text
        else:
            self.item["content"] = [part[0]["part"]]
        self.item["status"] = status
        last = {"type": "response.output_item.done", "output_index": self.index, "item": self.item}
        return [done, *part, last]

    @property
    def _where(self) -> Record:
        where: Record = {"item_id": self.item["id"], "output_index": self.index}
        return where if self._kind == "function_call_arguments" else where | {"content_index": 0}

    @property
    def _more(self) -> Record:
        return {"logprobs": []} if self._kind == "output_text" else {}

    def _part(self, step: str, text: str) -> list[Record]:
        if self._kind == "function_call_arguments":
            return []
        part: Record = {"type": self._kind, "text": text}
        if self._kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        return [{"type": f"response.content_part.{step}", **self._where, "part": part}]
