"""Every case of `auth_dkim_cases` has the result that it should have."""

import asyncio

import pytest

from auth_dkim_cases import ED25519, KEY, KEYS, MESSAGES, NOW, TXT, signed
from tideover.authentication.dkim.verify import verify
from tideover.testing.dns import FakeNames
from tideover.testing.signing import KEY_NAME, body_of, dkim_signed, header_of


def results(message, names):
    return asyncio.run(verify(header_of(message), body_of(message), names, now=NOW))


def test_every_dkim_case_has_a_name_of_its_own():
    names = [case[0] for case in (*MESSAGES, *KEYS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("message", "expected"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES]
)
def test_dkim_case(message, expected):
    (found,) = results(message, FakeNames(txt=TXT))
    assert found.result == expected, found.reason


@pytest.mark.parametrize(
    ("records", "tags", "expected"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS]
)
def test_dkim_key_case(records, tags, expected):
    names = FakeNames(txt={} if records is None else {KEY_NAME: records})
    (found,) = results(signed(**tags), names)
    assert found.result == expected, found.reason


def test_badkey_14_and_15_are_temporary():
    (found,) = results(signed(), FakeNames(broken=[KEY_NAME]))
    assert found.result == "temperror"


def test_multiple_1_several_signatures_that_are_right():
    message = dkim_signed(signed(), ED25519, {"s": "ed"})
    found = results(message, FakeNames(txt=TXT))
    assert [each.result for each in found] == ["pass", "pass"]


def test_multiple_2_each_signature_is_judged_by_itself():
    message = dkim_signed(dkim_signed(signed(bh="AAAA"), KEY), KEY, {"v": "2"})
    found = results(message, FakeNames(txt=TXT))
    assert [each.result for each in found] == ["neutral", "pass", "fail"]
