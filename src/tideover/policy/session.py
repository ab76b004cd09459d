"""What policy knows of one connection, from its first octet to its last."""

from msgspec.structs import replace

from tideover.message.envelope import Client
from tideover.policy.chain import Chain
from tideover.policy.interface import About, Stage
from tideover.policy.round import Round


class SessionPolicy:
    """Begins checks when their facts are known; they go on while the client talks.

    Nobody is refused here: only at RCPT is it known by whose profile to judge, and who was to get
    the mail.
    """

    __slots__ = ("_connect", "_hello", "about", "chain")

    def __init__(self, chain: Chain, client: Client, *, early: bool) -> None:
        self.chain = chain
        self.about = About(stage=Stage.CONNECT, client=client, now=chain.clock(), early=early)
        self._connect = chain.begin(self.about)
        self._hello: Round | None = None

    def hello(self, client: Client, *, pipelined: bool) -> None:
        """EHLO or HELO, maybe again: what the last one says counts."""
        if self._hello is not None:
            self._hello.close()
        self.about = replace(
            self.about, stage=Stage.HELO, client=client, now=self.chain.clock(),
            results=self._connect.results, pipelined=self.about.pipelined or pipelined,
        )  # fmt: skip
        self._hello = self.chain.begin(self.about)

    def pipelined(self) -> None:
        """Commands came ahead of replies without having been allowed to."""
        self.about = replace(self.about, pipelined=True)

    @property
    def rounds(self) -> list[Round]:
        """What is known of the client so far."""
        return [self._connect] if self._hello is None else [self._connect, self._hello]

    def close(self) -> None:
        """The connection is over."""
        for one in self.rounds:
            one.close()
