"""The trap's connections: many, cheap and slow.

No asyncio transport each: all sockets are in one epoll set, of which the loop watches only the
descriptor; all delays are in one queue, as they are equally long. The loop gets few of them at a
time, so that the listeners that take mail are not held up.

Invariants
    A connection costs less than 10 KiB of memory: its socket, one `_Held`, at most `MAX_LINE`
    octets. Nothing is read while a reply is due: then the client's octets wait in the kernel.
    No connection lives longer than `LIFETIME`.
"""

import asyncio
import errno
import select
import socket
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Final

from tideover.config.primaries import Trap
from tideover.message.client_address import plain_address
from tideover.policy.networks import host_of
from tideover.trap.dialogue import MAX_LINE, Deed, Dialogue, Said
from tideover.trap.evidence import Contact

LIFETIME: Final = 600.0
"""Seconds; an honest sender is done after four delays."""

_BACKLOG: Final = 512
_KERNEL_BUFFER: Final = 4096  # octets; the kernel doubles it
_AT_ONCE: Final = 32  # events, and replies, before others have their turn
_ACCEPTS: Final = 8
_TICK: Final = 0.1
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_COUNT: Final = struct.Struct("i")
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY: Final = 0.5

_HEAR: Final = select.EPOLLIN | select.EPOLLRDHUP
_WAIT: Final = select.EPOLLRDHUP


class _Phase(Enum):
    GREETING = auto()  # the greeting is due
    LISTENING = auto()
    REPLYING = auto()  # a reply is due
    LAST = auto()  # the last reply is due


class _Held:
    __slots__ = ("address", "began", "buffer", "dialogue", "due", "phase", "reply", "sock",
                 "started", "wanted")  # fmt: skip

    def __init__(
        self, sock: socket.socket, address: str, started: float, began: float, *, wanted: bool
    ) -> None:
        self.sock = sock
        self.address = address
        self.started = started
        self.began = began
        self.wanted = wanted
        self.phase = _Phase.GREETING
        self.dialogue = Dialogue()
        self.buffer = b""
        self.reply = b""
        self.due = 0.0


