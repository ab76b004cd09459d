"""Many clients that hold connections, as bots at a trap: a process of its own.

    python -m tideover.testing.crowd PORT COUNT [--talk]

They come from 127.0.1.1, 127.0.1.2 and so on, 100 from each. With --talk each says a command as
soon as it is answered, else it is silent after the greeting. What is held is printed each second;
it ends when its standard input does.
"""

import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

A_HOST: Final = 100
_PACE: Final = 0.002  # seconds between groups of `_GROUP`
_GROUP: Final = 10
_TALK: Final = b"NOOP\r\n"
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # no port is left in TIME-WAIT: others want them
_BIND_ADDRESS_NO_PORT: Final = 24  # Linux: addresses share ports


@contextmanager
def crowd(port: int, count: int, *, talk: bool = False, within: float = 60.0) -> Iterator[None]:
    """While inside, `count` clients hold connections to 127.0.0.1:`port`, all greeted.

    Raises:
        TimeoutError: they were not within that time.
    """
    command = [sys.executable, "-m", "tideover.testing.crowd", str(port), str(count)]
    child = subprocess.Popen(
        [*command, "--talk"] if talk else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        _wait(child.stdout, count, time.monotonic() + within)
        yield
    finally:
        child.kill()
        child.communicate()


def _wait(lines: IO[bytes] | None, count: int, deadline: float) -> None:
    held = 0
    for line in lines or ():
        held = int(line)
        if held == count:
            return
        if time.monotonic() > deadline:
            break
    raise TimeoutError(f"{held} of {count} clients are held")


def main(port: int, count: int, *, talk: bool) -> None:
    """Hold connections until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    poll = select.epoll()
    poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
    clients: dict[int, socket.socket] = {}
    greeted: set[int] = set()
    told, number = 0.0, 0
    while True:
        for _ in range(_GROUP):
            if number < count:
                sock = _connect(port, number)
                clients[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                number += 1
        for descriptor, _ in poll.poll(_PACE if number < count else 0.2):
            if descriptor not in clients:
                return
            _hear(poll, clients, greeted, descriptor, talk=talk)
        if time.monotonic() - told > 1.0:
            told = time.monotonic()
            print(len(greeted), flush=True)  # noqa: T201 - that is what it is for


def _connect(port: int, number: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    host = number // A_HOST
    sock.bind((f"127.0.{1 + host // 250}.{1 + host % 250}", 0))
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect(("127.0.0.1", port))
    return sock


def _hear(
    poll: select.epoll,
    clients: dict[int, socket.socket],
    greeted: set[int],
    descriptor: int,
    *,
    talk: bool,
) -> None:
    sock = clients[descriptor]
    try:
        data = sock.recv(4096)
        if data and talk:
            sock.send(_TALK)
    except OSError:
        data = b""
    if data:
        greeted.add(descriptor)
        return
    poll.unregister(sock)
    sock.close()
    del clients[descriptor]
    greeted.discard(descriptor)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), talk="--talk" in sys.argv)
