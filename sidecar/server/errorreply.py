"""Error answers of the upstream, as a client gets them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from sidecar.core.jsontext import MalformedJSON, dump, parse
from sidecar.core.stream import Fault
from sidecar.server.downstream import Downstream
from sidecar.server.headers import Headers
from sidecar.server.relay import Relay
from sidecar.server.replies import Refusal, error_reply, json_reply
from sidecar.wire.errorclass import classify, sentence
from sidecar.wire.errors import MAX_ERROR, UPSTREAM_ERROR, visible_error
from sidecar.wire.errorshapes import ErrorShape, openai_error, reported
from sidecar.wire.ruling import Ruling


async def upstream_error(
    relay: Relay,
    status: int,
    headers: Headers,
    ruling: Ruling,
    shape: ErrorShape = openai_error,
) -> web.StreamResponse:
    """Upstream's error answer with its status and ``headers``, in the words of a wire format: what
    can be shown of a well-formed error of a request, or else one of our own."""
    error, request_id = reported(await _document(relay))
    if error is None or status >= 500 or _is_about_our_key(relay, error, status):
        return error_reply(status, _own(error, status), headers, shape=shape)
    record, _ = visible_error(error, ruling, status)
    body = shape(status, record | {"request_id": request_id})
    return json_reply(status, dump(body, exact=True), headers)


async def upstream_error_in_stream(
    relay: Relay, status: int, downstream: Downstream
) -> web.StreamResponse:
    """The same in an answer that has begun. Raises CutOff."""
    error, _ = reported(await _document(relay))
    if error is None or status >= 500 or _is_about_our_key(relay, error, status):
        return await downstream.fail(_own(error, status))
    return await downstream.refuse(error, status)


def _is_about_our_key(relay: Relay, error: Any, status: int) -> bool:
    """Whether an error says, or is likely to say, anything of the key that the client does not
    know: what refuses a key quotes it, whole or in parts."""
    if relay.own_key is None:
        return False
    return status == 401 or json.dumps(relay.own_key)[1:-1] in json.dumps(error)


def _own(error: Any, status: int) -> Fault:
    return Fault(UPSTREAM_ERROR, sentence(classify(error, status)))


async def _document(relay: Relay) -> Any:
    """The body; None if it does not come, or is no JSON that is read."""
    try:
        return parse(await relay.body(MAX_ERROR)).value
    except (Refusal, MalformedJSON):
        return None
