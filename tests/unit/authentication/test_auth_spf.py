"""SPF evaluation: vectors of our own, limits, and what a pass proves."""

import pytest

from tideover.authentication import spf_record
from tideover.authentication.results import SpfResult
from tideover.authentication.spf import check_host, proves
from tideover.authentication.spf_evaluation import MAX_HOSTS, MAX_OCTETS, MAX_QUESTIONS
from tideover.authentication.spf_macros import MAX_EXPLANATION
from tideover.authentication.spf_record import MAX_RECORD
from tideover.testing.dns import FakeNames

NOW = 1_700_000_000.0
CLIENT = "192.0.2.1"
CLIENT6 = "2001:db8::1"


def checked(names, *, address=CLIENT, sender="joe@a.example", helo="mx.a.example", scope="mfrom"):
    """The result; it must come without suspending, as the tables answer at once."""
    evaluation = check_host(
        address=address, sender=sender, helo=helo, names=names, scope=scope,
        receiver="mx2.example.net", now=NOW,
    )  # fmt: skip
    try:
        evaluation.send(None)
    except StopIteration as end:
        return end.value
    evaluation.close()
    raise AssertionError("it waits")


def by_record(record, **facts):
    tables = {kind: facts.pop(kind) for kind in ("a", "aaaa", "mx", "ptr") if kind in facts}
    txt = {"a.example": [record]} | facts.pop("txt", {})
    broken = facts.pop("broken", ())
    return checked(FakeNames(txt=txt, broken=broken, **tables), **facts)


@pytest.mark.parametrize(
    ("record", "result", "mechanism"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "ip4:192.0.2.0/24"),
        ("V=SPF1 IP4:192.0.2.0/24 -ALL", "pass", "IP4:192.0.2.0/24"),
        ("v=spf1 -ip4:192.0.2.1 +all", "fail", "ip4:192.0.2.1"),
        ("v=spf1 ip4:192.0.3.0/24 ~all", "softfail", "all"),
        ("v=spf1 ip6:::/0 ?all", "neutral", "all"),
        ("v=spf1", "neutral", ""),
        ("v=spf1 ip4:192.0.2.1/33 -all", "permerror", ""),
        ("v=spf1 ip4:192.0.02.1 -all", "permerror", ""),
        ("v=spf1 -all ipv4:192.0.2.1", "permerror", ""),
        ("v=spf1 +x=y -all", "permerror", ""),
        ("v=spf1 x=y x=z -all", "fail", "all"),
        ("v=spf1 exp=a.example exp=a.example -all", "permerror", ""),
        ("v=spf1 exists:%{d0}.a.example -all", "permerror", ""),
        ("v=spf1 exists:%{z}.a.example -all", "permerror", ""),
        ("v=spf1 exists:%{c}.a.example -all", "permerror", ""),
        ("v=spf1 a:%{d -all", "permerror", ""),
        ("v=spf1\t-all", "none", ""),
        ("v=spf10 -all", "none", ""),
    ],
)
def test_records(record, result, mechanism):
    said = by_record(record)
    assert (said.result, said.mechanism) == (result, mechanism)
    assert bool(said.reason) == (result == "permerror")


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ("%{s}", "joe-x+y@sub.a.example"),
        ("%{l}.%{o}", "joe-x+y.sub.a.example"),
        ("%{l1r-}.x.%{d2}", "joe.x.a.example"),  # turned round first, then cut
        ("%{l1-+}.x.%{d2}", "y.x.a.example"),
        ("%{lr-+}.x.%{d99}", "y.x.joe.x.sub.a.example"),
        ("%{ir}.%{v}.%{d2}", "1.2.0.192.in-addr.a.example"),
        ("%{h}.x.%{o1}.Example.", "mx.a.example.x.example.example"),
        ("%{L}.a.example", "joe-x%2by.a.example"),
        ("%%%_%-.a.example", "% %20.a.example"),
        ("%{p}.a.example", "unknown.a.example"),
        ("%{d000000000002}.b.example", "a.example.b.example"),
    ],
)
def test_macros(record, name):
    names = FakeNames(
        txt={"sub.a.example": [f"v=spf1 exists:{record} -all"]}, a={name: ["127.0.0.2"]}
    )
    said = checked(names, sender="joe-x+y@sub.a.example")
    assert said.result == "pass", names.asked


