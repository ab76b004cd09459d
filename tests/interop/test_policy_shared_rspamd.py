"""The set-up of docs/rspamd.md: what the primary's rspamd learns, the backup's knows.

Its blocks of configuration are taken from the page as they stand there, but for ports.
"""

import json
import re
import time
from pathlib import Path

import pytest

import engines
from tideover.config.policy import Rspamd as Settings
from tideover.policy.engines import rspamd
from tideover.policy.interface import Result
from tideover.testing import redis as redis_program
from tideover.testing import rspamd as rspamd_program
from tideover.testing.ports import free_port
from tideover.testing.redis import Redis
from tideover.testing.rspamd import Rspamd

_REASON = redis_program.why_missing() or rspamd_program.why_missing()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(_REASON is not None, reason=_REASON or ""),
]

PAGE = Path(__file__).parents[2] / "docs" / "rspamd.md"
BLOCK = re.compile(r"^`local\.d/([\w.-]+)` \((\w+)\):.*\n\n```\n([^`]*)```$", re.MULTILINE)

# so that a test sees it at once; and no storage but our own
QUICK = {
    "classifier-bayes.conf": "min_learns = 5;\n",
    "worker-fuzzy.inc": "sync = 0.1s;\n",
    "fuzzy_check.conf": 'min_bytes = 1;\nrule "rspamd.com" { enabled = false; }\n',
    "greylist.conf": "timeout = 1s;\n",
}
SPAM = (
    b"cheap pills pharmacy discount order now casino winner lottery prize claim your money today "
    b"limited offer exclusive bargain\r\n"
)
HAM = (
    b"the minutes of our meeting on thursday agenda budget project schedule colleague report "
    b"attached regards team discussion review planning\r\n"
)


def written(side, own_redis, primary_redis):
    """The files of one side, as the page has them."""
    fuzzy = free_port()
    files = dict(QUICK)
    for name, where, text in BLOCK.findall(PAGE.read_text()):
        if where in ("both", side):
            files[name] = text + files.get(name, "")
    for old, new in (
        ("192.0.2.10:6379", primary_redis),
        ("127.0.0.1:6379", own_redis),
        ("127.0.0.1:11335", f"127.0.0.1:{fuzzy}"),
    ):
        assert any(old in text for text in files.values()) or side == "primary"
        files = {name: text.replace(old, str(new)) for name, text in files.items()}
    return files


class Pair:
    """Both sides, and the Redis of each."""

    def __init__(self, directory):
        self.redis = Redis(directory, name="redis-primary")
        self.replica = Redis(directory, name="redis-backup", replica_of=self.redis.endpoint)
        endpoint = self.redis.endpoint
        enable = ("fuzzy_check", "greylist")
        files = written("primary", endpoint, endpoint)
        self.primary = Rspamd(directory, name="primary", enable=enable, local=files)
        files = written("backup", self.replica.endpoint, endpoint)
        self.backup = Rspamd(directory, name="backup", enable=enable, local=files)
        self.parts = (self.redis, self.replica, self.primary, self.backup)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("shared"))
    try:
        for part in made.parts:
            part.child.start()
        yield made
    finally:
        for part in reversed(made.parts):
            part.child.stop()


@pytest.fixture(scope="module")
def taught(pair):
    """The pair, after users of the primary have taught it spam and ham."""
    for n in range(5):  # more of the kind it would refuse: it knows them
        for verb, text in (("learnspam", SPAM), ("learnham", HAM)):
            more = b" number %d of %d\r\n" % (n, n * 7)
            status, answer = pair.primary.control(verb, mail(text + more))
            assert status == 200, answer
    return pair


@pytest.fixture
def without_redis(taught):
    taught.replica.child.kill()
    taught.redis.child.kill()
    yield taught
    taught.redis.child.start()
    taught.replica.child.start()


@pytest.fixture
def without_primary(taught):
    """As when the primary's whole site is down."""
    taught.primary.child.kill()
    taught.redis.child.kill()
    yield taught
    taught.redis.child.start()
    taught.primary.child.start()


def mail(body, header=b""):
    return engines.HEADER + header + b"\r\n" + body


def ask(server, body, header=b"", sender="ann@example.net"):
    """What the check "rspamd" finds."""
    about = engines.about(
        mail(body, header),
        sender=sender,
        results={"reverse-dns": Result(evidence={"name": "client.example.net"})},
    )
    check = rspamd.make(engines.services(rspamd=Settings(url=server.url, timeout=20.0)))
    return engines.run(check(about))


