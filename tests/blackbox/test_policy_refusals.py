"""Policy as it is seen from outside: one daemon with all filters, its primary down.

What a client hears, and what `tideover explain` says of it.
"""

import json
import time
from contextlib import ExitStack
from email import message_from_bytes, policy

import pytest

import policy_site as site
from policy_site import FORGER, HONEST, LISTED, client, code, judged, mail, send, session_of, signed
from tideover.testing import clamd as clamd_program
from tideover.testing import nsd as nsd_program
from tideover.testing import python_milter as milter_program
from tideover.testing import rspamd as rspamd_program
from tideover.testing import spamd as spamd_program
from tideover.testing.clamd import EICAR, Clamd
from tideover.testing.daemon import Daemon, free_port
from tideover.testing.nsd import Nsd
from tideover.testing.python_milter import PythonMilter
from tideover.testing.rspamd import Rspamd
from tideover.testing.sink import Sink
from tideover.testing.spamd import GTUBE, Spamd
from wire import Wire

_PROGRAMS = (clamd_program, nsd_program, milter_program, rspamd_program, spamd_program)
_MISSING = "; ".join(why for one in _PROGRAMS if (why := one.why_missing()))
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(_MISSING), reason=_MISSING)]

_MILTER = """\
@Milter.noreply
def hello(self, name):
    return Milter.CONTINUE

def header(self, name, value):
    if (name, value) == ('Subject', 'lottery'):
        self.setreply('550', '5.7.1', 'No lotteries here')
        return Milter.REJECT
    return Milter.CONTINUE
"""
_DOMAINS = {
    "home.example": "",
    "held.example": 'profile = "held"',
    "dry.example": 'profile = "dry"',
    "spamd.example": 'profile = "spamd"',
}
_CONFIG = """\
[dns]
servers = ["{dns}"]

[policy]
greet_delay = "500ms"

[dns_lists."list.example"]
weight = 10

[limits]
client = "80/1h"
recipient = "60/1h"

[rspamd]
url = "{rspamd}"

[clamav]
socket = "{clamd}"

[spamassassin]
socket = "{spamd}"

[milters.local]
socket = "{milter}"

[profiles.held]
hold_score = 3
reject_score = 20

[profiles.dry]
dry_run = ["dns-lists"]

[profiles.spamd]
checks = ["spamassassin"]

[arc]
domain = "mx2.example.org"
selector = "a1"
key_file = "{key}"
"""


class Site:
    """The daemon, and the ports of the primaries of its further domains."""

    def __init__(self, directory, stack):
        nsd = Nsd(directory)
        site.serve(nsd)
        engines = [
            Rspamd(directory, local={"actions.conf": 'quarantine { flags = ["no_threshold"]; }'}),
            Clamd(directory),
            Spamd(directory),
            PythonMilter(directory, _MILTER),
        ]
        for one in (nsd, *engines):
            stack.enter_context(one)
        rspamd, clamd, spamd, milter = engines
        self.primaries = {domain: free_port() for domain in _DOMAINS}
        more = _CONFIG.format(
            dns=nsd.endpoint, rspamd=rspamd.url, clamd=clamd.endpoint, spamd=spamd.endpoint,
            milter=milter.address.endpoint, key=directory / "arc.pem",
        )  # fmt: skip
        for domain, settings in _DOMAINS.items():
            more += (
                f'[domains."{domain}"]\nprimary = ["127.0.0.1:{self.primaries[domain]}"]\n'
                f'recipients = ["file:recipients"]\n{settings}\n'
            )
        self.daemon = Daemon(
            directory / "daemon",
            recipients="user\nfull\n",
            smtp=f'proxy_protocol_from = ["{site.BALANCER}/32"]\n',
            outbound='probe_interval = "200ms"\n',
            more=more,
        )
        done = self.daemon.run("arc", "keygen", "mx2.example.org", "a1")
        del done
        self.daemon.start()
        stack.callback(self.daemon.kill)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with ExitStack() as stack:
        made = Site(tmp_path_factory.mktemp("policy"), stack)
        # its neighbours are known from now on, and need not wait for our greeting
        with client(made.daemon) as wire:
            site.queue_id(send(wire, signed(mail())))
        yield made


@pytest.fixture
def daemon(world):
    return world.daemon
