"""authentication.author: every domain that some reader could take for the author's."""

import base64

import pytest

from tideover.authentication.author import MAX_AUTHORS, author_domains, from_values
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
        b"admin@legit.example;any@attack.example",
    ],
)
def test_where_readers_may_differ_all_of_them_are_heard(value):
    assert {ATTACK, LEGIT} <= set(author_domains(value))


def test_more_authors_than_anybody_has_are_told_but_not_listed():
    value = b", ".join(b"a@d%d.example" % n for n in range(1000))
    assert len(author_domains(value)) == MAX_AUTHORS + 1
    names = b" ".join(b"@x%d" % n for n in range(100))
    assert len(author_domains(names + b", admin@legit.example")) == MAX_AUTHORS + 1


# whole header sections


def found(head):
    section = parse_header(head, whole=True)
    values = from_values(section, head)
    return [domain for value in values for domain in author_domains(value)]


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


def test_behind_a_broken_line_the_first_is_found_twice():
    head = b"From: a@attack.example\r\nbroken\r\nFrom: b@legit.example\r\n" + REST
    assert found(head) == [ATTACK, ATTACK, LEGIT]
    assert found(b"broken\r\n" + REST.replace(b"\r\n\r\n", b"\r\n")) == ["body.example"]
