"""What policy knows of one connection, from its first octet to its last."""

from collections.abc import Sequence

from msgspec.structs import replace

from tideover.message.envelope import Client
from tideover.policy.chain import Chain
from tideover.policy.interface import About, Entry, Stage
from tideover.policy.round import QUIET, Round


class SessionPolicy:
    """The facts of a session, and the checks of them.

    Nothing is checked before a recipient is named who exists: whoever only guesses addresses costs
    no look-up. Then all stages so far begin at once and go on together.
    """

    __slots__ = ("_connect", "_connected", "_hello", "_trusted", "about", "chain")

    def __init__(self, chain: Chain, client: Client, *, early: bool) -> None:
        self.chain = chain
        self._connected = About(stage=Stage.CONNECT, client=client, now=chain.clock(), early=early)
        self._connect: Round | None = None
        self._hello: Round | None = None
        self._trusted = chain.trusts(client.address)
        self.about = self._connected

    def hello(self, client: Client, *, pipelined: bool) -> None:
        """EHLO or HELO, maybe again: what the last one says counts."""
        if self._hello is not None:
            self._hello.close()
            self._hello = None
        self.about = replace(
            self.about, stage=Stage.HELO, client=client, now=self.chain.clock(),
            pipelined=self.about.pipelined or pipelined,
        )  # fmt: skip

    def pipelined(self) -> None:
        """Commands came ahead of replies without having been allowed to."""
        self.about = replace(self.about, pipelined=True)

    def begin(self) -> None:
        """Begin the checks of the client, each once."""
        if self._connect is None:
            self._connect = self.chain.begin(self.checks(Stage.CONNECT), self._connected)
        if self._hello is None and self.about.stage is Stage.HELO:
            about = replace(self.about, results=self._connect.results)
            self._hello = self.chain.begin(self.checks(Stage.HELO), about)

    def checks(self, stage: Stage, profile: str | None = None) -> Sequence[Entry]:
        """Those that this client has to pass at a stage."""
        return self.chain.checks(stage, profile, trusted=self._trusted)

    @property
    def rounds(self) -> list[Round]:
        """What is known of the client so far, by those that have checks."""
        return [one for one in (self._connect, self._hello) if one is not None and one is not QUIET]

    def close(self) -> None:
        """The connection is over."""
        for one in self.rounds:
            one.close()
