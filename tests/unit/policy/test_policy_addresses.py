"""Which senders, and which recipients, are the same for those who count."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rcpt_facts import config, recipient

from tideover.policy.addresses import recipient_key, sender_key

CONFIG = config()
TAGS = st.text(string.digits + "abcdefABCDEF", min_size=9, max_size=9).map(lambda tag: "0" + tag)
HASHES = st.text(string.ascii_letters + string.digits + "+/", min_size=4, max_size=4)
LOCALS = st.text(string.ascii_letters + string.digits + "-_.+", min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("sender", "key"),
    [
        ("", ""),
        ("User@Example.NET", "user@example.net"),
        ("postmaster", "postmaster"),
        ("bounce-1234567-me=example.com@list.example", "bounce-#-me=example.com@list.example"),
        ("0100018c-9f3b-44ee-000000@ses.example", "#-#-#-#@ses.example"),
        ("prvs=2345abcdef=me@example.net", "me@example.net"),
        ("SRS0=aB+/=7Q=example.org=me@fwd.example", "srs=example.org=me@fwd.example"),
        ("SRS1=abcd=one.example==efgh=TT=example.org=me@fwd.example",
         "srs=one.example=example.org=me@fwd.example"),
        ("prvs=@example.net", "@example.net"),
        ("SRS0=only@example.net", "#=only@example.net"),
        ("jörg.2@example.net", "jörg.#@example.net"),
    ],
)  # fmt: skip
def test_what_varies_in_a_sender_is_folded_away(sender, key):
    assert sender_key(sender) == key


@given(local=LOCALS, one=TAGS, other=TAGS)
def test_batv_tags_make_no_difference(local, one, other):
    keys = {sender_key(f"prvs={tag}={local}@example.net") for tag in (one, other)}
    assert keys == {sender_key(f"{local}@example.net")}
    ours = {recipient_key(recipient(f"prvs={tag}={local}@example.com"), CONFIG)
            for tag in (one, other)}  # fmt: skip
    assert ours == {recipient_key(recipient(f"{local}@example.com"), CONFIG)}


@given(local=LOCALS, one=HASHES, other=HASHES, sign=st.sampled_from("=+-"))
def test_srs_hashes_make_no_difference(local, one, other, sign):
    def key(tag):
        return sender_key(f"SRS0{sign}{tag}=XY=example.org={local}@fwd.example")

    assert key(one) == key(other)


@given(st.text(string.ascii_letters + "-=", max_size=30), st.lists(st.integers(0, 10**12)))
def test_numbers_make_no_difference(text, numbers):
    def key(add):
        return sender_key("".join(f"{text}-{number + add}" for number in numbers) + "@example.net")

    assert key(0) == key(1)


@given(st.text(max_size=300))
def test_whatever_a_stranger_writes_has_a_key_in_one_case(sender):
    key = sender_key(sender)
    assert len(key) <= 2 * len(sender)
    if sender.isascii():
        assert sender_key(sender.upper()) == sender_key(sender.lower()) == key


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("User+detail@example.com", "user@example.com"),
        ("+detail@example.com", "+detail@example.com"),
        ("user+a@else.example", "user+a@else.example"),
        ("prvs=1234abcdef=user+a@example.com", "user@example.com"),
        ('"User"@example.com', "user@example.com"),
        (r'"\u\ser+a"@example.com', "user@example.com"),
        (r'"a\"b\\"@example.com', 'a"b\\@example.com'),
        ('"@example.com', '"@example.com'),
    ],
)
def test_recipients_are_counted_without_details(address, key):
    assert recipient_key(recipient(address), CONFIG) == key
