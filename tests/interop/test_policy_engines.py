"""Content engines as they are: rspamd, clamd and spamd, asked over the loop that production has."""

import asyncio
import base64
import time

import pytest

import engines
from tideover.config.policy import Clamav, Rspamd, Spamassassin
from tideover.config.policy_values import SocketAddress
from tideover.message.edits import Add, Remove
from tideover.policy.engines import clamav, rspamd, spamassassin
from tideover.policy.interface import Result, Verb
from tideover.testing import clamd as clamd_program
from tideover.testing import rspamd as rspamd_program
from tideover.testing import spamd as spamd_program
from tideover.testing.clamd import EICAR, Clamd
from tideover.testing.spamd import GTUBE, MONEY, Spamd

pytestmark = pytest.mark.interop

_SETTINGS = """
strict {
  id = "strict";
  apply { actions { reject = 4.5; "add header" = 3; greylist = 2; } }
}
"""
_ACTIONS = 'quarantine { flags = ["no_threshold"]; }'


def _needs(program):
    reason = program.why_missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def rspamd_server(tmp_path_factory):
    _needs(rspamd_program)
    directory = tmp_path_factory.mktemp("rspamd")
    local = {"settings.conf": _SETTINGS, "actions.conf": _ACTIONS}
    with rspamd_program.Rspamd(directory, local=local) as server:
        yield server


@pytest.fixture(scope="module")
def clamd(tmp_path_factory):
    _needs(clamd_program)
    with Clamd(tmp_path_factory.mktemp("clamd")) as server:
        yield server


@pytest.fixture(scope="module")
def spamd(tmp_path_factory):
    _needs(spamd_program)
    with Spamd(tmp_path_factory.mktemp("spamd")) as server:
        yield server


def ask_rspamd(server, *abouts, timeout=20.0):
    """The results of messages that come one after the other."""

    async def ask():
        settings = Rspamd(url=server.url, timeout=timeout)
        check = rspamd.make(engines.services(rspamd=settings))
        return [await check(about) for about in abouts]

    return engines.run(ask())


def ask_clamd(socket, *abouts, timeout=20.0, **more):
    check = clamav.make(engines.services(clamav=Clamav(socket=socket, timeout=timeout, **more)))
    return [engines.run(check(about)) for about in abouts]


def ask_spamd(server, *abouts, timeout=20.0, **more):
    settings = Spamassassin(socket=engines.at(server.endpoint), timeout=timeout, **more)
    check = spamassassin.make(engines.services(spamassassin=settings))
    return [engines.run(check(about)) for about in abouts]


def mail(header=b"", body=b"The minutes of our meeting are attached.\r\n"):
    return engines.HEADER + header + b"\r\n" + body


def only(result):
    (found,) = result.found
    return found


# rspamd


def test_rspamd_rejects_gtube_with_its_own_text(rspamd_server):
    (result,) = ask_rspamd(rspamd_server, engines.about(mail(body=GTUBE + b"\r\n")))
    assert only(result).name == "rspamd-reject"
    assert str(only(result).reply) == "554 5.7.1 Gtube pattern"
    assert result.evidence["rspamd"].startswith("reject, 15.00")
    assert "GTUBE" in result.evidence["rspamd-symbols"]


def test_rspamd_lets_honest_mail_pass_and_nothing_is_edited(rspamd_server):
    """It asks for X-Spam to be removed, always: a message without it stays as it is."""
    (result,) = ask_rspamd(rspamd_server, engines.about())
    assert not result.found
    assert not result.edits
    assert result.evidence["rspamd"].startswith("no action, ")
    assert "ONCE_RECEIVED" in result.evidence["rspamd-symbols"]  # ours, which it was shown


def test_rspamd_removes_a_forged_mark(rspamd_server):
    (result,) = ask_rspamd(rspamd_server, engines.about(mail(b"X-Spam: No\r\n")))
    assert result.edits == (Remove(b"X-Spam", 0),)


