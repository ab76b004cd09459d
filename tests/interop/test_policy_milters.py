"""Real filters: opendkim, filters on libmilter by python3-milter, and rspamd in milter mode."""

import json
import subprocess
import time
from contextlib import ExitStack

import pytest

from milter_talk import MAIL, OTHER, USER, after, names, run, settings, talk
from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.message.fields import parse_header
from tideover.policy.interface import Result
from tideover.smtp.replies import Reply
from tideover.testing import opendkim, python_milter, rspamd
from tideover.testing.opendkim import OpenDkim, takes_connections
from tideover.testing.ports import free_port
from tideover.testing.python_milter import PythonMilter
from tideover.testing.rspamd import Rspamd

pytestmark = pytest.mark.interop


def needs(server):
    return pytest.mark.skipif(server.why_missing() is not None, reason=server.why_missing() or "")


DATED = b"Date: Sat, 21 Nov 2026 16:48:53 +0000\r\nMessage-ID: <1@example.net>\r\n" + MAIL
LONG = DATED + b"x" * 70 + b"\r\n" + (b"A line of a body.\r\n" * 10_000)


def through(filters, data=DATED, recipients=(USER,), **facts):
    """One message through filters: what came of it."""

    async def work():
        async with talk({name: settings(one) for name, one in filters.items()}, **facts) as one:
            for each in recipients:
                assert not (await one.rcpt(each)).found
            return await one.message(data, recipients)

    return run(work())


def fields(result, data=DATED):
    """Names and values of the header section as it will be stored."""
    section = parse_header(after(result, data), whole=True)
    return [(field.name.decode(), field.value.decode().strip()) for field in section.fields]


