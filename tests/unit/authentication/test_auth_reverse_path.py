"""authentication.reverse_path: when a report may go to the sender (I7)."""

import pytest

from tideover.authentication.results import DkimResult, DmarcResult, SpfResult
from tideover.authentication.reverse_path import authenticated
from tideover.testing.dns import FakeNames

SENDER = "bounce.example.com"
RECORD = {"_dmarc.example.com": ["v=DMARC1; p=none"]}
PASS = DmarcResult(result="pass", domain="example.com")


def spf(result="pass", *, domain=SENDER, scope="mfrom", trail=("ip4:192.0.2.1",)):
    return SpfResult(
        result=result, domain=domain, scope=scope, mechanism=trail[0] if trail else "", trail=trail
    )


def dkim(domain, result="pass", **more):
    return DkimResult(result=result, domain=domain, selector="s", **more)


def judged(*results, sender=SENDER, dmarc=PASS, names=None):
    by_spf = [one for one in results if isinstance(one, SpfResult)]
    by_dkim = [one for one in results if isinstance(one, DkimResult)]
    coroutine = authenticated(sender, by_spf, by_dkim, dmarc, names or FakeNames(txt=RECORD))
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


@pytest.mark.parametrize(
    "result",
    [spf(), spf(trail=("include:x.example", "a")), dkim(SENDER), dkim("example.com"),
     dkim("News.Example.com")],
)  # fmt: skip
def test_i7_proof(result):
    proven, why = judged(result)
    assert proven
    assert "SPF" in why or "DKIM" in why


@pytest.mark.parametrize(
    "results",
    [
        [],
        [spf("fail")], [spf("softfail")], [spf("neutral")], [spf("none")], [spf("temperror")],
        [spf(trail=("all",))],
        [spf(trail=("include:x.example", "all"))],
        [spf(trail=("ip4:0.0.0.0/0",))],
        [spf(trail=())],
        [spf(scope="helo")],
        [spf(domain="other.example")],
        [spf(domain="example.com")],
        [dkim("example.net")],
        [dkim("com")],
        [dkim("")],
        [dkim(SENDER, "fail")], [dkim(SENDER, "temperror")], [dkim(SENDER, "policy")],
        [dkim(SENDER, testing=True)],
        [dkim(SENDER, reason="the last 9 octets of the body are not signed (l=)")],
    ],
)  # fmt: skip
def test_i7_no_proof(results):
    proven, why = judged(*results)
    assert not proven
    assert SENDER in why


@pytest.mark.parametrize(
    ("dmarc", "proven"),
    [
        (PASS, True),
        (DmarcResult(result="none", domain="a.example"), True),
        (DmarcResult(result="permerror", domain="a.example"), True),
        (DmarcResult(result="fail", domain="a.example", policy="none"), False),
        (DmarcResult(result="fail", domain="a.example", policy="reject"), False),
        (DmarcResult(result="temperror", domain="a.example"), False),
        (None, False),
    ],
)
def test_i7_dmarc_must_not_fail_nor_be_unknown(dmarc, proven):
    result, why = judged(spf(), dkim(SENDER), dmarc=dmarc)
    assert result is proven
    assert proven or "DMARC" in why


def test_i7_a_null_sender_is_never_proven():
    assert not judged(spf(domain=""), dkim(""), sender="")[0]


def test_without_dmarc_only_the_same_domain_is_aligned():
    assert not judged(dkim("example.com"), names=FakeNames())[0]
    assert judged(dkim(SENDER), names=FakeNames())[0]


def test_dns_that_does_not_answer_proves_nothing():
    names = FakeNames(txt=RECORD, broken=["_dmarc.com"])
    proven, why = judged(dkim("example.com"), names=names)
    assert (proven, "DNS" in why) == (False, True)
    assert judged(dkim("example.com"), dkim(SENDER), names=names)[0]
