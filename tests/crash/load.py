"""Clients that send as fast as they are answered, until the server dies under them."""

import threading

from ledger import Ledger, size_of

from tideover.testing.mailgen import mail
from wire import Wire


class Load:
    """Clients in threads. `stop` ends them; what was acknowledged is in the ledger."""

    def __init__(self, port: int, ledger: Ledger, clients: int = 8) -> None:
        self._port = port
        self._ledger = ledger
        self._ending = threading.Event()
        self.surprises: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _send(self, client: int) -> None:
        """Half of the clients keep their connections, a quarter uses BDAT."""
        try:
            while not self._ending.is_set():
                with Wire(self._port) as wire:
                    wire.hello()
                    for _ in range(50 if client % 2 else 1):
                        self._one(wire, by_bdat=client % 4 == 1)
                        if self._ending.is_set():
                            return
        except (OSError, EOFError):
            return

    def _one(self, wire: Wire, *, by_bdat: bool) -> None:
        number = self._ledger.next_number()
        body = mail(number, size_of(number))
        wire.send(b"MAIL FROM:<sender@example.net>\r\nRCPT TO:<user@example.com>\r\n")
        if by_bdat:
            wire.send(b"BDAT %d LAST\r\n" % len(body) + body)
            answers = [wire.reply() for _ in range(3)]
        else:
            wire.send(b"DATA\r\n")
            answers = [wire.reply() for _ in range(3)]
            if answers[-1].startswith(b"354 "):
                wire.send((b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
                answers.append(wire.reply())
        if not answers[-1]:
            raise EOFError
        if answers[-1].startswith(b"250 ") and answers[-1].endswith(b"\r\n"):
            self._ledger.acknowledged[number] = answers[-1].split()[-1].decode()
        else:
            self.surprises.append(answers[-1].decode("latin-1"))
            raise EOFError
