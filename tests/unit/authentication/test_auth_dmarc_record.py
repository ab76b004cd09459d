"""authentication.dmarc_record: RFC 9989 §4.7 and the rule on broken records of §4.10.1."""

import pytest

from tideover.authentication.dmarc_record import record_of

RUA = "rua=mailto:d@example.com"


def parsed(*texts):
    return record_of([text.encode() for text in texts])


@pytest.mark.parametrize(
    ("text", "policies"),
    [
        ("v=DMARC1; p=reject", ("reject", "reject", "reject")),
        ("v=DMARC1;p=none;sp=quarantine", ("none", "quarantine", "quarantine")),
        ("v=DMARC1; p=none; np=reject", ("none", "none", "reject")),
        ("v=DMARC1; p=none; sp=quarantine; np=reject;", ("none", "quarantine", "reject")),
        ("v = DMARC1 ; p = Reject ; sp\t=\tNONE", ("reject", "none", "none")),
        ("v=DMARC1; sp=none; p=reject", ("reject", "none", "none")),
        # test mode: each policy one level lower
        ("v=DMARC1; p=reject; sp=quarantine; np=none; t=y", ("quarantine", "none", "none")),
        ("v=DMARC1; p=reject; t=n", ("reject", "reject", "reject")),
        ("v=DMARC1; p=reject; t=maybe", ("reject", "reject", "reject")),
        # tags that are gone, unknown, twice, or none at all
        ("v=DMARC1; p=reject; pct=0; rf=afrf; ri=3600; x=1", ("reject", "reject", "reject")),
        ("v=DMARC1; p=reject; p=none", ("reject", "reject", "reject")),
        ("v=DMARC1; p=reject; nonsense; =; ;; sp=", ("none", "none", "none")),
    ],
)
def test_policies(text, policies):
    record = parsed(text)
    assert (record.policy, record.subdomains, record.missing) == policies


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("v=DMARC1", True),
        ("v=DMARC1; sp=reject", True),
        ("v=DMARC1; p=rejekt", True),
        ("v=DMARC1; p=reject; sp=quarantin", True),
        ("v=DMARC1; p=reject; np=x", True),
        (f"v=DMARC1; {RUA}", False),
        (f"v=DMARC1; p=rejekt; {RUA}", False),
        (f"v=DMARC1; p=reject; sp=quarantin; {RUA}", False),
        ("v=DMARC1; p=rejekt; rua=, https://x.example/d", False),
        ("v=DMARC1; p=rejekt; rua=nobody", True),
        ("v=DMARC1; p=rejekt; rua=", True),
        ("v=DMARC1; p=rejekt; rua=mailto:a b@x.example", True),
    ],
)
def test_without_a_valid_policy_it_is_none_for_who_wants_reports_and_nothing_for_others(
    text, broken
):
    record = parsed(text)
    assert record.broken is broken
    assert (record.policy, record.subdomains, record.missing) == ("none", "none", "none")


def test_alignment_and_psd():
    record = parsed("v=DMARC1; p=none; adkim=S; aspf=s; psd=Y")
    assert (record.strict_dkim, record.strict_spf, record.psd) == (True, True, "y")
    record = parsed("v=DMARC1; p=none; adkim=r; aspf=strict; psd=maybe")
    assert (record.strict_dkim, record.strict_spf, record.psd) == (False, False, "u")
    assert parsed("v=DMARC1; p=none; psd=n").psd == "n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=DMARC2; p=reject",
        "v=dmarc1; p=reject",
        "v=DMARC10; p=reject",
        "v=DMARC1 p=reject",
        " v=DMARC1; p=reject",
        "p=reject; v=DMARC1",
        "v=spf1 -all",
        "v=DMARC1; p=reject; x=" + "y" * 5000,
    ],
)
def test_what_does_not_begin_with_the_version_is_no_record(text):
    assert parsed(text) is None


def test_several_records_are_none():
    assert parsed("v=DMARC1; p=reject", "v=DMARC1; p=reject") is None
    assert parsed("hello", "v=DMARC1; p=reject", "v=spf1").policy == "reject"


def test_any_octets_can_stand_in_a_record():
    assert record_of([b"v=DMARC1; p=reject; x=\xff\0\xe2"]).policy == "reject"