# opendkim


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """The path of a private key, and what its owner's DNS says."""
    path = tmp_path_factory.mktemp("dkim") / "key.pem"
    make = ("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    subprocess.run((*make, "-out", path), check=True, capture_output=True, timeout=60)
    path.chmod(0o600)
    done = subprocess.run(
        ("openssl", "pkey", "-in", path, "-pubout"),
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    public = "".join(line for line in done.stdout.splitlines() if not line.startswith("-"))
    return path, {"sel._domainkey.example.net": f"v=DKIM1; k=rsa; p={public}"}


def signer(directory, key, canonicalization="relaxed/simple"):
    path, keys = key
    return OpenDkim(
        directory,
        f"Mode s\nDomain example.net\nSelector sel\nKeyFile {path}\nInternalHosts 192.0.2.0/24\n"
        f"Canonicalization {canonicalization}\nRequireSafeKeys no\n",
        keys,
    )


def verifier(directory, key, more=""):
    text = "Mode v\nAuthservID mx2.example.org\nAlwaysAddARHeader yes\n"
    return OpenDkim(directory, text + more, key[1])


@needs(opendkim)
@pytest.mark.parametrize("canonicalization", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("data", [DATED, LONG], ids=["short", "long"])
def test_what_one_opendkim_signs_the_next_verifies(tmp_path, key, canonicalization, data):
    with signer(tmp_path, key, canonicalization) as a, verifier(tmp_path, key) as b:
        end = through({"signer": a.address, "verifier": b.address}, data)
        # and so it does when the message, as it is stored, comes again
        body = data[parse_header(data, whole=True).length :]
        again = after(end, data).replace(b"Authentication-Results:", b"X-Old:")
        later = through({"verifier": b.address}, again + b"\r\n" + body)
    assert end.evidence == {
        "signer": "accept; header changes: 1", "verifier": "accept; header changes: 1",
    }  # fmt: skip
    found = fields(end, data)
    assert [name for name, _ in found[:3]] == [
        "Authentication-Results", "DKIM-Signature", "Received",
    ]  # fmt: skip
    assert found[0][1].startswith("mx2.example.org;")
    assert "dkim=pass" in found[0][1]
    assert "dkim=pass" in fields(later)[0][1]


@needs(opendkim)
def test_opendkim_refuses_a_broken_signature_in_its_own_words(tmp_path, key):
    with signer(tmp_path, key) as a:
        signed = after(through({"signer": a.address})) + b"\r\nAnother body.\r\n"
    with verifier(tmp_path, key, "On-BadSignature reject\n") as b:
        end = through({"verifier": b.address}, signed)
    assert names(end) == ["milter-reject"]
    assert end.found[0].reply is not None
    assert end.found[0].reply.code == 550
    assert "bad DKIM signature" in end.found[0].reply.lines[0]


@needs(opendkim)
def test_opendkim_removes_forged_results_wherever_they_stand(tmp_path, key):
    forged = b"Authentication-Results: mx2.example.org; dkim=pass header.d=%s\r\n"
    data = forged % b"a" + b"Authentication-Results: other.example; dkim=pass\r\n"
    data += DATED.replace(b"\r\n\r\n", b"\r\n" + forged % b"b" + b"\r\n", 1)
    with verifier(tmp_path, key, "RemoveARFrom mx2.example.org\n") as one:
        end = through({"verifier": one.address}, data)
    results = [value for name, value in fields(end, data) if name == "Authentication-Results"]
    assert len(results) == 2
    assert results[0].startswith("mx2.example.org; dkim=none")
    assert results[1].startswith("other.example")


# libmilter, by python3-milter

FILTER = """\
def connect(self, name, family, address):
    tell('connect', name, address, self.getsymval('j'), self.getsymval('{client_addr}'))
    return Milter.CONTINUE

def hello(self, name):
    tell('helo', name, self.getsymval('{tls_version}'), self.getsymval('{cipher}'))
    return Milter.CONTINUE

def envfrom(self, sender, *parameters):
    tell('mail', sender, parameters, self.getsymval('{mail_addr}'))
    return Milter.CONTINUE

def envrcpt(self, recipient, *parameters):
    tell('rcpt', recipient, parameters, self.getsymval('{rcpt_addr}'))
    if recipient.startswith('<other@'):
        self.setreply('550', '5.1.1', 'Not here', 'and not there, 100%%')
        return Milter.REJECT
    return Milter.CONTINUE

def data(self):
    tell('data', self.getsymval('i'))
    return Milter.CONTINUE

def header(self, name, value):
    tell('header', name, value)
    return Milter.CONTINUE

def eoh(self):
    tell('eoh')
    return Milter.CONTINUE

def body(self, chunk):
    tell('body', len(chunk))
    return Milter.CONTINUE

def eom(self):
    tell('eom', self.getsymval('i'))
    return Milter.CONTINUE

def abort(self):
    tell('abort')
    return Milter.CONTINUE

def close(self):
    tell('close')
    return Milter.CONTINUE
"""


@needs(python_milter)
def test_a_filter_hears_all_of_it(tmp_path):
    async def work(address):
        async with talk({"f": settings(address)}, smtputf8=True) as one:
            said = [await one.rcpt(each) for each in (USER, OTHER)]
            return said, await one.message(LONG)

    with PythonMilter(tmp_path, FILTER) as one:
        (user, other), end = run(work(one.address))
        told = one.told
    assert user == Result()
    assert names(other) == ["milter-reject"]
    assert other.found[0].reply == Reply(550, "5.1.1", ("Not here", "and not there, 100%"))
    assert end == Result(evidence={"f": "continue"})
    heads = [what for what in told if what[0] not in ("header", "body")]
    assert heads[:8] == [
        ["connect", "mail.example.net", ["192.0.2.7", 2525], "mx2.example.org", "192.0.2.7"],
        ["helo", "mail.example.net", "TLSv1.3", "TLS_AES_256_GCM_SHA384"],
        ["mail", "<a@example.net>", ["SMTPUTF8"], "a@example.net"],
        ["rcpt", "<user@example.com>", [], "user@example.com"],
        ["rcpt", "<other@example.com>", [], "other@example.com"],
        ["data", "Q1"],
        ["eoh"],
        ["eom", "Q1"],
    ]
    assert [what[1:] for what in told if what[0] == "header"] == [
        ["Date", "Sat, 21 Nov 2026 16:48:53 +0000"], ["Message-ID", "<1@example.net>"],
        ["Subject", "hello"], ["From", "a@example.net"],
    ]  # fmt: skip
    body = LONG[parse_header(LONG, whole=True).length :]
    assert sum(what[1] for what in told if what[0] == "body") == len(body)


@needs(python_milter)
def test_a_filter_changes_the_header_and_quarantines(tmp_path):
    methods = """\
def eom(self):
    self.addheader('X-Low', 'low')
    self.addheader('X-Second', 'below Received', 1)
    self.addheader('X-Top', 'top\\n\\tfolded', 0)
    self.chgheader('Subject', 1, 'changed')
    self.chgheader('Message-ID', 1, '')
    self.chgheader('X-New', 1, 'new')
    self.quarantine('somebody should look')
    self.progress()
    return Milter.CONTINUE
"""
    with PythonMilter(tmp_path, methods) as one:
        end = through({"f": one.address})
    assert names(end) == ["milter-quarantine"]
    assert end.found[0].reason == "f: somebody should look"
    assert fields(end) == [
        ("X-Top", "top\r\n\tfolded"),
        ("Received", "from mail.example.net by mx2.example.org id Q1; now"),
        ("X-Second", "below Received"),
        ("Date", "Sat, 21 Nov 2026 16:48:53 +0000"),
        ("Subject", "changed"),
        ("From", "a@example.net"),
        ("X-Low", "low"),
        ("X-New", "new"),
    ]


@needs(python_milter)
def test_negotiation_with_libmilter(tmp_path):
    methods = """\
def negotiate(self, options):
    self._ctx.setsymlist(Milter.M_ENVRCPT, '{rcpt_host} j')
    return Milter.Base.negotiate(self, options)

@Milter.noreply
def connect(self, name, family, address):
    return Milter.CONTINUE

@Milter.nocallback
def hello(self, name):
    return Milter.CONTINUE

@Milter.noreply
def envrcpt(self, recipient, *parameters):
    tell('rcpt', self.getsymval('{rcpt_host}'), self.getsymval('{rcpt_addr}'))
    return Milter.CONTINUE

@Milter.noreply
def header(self, name, value):
    tell('header', name, value)
    return Milter.CONTINUE

def body(self, chunk):
    tell('body', len(chunk))
    return Milter.SKIP

def eom(self):
    return Milter.REJECT
"""
    data = b"A:no space\r\nB:  two\r\n" + LONG
    setup = "Filter = Milter.header_leading_space(Filter)"
    with PythonMilter(tmp_path, methods, setup=setup, flags=("SETSYMLIST",)) as one:
        end = through({"f": one.address}, data)
        told = one.told
    assert names(end) == ["milter-reject"]
    assert ["rcpt", "example.com", None] in told
    assert ["header", "A", "no space"] in told
    assert ["header", "B", "  two"] in told
    assert [what for what in told if what[0] == "body"] == [["body", 65535]]


@needs(python_milter)
def test_a_filter_whose_changes_we_never_make_says_so_itself(tmp_path):
    methods = "def eom(self):\n    self.replacebody('x')\n    return Milter.CONTINUE\n"
    with PythonMilter(tmp_path, methods, flags=("CHGBODY",)) as one:
        end = through({"f": one.address})
    assert names(end) == ["milter-defer"]
    assert "exception" in str(end.found[0].reply)


@needs(python_milter)
def test_a_filter_that_insists_on_such_changes_has_failed(tmp_path):
    methods = """\
def negotiate(self, options):
    options[0] |= Milter.ADDRCPT
    options[1] = 0
    return Milter.CONTINUE
"""
    with PythonMilter(tmp_path, methods, flags=("ADDRCPT",)) as one:

        async def work():
            async with talk({"f": settings(one.address)}) as it:
                return await it.rcpt()

        end = run(work())
    assert names(end) == ["engine-failed"]


@needs(python_milter)
def test_each_transaction_ends_at_the_filter_too_and_at_a_unix_socket(tmp_path_factory):
    directory = tmp_path_factory.mktemp("m")
    with PythonMilter(directory, FILTER, unix=str(directory / "s")) as one:

        async def work():
            for _ in range(20):
                async with talk({"f": settings(one.address)}) as it:
                    await it.rcpt()

        run(work())
        through({"f": one.address})  # it serves on
        told = [what[0] for what in one.told]
    assert told.count("connect") == 21
    assert told.count("close") >= 20


@needs(python_milter)
def test_a_filter_that_hangs_or_dies_is_a_failure_and_comes_back(tmp_path):
    with PythonMilter(tmp_path, FILTER) as one:

        async def work(timeout):
            async with talk({"f": settings(one.address, timeout=timeout)}) as it:
                await it.rcpt()
                return await it.message(DATED)

        one.child.freeze()
        frozen = run(work(0.1))
        one.child.kill()
        dead = run(work(20.0))
        one.child.start()
        back = run(work(20.0))
    assert names(frozen) == names(dead) == ["engine-failed"]
    assert back == Result(evidence={"f": "continue"})


# rspamd, whose proxy speaks the protocol by itself: it answers hardly anything before the end


@pytest.fixture(scope="module")
def rspamd_proxy(tmp_path_factory):
    port = free_port()
    worker = {
        "bind_socket": f"127.0.0.1:{port}", "milter": True, "timeout": 60, "count": 1,
        "upstream": {"local": {"default": True, "self_scan": True}},
    }  # fmt: skip
    address = SocketAddress(Endpoint("127.0.0.1", port), "")
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("rspamd")
        main = f'worker "rspamd_proxy" {json.dumps(worker)}\n'
        stack.enter_context(Rspamd(directory, main=main))
        deadline = time.monotonic() + 20.0
        while not takes_connections(address) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield address


GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"


@needs(rspamd)
def test_rspamd_refuses_gtube_and_takes_honest_mail(rspamd_proxy):
    assert through({"rspamd": rspamd_proxy}).evidence["rspamd"].startswith("accept")
    end = through({"rspamd": rspamd_proxy}, DATED + GTUBE)
    assert names(end) == ["milter-reject"]
    assert end.found[0].reply == Reply(554, "5.7.1", ("Gtube pattern",))


@needs(rspamd)
def test_rspamd_s_header_edits_are_carried(rspamd_proxy):
    data = b"X-Test-Edits: 1\r\nX-Test-Edits: 2\r\nX-Test-Action: rewrite subject\r\n" + DATED
    found = fields(through({"rspamd": rspamd_proxy}, data), data)
    listed = [name for name, _ in found]
    assert "X-Test-Edits" not in listed
    # in which order it asks for them changes from run to run
    assert set(listed[:3]) == {"X-Several", "Received", "X-Ordered"}
    assert set(listed[-2:]) == {"X-Plain", "X-Several"}
    assert dict(found)["Subject"].endswith("hello")
    assert dict(found)["Subject"] != "hello"