def symbols(result):
    return {one.partition("(")[0] for one in result.evidence.get("rspamd-symbols", "").split()}


def soon(wanted):
    """True once it is, at the latest after five seconds: how long an engine's return may take."""
    deadline = time.monotonic() + 5
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def names(result):
    return [found.name for found in result.found]


def test_the_page_has_all_files():
    found = [(name, where) for name, where, _ in BLOCK.findall(PAGE.read_text())]
    assert found == [
        ("redis.conf", "primary"), ("redis.conf", "backup"), ("classifier-bayes.conf", "both"),
        ("worker-fuzzy.inc", "both"), ("fuzzy_check.conf", "both"), ("fuzzy_group.conf", "both"),
    ]  # fmt: skip


def test_what_the_primary_learned_the_backup_knows(taught):
    assert soon(lambda: "BAYES_SPAM" in symbols(ask(taught.backup, SPAM + b"and this\r\n")))
    ham = ask(taught.backup, HAM + b"and that\r\n", sender="colleague@example.net")
    assert "BAYES_HAM" in symbols(ham)


def test_it_knows_it_while_the_primary_is_down(without_primary):
    backup = without_primary.backup
    assert soon(lambda: "BAYES_SPAM" in symbols(ask(backup, SPAM + b"and this\r\n")))


def test_a_fuzzy_hash_of_the_primary_is_known(pair):
    text = b"These wonderful watches are sold by our shop to all your friends and family.\r\n" * 5
    assert "OUR_FUZZY_DENIED" not in symbols(ask(pair.backup, text))
    headers = {"Flag": "11", "Weight": "10"}
    status, answer = pair.primary.control("fuzzyadd", mail(text), **headers)
    assert status == 200, answer
    assert soon(lambda: "OUR_FUZZY_DENIED" in symbols(ask(pair.backup, text)))


@pytest.mark.parametrize("first", ["primary", "backup"])
def test_who_waited_at_one_is_let_in_by_the_other(pair, first):
    servers = [pair.primary, pair.backup]
    if first == "backup":
        servers.reverse()
    sender = f"new-at-{first}@example.net"
    body = f"Nobody knows this text of {first}.\r\n".encode()

    def again(server):
        return ask(server, body, b"X-Test-Five: 1\r\n", sender)

    deferred = again(servers[0])
    assert names(deferred) == ["rspamd-defer"]
    assert str(deferred.found[0].reply) == "451 4.7.1 Try again later"
    assert soon(lambda: not names(again(servers[1])))


def test_without_redis_it_goes_on_and_nothing_is_deferred(without_redis):
    backup = without_redis.backup
    for _ in range(3):
        spam = ask(backup, SPAM + b"and this\r\n")
        grey = ask(backup, HAM, b"X-Test-Five: 1\r\n", "no-redis@example.net")
        for result in (spam, grey):
            assert "engine-failed" not in names(result)
            assert "rspamd-defer" not in names(result)
        assert "BAYES_SPAM" not in symbols(spam)
        assert grey.evidence["rspamd"].startswith(("greylist, ", "no action, "))


def test_greylisting_that_cannot_be_written_down_asks_for_nothing(without_primary):
    def asked():
        header, sender = b"X-Test-Five: 1\r\n", "no-primary@example.net"
        return names(ask(without_primary.backup, HAM, header, sender))

    assert [asked() for _ in range(3)] == [[], [], []]


def test_when_redis_is_back_it_is_used_again(taught):
    for part in (taught.replica, taught.redis):
        part.child.kill()
    ask(taught.backup, SPAM)
    for part in (taught.redis, taught.replica):
        part.child.start()

    def greylists():
        body, sender = b"Nobody knows it yet.\r\n", "again@example.net"
        return names(ask(taught.backup, body, b"X-Test-Five: 1\r\n", sender)) == ["rspamd-defer"]

    assert soon(greylists)


def test_the_answer_tells_apart_what_the_module_asked_for(pair):
    """Both have the same score: what is deferred hangs on the action alone."""
    header = b"X-Test-Five: 1\r\n"
    headers = {"IP": "192.0.2.77", "From": "<x@example.net>", "Rcpt": "<user@example.com>"}
    data = engines.TRACE + mail(b"Nobody knows this one.\r\n", header)
    answer = json.loads(pair.primary.check(data, Hostname="h.example.net", **headers))
    assert answer["action"] == "soft reject"
    assert answer["messages"]["smtp_message"] == "Try again later"
