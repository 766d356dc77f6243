"""Answers that upstream has stored and that are fetched later: alone, in lists, or item by item.

They go through the rules like the answers that they once were. Owns where they are and how they
are packed; what becomes of each is decided by its wire format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Final, NamedTuple, Self

from sidecar.core.jsontext import Parsed, dump, parse
from sidecar.core.policy import Mode, UnknownFields
from sidecar.core.stats import Stats
from sidecar.core.stream import MalformedChunk
from sidecar.wire.chat import Chat
from sidecar.wire.errors import visible_error
from sidecar.wire.fields import (
    ANY_LIST,
    ANY_OBJECT,
    FLAG,
    NUMBER,
    TEXT,
    Record,
    Table,
    an_object,
    prune,
    text_or_object,
)
from sidecar.wire.items import INPUT_ROLES
from sidecar.wire.responses import Responses
from sidecar.wire.responses_fields import USAGE
from sidecar.wire.ruling import Ruling

Choose = Callable[[Record], Ruling | None]
"""What the rules mean for an answer that says of itself what was asked (``model``, ``tools``); an
empty record says nothing. None: it is not touched."""


class HiddenItem(Exception):
    """Nothing is left of the one item that was asked for."""


class StoredDocument:
    """One document with stored answers. ``kind`` is what it holds."""

    def __init__(self, kind: StoredAnswer, choose: Choose) -> None:
        self.judged: list[tuple[str, Stats]] = []
        """The rules that were about it, by their names, and what each of them did."""
        self._kind = kind
        self._choose = choose

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge it: the document for the client, None if it is the same. Raises MalformedChunk,
        and HiddenItem."""
        record = _object(document.value)
        left = self._error(record) if record.get("error") else self._kind.read(self, record)
        return None if left is record else dump(left, exact=True)

    # Each of these returns its very argument if nothing of it was changed.

    def completion(self, record: Record) -> Record:
        """A stored chat completion."""
        return self._answer(record, Chat, _COMPLETION)

    def response(self, record: Record) -> Record:
        """A stored response."""
        return self._answer(record, Responses, {})

    def completions(self, record: Record) -> Record:
        """A list of chat completions."""
        return self._list(record, lambda data: _each(data, self.completion))

    def messages(self, record: Record) -> Record:
        """A list of the messages that a chat completion continued."""
        return self._list(record, self._messages)

    def items(self, record: Record) -> Record:
        """A list of items of a response's input, or of a conversation."""
        return self._list(record, self._items)

    def item(self, record: Record) -> Record:
        """One item of a conversation. Raises HiddenItem."""
        left = self._items([record])
        mine = [item for item in left if item.get("id") == record.get("id")]
        if not mine:
            raise HiddenItem
        return record if mine[0] == record else mine[0]

    def compaction(self, record: Record) -> Record:
        """A conversation that was made shorter, as the items of its next turn."""
        return self._packed(record, "output", _COMPACTION, self._items)

    def _answer(self, record: Record, wire: type[Chat | Responses], echoed: Table) -> Record:
        """One whole answer; ``echoed`` is what it has more than one that was just made."""
        ruling = self._choose(record)
        if ruling is None:
            return record
        rest = deepcopy(record)
        echo = {key: rest.pop(key) for key in echoed if key in rest}
        answer = wire(ruling)
        self.judged.append((ruling.name, answer.stats))
        dropped = self._prune(echo, echoed, ruling, answer.stats)
        left = answer.read_document(Parsed(rest, True, b""))
        if ruling.policy.mode is Mode.OBSERVE or (left is None and not dropped):
            return record
        judged = rest if left is None else parse(left).value
        return dict(judged) if "error" in judged else judged | echo

    def _messages(self, messages: list[Any]) -> list[Any]:
        ruling = self._choose({})
        if ruling is None:
            return messages
        kept: list[Any] = []
        for message in messages:
            kept += self._message(_object(message), ruling)
        return messages if kept == messages or ruling.policy.mode is Mode.OBSERVE else kept

    def _message(self, message: Record, ruling: Ruling) -> Iterable[Record]:
        """What is left of a stored message, nothing or one."""
        role = message.get("role")
        if isinstance(role, str) and role in INPUT_ROLES:
            # The request's own words.
            yield message
            return
        chat = Chat(ruling)
        self.judged.append((ruling.name, chat.stats))
        own = {key: message[key] for key in ("id", "name") if key in message}
        choice = {"index": 0, "message": deepcopy(message)}
        left = chat.read_document(Parsed({"choices": [choice]}, True, b""))
        if left is None:
            yield message
            return
        choices = parse(left).value.get("choices")
        said = choices[0]["message"] if choices else {}
        if said or role == "assistant":
            yield own | (said or {"role": role})

    def _items(self, items: list[Any]) -> list[Any]:
        ruling = self._choose({})
        if ruling is None:
            return items
        responses = Responses(ruling)
        self.judged.append((ruling.name, responses.stats))
        left, changed = responses.read_items(deepcopy(items))
        return left if changed and ruling.policy.mode is not Mode.OBSERVE else items

    def _list(self, record: Record, judge: Callable[[list[Any]], list[Any]]) -> Record:
        return self._packed(record, "data", _LIST, judge)

    def _packed(
        self, record: Record, key: str, table: Table, judge: Callable[[list[Any]], list[Any]]
    ) -> Record:
        """What is packed as a list at ``key`` of an object with the keys of ``table``."""
        packed = record.get(key)
        if not isinstance(packed, list):
            raise MalformedChunk(f"what is stored is a list, at {key}")
        left = judge(packed)
        ruling = self._choose({})
        envelope = dict(record)
        dropped = 0
        if ruling is not None:
            stats = Stats()
            self.judged.append((ruling.name, stats))
            dropped = self._prune(envelope, table, ruling, stats)
            if ruling.policy.mode is Mode.OBSERVE:
                envelope, dropped = dict(record), 0
        if left is packed and not dropped:
            return record
        return envelope | {key: left}

    def _error(self, record: Record) -> Record:
        ruling = self._choose({})
        if ruling is None or ruling.policy.mode is Mode.OBSERVE:
            return record
        told, _ = visible_error(record["error"], ruling)
        return {"error": told}

    def _prune(self, record: Record, table: Table, ruling: Ruling, stats: Stats) -> int:
        keeps = ruling.policy.unknown_fields is UnknownFields.PASS
        dropped = prune(record, table, keep_unknown=keeps)
        stats.unknown_fields += dropped
        return dropped


