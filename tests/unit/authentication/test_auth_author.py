"""authentication.author: every domain that some reader could take for the author's."""

import base64

import pytest

from tideover.authentication.author import (
    MAX_AUTHORS,
    MAX_VALUE,
    AuthorsUnclear,
    author_domains,
    authors,
)
from tideover.message.fields import parse_header

ATTACK, LEGIT = "attack.example", "legit.example"


def b64(text, charset="utf-8"):
    return b"=?%s?B?%s?=" % (charset.encode(), base64.b64encode(text.encode(charset)))


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (b" anna@example.com", ["example.com"]),
        (b" Anna <anna@Example.COM>", ["example.com"]),
        (b" Anna\r\n <anna@example.com>\r\n", ["example.com"]),
        (b' "Anna, of \\"A\\"" <anna@example.com>', ["example.com"]),
        (b"anna@example.com (Anna)", ["example.com"]),
        (b"anna@example.com.", ["example.com"]),
        (b"(hello) anna @ (there) example . com (Anna)", ["example.com"]),
        (b'"anna b"@example.com', ["example.com"]),
        (b"a@x.example, B <b@y.example>, c@x.example", ["x.example", "y.example"]),
        (b"Group: a@x.example, b@y.example;", ["x.example", "y.example"]),
        (b"Undisclosed:;", []),
        (b"<@route.example,@b.example:anna@example.com>",
         ["route.example", "b.example", "example.com"]),
        ("Anna <anna@m\u00fcnchen.example>".encode(), ["xn--mnchen-3ya.example"]),
        ("anna@例え。テスト".encode(), ["xn--r8jz45g.xn--zckzah"]),
        (b"anna@[192.0.2.1]", []),
        (b"anna@[IPv6:2001:db8::1]", []),
        (b"anna@192.0.2.1", []),
        (b"anna@localhost", ["localhost"]),
        (b"root", []),
        (b"", []),
        (b"@", []),
        (b"anna@", []),
        (b"<>", []),
    ],
)  # fmt: skip
def test_authors_as_they_may_be_written(value, domains):
    assert list(author_domains(value)) == domains


@pytest.mark.parametrize(
    "value",
    [
        b'"joe@legit.example via List" <list@attack.example>',
        b"list@attack.example (joe@legit.example)",
        b"=?utf-8?q?joe=40legit=2Eexample_via_List?= <list@attack.example>",
        b"=?utf-8?q?joe@legit.example_via_List?= <list@attack.example>",
        b64("joe@legit.example über die Liste") + b"\r\n <list@attack.example>",
        b"Joe @ Work <joe@attack.example>",
        b"Joe@Work <joe@attack.example>",
        b'"joe@legit.example" =?utf-8?q?via_List?= <list@attack.example>',
        b"=?utf-8?q?joe@legit.example via List?= <list@attack.example>",
    ],
)
def test_display_text_names_no_author(value):
    assert author_domains(value) == (ATTACK,)


@pytest.mark.parametrize(
    "value",
    [
        # the ways of espoofer's cases A14 to A19
        b"<first@attack.example>, <admin@legit.example>",
        b64("<admin@legit.example>") + b",<second@attack.example>",
        b"<@attack.example,@any.example:admin@legit.example>",
        rb"<admin@legit.example>\,<second@attack.example>",
        b"admin@legit.example,<second@attack.example>",
        b"<any@attack.example>admin@legit.example",
        # and more of the kind
        b"admin@legit.example <any@attack.example>",
        b"<admin@legit.example> <any@attack.example>",
        b"admin@legit.example@attack.example",
        b"admin@attack.example@legit.example",
        b"<any@attack.example>, admin@legit.example (",
        b'"<admin@legit.example>, <any@attack.example>',
        b"(<admin@legit.example>, <any@attack.example>",
        b'x \\" <admin@legit.example>, " <any@attack.example>',
        b'"x\\" <admin@legit.example>, " <any@attack.example>',
        b"( ( ) <admin@legit.example> ) <any@attack.example>",
        b") <admin@legit.example> (, <any@attack.example> )",
        b"admin@legit.example\0<any@attack.example>",
        b"admin@le\0git.example, any@attack.example",
        b'"admin@legit.example\0" <any@attack.example>',
        b"admin@legit\r\n .example, any@attack.example",
        b"admin@legit. example, any@attack.example",
        b"admin@(x)legit(y).(z)example, any@attack.example",
        b'admin@"legit.example" (, any@attack.example',
        b"admin@legit.example!x, any@attack.example",
        b"admin@legit.example\xff, any@attack.example",
        b"admin@legit.example\xc2\xa0, any@attack.example",
        b"=?utf-8?q?admin=40le?= =?utf-8?q?git.example?=, any@attack.example",
        b64("<admin@legit.example>") + b" <any@attack.example>",
        b64("admin@legit.example", "utf-16") + b", any@attack.example",
        b64("admin@legit.example", "utf-7") + b", any@attack.example",
        b"=?utf-8*en?q?admin=40legit.example?=, any@attack.example",
        b"=?no-such?q?admin=40legit.example?=, any@attack.example",
        b"=?utf-8?b?!?= any@attack.example, =?utf-8?b?YWRtaW5AbGVnaXQuZXhhbXBsZQ?=",
        b"G: admin@legit.example;, any@attack.example",
        # some readers take what stands without an address for one
        b'"admin@legit.example", any@attack.example',
        b'"admin@legit.example" <admin>, any@attack.example',
        b"=?utf-8?q?admin=40legit.example?= <>, any@attack.example",
        b'admin@"legit.example", any@attack.example',
        b"<admin@=?utf-8?q?legit.example?=>, any@attack.example",
        b"Admin <=?utf-8?q?admin=40legit.example?=>, any@attack.example",
        b"<=?utf-8?q?admin=40legit.example,?= any@attack.example>",
        # words that only some readers decode
        b"=?utf-8?q?admin=40legit.example ?=, any@attack.example",
        b"=?utf-8?q??admin=40legit.example?=, any@attack.example",
        b"admin@legit.example;any@attack.example",
    ],
)
def test_where_readers_may_differ_all_of_them_are_heard(value):
    assert {ATTACK, LEGIT} <= set(author_domains(value))


