"""A web server in a thread that answers as a test says, badly if need be."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Headers = dict[str, str]
Answer = tuple[int, Headers, bytes]


class Web:
    """`answer` makes the answer to a path and its request headers; `requests` are all that came.

    A Content-Length is added unless the headers have one or "X-No-Length".
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answer: Callable[[str, Headers], Answer] = lambda _path, _headers: (404, {}, b"")
        self.requests: list[tuple[str, Headers]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "http" if context is None else "https"
        self.port: int = self._server.server_address[1]

    def url(self, path: str, host: str = "localhost") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def gives(self, body: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda _path, _headers: (status, named, body)

    @contextmanager
    def running(self) -> Iterator["Web"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join(10)
            self._server.server_close()


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            web.requests.append((self.path, headers))
            status, given, body = web.answer(self.path, headers)
            self.send_response_only(status)
            for name, value in given.items():
                if not name.startswith("X-"):
                    self.send_header(name, value)
            if not {"Content-Length", "X-No-Length", "Transfer-Encoding"} & given.keys():
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
