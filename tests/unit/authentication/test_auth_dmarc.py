"""authentication.dmarc: the tree walk, discovery, alignment and verdicts of RFC 9989."""

import asyncio

import pytest

from tideover.authentication.dmarc import AskedOnce, aligned, evaluate, tree_walk, worst
from tideover.authentication.results import DkimResult, DmarcResult, SpfResult
from tideover.dns.resolver import DnsUnavailable
from tideover.testing.dns import FakeNames

REJECT = "v=DMARC1; p=reject"
LONG = "a.b.c.d.e.f.g.h.i.j.mail.example.com"


def names(records=(), *, exist=(), broken=()):
    txt = {f"_dmarc.{domain}": [text] for domain, text in dict(records).items()}
    return FakeNames(txt=txt, a={name: ["192.0.2.1"] for name in exist}, broken=broken)


def now(coroutine):
    """The value of a coroutine that must not suspend."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


def spf(domain, result="pass", scope="mfrom"):
    return SpfResult(result=result, domain=domain, scope=scope)


def dkim(domain, result="pass", **more):
    return DkimResult(result=result, domain=domain, selector="s", **more)


def judged(author, dns, *results):
    by_spf = [one for one in results if isinstance(one, SpfResult)]
    by_dkim = [one for one in results if isinstance(one, DkimResult)]
    return now(evaluate(author, by_spf, by_dkim, dns))


def asked(dns):
    return [question.removeprefix("txt _dmarc.") for question in dns.asked]


# the walk


@pytest.mark.parametrize(
    ("domain", "targets"),
    [
        ("com", ["com"]),
        ("example.com", ["example.com", "com"]),
        ("a.mail.example.com", ["a.mail.example.com", "mail.example.com", "example.com", "com"]),
        ("1.2.3.4.5.6.7", ["1.2.3.4.5.6.7", "2.3.4.5.6.7", "3.4.5.6.7", "4.5.6.7", "5.6.7", "6.7",
                           "7"]),
        ("1.2.3.4.5.6.7.8", ["1.2.3.4.5.6.7.8", "2.3.4.5.6.7.8", "3.4.5.6.7.8", "4.5.6.7.8",
                             "5.6.7.8", "6.7.8", "7.8", "8"]),
        (LONG, [LONG, "g.h.i.j.mail.example.com", "h.i.j.mail.example.com", "i.j.mail.example.com",
                "j.mail.example.com", "mail.example.com", "example.com", "com"]),
    ],
)  # fmt: skip
def test_a_walk_asks_for_at_most_eight_names(domain, targets):
    dns = names()
    assert now(tree_walk(domain, dns)).organization == domain
    assert asked(dns) == targets


@pytest.mark.parametrize(
    ("domain", "records", "organization"),
    [
        # the examples of §4.10.2
        ("a.mail.example.com", {"mail.example.com": REJECT, "example.com": REJECT}, "example.com"),
        ("a.mail.example.com", {"mail.example.com": REJECT + ";psd=n", "example.com": REJECT},
         "mail.example.com"),
        ("a.mail.example.com", {"com": REJECT + ";psd=y"}, "example.com"),
        ("mail.example.com", {"example.com": REJECT + ";psd=y"}, "mail.example.com"),
        # and of appendix B.4
        ("signing.example.com", {"example.com": REJECT, "signing.example.com": REJECT},
         "example.com"),
        ("a.b.c.d.e.f.g.h.i.j.k.example.com", {"example.com": REJECT}, "example.com"),
        ("giant.bank.example", {"giant.bank.example": REJECT, "bank.example": REJECT + ";psd=y"},
         "giant.bank.example"),
        ("mail.giant.bank.example",
         {"giant.bank.example": REJECT, "bank.example": REJECT + ";psd=y"}, "giant.bank.example"),
        ("mail.mega.bank.example", {"bank.example": REJECT + ";psd=y"}, "mega.bank.example"),
        # §5.1.7: below a cut that a long name's walk does not see
        ("mail.a.b.c.d.e.f.g.example.com",
         {"b.c.d.e.f.g.example.com": REJECT + ";psd=n", "example.com": REJECT}, "example.com"),
        # a walk that begins at a public suffix
        ("bank.example", {"bank.example": REJECT + ";psd=y", "example": REJECT}, "bank.example"),
        # broken records count, several at one name do not
        ("a.example.com", {"example.com": "v=DMARC1; p=nonsense"}, "example.com"),
        ("a.example.com", {}, "a.example.com"),
    ],
)  # fmt: skip
def test_the_organizational_domain(domain, records, organization):
    assert now(tree_walk(domain, names(records))).organization == organization


def test_psd_ends_a_walk():
    dns = names({"bank.example": REJECT + ";psd=y"})
    now(tree_walk("a.bank.example", dns))
    assert asked(dns) == ["a.bank.example", "bank.example"]


def test_a_name_that_is_too_long_for_dns_is_not_asked_for():
    domain = ".".join(["x" * 50] * 4 + ["y" * 40, "com"])
    dns = names({"com": REJECT})
    assert len(domain) > 253 - len("_dmarc.")
    assert now(tree_walk(domain, dns)).organization == "com"
    assert domain not in asked(dns)


# discovery and policy


@pytest.mark.parametrize(
    ("author", "records", "found_at", "policy"),
    [
        ("example.com", {"example.com": "v=DMARC1;p=quarantine;sp=reject"}, "example.com",
         "quarantine"),
        ("a.example.com", {"example.com": "v=DMARC1;p=quarantine;sp=reject"}, "example.com",
         "reject"),
        ("a.example.com", {"a.example.com": "v=DMARC1;p=none;sp=reject", "example.com": REJECT},
         "a.example.com", "none"),
        # between the author and the organization there is nothing to be found
        ("x.a.example.com", {"a.example.com": "v=DMARC1;p=none", "example.com": REJECT},
         "example.com", "reject"),
        # the public suffix's policy is for those without one of their own
        ("a.corp.bank.example", {"bank.example": "v=DMARC1;p=none;sp=quarantine;psd=y"},
         "bank.example", "quarantine"),
        ("a.corp.bank.example",
         {"bank.example": "v=DMARC1;p=none;sp=quarantine;psd=y", "corp.bank.example": REJECT},
         "corp.bank.example", "reject"),
        ("bank.example", {"bank.example": "v=DMARC1;p=reject;psd=y"}, "bank.example", "reject"),
        ("example.com", {"example.com": REJECT + ";t=y"}, "example.com", "quarantine"),
    ],
)  # fmt: skip
def test_the_policy_of_a_message_that_fails(author, records, found_at, policy):
    result = judged(author, names(records, exist=[author]))
    assert (result.result, result.record_domain, result.policy) == ("fail", found_at, policy)


@pytest.mark.parametrize(("exist", "policy"), [(["a.example.com"], "none"), ([], "reject")])
def test_np_is_for_domains_that_do_not_exist(exist, policy):
    dns = names({"example.com": "v=DMARC1; p=none; np=reject"}, exist=exist)
    assert judged("a.example.com", dns).policy == policy


def test_np_is_not_for_the_domain_of_the_record():
    dns = names({"example.com": "v=DMARC1; p=none; np=reject"})
    assert judged("example.com", dns).policy == "none"


def test_whether_a_domain_exists_is_asked_only_if_it_matters():
    dns = names({"example.com": "v=DMARC1; p=reject; np=reject"})
    assert judged("a.example.com", dns).policy == "reject"
    assert "txt a.example.com" not in dns.asked


def test_no_record_no_dmarc():
    result = judged("example.com", names(), spf("example.com"))
    assert (result.result, result.policy) == ("none", "none")


def test_a_broken_record_is_permerror_and_asks_for_nothing():
    result = judged("example.com", names({"example.com": "v=DMARC1; p=rejekt"}))
    assert (result.result, result.policy, result.record_domain) == (
        "permerror", "none", "example.com",
    )  # fmt: skip


def test_a_broken_record_whose_owner_wants_reports_is_p_none():
    text = "v=DMARC1; p=rejekt; rua=mailto:a@example.com"
    result = judged("example.com", names({"example.com": text}))
    assert (result.result, result.policy) == ("fail", "none")


# alignment


@pytest.mark.parametrize(
    ("record", "results", "by"),
    [
        (REJECT, [spf("example.com")], "spf"),
        (REJECT, [dkim("example.com")], "dkim"),
        (REJECT, [spf("example.com"), dkim("example.com")], "spf dkim"),
        (REJECT, [spf("child.example.com")], "spf"),
        (REJECT, [dkim("Child.Example.COM.")], "dkim"),
        (REJECT, [dkim("other.example"), dkim("mail.example.com")], "dkim"),
        (REJECT + ";aspf=s", [spf("child.example.com")], ""),
        (REJECT + ";aspf=s", [spf("example.com")], "spf"),
        (REJECT + ";adkim=s", [dkim("child.example.com")], ""),
        (REJECT + ";adkim=s", [dkim("child.example.com"), dkim("example.com")], "dkim"),
        (REJECT + ";adkim=s", [spf("child.example.com"), dkim("child.example.com")], "spf"),
        # what does not count
        (REJECT, [], ""),
        (REJECT, [spf("example.net")], ""),
        (REJECT, [dkim("com")], ""),
        (REJECT, [dkim("notexample.com")], ""),
        (REJECT, [spf("example.com", scope="helo")], ""),
        (REJECT, [spf("example.com", "softfail"), dkim("example.com", "fail")], ""),
        (REJECT, [dkim("example.com", testing=True)], ""),
        (REJECT, [dkim("example.com", reason="the last 9 octets are not signed (l=)")], ""),
        (REJECT, [dkim("example.com", reason="x"), dkim("example.com")], "dkim"),
        (REJECT, [dkim("exa mple.com"), dkim(""), dkim("192.0.2.1"), spf("\0")], ""),
    ],
)
def test_who_speaks_for_the_author(record, results, by):
    result = judged("example.com", names({"example.com": record}), *results)
    assert (result.result, result.aligned_by) == ("pass" if by else "fail", by)


def test_the_parent_speaks_for_the_child():
    dns = names({"example.com": REJECT})
    assert judged("child.example.com", dns, dkim("example.com")).result == "pass"


def test_siblings_are_aligned_below_one_organization_and_not_below_a_public_suffix():
    results = [dkim("b.example.com")]
    assert judged("a.example.com", names({"example.com": REJECT}), *results).result == "pass"
    suffix = names({"example.com": REJECT + ";psd=y"})
    assert judged("a.example.com", suffix, *results).result == "fail"


def test_the_examples_of_a_public_suffix():
    """RFC 9989 appendix B.4.3."""
    dns = names({"bank.example": REJECT + ";psd=y", "giant.bank.example": REJECT})
    results = [spf("mail.giant.bank.example"), dkim("mail.mega.bank.example")]
    result = judged("giant.bank.example", dns, *results)
    assert (result.aligned_by, result.record_domain) == ("spf", "giant.bank.example")


def test_an_organization_of_its_own_is_not_aligned_with_its_parent():
    dns = names({"example.com": REJECT, "shop.example.com": REJECT + ";psd=n"})
    assert judged("shop.example.com", dns, dkim("example.com")).result == "fail"
    assert judged("example.com", dns, dkim("shop.example.com")).result == "fail"
    assert judged("a.shop.example.com", dns, dkim("shop.example.com")).result == "pass"


def test_domains_without_a_chance_cost_no_look_up():
    dns = names({"example.com": REJECT})
    judged("example.com", dns, *(dkim(f"x{n}.example.net") for n in range(50)))
    judged("example.com", dns, *(dkim(f"x{n}.elsewhere.com") for n in range(50)))
    judged("example.com", dns, dkim("notexample.com"))
    assert {name for name in asked(dns) if "." in name} == {"example.com"}


def test_the_author_s_own_signature_costs_no_look_up():
    dns = names({"example.com": REJECT})
    judged("example.com", dns, *(dkim(f"x{n}.example.com") for n in range(9)), dkim("example.com"))
    assert asked(dns) == ["example.com"]


def test_aligned_by_itself():
    dns = names({"example.com": REJECT})
    assert now(aligned("a.example.com", "b.example.com", dns))
    assert not now(aligned("a.example.com", "b.example.com", dns, strict=True))
    assert now(aligned("same.example.net", "same.example.net", dns, strict=True))


# trouble with DNS


def test_dns_that_does_not_answer_is_temperror():
    dns = names({"example.com": REJECT}, broken=["_dmarc.example.com"])
    assert judged("example.com", dns, dkim("example.com")).result == "temperror"
    assert judged("a.example.com", dns).result == "temperror"


def test_a_look_up_that_is_not_needed_does_not_matter():
    dns = names({"example.com": REJECT}, broken=["_dmarc.com", "_dmarc.b.example.com"])
    assert judged("example.com", dns, dkim("b.example.com"), dkim("example.com")).result == "pass"
    assert judged("example.com", dns, spf("b.example.com"), dkim("example.com")).result == "pass"
    assert judged("example.com", dns).result == "fail"
    assert judged("example.com", dns, dkim("b.example.com")).result == "temperror"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (dkim("example.com", "temperror"), "temperror"),
        (dkim("mail.example.com", "temperror"), "temperror"),
        (spf("mail.example.com", "temperror"), "temperror"),
        (dkim("example.net", "temperror"), "fail"),
        (spf("example.net", "temperror"), "fail"),
        (spf("example.com", "temperror", scope="helo"), "fail"),
        (dkim("example.com", "permerror"), "fail"),
    ],
)
def test_what_could_have_passed_makes_it_undecided(result, expected):
    assert judged("example.com", names({"example.com": REJECT}), result).result == expected


def test_strict_alignment_is_undecided_only_for_the_same_domain():
    dns = names({"example.com": REJECT + ";adkim=s"})
    assert judged("example.com", dns, dkim("a.example.com", "temperror")).result == "fail"


def test_a_pass_counts_beside_what_is_undecided():
    dns = names({"example.com": REJECT})
    results = [spf("example.com", "temperror"), dkim("example.com")]
    assert judged("example.com", dns, *results).result == "pass"


def test_whether_the_author_exists_must_be_known():
    dns = names({"example.com": "v=DMARC1; p=none; np=reject"}, broken=["a.example.com"])
    assert judged("a.example.com", dns).result == "temperror"


def test_it_waits_for_dns_where_it_must():
    async def scenario():
        gate = asyncio.Event()
        dns = names({"example.com": REJECT})
        dns.gate = gate
        task = asyncio.create_task(evaluate("example.com", [], [dkim("example.com")], dns))
        await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        return await task

    assert asyncio.run(scenario()).result == "pass"


# several authors


def test_the_worst_verdict_counts():
    order = [
        DmarcResult(result="pass", domain="a.example"),
        DmarcResult(result="none", domain="b.example"),
        DmarcResult(result="permerror", domain="c.example"),
        DmarcResult(result="fail", domain="d.example", policy="none"),
        DmarcResult(result="temperror", domain="e.example"),
        DmarcResult(result="fail", domain="f.example", policy="quarantine"),
        DmarcResult(result="fail", domain="g.example", policy="reject"),
    ]
    for n, result in enumerate(order):
        assert worst(order[: n + 1]) is result
        assert worst(reversed(order[: n + 1])) is result


def test_no_author_no_dmarc():
    assert worst([]).result == "none"


# what a message costs


def test_of_one_message_each_name_is_asked_for_once():
    dns = names({"example.com": REJECT}, broken=("_dmarc.broken.example",))
    once = AskedOnce(dns)
    for _ in range(2):
        assert now(tree_walk("mail.example.com", once)).organization == "example.com"
        with pytest.raises(DnsUnavailable):
            once.txt("_dmarc.broken.example").send(None)
    asked_for = [question.removeprefix("txt ") for question in dns.asked]
    assert sorted(asked_for) == [
        "_dmarc.broken.example", "_dmarc.com", "_dmarc.example.com", "_dmarc.mail.example.com",
    ]  # fmt: skip