@pytest.mark.parametrize(
    "value",
    [
        b", ".join(b"a@d%d.example" % n for n in range(MAX_AUTHORS + 1)),
        b" ".join(b"@x%d" % n for n in range(100)) + b", admin@legit.example",
        b", ".join(b"@-%d" % n for n in range(100)) + b", admin@legit.example",
        "".join(f"@\u0378{n}," for n in range(100)).encode() + b"admin@legit.example",
        b"()" * 200 + b"admin@legit.example",
    ],
    ids=["domains", "labels", "none", "no-idna", "comments"],
)
def test_more_than_anybody_writes_is_not_looked_at(value):
    with pytest.raises(AuthorsUnclear):
        author_domains(value)


# whole header sections


def found(head):
    header = parse_header(head, whole=True)
    return list(authors(header, head.partition(b"\r\n\r\n")[0]))


REST = b"To: <victim@victim.example>\r\nSubject: x\r\n\r\nFrom: body@body.example\r\n"


@pytest.mark.parametrize(
    ("lines", "domains"),
    [
        (b"From: <a@attack.example>\r\n", [ATTACK]),
        (b"from : <a@attack.example>\r\n", [ATTACK]),
        (b"From:\r\n <a@attack.example>\r\n", [ATTACK]),
        (b"Sender: s@legit.example\r\nResent-From: s@legit.example\r\n", []),
        (b"X-From: s@legit.example\r\n", []),
        # espoofer's A8 to A12
        (b"From: <a@attack.example>\r\nFrom: <b@legit.example>\r\n", [ATTACK, LEGIT]),
        (b" From: <a@attack.example>\r\nFrom: <b@legit.example>\r\n", [ATTACK, LEGIT]),
        (b"From: <a@attack.example>\r\nFrom : <b@legit.example>\r\n", [ATTACK, LEGIT]),
        (b"From\r\n : <a@attack.example>\r\nFrom: <b@legit.example>\r\n", [ATTACK, LEGIT]),
        (b"From\r\n : <a@attack.example>\r\nSender: s@legit.example\r\n", [ATTACK]),
    ],
)
def test_all_from_fields_count_also_behind_a_line_that_is_none(lines, domains):
    assert found(lines + REST) == domains
    if not lines.startswith(b" "):
        assert set(found(b"To: x\r\n" + lines + REST)) == set(domains)


@pytest.mark.parametrize(
    "value",
    [b' "admin@legit.example"', b'"admin@legit.example" <root>', b"(admin@legit.example)",
     b"=?utf-8?q?admin=40legit.example?= <root>", b"root (admin@legit.example)"],
)  # fmt: skip
def test_without_any_address_what_is_shown_is_the_author(value):
    assert author_domains(value) == (LEGIT,)


@pytest.mark.parametrize(
    "name",
    [b"From", b"\tFROM ", b"From\r\n \r\n\t", b"From\0", b"\xef\xbb\xbfFrom", b"\x7ff\0rom\xff"],
)
def test_behind_a_broken_line_names_are_read_as_loosely_as_anybody_does(name):
    assert found(b"To: x\r\nbroken\r\n" + name + b": a@legit.example\r\n" + REST) == [LEGIT]
    assert found(b"To: x\r\nbroken\r\nX" + name.strip() + b": a@legit.example\r\n" + REST) == []


def test_behind_a_broken_line_it_is_found_however_far_away():
    head = b"broken\r\n" + b"X: y\r\n" * 10_000 + b"From: a@legit.example\r\n" + REST
    assert found(head) == [LEGIT]


def test_all_from_fields_together_have_a_limit():
    half = b"From: a@legit.example" + b" " * (MAX_VALUE // 2) + b"\r\n"
    assert found(half + REST) == [LEGIT]
    with pytest.raises(AuthorsUnclear):
        found(half.replace(b"a@", b"b@") + half + REST)
    with pytest.raises(AuthorsUnclear):
        found(b"".join(b"From: a@d%d.example\r\n" % n for n in range(20)) + REST)


def test_so_many_from_fields_are_looked_at():
    fields = [b"From: <a@legit.example> (%d)\r\n" % n for n in range(MAX_AUTHORS + 1)]
    assert found(b"".join(fields[1:]) + REST) == [LEGIT]
    with pytest.raises(AuthorsUnclear):
        found(b"".join(fields) + REST)


def test_behind_a_broken_line_the_first_is_found_twice():
    head = b"From: a@attack.example\r\nbroken\r\nFrom: b@legit.example\r\n" + REST
    assert found(head) == [ATTACK, LEGIT]
    assert found(b"broken\r\n" + REST.replace(b"\r\n\r\n", b"\r\n")) == ["body.example"]
