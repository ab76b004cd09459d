"""Ports for servers under test, chosen where nobody else takes them.

Not by binding port 0: that port is from the range which the kernel also gives to outgoing
connections, so that one of thousands of those may hold it when its server starts, or starts again.
"""

import os
import random
import socket
from typing import Final

_RANGE: Final = range(10_000, 32_000)
"""Below where Linux (32768) and IANA (49152) begin with ports of outgoing connections."""

_random = random.Random(os.urandom(8))  # noqa: S311  (tests may seed the module's own)
_given: set[int] = set()


def free_port() -> int:
    """A port on the loopback address that is free for TCP and UDP. None is given out twice.

    Raises:
        OSError: they are all taken, or nearly.
    """
    for _ in range(1000):
        port = _random.choice(_RANGE)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(f"hardly a port from {_RANGE.start} to {_RANGE.stop} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
