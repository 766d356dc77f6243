"""The certificate of the data listener, read again when its files change."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from sidecar.rules.certificates import BadCertificate, Tls, server_context
from sidecar.rules.stamps import stamp

log = logging.getLogger("sidecar")

HANDSHAKE: Final = 10.0
"""Seconds that a TLS handshake may take: three or four times what the slowest network needs."""

_LOOKS_EVERY: Final = 1.0
"""Seconds between two looks at the files."""


class ReloadingContext(ssl.SSLContext):
    """Serves each new connection by the newest files of ``tls``; those that are there go on as they
    are. Where new files are wrong, the old ones stay, and the log says so once.

    Each connection is one of an ordinary context, which is made anew when the files change: so the
    authorities for clients change with the certificate, and a session that was begun by older
    files is not resumed. Raises BadCertificate if the first files are wrong. ``now`` gives seconds
    that only grow.
    """

    def __new__(cls, tls: Tls, now: Callable[[], float] = time.monotonic) -> ReloadingContext:
        """A context for servers; what it is asked itself is only to wrap connections."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, tls: Tls, now: Callable[[], float] = time.monotonic) -> None:
        self._tls = tls
        self._now = now
        self._looked_at = now()
        self._stamps = list(map(stamp, tls.files))
        self._current = server_context(tls)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """One connection; asyncio's and uvloop's own call for each."""
        if self._now() >= self._looked_at + _LOOKS_EVERY:
            self._look()
        return self._current.wrap_bio(*args, **options)

    def _look(self) -> None:
        self._looked_at = self._now()
        # Before the files: what changes while they are read is seen the next time.
        stamps = list(map(stamp, self._tls.files))
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._current = server_context(self._tls)
        except BadCertificate as error:
            log.warning("the new certificate cannot be used, the old one stays: %s", error)
        else:
            log.info("the certificate has changed, and was read again")
