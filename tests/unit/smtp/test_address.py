import pytest

from tideover.smtp.address import MAX_LOCAL, Mailbox, PathError, parse_path


@pytest.mark.parametrize(
    ("path", "local", "domain", "text"),
    [
        (b"<a@b.example>", "a", "b.example", "a@b.example"),
        (b" <a@b.example>", "a", "b.example", "a@b.example"),
        (b"<A.b+c-d@B.Example>", "A.b+c-d", "B.Example", "A.b+c-d@B.Example"),
        (b"<a..b.@b.example>", "a..b.", "b.example", "a..b.@b.example"),
        (b'<"a b"@b.example>', "a b", "b.example", '"a b"@b.example'),
        (b'<"a\\"@b"@c.example>', 'a"@b', "c.example", '"a\\"@b"@c.example'),
        (b"<@x.example,@y.example:a@b.example>", "a", "b.example", "a@b.example"),
        (b"<a@[127.0.0.1]>", "a", "[127.0.0.1]", "a@[127.0.0.1]"),
        (b"<a@[IPv6:::1]>", "a", "[IPv6:::1]", "a@[IPv6:::1]"),
        (b"<Postmaster>", "Postmaster", "", "Postmaster"),
        ("<jörg@bücher.example>".encode(), "jörg", "bücher.example", "jörg@bücher.example"),
        (b"<a%b@c.example>", "a%b", "c.example", "a%b@c.example"),
        (b"<a!b@c.example>", "a!b", "c.example", "a!b@c.example"),
    ],
)
def test_paths(path, local, domain, text):
    assert parse_path(path) == (Mailbox(local, domain, text), b"")


def test_null_path_and_parameters():
    assert parse_path(b"<>") == (None, b"")
    assert parse_path(b"<> SIZE=1") == (None, b"SIZE=1")
    assert parse_path(b"<a@b.c>  A B=1")[1] == b"A B=1"


@pytest.mark.parametrize(
    "path",
    [b"", b"a@b.c", b"<a@b.c", b"a@b.c>", b"<a@b.c>x", b"<a b@c.d>", b"<a@b@c.d>", b"<@b.c>",
     b"<a@>", b"<a@b..c>", b"<a@-b.c>", b"<a@b.c->", b"<a@.b>", b'<"a@b.c>', b"<a\x00@b.c>",
     b"<a@b.c\x00>", b"<@x.example:>", b"<<a@b.c>>", b"<a@b.c> \x00"[:0] + b"<a,b@c.d>",
     b"<a@[x y]>", b"<\xff\xfe@b.c>", b"<a@b.c\t>", b"<a;b@c.d>", b"<>x",
     b"<" + b"a" * (MAX_LOCAL + 1) + b"@b.c>", b"<a@" + b"b" * 256 + b">"],
)  # fmt: skip
def test_what_is_not_a_path(path):
    with pytest.raises(PathError):
        parse_path(path)
