"""DMARC beside mailauth (npm), where both mean the same: its 4.13 knows RFC 7489 and a public
suffix list, so records stand at registered domains only. It also takes strict alignment for
relaxed, so that is compared only where it makes no difference.
"""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tideover.authentication.author import author_domains
from tideover.authentication.dmarc import evaluate
from tideover.authentication.results import SpfResult
from tideover.testing.dns import FakeNames

PROGRAM = Path(__file__).parents[2] / "build/peers/mailauth/node_modules/.bin/mailauth"
CLIENT = "192.0.2.1"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not PROGRAM.exists() or shutil.which("node") is None,
        reason="not installed: mailauth (npm; .ci/peers fetches it), node",
    ),
]

CASES = [
    # name, From, envelope sender, DMARC record at example.com
    ("aligned", "a@example.com", "b@example.com", "v=DMARC1; p=reject"),
    ("relaxed", "a@example.com", "b@bounce.example.com", "v=DMARC1; p=reject"),
    ("strict", "a@example.com", "b@example.com", "v=DMARC1; p=reject; aspf=s"),
    ("other", "a@example.com", "b@example.net", "v=DMARC1; p=quarantine"),
    ("child", "a@news.example.com", "b@example.net", "v=DMARC1; p=reject; sp=none"),
    ("child of", "a@news.example.com", "b@example.com", "v=DMARC1; p=reject; sp=none"),
    ("none", "a@example.com", "b@example.net", "v=DMARC2; p=reject"),
    ("quoted", '"a@example.net" <a@example.com>', "b@example.net", "v=DMARC1; p=reject"),
    ("comment", "a@example.com (a@example.net)", "b@example.net", "v=DMARC1; p=reject"),
]


@pytest.mark.parametrize(("name", "author", "sender", "record"), CASES)
def test_both_judge_alike(name, author, sender, record, tmp_path):
    domain = sender.partition("@")[2]
    txt = {"_dmarc.example.com": [record]}
    (tmp_path / "mail.eml").write_bytes(
        f"From: {author}\r\nTo: u@example.org\r\nSubject: {name}\r\n\r\nHello\r\n".encode()
    )
    zone = {key: {"TXT": [[text] for text in texts]} for key, texts in txt.items()}
    zone[domain] = {"TXT": [[f"v=spf1 ip4:{CLIENT} -all"]]}
    (tmp_path / "dns.json").write_text(json.dumps(zone))
    told = subprocess.run(
        [PROGRAM, "report", "--dns-cache", "dns.json", "-i", CLIENT, "-f", sender,
         "-e", "mail.example.net", "-m", "mx2.example.org", "mail.eml"],
        cwd=tmp_path, capture_output=True, check=True, timeout=50,
    )  # fmt: skip
    theirs = json.loads(told.stdout)
    assert theirs["spf"]["status"]["result"] == "pass"

    (of_author,) = author_domains(author.encode())
    names = FakeNames(txt=txt, a={"news.example.com": ["192.0.2.9"]})
    ours = asyncio.run(evaluate(of_author, [SpfResult(result="pass", domain=domain)], [], names))
    assert ours.result == theirs["dmarc"]["status"]["result"]
    if ours.result == "fail":
        assert ours.policy == theirs["dmarc"]["policy"]