class Holding:
    """Holds connections between `open` and `close`. `ended` is told of each newcomer's that is
    over; `is_newcomer` and `is_forged` (HELO name, client) judge addresses; `clock` is Unix time.
    `ceiling` holds whatever the settings say.
    """

    def __init__(
        self,
        settings: Trap,
        hostname: str,
        *,
        ended: Callable[[Contact], None],
        is_newcomer: Callable[[str], bool],
        is_forged: Callable[[str, str], bool],
        clock: Callable[[], float],
        ceiling: int | None = None,
    ) -> None:
        self._ended = ended
        self._is_newcomer = is_newcomer
        self._is_forged = is_forged
        self._clock = clock
        self._ceiling = ceiling
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._held: OrderedDict[int, _Held] = OrderedDict()  # the oldest first
        self._due: OrderedDict[int, _Held] = OrderedDict()  # those that wait for us
        self._by_client: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0
        self.reconfigure(settings, hostname)

    def reconfigure(self, settings: Trap, hostname: str) -> None:
        """For connections and replies to come."""
        self._settings = settings
        self._hostname = hostname.encode()

    @property
    def count(self) -> int:
        """Connections held now."""
        return len(self._held)

    # Listening

    def open(self, sockets: Sequence[socket.socket]) -> None:
        """Take connections from these bound sockets. Raises OSError: one can't listen."""
        if not self._listeners:
            self._loop.add_reader(self._poll.fileno(), self._ready)
        for sock in sockets:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BUFFER)
            sock.setblocking(False)
            sock.listen(_BACKLOG)
            self._listeners[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLIN)

    def close(self) -> int:
        """End all connections, and refuse new ones: the sockets stay bound, so that the kernel
        answers RST, and `open` needs no right that was dropped. Returns how many there were.
        """
        for sock in self._listeners.values():
            with suppress(OSError):
                self._poll.unregister(sock)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RD)  # on Linux: no longer listening, still bound
        if self._listeners:
            self._loop.remove_reader(self._poll.fileno())
        self._listeners.clear()
        self._paused_until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count = len(self._held)
        while self._held:
            self._drop(next(iter(self._held.values())))
        return count

    # Events

    def _ready(self) -> None:
        for descriptor, _ in self._poll.poll(0, _AT_ONCE):
            held = self._held.get(descriptor)
            if held is not None:
                self._hear(held)
            elif descriptor in self._listeners:
                self._accept(self._listeners[descriptor])

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause()
                return
            self._take(sock, plain_address(peer[0]))

    def _pause(self) -> None:
        """No descriptor or memory is left for us: others need them more. Again in a moment."""
        for sock in self._listeners.values():
            self._poll.modify(sock, 0)
        self._paused_until = self._loop.time() + _RETRY
        self._tick_soon()

    def _take(self, sock: socket.socket, address: str) -> None:
        key, settings = host_of(address), self._settings
        if (
            len(self._held) >= settings.max_connections
            or len(self._held) == self._ceiling
            or self._by_client[key] >= settings.max_connections_per_client
        ):
            _reset(sock)
            if not self._by_client[key]:
                del self._by_client[key]
            return
        sock.setblocking(False)
        wanted = self._is_newcomer(address)
        held = _Held(sock, address, self._loop.time(), self._clock(), wanted=wanted)
        self._by_client[key] += 1
        self._held[sock.fileno()] = held
        self._poll.register(sock, _WAIT)
        self._speak_later(held)

    def _hear(self, held: _Held) -> None:
        """It said something, or closed."""
        try:
            data = held.sock.recv(MAX_LINE - len(held.buffer))
        except BlockingIOError:
            return
        except ConnectionResetError:
            self._left(held, hung_up=True)
            return
        except OSError:
            self._left(held, hung_up=False)
            return
        if not data or held.phase is not _Phase.LISTENING:
            self._closed(held, data)
            return
        held.buffer += data
        self._next_line(held)

    def _closed(self, held: _Held, data: bytes) -> None:
        """The client has closed its side; `data` is what it sent before, unasked."""
        if data and held.phase is _Phase.GREETING:
            held.dialogue.deeds |= Deed.EARLY
        held.dialogue.left_behind(held.buffer + data)
        self._left(held, hung_up=_all_arrived(held.sock))

    def _next_line(self, held: _Held) -> None:
        line, end, rest = held.buffer.partition(b"\n")
        if end:
            held.buffer = rest
            before = held.dialogue.helo
            said, held.reply = held.dialogue.line(line, self._hostname)
            helo = held.dialogue.helo
            if helo != before and self._is_forged(helo, held.address):
                held.dialogue.deeds |= Deed.FORGED
            held.phase = _Phase.LAST if said is Said.END else _Phase.REPLYING
            self._poll.modify(held.sock, _WAIT)
            self._speak_later(held)
        elif len(held.buffer) >= MAX_LINE:
            self._left(held, hung_up=False)
        elif held.phase is not _Phase.LISTENING:
            held.phase = _Phase.LISTENING
            self._poll.modify(held.sock, _HEAR)

    # What is due

    def _speak_later(self, held: _Held) -> None:
        held.due = self._loop.time() + self._settings.delay
        self._due[held.sock.fileno()] = held
        self._tick_soon()

    def _tick_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer, now = None, self._loop.time()
        if 0 < self._paused_until <= now:
            self._paused_until = 0.0
            for sock in self._listeners.values():
                self._poll.modify(sock, select.EPOLLIN)
        for _ in range(_AT_ONCE):
            held = next(iter(self._due.values()), None)
            if held is None or held.due > now:
                break
            del self._due[held.sock.fileno()]
            self._speak(held)
        else:
            self._timer = self._loop.call_later(0, self._tick)
        for _ in range(_AT_ONCE):
            held = next(iter(self._held.values()), None)
            if held is None or held.started + LIFETIME > now:
                break
            self._left(held, hung_up=False)
        if self._held or self._paused_until:
            self._tick_soon()

    def _speak(self, held: _Held) -> None:
        try:
            if held.phase is _Phase.GREETING:
                held.reply = b"220 " + self._hostname + b" ESMTP\r\n"
                self._notice_early(held)
            sent = held.sock.send(held.reply)
        except ConnectionError:
            self._left(held, hung_up=True)
            return
        except OSError:
            self._left(held, hung_up=False)
            return
        if sent < len(held.reply) or held.phase is _Phase.LAST:
            self._left(held, hung_up=False)
            return
        held.reply = b""
        self._next_line(held)

    def _notice_early(self, held: _Held) -> None:
        with suppress(BlockingIOError):
            held.buffer = held.sock.recv(MAX_LINE)
            if held.buffer:
                held.dialogue.deeds |= Deed.EARLY

    # The end

    def _left(self, held: _Held, *, hung_up: bool) -> None:
        """A connection is over: tell of it, if somebody wants to know."""
        self._drop(held)
        if held.wanted:
            self._ended(
                Contact(
                    client=held.address,
                    began=held.began,
                    ended=self._clock(),
                    helo=held.dialogue.helo,
                    deeds=held.dialogue.deeds,
                    hung_up=hung_up,
                )
            )

    def _drop(self, held: _Held) -> None:
        descriptor = held.sock.fileno()
        self._held.pop(descriptor, None)
        self._due.pop(descriptor, None)
        held.sock.close()
        key = host_of(held.address)
        self._by_client[key] -= 1
        if self._by_client[key] <= 0:
            del self._by_client[key]


def _reset(sock: socket.socket) -> None:
    """Close without a farewell, which leaves nothing behind in the kernel."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.close()


def _all_arrived(sock: socket.socket) -> bool:
    """Whether the client's kernel has acknowledged all that we said."""
    with suppress(OSError):
        return int(_COUNT.unpack(ioctl(sock, TIOCOUTQ, bytes(_COUNT.size)))[0]) == 0
    return False
