"""authentication.authserv: Authentication-Results of others, and forged ones of ours (RFC 8601)."""

import pytest

from tideover.authentication.authserv import (
    authserv_id_of,
    forged,
    may_hold_forged,
    statements_of,
)
from tideover.message.edits import Drop, edited
from tideover.message.fields import parse_header

HOST = "mx2.example.org"


@pytest.mark.parametrize(
    "value",
    [
        b" mx2.example.org; none",
        b"mx2.example.org;none",
        b" MX2.Example.ORG; dkim=pass header.d=x.example",
        b" mx2.example.org 1; dkim=pass",
        b" mx2.example.org/1; dkim=pass",
        b" mx2.example.org / 1; dkim=pass",
        b"\r\n mx2.example.org\r\n\t;\r\n dkim=pass",
        b" (x; y) mx2.example.org (z); dkim=pass",
        b' "mx2.example.org"; dkim=pass',
        b' "mx2.example\\.org" 1; dkim=pass',
        b" mx2.example.org.; dkim=pass",
        b" mx2.exam\0ple.org; dkim=pass",
        b" mx2.example.org",
        b" mx2.example.org dkim=pass",
    ],
)
def test_the_authserv_id(value):
    assert authserv_id_of(value) == HOST


@pytest.mark.parametrize(
    ("value", "authserv_id"),
    [
        (b"", ""),
        (b" ;", ""),
        (b" ; mx2.example.org", ""),
        (b" other.example; dkim=pass (mx2.example.org)", "other.example"),
        (b" sub.mx2.example.org; none", "sub.mx2.example.org"),
        ("m\u00fcnchen.example; none".encode(), "xn--mnchen-3ya.example"),
        (b"\xff; none", "\udcff"),
    ],
)
def test_other_authserv_ids(value, authserv_id):
    assert authserv_id_of(value) == authserv_id


def section(*lines):
    return parse_header(b"".join(line + b"\r\n" for line in lines) + b"\r\n", whole=True)


def test_forged_ones_go_and_others_stay():
    header = section(
        b"Received: x",
        b"Authentication-Results: mx2.example.org; dkim=pass",
        b"Authentication-Results: other.example; dkim=pass",
        b'AUTHENTICATION-RESULTS : "MX2.example.org" 1; spf=pass',
        b"X-Authentication-Results: mx2.example.org; dkim=pass",
        b"Authentication-Results: sub.mx2.example.org; dkim=pass",
        b"Subject: Authentication-Results: mx2.example.org; dkim=pass",
        b"authentication-results:\r\n (c) mx2.example.org;\r\n dmarc=pass",
    )
    edits = forged(header, HOST)
    first, _, third, _, fifth = header.all(b"authentication-results")
    assert edits == (Drop((first, third, fifth)),)
    left = edited(header, edits)
    assert left == (
        b"Received: x\r\n"
        b"Authentication-Results: other.example; dkim=pass\r\n"
        b"X-Authentication-Results: mx2.example.org; dkim=pass\r\n"
        b"Authentication-Results: sub.mx2.example.org; dkim=pass\r\n"
        b"Subject: Authentication-Results: mx2.example.org; dkim=pass\r\n"
    )


def test_whatever_is_forged_nothing_of_ours_is_left():
    lines = [
        b"Authentication-Results: mx2.example.org; n=%d" % n if n % 3 else
        b"Authentication-Results: o.example; n=%d" % n for n in range(20)
    ]  # fmt: skip
    header = section(*lines)
    left = edited(header, forged(header, HOST))
    assert left.count(b"o.example") == 7
    assert b"mx2" not in left


def test_where_readers_may_differ_our_name_is_enough():
    header = section(
        b"Authentication-Results: (mx2.example.org; dkim=pass",
        b"Authentication-Results: (a(b)mx2.example.org; dkim=pass",
        b"Authentication-Results: other.example; dkim=pass (unfinished",
    )
    assert forged(header, HOST) == (Drop(header.fields[:2]),)


