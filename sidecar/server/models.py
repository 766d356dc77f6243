"""The models that metrics call by their names: those that upstream lists, or that are configured.

A client may write any name; the list keeps them out of the metrics, and the metrics small.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.rules.config import Config
from sidecar.rules.configvalues import MAX_MODELS, MODEL_NAME
from sidecar.server.headers import Headers, to_upstream
from sidecar.server.replies import Refusal
from sidecar.server.upstream import BROKEN, UpstreamClient

log = logging.getLogger("sidecar")

OTHER: Final = "other"

ASKING_AGAIN: Final = 600.0
"""Seconds between two questions to upstream; models come and go by the day."""
PATIENCE: Final = 10.0
"""Seconds that an answer may take. Nobody waits for it."""
MAX_LIST: Final = 4_194_304
"""Bytes of upstream's list: that of a large provider has a few hundred thousand."""


class Models:
    """The names. Upstream is asked for its own (``GET /models``) when one is not known, unless the
    configuration lists them."""

    def __init__(self, config: Config, upstream: UpstreamClient) -> None:
        self._names = frozenset(config.models or ())
        self._asks = config.models is None
        self._config = config
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._asked_at = -ASKING_AGAIN
        self._asking: asyncio.Task[None] | None = None

    def label(self, model: str) -> str:
        """What metrics call ``model``, as a request or an answer calls it."""
        if model in self._names:
            return model
        if self._asks and self._loop.time() >= self._asked_at + ASKING_AGAIN:
            self._asked_at = self._loop.time()
            self._asking = self._loop.create_task(self._ask())
        return OTHER

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        names: frozenset[str] = frozenset()
        with suppress(TimeoutError, Refusal, *BROKEN):
            async with asyncio.timeout(PATIENCE):
                names = frozenset(names_in(await self._list()))
        if names:
            self._names = names
        else:
            # What it listed before stays: a moment's failure renames no model.
            log.info("upstream gave no list of its models; metrics call unlisted ones %r", OTHER)

    async def _list(self) -> bytes:
        url = f"{self._config.upstream.base_url}/models"
        headers: Headers = to_upstream((), api_key=self._config.upstream.api_key, filtered=True)
        async with self._upstream.answer("GET", url, headers, None, decode=True) as answer:
            body = bytearray()
            while answer.status == 200 and len(body) <= MAX_LIST:
                chunk = await answer.content.readany()
                if not chunk:
                    break
                body += chunk
            return bytes(body)


def names_in(body: bytes) -> Iterable[str]:
    """The ids in a list of models (OpenAI API reference, "List models"), as many as metrics tell
    apart; none if it is no such list."""
    try:
        value = parse(body).value
    except MalformedJSON:
        return []
    data = value.get("data") if isinstance(value, dict) else None
    items = data if isinstance(data, list) else ()
    ids = [item.get("id") for item in items if isinstance(item, dict)]
    names = [name for name in ids if isinstance(name, str) and MODEL_NAME.fullmatch(name)]
    return names[:MAX_MODELS]
