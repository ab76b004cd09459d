"""A connection to a filter: packets out, packets in, each within its time."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from typing import Final

from tideover.config.policy_values import SocketAddress
from tideover.policy.engines.milter.codec import Command, MilterError, Packets, packet

_PIECE: Final = 64 * 1024
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class Connection:
    """Made by `open_connection`. `timeout` is in seconds, for each wait."""

    __slots__ = ("_packets", "_reader", "_timeout", "_writer")

    def __init__(self, reader: StreamReader, writer: StreamWriter, timeout: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._packets = Packets()

    def send(self, data: bytes) -> None:
        """Send whole packets; they may still lie in our buffer."""
        self._writer.write(data)

    async def flush(self) -> None:
        """Wait until there is room for more.

        Raises:
            MilterError: there was none in time, or the connection is gone.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        except TimeoutError:
            raise MilterError(f"it takes nothing within {self._timeout:g} s") from None
        except OSError as error:
            raise MilterError(f"the connection broke: {error}") from None

    async def receive(self) -> tuple[bytes, bytes]:
        """The next packet: its name and data.

        Raises:
            MilterError: there is none in time, or it is broken, or the connection is gone.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
                while (found := self._packets.next()) is None:
                    self._acknowledge()
                    piece = await self._reader.read(_PIECE)
                    if not piece:
                        raise MilterError("it closed the connection")
                    self._packets.feed(piece)
                return found
        except TimeoutError:
            raise MilterError(f"no answer within {self._timeout:g} s") from None
        except OSError as error:
            raise MilterError(f"the connection broke: {error}") from None

    def _acknowledge(self) -> None:
        # a filter on libmilter writes each change by itself and waits for the acknowledgement of
        # the last one, which else takes 40 ms (Nagle's algorithm against delayed ACKs)
        sock = self._writer.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and _QUICK_ACK is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def close(self) -> None:
        """Take leave, without waiting for anything."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size():
            transport.abort()  # it does not read; what is left would keep the socket for ever
            return
        self._writer.write(packet(Command.ABORT) + packet(Command.QUIT))
        self._writer.close()

    def abort(self) -> None:
        """Close it at once: what comes now would be no answer to anything."""
        self._writer.transport.abort()


async def open_connection(address: SocketAddress, timeout: float) -> Connection:
    """Connect to a filter.

    Raises:
        MilterError: nobody is there, or not in time.
    """
    try:
        async with asyncio.timeout(timeout):
            if address.endpoint is None:
                reader, writer = await asyncio.open_unix_connection(address.path)
            else:
                reader, writer = await asyncio.open_connection(*address.endpoint)
    except TimeoutError:
        raise MilterError(f"no connection to {address} within {timeout:g} s") from None
    except OSError as error:
        raise MilterError(f"no connection to {address}: {error}") from None
    return Connection(reader, writer, timeout)