def test_rspamds_header_edits_are_carried(rspamd_server):
    (result,) = ask_rspamd(rspamd_server, engines.about(mail(b"X-Test-Edits: 1\r\n")))
    assert not result.found
    assert result.edits[0] == Remove(b"X-Test-Edits", 0)
    assert set(result.edits[1:]) == {
        Add(b"X-Plain", b"one"), Add(b"X-Ordered", b"two"), Add(b"X-Several", b"three"),
        Add(b"X-Several", b"four", 6),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("action", "name", "edits"),
    [
        ("soft reject", "rspamd-defer", None),
        ("add header", "rspamd-spam", (Add(b"X-Spam", b"Yes"),)),
        ("quarantine", "rspamd-quarantine", None),
    ],
)
def test_rspamds_actions(rspamd_server, action, name, edits):
    about = engines.about(mail(b"X-Test-Action: " + action.encode() + b"\r\n"))
    (result,) = ask_rspamd(rspamd_server, about)
    found = only(result)
    assert found.name == name
    assert found.reply is None or found.reply.lines == ("because the test wants it",)
    assert (found.reply is not None) == (name == "rspamd-defer")
    kept = tuple(edit for edit in result.edits or () if edit.name != b"X-Test-Action")
    assert (kept or None) == edits


def test_rspamd_rewrites_a_subject(rspamd_server):
    about = engines.about(mail(b"X-Test-Action: rewrite subject\r\n"))
    (result,) = ask_rspamd(rspamd_server, about)
    assert only(result).name == "rspamd-spam"
    (change,) = result.edits
    assert (change.name, change.occurrence) == (b"Subject", 1)
    assert b"Minutes" in change.value
    assert change.value != b"Minutes"


def test_rspamd_is_told_all_of_the_envelope(rspamd_server):
    about = engines.about(
        mail(b"X-Test-Envelope: 1\r\n"),
        to=("user@example.com", "other@example.com"),
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
        results={"reverse-dns": Result(evidence={"name": "host.example.net"})},
    )
    (result,) = ask_rspamd(rspamd_server, about)
    (line,) = only(result).reply.lines
    assert line.split() == [
        "192.0.2.1", "client.example.net", "host.example.net", "ann@example.net", "Q1", "tls",
        "user@example.com", "other@example.com",
    ]  # fmt: skip
    null = engines.about(mail(b"X-Test-Envelope: 1\r\n"), sender="", to=('"a b"@example.com',))
    (result,) = ask_rspamd(rspamd_server, null)
    assert only(result).reply.lines == (
        "192.0.2.1 client.example.net Q1 clear a b@example.com",
    )  # fmt: skip


def test_a_settings_id_changes_what_rspamd_does(rspamd_server):
    def about(wanted):
        return engines.about(
            mail(b"X-Test-Five: 1\r\n"),
            transaction={"rspamd_settings": wanted},
            results={"reverse-dns": Result(evidence={"name": "host.example.net"})},
        )

    results = ask_rspamd(rspamd_server, about(None), about("strict"), about("unknown"))
    assert [bool(result.found) for result in results] == [False, True, False]
    assert only(results[1]).name == "rspamd-reject"
    # without greylisting nothing would ever let these two in, if this action were a deferral
    assert results[0].evidence["rspamd"].startswith("greylist, 5.")


def test_rspamd_reads_a_large_message_to_its_end(rspamd_server):
    header = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    large = b"\r\n--b\r\n\r\n" + b"The minutes of our meeting.\r\n" * 100_000
    body = large + b"\r\n--b\r\n\r\n" + GTUBE + b"\r\n\r\n--b--\r\n"
    for in_memory in (True, False):
        about = engines.about(mail(header, body), in_memory=in_memory)
        (result,) = ask_rspamd(rspamd_server, about)
        assert only(result).name == "rspamd-reject"


