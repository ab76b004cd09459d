"""The backup's side: asks the agent beside a domain's primary whether it can reach a client.

Never raises, and never makes mail wait longer than `[cut_off] agent_timeout`: an agent that did not
answer is left alone for a while, and what it would have known stays unknown. What it said is
remembered for a minute.
"""

import asyncio
import secrets
import ssl
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tideover import __version__
from tideover.agent.keys import AgentKeyError, private_key, public_text
from tideover.agent.protocol import (
    LARGEST,
    PATH,
    SIGNATURE,
    Answer,
    ProtocolError,
    Question,
    Sealed,
    opened,
    parse_address,
    seal,
)
from tideover.agent.whereabouts import addresses_of
from tideover.config.model import Config
from tideover.config.values import without_password
from tideover.dns.names import Names
from tideover.dns.resolver import DnsError
from tideover.events.agent_records import AgentFound, AgentTrouble, AgentWorks
from tideover.events.event import EventSink

if TYPE_CHECKING:
    import httpx
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEEP: Final = 60.0
"""Seconds for which an answer counts."""
LEFT_ALONE: Final = 15.0
"""Seconds for which an agent that did not answer is not asked."""
AT_ONCE: Final = 64
"""Questions under way, to all agents; of more clients nothing is known."""
_LONGEST: Final = 60.0
_KEPT: Final = 10_000
_AGENTS: Final = 1_000
_NO_ANSWERS: Final = frozenset({409, 422, 429, 503})  # about this question, by an agent that works


class Agent(Struct, frozen=True):
    """Where an agent is, and the key by which it is known."""

    url: str
    key: str

    @property
    def name(self) -> str:
        """As it may be shown."""
        return without_password(self.url)


class AgentError(Exception):
    """There is no answer. `broken`: not for this question's sake."""

    def __init__(self, text: str, *, broken: bool = True) -> None:
        super().__init__(text)
        self.broken = broken


