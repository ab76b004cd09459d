"""`tideover handover spamassassin`, pasted: SpamAssassin believes what our Received field says."""

import re
import subprocess
from pathlib import Path

import pytest
from handover_paste import parts
from peers import needs

from tideover.message.envelope import Client, Envelope, QueueId, Recipient, SessionId
from tideover.message.received import received

pytestmark = [pytest.mark.interop, needs("spamassassin")]

_US = "192.0.2.10"
_CLIENT = "198.51.100.7"
SENDER, USER = "ann@example.net", "user@example.com"
_RULES = "util_rb_tld com net org example\nbody XYZZY /xyzzy/\n"
_PRIMARY = f"""\
Received: from mx2.example.org (mx2.example.org [{_US}])\r
\tby mail.example.com (Postfix) with ESMTPS id ABCDEF\r
\tfor <user@example.com>; Sat, 21 Nov 2026 20:00:00 +0000\r
"""
_MAIL = b"From: ann@example.net\r\nSubject: home\r\n\r\nHello\r\n"


def message() -> bytes:
    """Mail that came through us, as the primary has it."""
    envelope = Envelope(sender=SENDER, recipients=(Recipient(address=USER, domain="example.com"),))
    client = Client(
        session=SessionId("s"), address=_CLIENT, port=1, helo="caller.example.net",
        protocol="ESMTPS", tls="TLSv1.3",
    )  # fmt: skip
    ours = received(QueueId("1JM5F7H600"), envelope, client, hostname="mx2.example.org", time=0.0)
    return _PRIMARY.encode() + ours + _MAIL


def spamassassin(directory: Path, pasted: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("site", "rules"):
        (directory / name).mkdir(exist_ok=True)
    plugin = "loadplugin Mail::SpamAssassin::Plugin::Check\n"
    (directory / "site" / "init.pre").write_text(plugin)
    (directory / "site" / "local.cf").write_text("trusted_networks 192.0.2.1\n" + pasted)
    (directory / "rules" / "10_rules.cf").write_text(_RULES)
    return subprocess.run(
        ["spamassassin", "-L", "-x", f"--siteconfigpath={directory}/site",
         f"--configpath={directory}/rules", *arguments],
        input=message().decode(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def relays(directory: Path, pasted: str) -> dict[str, str]:
    """The addresses that SpamAssassin takes for trusted, external and so on."""
    said = spamassassin(directory, pasted, "-t", "-D", "metadata").stderr
    found = re.findall(r"X-Spam-Relays-(\w+): (.*)", said)
    return {kind: " ".join(re.findall(r" ip=(\S+)", text)) for kind, text in found}


def test_the_client_is_the_one_that_called_us(tmp_path: Path) -> None:
    (pasted,) = parts("spamassassin", tmp_path, _US)
    known = relays(tmp_path, pasted)
    assert (known["Trusted"], known["Internal"], known["External"]) == (_US, _US, _CLIENT)


def test_without_it_we_are_the_client(tmp_path: Path) -> None:
    known = relays(tmp_path, "")
    assert (known["Trusted"], known["External"].split()[0]) == ("", _US)


def test_its_own_check_finds_nothing_wrong(tmp_path: Path) -> None:
    (pasted,) = parts("spamassassin", tmp_path, _US)
    done = spamassassin(tmp_path, pasted, "--lint")
    assert (done.returncode, done.stderr) == (0, "")
    assert spamassassin(tmp_path, pasted + "trusted_netwroks 1.2.3.4\n", "--lint").returncode
