"""The tables know what the vendors' own SDKs know: a release that adds a type or a key is noticed.

What is missing from a table is dropped, which is safe and not what the client asked for. A new type
of item or block has to be given a channel by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import anthropic.types as messages
import openai.types.responses as responses
import pytest
from anthropic.types import beta as beta_messages
from openai.types import beta as beta_responses
from pydantic import BaseModel

from sidecar.wire import messages_fields, responses_fields
from sidecar.wire.fields import Table


def members(union: Any) -> Iterator[type[BaseModel]]:
    """The models of a union, which may be annotated or hold other unions."""
    if isinstance(union, type):
        if issubclass(union, BaseModel):
            yield union
    else:
        for part in get_args(union):
            yield from members(part)


def keys(model: type[BaseModel]) -> set[str]:
    """Its keys as they are written in JSON."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("union", "tables"),
    [
        (responses.ResponseStreamEvent, responses_fields.EVENTS),
        (beta_responses.BetaResponseStreamEvent, responses_fields.EVENTS),
        (responses.ResponseOutputItem, responses_fields.ITEMS),
        (responses.ResponseItem, responses_fields.ITEMS),
        (beta_responses.BetaResponseItem, responses_fields.ITEMS),
        (messages.RawMessageStreamEvent, messages_fields.EVENTS),
        (beta_messages.BetaRawMessageStreamEvent, messages_fields.EVENTS),
        (messages.ContentBlock, messages_fields.BLOCKS),
        (beta_messages.BetaContentBlock, messages_fields.BLOCKS),
        (messages.RawContentBlockDelta, messages_fields.DELTAS),
        (beta_messages.BetaRawContentBlockDelta, messages_fields.DELTAS),
    ],
)
def test_every_type_of_the_sdk_has_its_table(union: Any, tables: dict[str, Table]) -> None:
    known = {
        kind: keys(model)
        for model in members(union)
        for kind in get_args(model.model_fields["type"].annotation)
    }
    assert known
    lacking = {
        kind: names - tables.get(kind, {}).keys()
        for kind, names in known.items()
        if not names <= tables.get(kind, {}).keys()
    }
    assert not lacking


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (responses.Response, responses_fields.RESPONSE),
        (responses.ResponseUsage, responses_fields.USAGE),
        (beta_messages.BetaMessage, messages_fields.MESSAGE),
        (beta_messages.BetaUsage, messages_fields.USAGE),
    ],
)
def test_every_key_of_the_sdk_is_in_the_table(model: type[BaseModel], table: Table) -> None:
    assert not keys(model) - table.keys()


def test_every_item_and_block_is_read_judged_or_opaque() -> None:
    judged = responses_fields.ITEM_CHANNELS.keys()
    assert responses_fields.ITEMS.keys() == {"message"} | judged | responses_fields.OPAQUE_ITEMS
    blocks = messages_fields.BLOCK_CHANNELS.keys()
    assert messages_fields.BLOCKS.keys() == {"text"} | blocks | messages_fields.OPAQUE_BLOCKS


def test_every_hosted_tool_of_the_sdk_declares_its_calls() -> None:
    hosted = {kind for kinds in responses_fields.HOSTED_TOOLS.values() for kind in kinds}
    by_name = {"function", "custom", "namespace"}
    for model in members(responses.Tool):
        assert hosted | by_name >= set(get_args(model.model_fields["type"].annotation))


def test_every_reason_to_stop_of_the_sdk_is_known() -> None:
    assert set(get_args(beta_messages.BetaStopReason)) <= messages_fields.STOP_REASONS
