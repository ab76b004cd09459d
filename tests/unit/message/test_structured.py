"""message.structured: text, quoted strings and comments of a field's value."""

import pytest

from tideover.message.structured import Kind, pieces_of


def shown(value):
    signs = {Kind.TEXT: "{}", Kind.QUOTED: '"{}"', Kind.COMMENT: "({})"}
    found = pieces_of(value)
    return "|".join(signs[p.kind].format(p.value) for p in found.pieces), found.odd


@pytest.mark.parametrize(
    ("value", "pieces"),
    [
        ("", ""),
        ("plain", "plain"),
        ('a "b c" (d) e', 'a |"b c"| |(d)| e'),
        ('"" ()', '""| |()'),
        ('"a (b) c"(d "e)f', '"a (b) c"|(d "e)|f'),
        (r'"a \b \\ c"', r'"a b \ c"'),
    ],
)
def test_what_all_readers_read_alike(value, pieces):
    assert shown(value) == (pieces, False)


@pytest.mark.parametrize(
    ("value", "pieces"),
    [
        ('"a', '"a"'),
        ("(a", "(a)"),
        ("a)", "a)"),
        (r"a\"b", r"a\"b"),
        (r'"a\"b"c', '"a"b"|c'),
        ("(a(b)c)d", "(a(b)c)|d"),
        (r"(a\)b)c", "(a)b)|c"),
        ('"a\\', '"a\\"'),
    ],
)
def test_where_readers_may_differ(value, pieces):
    assert shown(value) == (pieces, True)
