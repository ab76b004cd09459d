"""`tideover handover rspamd`, pasted into a real rspamd behind us: it judges the client, not us."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from handover_paste import run
from test_policy_arc_rspamd import _MISSING, Way

from policy_site import HONEST, SENDER, mail
from tideover.testing import redis as redis_program
from tideover.testing.redis import Redis
from tideover.testing.rspamd import Rspamd

_WHY = "; ".join(filter(None, (_MISSING, redis_program.why_missing())))
pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(_WHY), reason=_WHY),
]

_ADDRESS = "198.51.100.1"
_CHECKS = ("spf", "dmarc", "greylist", "ratelimit")
_ACTIONS = "greylist = 4;\nadd_header = 100;\nreject = 200;\n"


class Home:
    """Two rspamds of the primary: `told` of us, and `untold`."""

    def __init__(self, directory, stack):
        self.way = Way(directory, stack)
        config = str(self.way.daemon.config)
        answer = run("handover", "rspamd", "--address", _ADDRESS, "--config", config, "--json")
        self.files = {Path(p["file"]).name: p["text"] for p in json.loads(answer)["parts"]}
        self.told, self.untold = self.pair(directory, stack, "judge")

    def pair(self, directory, stack, name, **own):
        """Another two, with these files of local.d besides. Only with Redis they can greylist."""
        return [
            stack.enter_context(
                Rspamd(
                    directory,
                    name=f"{name}-{which}",
                    enable=_CHECKS,
                    dns=self.way.nsd.endpoint,
                    local=own | pasted,
                )
            )
            for which, pasted in (("told", self.files), ("untold", {}))
        ]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with ExitStack() as stack:
        yield Home(tmp_path_factory.mktemp("handover"), stack)


def judged(rspamd, message, *, hostname="mx2.example.org", address=_ADDRESS, sender=SENDER):
    """rspamd's answer to a message that this host brings."""
    answer = rspamd.check(
        message, IP=address, Hostname=hostname, Helo=hostname, From=sender, Rcpt="user@example.com"
    )
    return json.loads(answer)


def brought(home, subject, *, client=HONEST):
    """A message that came through us, which this client gave us: rspamd asks nothing of SPF when
    an address is of the loopback network.
    """
    body = home.way.home(mail(body=f"About {subject}\r\n".encode(), subject=subject)).body
    assert body.count(f"([{HONEST}])".encode()) == 1
    return body.replace(f"([{HONEST}])".encode(), f"([{client}])".encode())


def test_the_author_is_not_taken_for_a_forger(home):
    body = brought(home, "No forgery", client="198.51.100.10")
    author = "boss@example.com"
    assert "R_SPF_FAIL" in judged(home.untold, body, sender=author)["symbols"]
    symbols = judged(home.told, body, sender=author)["symbols"]
    assert {"TIDEOVER_RELAY", "R_SPF_ALLOW"} <= symbols.keys()


def test_it_sees_the_client(home):
    body = b"X-Test-Envelope: yes\r\n" + brought(home, "Who?")
    assert judged(home.told, body)["messages"]["smtp_message"].split()[0] == HONEST
    assert judged(home.untold, body)["messages"]["smtp_message"].split()[0] == _ADDRESS


def test_it_believes_our_seal(home):
    body = brought(home, "Sealed")
    assert "ARC_ALLOW_TRUSTED" in judged(home.told, body)["symbols"]
    symbols = judged(home.untold, body)["symbols"]
    assert "ARC_ALLOW" in symbols
    assert "ARC_ALLOW_TRUSTED" not in symbols


@pytest.mark.slow
def test_what_has_waited_with_us_is_not_greylisted(home, tmp_path):
    body = b"X-Test-Five: yes\r\n" + brought(home, "Patience")
    with ExitStack() as stack:
        redis = stack.enter_context(Redis(tmp_path))
        files = {"redis.conf": f'servers = "{redis.endpoint}";\n', "actions.conf": _ACTIONS}
        told, untold = home.pair(tmp_path, stack, "grey", **files)
        assert judged(told, body)["action"] == "no action"
        assert judged(untold, body)["action"] == "soft reject"


def test_strangers_can_not_speak_for_a_client(home):
    """Who has not our name in DNS is judged as who he is, whatever his Received fields say."""
    body = brought(home, "Forged", client="198.51.100.10")
    symbols = judged(
        home.told, body, hostname="spam.example.net", address="198.51.100.66",
        sender="boss@example.com",
    )["symbols"]  # fmt: skip
    assert "R_SPF_FAIL" in symbols
    assert "TIDEOVER_RELAY" not in symbols


def test_its_own_check_finds_nothing_wrong(home, tmp_path):
    """As the operator is told to run it."""
    for part in ("local.d", "override.d"):
        (tmp_path / part).mkdir()
    for name, text in home.files.items():
        (tmp_path / "local.d" / name).write_text(text)
    done = subprocess.run(
        ["rspamadm", f"--var=LOCAL_CONFDIR={tmp_path}", "configtest"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "syntax OK" in done.stdout
