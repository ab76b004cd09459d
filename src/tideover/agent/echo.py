"""ICMP echo requests with a time to live: one socket a family, many requests at once.

The packets are icmplib's. A raw socket needs root or CAP_NET_RAW; without them the system may lend
a socket for echoes (net.ipv4.ping_group_range). What routers say comes by the error queue, which
works for both. Where neither may be had, a question is decided by TCP alone.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

from icmplib import ICMPLibError, ICMPRequest, ICMPv4Socket, ICMPv6Socket  # type: ignore[import-untyped, unused-ignore]

from tideover.agent import icmp_errors
from tideover.agent.icmp_meaning import meaning
from tideover.agent.sights import Said, Sight

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_PAYLOAD: Final = b"Tideover agent: is there a route?"
_WAITING: Final = 2000  # requests without an answer, at once
_AT_ONCE: Final = 64  # packets read before others have their turn
_LARGEST: Final = 512
_REPLY: Final = {4: 0, 6: 129}
_TRIES: Final = 3


class Waiting(dict[int, tuple[str, "asyncio.Future[Sight]"]]):
    """Requests under way: by sequence number, to whom, and who waits."""


class EchoSocket:
    """Of one family. Made while we may be root; `attach` before the first `ask`."""

    def __init__(self, version: int, *, privileged: bool) -> None:
        """Raises OSError, with a reason, when the system gives none."""
        try:
            make = ICMPv6Socket if version == 6 else ICMPv4Socket
            self._icmp = make(privileged=privileged)
        except ICMPLibError as error:
            raise OSError(str(error)) from None
        self._version = version
        self.privileged = privileged
        self._sock: socket.socket = self._icmp.sock
        self._sock.setblocking(False)
        icmp_errors.listen(self._sock)
        self._identity = id(self) >> 4 & 0xFFFF
        self._sequence = 0
        self._waiting = Waiting()
        self._loop: AbstractEventLoop | None = None

    def attach(self) -> None:
        """Read on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        """Let go. Who waits hears nothing any more."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
        self._icmp.close()

    async def ask(self, address: str, ttl: int, timeout: float) -> Sight:
        """One echo request, and what answered it in time. Never raises."""
        if len(self._waiting) >= _WAITING:
            return Sight(Said.SILENCE)
        future: asyncio.Future[Sight] = asyncio.get_running_loop().create_future()
        number = self._next()
        self._waiting[number] = address, future
        try:
            if not self._send(address, ttl, number):
                return Sight(Said.REFUSED_HERE)
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return Sight(Said.SILENCE)
        finally:
            del self._waiting[number]

    def _next(self) -> int:
        while True:  # ends: fewer wait than there are numbers
            self._sequence = self._sequence + 1 & 0xFFFF
            if self._sequence not in self._waiting:
                return self._sequence

    def _send(self, address: str, ttl: int, number: int) -> bool:
        request = ICMPRequest(address, self._identity, number, payload=_PAYLOAD, ttl=ttl)
        for _ in range(_TRIES):
            # an error about an earlier packet would be taken for one of this
            self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                self._icmp.send(request)
            except (ICMPLibError, OSError):
                continue
            return True
        return False

    def _readable(self) -> None:
        for error in icmp_errors.waiting(self._sock):
            if self._is_ours(error.packet[4:6]):
                self._told(error)
        for _ in range(_AT_ONCE):
            try:
                data, sender = self._sock.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # that of an error which was read above
                continue
            self._heard(data, str(sender[0]).partition("%")[0])

    def _told(self, error: icmp_errors.IcmpError) -> None:
        number = int.from_bytes(error.packet[6:8], "big")
        target, _ = self._waiting.get(number, ("", None))
        if target and error.target in (target, ""):
            said = meaning(error, target, icmp_errors.own_address(target))
            if said is not Said.SILENCE:
                self._settle(number, Sight(said, error.offender))

    def _heard(self, data: bytes, sender: str) -> None:
        if self.privileged and self._version == 4:  # with its IP header (RFC 791 §3.1)
            data = data[(data[0] & 0x0F) * 4 :] if data else b""
        if len(data) < 8 or data[0] != _REPLY[self._version] or not self._is_ours(data[4:6]):
            return
        number = int.from_bytes(data[6:8], "big")
        target, _ = self._waiting.get(number, ("", None))
        if target == sender:
            self._settle(number, Sight(Said.ARRIVED, sender))

    def _is_ours(self, identity: bytes) -> bool:
        """The system numbers sockets that it lends, and gives us what is ours only."""
        return not self.privileged or identity == self._identity.to_bytes(2, "big")

    def _settle(self, number: int, sight: Sight) -> None:
        _, future = self._waiting[number]
        if not future.done():
            future.set_result(sight)


class Echoes:
    """The sockets of both families, as far as the system gives them."""

    def __init__(self, sockets: Mapping[int, EchoSocket], trouble: str) -> None:
        self._sockets = sockets
        self.trouble = trouble

    @classmethod
    def open(cls) -> Self:
        """Take what may be had; `trouble` says what may not, and "" that all is there."""
        sockets, trouble = {}, {}
        for version in (4, 6):
            for privileged in (True, False):
                try:
                    sockets[version] = EchoSocket(version, privileged=privileged)
                except OSError as error:
                    trouble[version] = f"IPv{version}: {' '.join(str(error).split())}"
                else:
                    trouble.pop(version, None)
                    break
        return cls(sockets, "; ".join(trouble.values()))

    def attach(self) -> None:
        """Read on the running loop."""
        for sock in self._sockets.values():
            sock.attach()

    def close(self) -> None:
        """Let go of all."""
        for sock in self._sockets.values():
            sock.close()

    def can(self, address: str) -> bool:
        """Whether addresses of this family can be asked."""
        return (6 if ":" in address else 4) in self._sockets

    async def ask(self, address: str, ttl: int, timeout: float) -> Sight:
        """As `EchoSocket.ask`; nobody answers where there is no socket."""
        sock = self._sockets.get(6 if ":" in address else 4)
        return await sock.ask(address, ttl, timeout) if sock is not None else Sight(Said.SILENCE)
