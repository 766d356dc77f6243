"""Ways in which an end of a connection fails the other."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from tests.server.scripted import Peer

NO_LINGER = struct.pack("ii", 1, 0)


def reset(peer: Peer) -> None:
    """Close with a RST, which says that something is wrong, instead of a FIN."""
    own = peer.writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    peer.abort()


async def flood(peer: Peer, pieces: Iterable[bytes]) -> int:
    """Send until the other end has closed; how many bytes that were. Ends only then: ``pieces``
    never do, or are more than anyone would take."""
    sent = 0
    try:
        for piece in pieces:
            await peer.send(piece)
            sent += len(piece)
    except ConnectionError:
        return sent
    raise AssertionError("it took everything")
