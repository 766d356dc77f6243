"""The admin plane: is it alive, is it ready, what has it counted, and what observed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from sidecar.core.stream import Fault
from sidecar.metrics import Metrics
from sidecar.server.hosts import Hosts
from sidecar.server.observed import Observed
from sidecar.server.replies import SERVER, Refusal, error_reply, json_reply

More = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]]


class Admin:
    """Serves ``/healthz``, ``/readyz``, ``/metrics`` and ``/admin/observed``. ``ready`` is asked
    each time.

    Nothing here changes anything, and no page of a browser may read it; but for what ``more``
    serves, which is asked first and answers None to what is not its own.
    """

    def __init__(
        self,
        metrics: Metrics,
        observed: Observed,
        ready: Callable[[], bool],
        hosts: Hosts,
        more: More,
    ) -> None:
        self._metrics = metrics
        self._observed = observed
        self._ready = ready
        self._hosts = hosts
        self._more = more

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request; the handler of the admin listener."""
        try:
            self._hosts.check(request)
            more = await self._more(request)
            if more is not None:
                return more
        except Refusal as refusal:
            return error_reply(refusal.status, refusal.fault, refusal.headers)
        if request.method not in ("GET", "HEAD"):
            return error_reply(405, Fault("method_not_allowed", "Only GET is served here."))
        match request.path:
            case "/healthz":
                return _text(200, "ok\n")
            case "/readyz":
                return _text(200, "ready\n") if self._ready() else _text(503, "not ready\n")
            case "/metrics":
                self._metrics.tasks.set(len(asyncio.all_tasks()))
                accept = request.headers.get("Accept", "")
                # Some of it is large, and every stream would wait.
                self._metrics.settle()
                body, content_type = await asyncio.to_thread(self._metrics.render, accept)
                reply = web.Response(body=body)
                reply.headers["Content-Type"] = content_type
                reply.headers["Server"] = SERVER
                return reply
            case "/admin/observed":
                return json_reply(200, self._observed.document())
        return error_reply(
            404, Fault("not_found", "/healthz, /readyz, /metrics and /admin/observed are here.")
        )


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers={"Server": SERVER})
