import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.document import UnreadableError
from tideover.config.sections import InseparableError, apart, table

# Pieces of TOML, good and bad, that meet each other in all orders.
PIECES = st.sampled_from(
    ["a = 1\n", 'b = "x"\n', 'c = ["x", "y"]\n', "c = []\n", "d = true # why\n", "# [x]\n", "\n",
     '[domains."a.example"]\n', "[domains.b]\n", "[ domains . c ]\n", "[domains]\n", "[log]\n",
     "[[list]]\n", '"""', "'''", '"', "[", "]", '[domains."a.b".more]\n', 'e = """\n', '"""\n',
     "f = [\n", "]\n", "\r\n", "\r", "\t", "g = 'x'\n", 'h = "\\u0041"\n', "\x00", "\x7f", "é",
     "i.j = 2\n", 'b = ""', "=", "k = [1,\n[2]]\n", "domains = {}\n", "l = {x = 1}\n"]
)  # fmt: skip


def whole(text):
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def in_parts(text):
    """What the parts say together; None when they can't be had."""
    try:
        main, sections = apart(text)
        domains = dict(main.pop("domains", {})) if isinstance(main.get("domains"), dict) else {}
        for name, body in sections:
            if name in domains:
                return None
            domains[name] = table(body)
    except (InseparableError, UnreadableError):
        return None
    return main | ({"domains": domains} if domains else {})


@given(st.lists(PIECES, max_size=14).map("".join))
def test_what_the_parts_say_is_what_the_whole_says(text):
    parts = in_parts(text)
    if parts is not None:
        expected = whole(text)
        assert expected is not None
        if expected.get("domains") == {}:
            del expected["domains"]
        assert parts == expected


@given(st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=40)))
def test_a_table_reads_as_by_tomllib(text):
    expected = whole(text)
    try:
        assert table(text) == expected
    except UnreadableError:
        assert expected is None


@pytest.mark.parametrize(
    "text",
    [
        '[domains."a.example"]\nx = """\n[domains.b]\n"""\n',
        'x = """\n[domains."a.example"]\n"""\n',
        '[domains."a.example"]\n[log]\nx = [\n[1],\n]\n',
        '[domains]\n"b.example" = {}\n[domains."a.example"]\n',
        '[domains."a.example".more]\nx = 1\n[domains."b.example"]\n',
        "[domains.a]\n[log]\n[log]\n",
    ],
)
def test_what_cannot_be_taken_apart_says_so(text):
    assert in_parts(text) is None


def test_ordinary_files_are_taken_apart():
    text = (
        'a = 1\n[smtp]\nb = ["x"]  # listen\n\n[domains."a.example"]\nprimary = "mx"\n'
        "[log]\nc = 2\n[domains.b]  # a comment\n\n[domains.c]"
    )
    main, sections = apart(text)
    found = list(sections)
    assert main == {"a": 1, "smtp": {"b": ["x"]}, "log": {"c": 2}}
    assert [name for name, _ in found] == ["a.example", "b", "c"]
    assert table(found[0].text) == {"primary": "mx"}