def test_ipv6_macros_are_nibbles():
    names = FakeNames(txt={"a.example": ["v=spf1 exists:%{ir}.%{v}.a.example -all"]})
    checked(names, address=CLIENT6)
    assert names.asked[-1] == f"a 1{'.0' * 23}.8.b.d.0.1.0.0.2.ip6.a.example"


def test_a_long_name_loses_labels_on_the_left():
    names = FakeNames(txt={"a.example": ["v=spf1 exists:%{l}.%{l}.%{l}.%{l}.%{l}.b.example -all"]})
    checked(names, sender=f"{'x' * 60}@a.example")
    asked = names.asked[-1].split()[1]
    assert asked == f"{'x' * 60}." * 3 + f"{'x' * 60}.b.example"


def test_addresses_of_hosts_count_by_family():
    facts = {"a": {"a.example": ["192.0.2.9"]}, "aaaa": {"a.example": ["2001:db8::9"]}}
    assert by_record("v=spf1 a/28//124 -all", **facts).result == "pass"
    assert by_record("v=spf1 a/28//124 -all", address=CLIENT6, **facts).result == "pass"
    assert by_record("v=spf1 a/28 -all", address=CLIENT6, **facts).result == "fail"
    assert by_record("v=spf1 a/29 -all", **facts).result == "fail"
    assert by_record("v=spf1 a/28 -all", address=f"::ffff:{CLIENT}", **facts).result == "pass"


def test_what_is_no_domain_is_not_asked_about():
    for sender in ("joe@localhost", "joe@[192.0.2.1]", "joe@a..example", f"joe@{'x' * 64}.example",
                   "joe@" + "x." * 130 + "example", "joe@192.0.2.1", "postmaster", "joe@\x00.a",
                   "joe@\u0301\u0301.example", "joe@" + "\u00e4" * 5000 + ".example"):  # fmt: skip
        names = FakeNames()
        said = checked(names, sender=sender)
        assert (said.result, names.asked) == ("none", [])
        assert said.reason


def test_international_senders():
    record = {"xn--bcher-kva.example": ["v=spf1 exists:%{l}.b.example ip4:192.0.2.1 -all"]}
    names = FakeNames(txt=record)
    said = checked(names, sender="jörg@Bücher.example")
    assert (said.result, said.domain) == ("pass", "xn--bcher-kva.example")
    assert names.asked == ["txt xn--bcher-kva.example"]  # RFC 8616: no question about "jörg"
    for record in ("v=spf1 include:%{l}.b.example", "v=spf1 redirect=%{s}"):
        assert by_record(record, sender="jörg@a.example").result == "neutral"
    assert by_record("v=spf1 a:%{h} -all", helo="bücher.example").result == "fail"


def test_helo_is_checked_as_its_postmaster():
    names = FakeNames(
        txt={"mx.a.example": ["v=spf1 exists:%{l}.b.example -all"]},
        a={"postmaster.b.example": ["127.0.0.2"]},
    )
    said = checked(names, scope="helo", sender="x@elsewhere.example")
    assert (said.result, said.domain, said.scope) == ("pass", "mx.a.example", "helo")


def test_dns_that_fails_is_a_temperror():
    assert by_record("v=spf1 -all", broken={"a.example"}).result == "temperror"
    for term in ("include:b.example", "a:b.example", "mx:b.example", "exists:b.example",
                 "redirect=b.example"):  # fmt: skip
        said = by_record(f"v=spf1 {term}", broken={"b.example"})
        assert said.result == "temperror"
        assert "b.example" in said.reason


def test_dns_that_fails_for_names_of_the_client_is_passed_over():
    ptr = {CLIENT: ["broken.example", "mx.a.example"]}
    facts = {"a": {"mx.a.example": [CLIENT]}, "ptr": ptr, "broken": {"broken.example"}}
    assert by_record("v=spf1 ptr -all", **facts).result == "pass"
    assert by_record("v=spf1 ptr -all", broken={CLIENT}).result == "fail"


