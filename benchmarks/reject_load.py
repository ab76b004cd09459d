"""Clients that try unknown recipients, in one epoll loop of their own process.

usage: reject_load.py PORT TOTAL SESSIONS EACH

SESSIONS connections at a time; each says EHLO, MAIL, EACH times RCPT (waiting for every answer),
QUIT, until TOTAL recipients were refused. Prints one line of JSON.
"""

import json
import select
import socket
import sys
import time

LIMIT = 300.0


class Client:
    """One connection: sends the next line when the answer to the one before is complete."""

    def __init__(self, port: int, number: int, each: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.lines = [
            b"EHLO client.example.net\r\n",
            b"MAIL FROM:<sender@example.net>\r\n",
            *(b"RCPT TO:<nobody%d.%d@example.com>\r\n" % (number, n) for n in range(each)),
            b"QUIT\r\n",
        ]
        self.step = 0
        self.buffer = b""
        self.refused = 0
        self.wrong: bytes | None = None

    def on_readable(self) -> bool:
        """Take an answer; returns False when the session is over."""
        try:
            data = self.socket.recv(4096)
        except OSError as error:
            data = str(error).encode()
        if not data:
            if self.step <= len(self.lines):
                self.wrong = b"connection closed"
            return False
        self.buffer += data
        if not self.buffer.endswith(b"\n"):
            return True
        last = self.buffer[self.buffer.rfind(b"\n", 0, -1) + 1 :]
        if last[3:4] == b"-":
            return True
        self.buffer = b""
        wanted = b"550" if 3 <= self.step < len(self.lines) else b"2"
        if not last.startswith(wanted):
            self.wrong = last.strip()
            return False
        self.refused += wanted == b"550"
        if self.step == len(self.lines):
            return False
        self.socket.send(self.lines[self.step])
        self.step += 1
        return True


def main(port: int, total: int, sessions: int, each: int) -> None:
    """Run them all."""
    poll = select.epoll()
    clients: dict[int, Client] = {}
    started = refused = 0
    wrong: dict[str, int] = {}
    begin = time.monotonic()

    def start() -> None:
        nonlocal started
        client = Client(port, started, each)
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
        started += 1

    for _ in range(min(sessions, total // each)):
        start()
    while clients and time.monotonic() - begin < LIMIT:
        for handle, _ in poll.poll(5):
            client = clients[handle]
            if client.on_readable():
                continue
            refused += client.refused
            if client.wrong is not None:
                text = client.wrong[:60].decode("latin-1")
                wrong[text] = wrong.get(text, 0) + 1
            poll.unregister(handle)
            del clients[handle]
            client.socket.close()
            if started * each < total:
                start()
    seconds = time.monotonic() - begin
    print(json.dumps({"seconds": round(seconds, 3), "refused": refused, "wrong": wrong,
                      "client_cpu": round(time.process_time(), 2)}))  # fmt: skip


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:5]))
