import asyncio
import http.client
import threading

import uvloop

from tideover.config.model import Config, Console, Domain, Source
from tideover.config.values import Endpoint
from tideover.console.server import Console as Server
from tideover.console.server import prepare
from tideover.recipients.report import Refreshed

TOKEN = "a-token-of-more-than-16"


class FakeFeeds:
    """Keeps what is pushed; answers with `result`, or raises it."""

    def __init__(self):
        self.got = []
        self.result = Refreshed(domain="example.com", source="feed:push", entries=3, changed=True)
        self.lasts = 0.0

    async def push(self, domain, file):
        self.got.append((domain, file.read_bytes()))
        self.mode = file.stat().st_mode & 0o777
        await asyncio.sleep(self.lasts)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class Served:
    """A console on a free port of a loop of its own."""

    def __init__(self, directory, certificate=None):
        (directory / "token").write_text(TOKEN + "\n")
        self.config = Config(
            hostname="mx2.example.org",
            data_dir=directory,
            min_free_space=0,
            console=Console(listen=Endpoint("127.0.0.1", 0), tls_certificate=certificate),
            sources={"feed:push": Source(max_size=300_000)},
            domains={
                "example.com": Domain(
                    primary=None,
                    recipients=("feed:push",),
                    feed_push_token_file=directory / "token",
                ),
                "example.org": Domain(primary=None, recipients=("file:x",)),
            },
        )
        self.feeds = FakeFeeds()
        self.events = []
        self.faults = []

    def __enter__(self):
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = Server(
            prepare(self.config.console, self.events.append),
            self.feeds,
            lambda: self.config,
            self.events.append,
        )
        self.run(self.server.start())
        return self

    def __exit__(self, *_):
        self.run(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def connect(self, context=None):
        if context is None:
            return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        return http.client.HTTPSConnection(
            "localhost", self.server.port, timeout=10, context=context
        )

    def request(self, method, path, body=None, headers=None, context=None):
        connection = self.connect(context)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer
        finally:
            connection.close()

    def push(self, body=b"feed", domain="example.com", token=TOKEN, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.request("PUT", f"/v1/domains/{domain}/feed", body, headers)