def test_of_the_clients_names_only_the_first_count():
    names = [f"h{n}.a.example" for n in range(MAX_HOSTS + 1)]
    facts = {"ptr": {CLIENT: names}, "a": {names[-1]: [CLIENT]}}
    assert by_record("v=spf1 ptr -all", **facts).result == "fail"
    facts["ptr"][CLIENT] = names[1:]
    assert by_record("v=spf1 ptr -all", **facts).result == "pass"


def test_terms_that_ask_are_limited_over_all_records():
    inner = {f"i{n}.example": ["v=spf1 a:b.example -all"] for n in range(6)}
    record = "v=spf1 " + " ".join(f"include:i{n}.example" for n in range(5))
    tables = {"a": {"b.example": ["198.51.100.1"]}}
    assert by_record(f"{record} -all", txt=inner, **tables).result == "fail"
    for term in ("a:b.example -all", "exists:b.example", "redirect=i5.example"):
        assert by_record(f"{record} {term}", txt=inner, **tables).result == "permerror"


def test_empty_answers_are_limited():
    assert by_record("v=spf1 a:x.example mx:y.example -all").result == "fail"
    assert by_record("v=spf1 a:x.example mx:y.example exists:z.example -all").result == "permerror"


def test_mx_hosts_without_address_of_this_family_are_no_empty_answers():
    facts = {
        "mx": {"a.example": [(n, f"h{n}.example") for n in range(4)]},
        "a": {f"h{n}.example": [CLIENT] for n in range(4)},
    }
    assert by_record("v=spf1 mx -all", address=CLIENT6, **facts).result == "fail"


def test_questions_are_limited():
    hosts = {f"m{n}.example": [(0, f"h{n}-{m}.example") for m in range(10)] for n in range(10)}
    a = {host: ["198.51.100.1"] for mx in hosts.values() for _, host in mx}
    record = "v=spf1 " + " ".join(f"mx:{name}" for name in hosts) + " -all"
    names = FakeNames(txt={"a.example": [record]}, mx=hosts, a=a)
    assert checked(names).result == "permerror"
    assert len(names.asked) == MAX_QUESTIONS


def test_octets_are_limited():
    def long(size):
        return ("v=spf1 -all " + "x=y " * size)[:size]

    assert by_record(long(MAX_RECORD)).result == "fail"
    assert by_record(long(MAX_RECORD + 1)).result == "permerror"
    many = {f"i{n}.example": [long(6000)] for n in range(4)}
    record = "v=spf1 include:i0.example include:i1.example include:i2.example -all"
    assert 2 * 6000 < MAX_OCTETS < 3 * 6000
    assert by_record(record, txt=many).result == "permerror"


def test_long_records_are_not_kept():
    spf_record._kept.cache_clear()
    by_record("v=spf1 " + "ip4:198.51.100.1 " * 100 + "-all")
    assert spf_record._kept.cache_info().currsize == 0
    by_record("v=spf1 ip4:198.51.100.1 -all")
    assert spf_record._kept.cache_info().currsize == 1


def test_a_loop_ends():
    txt = {"b.example": ["v=spf1 include:a.example"]}
    assert by_record("v=spf1 include:b.example -all", txt=txt).result == "permerror"
    assert by_record("v=spf1 redirect=a.example").result == "permerror"


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        (
            b"%{i} is not of %{d}; ask %{r} at %{t}",
            "192.0.2.1 is not of a.example; ask mx2.example.net at 1700000000",
        ),
        (b"100%% %{L}%_", "100% joe"),
        (b"broken %{", ""),
        ("für Elise".encode(), ""),
        (b"bell\x07 line\r\n250 OK", "bell? line?250 OK"),
        (b"%{s}" * 240, ("joe@a.example" * 100)[:MAX_EXPLANATION]),
        (b"x" * 2000, ""),
    ],
)  # fmt: skip
def test_explanations(text, explanation):
    txt = {"why.example": [text]}
    said = by_record("v=spf1 exp=why.example -all", txt=txt)
    assert (said.result, said.explanation) == ("fail", explanation)
    assert by_record("v=spf1 exp=why.example ~all", txt=txt).explanation == ""


def test_an_explanation_is_asked_for_only_when_it_is_needed():
    names = FakeNames(txt={"a.example": ["v=spf1 exp=why.example +all"]})
    checked(names)
    assert names.asked == ["txt a.example"]


