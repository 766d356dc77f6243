"""File descriptors: what they are needed for, and as many as that."""

from __future__ import annotations

import logging
import resource
from typing import NamedTuple

log = logging.getLogger("sidecar")

ADMIN_CONNECTIONS = 64
"""A few probes and scrapers; more can only be a mistake."""

_RESERVE = ADMIN_CONNECTIONS + 64
"""For what is no connection of an answer: listeners, logs, a resolver, the libraries' files."""

_CONNECTIONS_EACH = 2
"""For each answer that may be under way: pools and browsers keep as many idle ones again."""


class Descriptors(NamedTuple):
    """``streams``: answers that can be under way, each with a connection to upstream;
    ``connections``: those that clients can have."""

    streams: int
    connections: int


def plan_descriptors(streams: int) -> Descriptors:
    """What ``streams`` answers need, if the system has that many for this process, whose own limit
    is raised; less otherwise, so that nothing that was begun fails for want of one."""
    wanted = _RESERVE + streams * (1 + _CONNECTIONS_EACH)
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < wanted:
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    planned = share(limit, streams)
    if planned.streams < streams:
        log.warning(
            "only %d answers can be under way at a time (limits.streams is %d): "
            "this process may open %d files",
            planned.streams,
            streams,
            limit,
        )
    return planned


def share(limit: int, streams: int) -> Descriptors:
    """What becomes of ``limit`` file descriptors."""
    free = max(limit - _RESERVE, 2)
    streams = min(streams, free // 2)
    return Descriptors(streams, min(free - streams, streams * _CONNECTIONS_EACH))