def test_rspamd_killed_under_load_and_back(rspamd_server):
    async def load():
        check = rspamd.make(engines.services(rspamd=Rspamd(url=rspamd_server.url, timeout=20.0)))
        first = [asyncio.create_task(check(engines.about())) for _ in range(100)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        rspamd_server.child.kill()
        try:
            during = await asyncio.gather(*first, check(engines.about()))
        finally:
            rspamd_server.child.start()
        after = await check(engines.about())
        return during, after

    during, after = engines.run(load())
    assert not after.found
    failures = [result for result in during if result.found]
    assert failures
    assert {engines.failure(result)[0] for result in failures} == {Verb.DEFER}


def test_rspamd_hangs_and_goes_on(rspamd_server):
    rspamd_server.child.freeze()
    try:
        begin = time.monotonic()
        (hung,) = ask_rspamd(rspamd_server, engines.about(), timeout=0.3)
        assert time.monotonic() - begin < 5
    finally:
        rspamd_server.child.thaw()
    assert engines.failure(hung)[1] == "rspamd: no answer within 0.3 s"
    assert not ask_rspamd(rspamd_server, engines.about())[0].found


# ClamAV


@pytest.fixture(params=["tcp", "unix"])
def clamd_socket(clamd, request):
    return (
        engines.at(clamd.endpoint)
        if request.param == "tcp"
        else SocketAddress(None, str(clamd.path))
    )


def test_clamd_knows_eicar_in_body_and_attachment(clamd_socket):
    attached = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
    )
    results = ask_clamd(
        clamd_socket,
        engines.about(mail(body=EICAR + b"\r\n")),
        engines.about(mail(attached, base64.encodebytes(EICAR).replace(b"\n", b"\r\n"))),
    )
    for result in results:
        assert only(result).name == "virus"
        assert str(only(result).reply) == (
            f"554 5.7.1 The message carries malware: {clamd_program.NAME}"
        )


def test_clamd_lets_honest_mail_pass(clamd_socket):
    large = mail(body=b"The minutes of our meeting.\r\n" * 30_000)
    results = ask_clamd(clamd_socket, engines.about(), engines.about(large, in_memory=False))
    for result in results:
        assert not result.found
        assert result.evidence == {"clamav": "nothing found"}


def test_what_is_larger_than_clamd_takes_is_not_shown(clamd_socket):
    large = mail(body=b"The minutes of our meeting.\r\n" * 200_000)
    for result in ask_clamd(clamd_socket, *[engines.about(large, in_memory=False)] * 5):
        assert not result.found
        assert "StreamMaxLength" in result.evidence["clamav"]


def test_clamd_killed_and_back(clamd):
    socket = engines.at(clamd.endpoint)
    clamd.child.kill()
    try:
        (dead,) = ask_clamd(socket, engines.about())
    finally:
        clamd.child.start()
    assert engines.failure(dead)[0] is Verb.DEFER
    assert not ask_clamd(socket, engines.about())[0].found
    clamd.child.freeze()
    try:
        (hung,) = ask_clamd(socket, engines.about(), timeout=0.3)
    finally:
        clamd.child.thaw()
    assert engines.failure(hung)[1] == "clamav: no answer within 0.3 s"


# SpamAssassin


def test_spamd_knows_gtube(spamd):
    (result,) = ask_spamd(spamd, engines.about(mail(body=GTUBE + b"\r\n")))
    assert only(result).name == "spamassassin-spam"
    assert "GTUBE" in result.evidence["spamassassin-symbols"].split(",")


def test_spamd_gives_points_and_a_threshold_of_ones_own_counts(spamd):
    about = engines.about(mail(body=MONEY + b" for you\r\n"))
    (result,) = ask_spamd(spamd, about)
    assert not result.found
    assert result.evidence == {
        "spamassassin": "3.1 of 5.0", "spamassassin-symbols": "MONEY,VIA_US",
    }  # fmt: skip
    (result,) = ask_spamd(spamd, about, reject_score=3.0, user="nobody")
    assert only(result).name == "spamassassin-spam"


def test_spamd_sees_the_envelope_sender(spamd):
    (result,) = ask_spamd(spamd, engines.about(sender="bulk@example.net"))
    assert result.evidence["spamassassin-symbols"] == "FROM_BULK,VIA_US"


def test_spamd_killed_and_back(spamd):
    spamd.child.kill()
    try:
        (dead,) = ask_spamd(spamd, engines.about())
    finally:
        spamd.child.start()
    assert engines.failure(dead)[0] is Verb.DEFER
    assert not ask_spamd(spamd, engines.about())[0].found
    spamd.child.freeze()
    try:
        (hung,) = ask_spamd(spamd, engines.about(), timeout=0.3)
    finally:
        spamd.child.thaw()
    assert engines.failure(hung)[1] == "spamassassin: no answer within 0.3 s"
