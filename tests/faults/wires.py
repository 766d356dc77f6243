"""Ways in which an end of a connection fails the other."""

from __future__ import annotations

import socket
import struct

from tests.server.scripted import Peer

NO_LINGER = struct.pack("ii", 1, 0)


def reset(peer: Peer) -> None:
    """Close with a RST, which says that something is wrong, instead of a FIN."""
    own = peer.writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    peer.abort()