@pytest.mark.parametrize(
    "value",
    [
        b"mx2.(x)example.org; dkim=pass",
        b"mx2.(x)example.org dkim=pass",
        b"mx2.example. org 1; dkim=pass",
        b"mx2.example\r\n .org/1; dkim=pass",
        b"mx2.(a(b)c)example.org; dkim=pass",
        b"(" + b"x" * 20_000 + b") mx2.example.org; dkim=pass",
        b"x" * 20_000 + b"(( mx2.example.org; dkim=pass",
    ],
)
def test_a_name_in_pieces_or_far_away_is_our_name(value):
    assert forged(section(b"Authentication-Results: " + value), HOST)


@pytest.mark.parametrize("value", [b"mx2.example.organic; x", b"mx2.example.or(x)ganic; x"])
def test_names_that_only_begin_like_ours_stay(value):
    assert not forged(section(b"Authentication-Results: " + value), HOST)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Authentication-Results: other.example; x"] * 51,
        [b"Authentication-Results: other.example; " + b"x" * 33_000] * 2,
        [b"Authentication-Results: other.example; " + b"()" * 251] * 2,
    ],
    ids=["fields", "octets", "comments"],
)
def test_where_nobody_could_look_at_all_of_them_none_is_left(lines):
    header = section(*lines)
    assert forged(header, HOST) == (Drop(header.fields),)
    assert forged(section(*lines[1:]), HOST) == ()
    assert edited(header, forged(header, HOST)) == b""


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (b"no field\r\nAuthentication-Results: mx2.example.org; dmarc=pass", True),
        (b"AUTHENTICATION-results :\r\n MX2.example.ORG; dmarc=pass", True),
        (b"Authentication\0-Results: mx2.(x)example.org; dmarc=pass", True),
        (b"Authentication-Results: mx2.(x(y)(z))example.org;" + b"(" * 1000, True),
        (b"Authentication-Results: other.example; dmarc=pass", False),
        (b"Received: by mx2.example.org", False),
        (b"", False),
    ],
)
def test_text_that_somebody_may_take_for_a_field_of_ours(text, may):
    assert may_hold_forged(text, HOST) is may


def test_nothing_forged_nothing_to_do():
    assert forged(section(b"Subject: x"), HOST) == ()


def said(text):
    return [(one.method, one.result, one.properties) for one in statements_of(text)]


def test_statements_as_servers_write_them():
    google = (
        'mx.google.example;\r\n       dkim=pass header.i=@a.example header.s=s header.b="a/b";\r\n'
        "       spf=pass (google.example: domain of x@a.example designates 192.0.2.1; ok) "
        "smtp.mailfrom=x@a.example;\r\n"
        "       dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=A.example"
    )
    assert said(google) == [
        ("dkim", "pass", {"header.i": "@a.example", "header.s": "s", "header.b": "a/b"}),
        ("spf", "pass", {"smtp.mailfrom": "x@a.example"}),
        ("dmarc", "pass", {"header.from": "a.example"}),
    ]
    microsoft = (
        "mx.ms.example 1; spf=pass (x) smtp.mailfrom=a.example; "
        "dmarc=pass action=none header.from=a.example"
    )
    assert said(microsoft)[1] == ("dmarc", "pass", {"action": "none", "header.from": "a.example"})


@pytest.mark.parametrize(
    "text",
    [
        'x.example; dkim=fail reason="; dmarc=pass header.from=a.example"',
        "x.example; dkim=fail (; dmarc=pass header.from=a.example)",
        'x.example; dkim=fail header.i="@a;dmarc=pass"',
        "x.example dmarc=pass",
        "x.example; dkim=fail dmarc=pass",
        "dmarc=pass header.from=a.example",
    ],
)
def test_a_statement_can_not_hide_in_another(text):
    assert not [one for one in statements_of(text) if one.method == "dmarc"]


def test_versions_and_doubles():
    assert said("x 1; dmarc/1 = pass header.from=a.example header.from=b.example") == [
        ("dmarc", "pass", {"header.from": "a.example"})
    ]


def test_only_so_many_statements():
    assert len(statements_of("x" + "; spf=pass" * 1000)) == 50
