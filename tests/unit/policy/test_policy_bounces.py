"""Bounces: a flood is limited, the signed ones pass, and no bounce has several recipients."""

import hmac
from base64 import b64encode
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rcpt_facts import NOW, about, at_once, config, names, recipient

from tideover.config.policy import Limits, Profile
from tideover.config.policy_values import RateLimit
from tideover.events.policy_records import CheckFailed
from tideover.policy.buckets import Buckets
from tideover.policy.checks import bounces
from tideover.policy.interface import NOTHING, Stage
from tideover.policy.services import Services

TWO = RateLimit(2, 3600.0)
DAY = int(NOW // 86_400)


def batv(user, key=b"secret", day=DAY + 7, domain="example.com"):
    tag = f"0{day % 1000:03}"
    mark = hmac.digest(key, f"{tag}{user}@{domain}".encode(), "sha1")[:3].hex()
    return f"prvs={tag}{mark}={user}@{domain}"


def srs(user="someone", host="example.net", key=b"secret"):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    time = letters[DAY // 32 % 32] + letters[DAY % 32]
    mark = hmac.digest(key, f"{time}{host}{user}".lower().encode(), "sha1")
    return f"SRS0={b64encode(mark).decode()[:4]}={time}={host}={user}@example.com"


def asking(path=None, *, keys=(), limits=None, written="secret\n"):
    """`ask(address)` for the check of a domain whose profile has these keys."""
    files = {f"{kind}_key_file": path / kind for kind in keys}
    for file in files.values():
        if written is not None:
            file.write_text(written)
    events = []
    settings = config(profile="signing", profiles={"signing": Profile(**files)},
                      limits=limits or Limits())  # fmt: skip
    check = bounces.make(Services(
        config=settings, names=None, memory=SimpleNamespace(buckets=Buckets()),
        is_ours=lambda _: False, emit=events.append,
    ))  # fmt: skip

    def ask(to="user@example.com", now=NOW, **facts):
        return at_once(check(about(now, to=to, **({"sender": ""} | facts))))

    ask.events = events
    return ask


def test_other_mail_is_none_of_its_business(tmp_path):
    ask = asking(tmp_path, keys=["batv"], limits=Limits(bounces_per_recipient=TWO))
    for _ in range(5):
        assert ask(sender="a@example.net") == NOTHING
    assert ask(sender=None) == ask(to="") == NOTHING
    several = (recipient("a@example.com"), recipient("b@example.com"))
    assert ask(stage=Stage.DATA, sender="a@example.net", recipients=several) == NOTHING


def test_bounces_to_one_recipient_are_limited():
    ask = asking(limits=Limits(bounces_per_recipient=TWO))
    assert ask() == ask("USER+x@example.com", address="198.51.100.1") == NOTHING
    result = ask()
    assert names(result) == ["bounce-flood"]
    assert result.found[0].reason \
        == "user@example.com: more than 2/1h bounces; room again in 1800 s"  # fmt: skip
    assert ask("other@example.com") == NOTHING
    assert ask(now=NOW + 1800) == NOTHING


def test_bounces_to_one_domain_are_limited():
    ask = asking(limits=Limits(bounces_per_domain=TWO))
    assert ask("a@example.com") == ask("b@example.com") == NOTHING
    assert names(ask("c@example.com")) == ["bounce-flood"]
    assert ask("c@example.org") == NOTHING


def test_by_default_there_are_limits_and_they_can_be_lifted():
    ask = asking()
    found = [names(ask()) for _ in range(31)]
    assert found == [[]] * 30 + [["bounce-flood"]]
    ask = asking(limits=Limits(bounces_per_recipient=None, bounces_per_domain=None))
    assert all(ask() == NOTHING for _ in range(2000))


def test_a_bounce_has_one_recipient():
    ask = asking()
    one, other = recipient("a@example.com"), recipient("b@example.com")
    assert ask(to="", stage=Stage.DATA, recipients=(one,)) == NOTHING
    result = ask(to="", stage=Stage.DATA, recipients=(one, other))
    assert names(result) == ["bounce-many"]


def test_signed_return_addresses_are_let_in_whatever_the_flood(tmp_path):
    none = RateLimit(1, 86_400.0)
    limits = Limits(bounces_per_recipient=none, bounces_per_domain=none)
    ask = asking(tmp_path, keys=["batv", "srs"], limits=limits)
    for _ in range(5):
        assert ask(batv("user")).evidence == {"return address": "signed (BATV)"}
        assert ask(srs()).evidence == {"return address": "signed (SRS)"}
        assert ask(batv("user")).found == ask(srs()).found == ()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("user@example.com", "not signed (BATV)"),
        (batv("user", key=b"other"), "its BATV signature is wrong or has run out"),
        (batv("user", day=DAY - 30), "its BATV signature is wrong or has run out"),
        (batv("user").replace("user", "else"), "its BATV signature is wrong or has run out"),
        ("prvs=x=user@example.com", "its BATV signature is wrong or has run out"),
        (srs(key=b"other"), "its SRS signature is wrong or has run out"),
    ],
)
def test_unsigned_and_forged_ones_are_refused(tmp_path, address, reason):
    result = asking(tmp_path, keys=["batv", "srs"])(address)
    assert names(result) == ["bounce-unsigned"]
    assert result.found[0].reason == reason


def test_postmaster_is_reached_unsigned_and_counted(tmp_path):
    ask = asking(tmp_path, keys=["batv"], limits=Limits(bounces_per_recipient=TWO))
    assert ask("Postmaster@example.com") == ask("Postmaster@example.com") == NOTHING
    assert names(ask("Postmaster@example.com")) == ["bounce-flood"]


def test_without_batv_plain_addresses_are_fine_and_forged_srs_ones_are_not(tmp_path):
    ask = asking(tmp_path, keys=["srs"])
    assert ask() == NOTHING
    assert ask(srs()).found == ()
    assert names(ask(srs(key=b"other"))) == ["bounce-unsigned"]


def test_domains_of_other_profiles_are_not_concerned(tmp_path):
    ask = asking(tmp_path, keys=["batv"])
    assert names(ask("user@example.com")) == ["bounce-unsigned"]
    assert ask("user@elsewhere.example") == NOTHING


def test_older_keys_are_good_while_they_are_in_the_file(tmp_path):
    ask = asking(tmp_path, keys=["batv"], written="new\nsecret\n")
    assert ask(batv("user")).found == ask(batv("user", key=b"new")).found == ()


@pytest.mark.parametrize("written", [None, "", "\n" * 10, "k\n" * 17])
def test_keys_that_cannot_be_read_leave_it_undecided(tmp_path, written):
    ask = asking(tmp_path, keys=["batv"], written=written)
    assert ask().undecided.startswith("keys of return addresses: ")
    assert ask().found == ()
    assert [type(event) for event in ask.events] == [CheckFailed]


def test_the_profile_of_the_recipient_counts(tmp_path):
    (tmp_path / "batv").write_text("secret")
    settings = config(profiles={"signing": Profile(batv_key_file=tmp_path / "batv")})
    domains = dict(settings.domains)
    domains["example.org"] = replace(domains["example.org"], profile="signing")
    check = bounces.make(Services(
        config=replace(settings, domains=domains), names=None,
        memory=SimpleNamespace(buckets=Buckets()), is_ours=lambda _: False, emit=print,
    ))  # fmt: skip
    assert at_once(check(about(sender=""))) == NOTHING
    assert names(at_once(check(about(sender="", to="user@example.org")))) == ["bounce-unsigned"]
