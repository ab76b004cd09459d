"""Any octets in a From field: domains come out, never an error, and soon."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideover.authentication.author import (
    MAX_AUTHORS,
    MAX_VALUE,
    AuthorsUnclear,
    author_domains,
)
from tideover.authentication.authserv import authserv_id_of, statements_of
from tideover.config.values import parse_domain

PIECES = [
    b"a@x.example", b"@", b"<", b">", b",", b";", b":", b'"', b"\\", b"(", b")", b" ", b"\r\n ",
    b"\0", b"\t", b".", b"=?utf-8?q?", b"=?utf-8?B?YUB4LmV4YW1wbGU=?=", b"?=", b"=40", b"[", b"]",
    b"\xc3\xbc", b"\xff", b"\xe3\x80\x82", b"xn--", b"xn--a", b"-", b"1.2", b"x" * 70, b"=", b"/1",
    b"=?utf-7?q?+AEA-?=", b"=?utf-16?b?//4=?=", b"=?idna?q?x?=", b"none", b"dmarc=pass",
]  # fmt: skip
values = st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(values)
def test_any_value_gives_domains_that_dns_could_know(value):
    domains = author_domains(value)
    assert len(domains) <= MAX_AUTHORS + 1
    assert len(set(domains)) == len(domains)
    for domain in domains:
        assert parse_domain(domain) == domain


@settings(max_examples=300, deadline=None)
@given(values)
def test_any_value_of_authentication_results_can_be_read(value):
    assert authserv_id_of(value).isprintable() or not value.isascii()
    for statement in statements_of(value.decode("latin-1")):
        assert statement.method


@settings(max_examples=200, deadline=None)
@given(values)
def test_an_author_who_is_added_is_seen(value):
    """Whatever stands before it. Too many authors are as good: nobody takes such a message."""
    domains = author_domains(value + b"\r\n , <admin@legit.example>")
    assert "legit.example" in domains or len(domains) > MAX_AUTHORS


@pytest.mark.parametrize(
    "piece",
    [b'"', b'\\"', b'"\\', b"(", b"(\\", b"@", b"=?", b"@a.", b"@ ", b"=?a?b?", b"@a . ", b". ",
     b"@\xc3\xa4", b"@a", b" ", b"a", b"a=", b"= ", b"a /", b"1", b"a/1 "],
)  # fmt: skip
def test_the_longest_values_take_no_time(piece):
    value = (b"x@" + piece * MAX_VALUE)[:MAX_VALUE]
    begun = time.process_time()
    with suppress(AuthorsUnclear):  # as good an answer, if it comes soon
        author_domains(value)
    authserv_id_of(value)
    statements_of("a;" + value.decode("latin-1"))
    assert time.process_time() - begun < 1.0