class StoredAnswer(NamedTuple):
    """Where answers of one kind are fetched: with ``methods``, at ``path``; ``end`` is how such a
    path ends whatever stands before it. ``endpoint`` is the path of the requests that they once
    answered, ``streams`` whether they can be fetched as streams."""

    methods: frozenset[str]
    path: re.Pattern[str]
    end: re.Pattern[str]
    endpoint: str
    read: Callable[[StoredDocument, Record], Record]
    streams: bool = False

    @classmethod
    def at(
        cls,
        methods: str,
        path: str,
        endpoint: str,
        read: Callable[[StoredDocument, Record], Record],
        *,
        streams: bool = False,
    ) -> Self:
        """Of a path with ``*`` for an id, and methods between blanks."""
        pattern = re.escape(path).replace(r"\*", "[^/]+")
        whole, end = re.compile("/v1" + pattern), re.compile(pattern + "$")
        return cls(frozenset(methods.split()), whole, end, endpoint, read, streams)


_CHAT, _RESPONSES = "/v1/chat/completions", "/v1/responses"

# OpenAI API reference, "Chat completions", "Responses" and "Conversations".
STORED: Final = (
    StoredAnswer.at("GET", "/chat/completions", _CHAT, StoredDocument.completions),
    StoredAnswer.at("GET POST", "/chat/completions/*", _CHAT, StoredDocument.completion),
    StoredAnswer.at("GET", "/chat/completions/*/messages", _CHAT, StoredDocument.messages),
    StoredAnswer.at("POST", "/responses/compact", _RESPONSES, StoredDocument.compaction),
    StoredAnswer.at("GET", "/responses/*", _RESPONSES, StoredDocument.response, streams=True),
    StoredAnswer.at("POST", "/responses/*/cancel", _RESPONSES, StoredDocument.response),
    StoredAnswer.at("GET", "/responses/*/input_items", _RESPONSES, StoredDocument.items),
    StoredAnswer.at("GET POST", "/conversations/*/items", _RESPONSES, StoredDocument.items),
    StoredAnswer.at("GET", "/conversations/*/items/*", _RESPONSES, StoredDocument.item),
)

_LIST: Table = {
    "object": TEXT,
    "data": ANY_LIST,
    "first_id": TEXT,
    "last_id": TEXT,
    "has_more": FLAG,
}
_COMPACTION: Table = {
    "id": TEXT,
    "object": TEXT,
    "created_at": NUMBER,
    "output": ANY_LIST,
    "usage": an_object(USAGE),
}
_COMPLETION: Table = {
    "request_id": TEXT,
    "tool_choice": text_or_object({}),
    "tools": ANY_LIST,
    "seed": NUMBER,
    "top_p": NUMBER,
    "temperature": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "input_user": TEXT,
    "metadata": ANY_OBJECT,
    "response_format": ANY_OBJECT,
}
"""What a stored chat completion repeats of its request."""


def _object(value: Any) -> Record:
    if not isinstance(value, dict):
        raise MalformedChunk("what is stored is an object")
    return value


def _each(values: list[Any], judge: Callable[[Record], Record]) -> list[Any]:
    left = [judge(_object(value)) for value in values]
    return values if all(one is other for one, other in zip(left, values, strict=True)) else left