class Asker:
    """Asks for domains that have `agent` and `agent_key`. Used on one loop; `close` at the end.
    Agents are found by `names`.
    """

    def __init__(
        self,
        config: Config,
        names: Names,
        sink: EventSink,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._names = names
        self._sink = sink
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._tls: ssl.SSLContext | None = None
        self._known: OrderedDict[tuple[Agent, str], tuple[float, Answer | None]] = OrderedDict()
        self._asking: dict[tuple[Agent, str], asyncio.Task[Answer | None]] = {}
        self._trouble: OrderedDict[Agent, float] = OrderedDict()
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Go on with this configuration; the key file is read anew."""
        self._config = config
        self._key: Ed25519PrivateKey | None = None

    def asks(self, domain: str) -> bool:
        """Whether there is an agent for this domain (A-labels)."""
        return self._agent(domain) is not None

    async def reach(self, domain: str, address: str) -> Answer | None:
        """What the domain's agent says of a client's address. Never raises.

        None: nothing is known: there is no agent, or it did not answer in time or as it should.
        """
        agent, client = self._agent(domain), parse_address(address)
        if agent is None or client is None:
            return None
        key, now = (agent, str(client)), self._clock()
        at, answer = self._known.get(key, (-KEEP, None))
        if 0 <= now - at < KEEP:
            return answer
        task = self._asking.get(key)
        if task is None:
            left_alone = 0 <= now - self._trouble.get(agent, -LEFT_ALONE) < LEFT_ALONE
            if left_alone or len(self._asking) >= AT_ONCE:
                return None
            task = asyncio.create_task(self._ask(agent, domain, str(client)))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is under way."""
        left = tuple(self._asking.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def try_out(self, domain: str, address: str) -> Answer:
        """As `reach`, without any memory, for an operator.

        Raises:
            AgentError: there is no answer; the text says why.
        """
        agent = self._agent(domain)
        if agent is None:
            raise AgentError(f"{domain} has no agent: set agent and agent_key")
        return await self._asked(agent, address)

    def _agent(self, domain: str) -> Agent | None:
        settings = self._config.domains.get(domain)
        if settings is None or settings.agent is None or settings.agent_key is None:
            return None
        return Agent(settings.agent, settings.agent_key)

    async def _ask(self, agent: Agent, domain: str, address: str) -> Answer | None:
        answer: Answer | None = None
        try:
            answer = await self._asked(agent, address)
        except AgentError as error:
            if error.broken:
                self._failed(agent, domain, str(error))
                return None
        except Exception as error:  # a bug here must not stop mail
            self._failed(agent, domain, f"a bug, please report it: {type(error).__name__}: {error}")
            return None
        else:
            self._works(agent, domain)
            self._sink(
                AgentFound(
                    agent=agent.name,
                    domain=domain,
                    address=address,
                    verdict=answer.verdict,
                    reason=answer.reason,
                )
            )
        self._known[agent, address] = self._clock(), answer
        self._known.move_to_end((agent, address))
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return answer

    def _failed(self, agent: Agent, domain: str, reason: str) -> None:
        if agent not in self._trouble:
            self._sink(AgentTrouble(agent=agent.name, domain=domain, reason=reason))
        self._trouble[agent] = self._clock()
        if len(self._trouble) > _AGENTS:
            self._trouble.popitem(last=False)

    def _works(self, agent: Agent, domain: str) -> None:
        if self._trouble.pop(agent, None) is not None:
            self._sink(AgentWorks(agent=agent.name, domain=domain))

    async def _asked(self, agent: Agent, address: str) -> Answer:
        """Ask now.

        Raises:
            AgentError: no answer, or none that may be believed.
        """
        import httpx

        timeout = self._config.cut_off.agent_timeout
        try:
            async with asyncio.timeout(timeout):
                key = await self._private_key()
                question = Question(
                    asker=public_text(key),
                    agent=agent.key,
                    address=address,
                    time=self._clock(),
                    nonce=b64encode(secrets.token_bytes(18)).decode(),
                )
                status, reply = await self._post(agent, seal(question, key))
        except TimeoutError:
            raise AgentError(f"it did not answer within {timeout:g} s") from None
        except AgentKeyError as error:
            raise AgentError(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, DnsError, OSError, ValueError) as error:
            text = f"{agent.name} can't be asked: {str(error) or type(error).__name__}"
            raise AgentError(text) from None
        if status != 200:
            text = reply.body[:200].decode("ascii", "replace").strip()
            raise AgentError(f"it said {status} {text}", broken=status not in _NO_ANSWERS)
        return _checked(reply, agent, question)

    async def _post(self, agent: Agent, sealed: Sealed) -> tuple[int, Sealed]:
        """Ask at each address in turn until one takes the connection."""
        import httpx

        url = httpx.URL(agent.url.rstrip("/") + PATH)
        failures: list[httpx.ConnectError] = []
        for address in await addresses_of(url.host, self._names):
            try:
                return await self._post_to(address, url, sealed)
            except httpx.ConnectError as error:
                failures.append(error)
        raise failures[0]

    async def _post_to(self, address: str, url: "httpx.URL", sealed: Sealed) -> tuple[int, Sealed]:
        client = await self._http()
        headers = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": f"Tideover/{__version__}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            SIGNATURE: sealed.signature,
        }
        request = client.build_request(
            "POST", url.copy_with(host=address), content=sealed.body, headers=headers,
            extensions={"sni_hostname": url.host},
        )  # fmt: skip
        reply = await client.send(request, stream=True)
        try:
            body = b""
            async for piece in reply.aiter_raw():
                body += piece
                if len(body) > LARGEST:
                    raise ValueError("its answer is too large")
            return reply.status_code, Sealed(body, reply.headers.get(SIGNATURE, ""))
        finally:
            await reply.aclose()

    async def _http(self) -> "httpx.AsyncClient":
        import httpx  # 50 ms that only those with an agent need

        if self._tls is None:
            self._tls = await asyncio.to_thread(_context)
        if self._client is None:
            # each question is bounded by `agent_timeout` as a whole
            self._client = httpx.AsyncClient(
                verify=self._tls,
                timeout=_LONGEST,
                limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0),
                trust_env=False,
                follow_redirects=False,
            )
        return self._client

    async def _private_key(self) -> "Ed25519PrivateKey":
        if self._key is None:
            path: Path | None = self._config.cut_off.key_file
            if path is None:
                raise AgentError("there is no key to ask with: set [cut_off] key_file")
            self._key = await asyncio.to_thread(private_key, path)
        return self._key


def _context() -> ssl.SSLContext:
    """TLS as httpx does it by default. Blocks."""
    import httpx

    return httpx.create_ssl_context()


def _checked(reply: Sealed, agent: Agent, question: Question) -> Answer:
    """The answer, if the agent gave it, and to this question.

    Raises:
        AgentError: it is not to be believed.
    """
    try:
        answer = opened(reply, Answer, agent.key)
    except ProtocolError as error:
        raise AgentError(f"its answer can't be believed: {error}") from None
    if (answer.nonce, answer.address) != (question.nonce, question.address):
        raise AgentError("its answer is to another question")
    return answer
