"""A daemon with all filters of the real world, and several domains under different rules. The
primaries are down.
"""

import policy_site as site
from tideover.testing import clamd as clamd_program
from tideover.testing import nsd as nsd_program
from tideover.testing import python_milter as milter_program
from tideover.testing import rspamd as rspamd_program
from tideover.testing import spamd as spamd_program
from tideover.testing.clamd import Clamd
from tideover.testing.daemon import Daemon
from tideover.testing.nsd import Nsd
from tideover.testing.ports import free_port
from tideover.testing.python_milter import PythonMilter
from tideover.testing.rspamd import Rspamd
from tideover.testing.spamd import Spamd

_PROGRAMS = (clamd_program, nsd_program, milter_program, rspamd_program, spamd_program)
MISSING = "; ".join(why for one in _PROGRAMS if (why := one.why_missing()))

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
    "same.example": "",
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
        key = directory / "arc.pem"
        site.serve(nsd, seal=site.keygen(key))
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
            milter=milter.address.endpoint, key=key,
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
        self.daemon.start()
        stack.callback(self.daemon.kill)