@pytest.mark.parametrize(
    ("record", "proven"),
    [
        ("v=spf1 ip4:192.0.2.1 -all", True),
        ("v=spf1 ip4:192.0.0.0/8 -all", True),
        ("v=spf1 ip4:192.0.0.0/7 -all", False),
        ("v=spf1 ip4:0.0.0.0/0 -all", False),
        ("v=spf1 +all", False),
        ("v=spf1 a -all", True),
        ("v=spf1 a/7 -all", False),
        ("v=spf1 a/24//8 -all", False),
        ("v=spf1 a:%{h} -all", False),
        ("v=spf1 a:%{p} -all", False),
        ("v=spf1 a:x%{d} -all", False),
        ("v=spf1 a:b.%{d} -all", True),
        ("v=spf1 mx:a.example/24 -all", True),
        ("v=spf1 exists:any.example -all", False),
        ("v=spf1 exists:%{l}.users.example -all", False),
        ("v=spf1 exists:%{i}.ok.example -all", True),
        ("v=spf1 exists:%{i}.%{h}.ok.example -all", True),
        ("v=spf1 exists:%{i}.%{h} -all", False),
        ("v=spf1 ptr -all", True),
        ("v=spf1 ptr:a.example -all", True),
        ("v=spf1 ptr:%{p} -all", False),
        ("v=spf1 include:own.example -all", True),
        ("v=spf1 include:all.example -all", False),
        ("v=spf1 include:deep.example -all", False),
        ("v=spf1 include:%{h} -all", False),
        ("v=spf1 redirect=all.example", False),
        ("v=spf1 redirect=own.example", True),
        ("v=spf1 ?all", False),
    ],
)
def test_what_a_pass_proves(record, proven):
    names = FakeNames(
        txt={
            "a.example": [record],
            "own.example": ["v=spf1 ip4:192.0.2.0/24 -all"],
            "all.example": ["v=spf1 +all"],
            "deep.example": ["v=spf1 include:all.example"],
            "mx.b.example": ["v=spf1 ip4:192.0.2.1"],
        },
        a={
            name: [CLIENT]
            for name in ("a.example", "mx.b.example", "xa.example", "b.a.example", "any.example",
                         "joe.users.example", "192.0.2.1.ok.example", "mx.a.example",
                         "192.0.2.1.mx.b.example.ok.example", "192.0.2.1.mx.b.example")
        },
        mx={"a.example": [(1, "mx.a.example")]},
        ptr={CLIENT: ["mx.a.example"]},
    )  # fmt: skip
    said = checked(names, helo="mx.b.example")
    assert said.result == ("neutral" if record == "v=spf1 ?all" else "pass")
    assert proves(said) is proven


def test_a_pass_by_a_mechanism_too_long_to_keep_proves_nothing():
    label = "x" * 60 + "."
    a = {f"{label * count}192.0.2.1.b.example": [CLIENT] for count in (3, 4)}
    said = by_record(f"v=spf1 exists:{label * 3}%{{i}}.b.example -all", a=a)
    assert (said.result, proves(said)) == ("pass", True)
    said = by_record(f"v=spf1 exists:{label * 4}%{{i}}.b.example -all", a=a)
    assert (said.result, proves(said)) == ("pass", False)
    assert len(said.mechanism) == 256


def test_a_pass_without_a_trail_proves_nothing():
    assert not proves(SpfResult(result="pass", domain="a.example"))


def test_the_trail_leads_to_the_innermost_record():
    txt = {
        "b.example": ["v=spf1 include:c.example -all"],
        "c.example": ["v=spf1 ip4:192.0.2.0/24"],
    }
    said = by_record("v=spf1 redirect=b.example", txt=txt)
    assert said.mechanism == "include:c.example"
    assert said.trail == ("redirect=b.example", "include:c.example", "ip4:192.0.2.0/24")


@pytest.mark.parametrize("address", ["", "unix", "192.0.2", "fe80::zz", "192.0.2.1\x00"])
def test_what_is_no_address_has_no_result(address):
    names = FakeNames(txt={"a.example": ["v=spf1 +all"]})
    assert checked(names, address=address).result == "none"


def test_a_zone_index_is_no_part_of_an_address():
    assert by_record("v=spf1 ip6:fe80::/10 -all", address="fe80::1%eth0").result == "pass"
