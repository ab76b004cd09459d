"""recipients.formats: the plain format, and when a list is refused as a whole."""

from io import BytesIO

import pytest
from reading import both, load, mistakes, names, refused, terms

from tideover.recipients.formats import plain
from tideover.recipients.formats.intake import Intake
from tideover.recipients.formats.terms import REFUSED
from tideover.recipients.interface import NO_TERMS, Confidence, Terms
from tideover.recipients.listing import ANY_DOMAIN, ListBuilder, NameList
from tideover.recipients.patterns import MAX_PATTERNS, Pattern


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("user", {"user"}),
        ("User@Example.COM", {"user"}),
        ("user@example.com  # the boss", {"user"}),
        ("  user  ", {"user"}),
        ("user\r", {"user"}),
        ("user@example.com\r\n", {"user"}),
        ("# all of them\n\nuser\n\n", {"user"}),
        ("\ufeffuser", {"user"}),
        ("user#tag", {"user#tag"}),
        ('"john doe"@example.com', {"john doe"}),
        ('"john #doe"@example.com', {"john #doe"}),
        ('"john"', {"john"}),
        ('"/g=john/"', {"/g=john/"}),
        ("Straße", {"straße"}),
        ("Jose\u0301", {"josé"}),
        ("a.b-c_d=e'f/g", {"a.b-c_d=e'f/g"}),
        ("a\nA\na@example.com", {"a"}),
    ],
)
def test_lines_that_name_a_recipient(line: str, expected: set[str]) -> None:
    assert names(line) == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("user@example.com.", "no domain name"),
        ("user@[127.0.0.1]", "no domain name"),
        ("user@-example.com", "not an address"),
        ("user@a..b", "no domain name"),
        ("user%other.org@example.com", "can't hold any of"),
        ("other.org!user", "can't hold any of"),
        ('"user@other.org"@example.com', "can't hold any of"),
        ("@relay.org:user@example.com", "no domain name"),
        ("user> SIZE=1", "'SIZE' is none of"),
        ("two words", "'words' is none of"),
        ("two\u2028lines", "'lines' is none of"),  # U+2028 ends no line
        ("a@b@example.com", "not an address"),
        ("<user@example.com>", "not an address"),
        ('"open', "not an address"),
        ("\x00", "not an address"),
        ("x" * 300, "not an address"),
        ("İ" * 120, "1 to 255 octets"),
        ("x" * 8001, "longer than"),
        ("x" * 3_000_000, "longer than"),
        (b"c\xff", "not UTF-8"),
        (b"user reject=\xff", "not UTF-8"),
        (b"@\xff", "no domain name"),
        (b"/\xff/", "not UTF-8"),
        ("/open", "a pattern is written"),
        ("/(/", "RE2"),
        ("/(?=x)/", "RE2"),
        ("/\x1b[31m(/", "RE2"),
        ("/" + "x" * 1001 + "/", "1000 characters"),
        ("/x/y", "a pattern is written"),
        ("user max_size=lots", "max_size"),
        ("user max_size", "needs a value"),
        ("user honeypot=yes", "takes no value"),
        ("user honeypot honeypot", "twice"),
        ("user expires=tomorrow", "expires is written"),
        ("user expires=2026-02-30", "expires is written"),
        ("user expires=2026-12-31T10:00:00", "expires is written"),
        ("user reject=", "reject needs"),
        ('user reject="a\x07b"', "reject needs"),
        ('user reject="' + "x" * 201 + '"', "reject needs"),
        ('user reject="open', "behind the address"),
    ],
)
def test_a_mistake_is_named_and_spoils_only_itself(line: str | bytes, why: str) -> None:
    assert why in mistakes(line)


def test_other_domains_are_no_mistakes() -> None:
    found = load("user@example.com\nuser@example.org\n@example.net\n")
    assert (found.bad, found.skipped) == (0, 2)
    assert found.lists.keys() == {"example.com"}


def test_idn_domain_in_both_forms() -> None:
    builder = ListBuilder()
    text = "a@bücher.example\nb@BÜCHER.example\nc@xn--bcher-kva.example\n"
    plain.read(text.encode(), builder)
    assert builder.build()["xn--bcher-kva.example"].names() == {"a", "b", "c"}


def test_a_bare_name_and_one_with_a_domain_stay_apart() -> None:
    own, everywhere = both(load("a@example.com\nb\nc@example.com\nd\n"))
    assert own.names() == {"a", "c"}
    assert everywhere.names() == {"b", "d"}


def test_terms() -> None:
    text = (
        'a honeypot\nb@example.com max_size=10MiB expires=2026-12-31 # why\nc max_size="1024"\n'
        'd reject="has \\"moved\\" to \\\\ x"\ne expires=2026-12-31T01:00:00+01:00\n'
        "f expires=@-5.5\n@ max_size=1\n"
    )
    assert terms(text, "a") == Terms(honeypot=True)
    assert terms(text, "b") == Terms(max_size=10485760, expires=1798675200.0)
    assert terms(text, "c") == Terms(max_size=1024)
    assert terms(text, "d") == Terms(reject='has "moved" to \\ x')
    assert terms(text, "e") == Terms(expires=1798675200.0)
    assert terms(text, "f") == Terms(expires=-5.5)
    assert terms(text, "zz") == Terms(max_size=1)


def test_patterns_and_the_catch_all() -> None:
    text = (
        "/sales-[a-z]+/@example.com honeypot\n/a b\\/#c/\n@example.com max_size=5\n/x/@other.org\n"
    )
    own, everywhere = both(load(text))
    found = own.find("sales-de", None)
    assert found is not None
    assert (found.confidence, found.terms.honeypot) == (Confidence.PATTERN, True)
    assert everywhere.find("a b/#c", None)
    assert everywhere.find("xa b/#c", None) is None
    found = own.find("whoever", None)
    assert found is not None
    assert (found.confidence, found.terms.max_size) == (Confidence.CATCH_ALL, 5)


def test_too_many_patterns_refuse_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PATTERNS >= 1000
    monkeypatch.setattr("tideover.recipients.formats.intake.MAX_PATTERNS", 3)
    assert len(both(load("/a/\n/b/\n/c/\n"))[1].patterns) == 3
    assert "more than 3 patterns" in refused("/a/\n/b/\n/c/\n/d/\n")


@pytest.mark.parametrize(
    ("good", "bad", "percent", "taken"),
    [
        (1, 1, 1, True),
        (1, 1, 0, False),
        (10, 2, 1, False),
        (199, 1, 1, True),
        (198, 2, 1, True),
        (197, 3, 1, False),
        (99, 1, 0, False),
        (1, 9, 90, True),
    ],
)
def test_the_share_of_mistakes(good: int, bad: int, percent: int, *, taken: bool) -> None:
    text = "".join(f"user{n}\n" for n in range(good)) + "x y\n" * bad
    if taken:
        found = load(text, max_mistakes=percent)
        assert found.bad == bad
        assert len(found.mistakes) == min(bad, 3)
    else:
        assert refused(text, max_mistakes=percent).startswith(f"list:{good + 1}: ")


def test_few_of_many_mistakes_are_told() -> None:
    text = refused("@@\n" * 1000)
    assert text.count("list:") == 3
    assert "1000 of 1000 lines" in text


@pytest.mark.parametrize("content", [b"", b"\n\n# nobody\n", b"\xef\xbb\xbf", b"\r\n"])
def test_an_empty_list_is_no_list(content: bytes) -> None:
    assert refused(content) == "list: names no recipient of example.com"


def test_a_list_of_others_is_no_list() -> None:
    text = refused("a@example.org\nb@example.org\n")
    assert text == "list: names no recipient of example.com; 2 of other domains"
    assert "list:1: " in refused("x y\n")


def test_lines_are_counted_over_pieces_of_the_file() -> None:
    text = "".join(f"user{n}@example.com\n" for n in range(100_000)) + "x y\nlast"
    found = load(text)
    assert found.mistakes[0].startswith("list:100001: ")
    assert sum(map(len, found.lists.values())) == 100_001


def test_how_names_are_written() -> None:
    listing = NameList(
        frozenset({"user", "john doe", 'a"b\\c', "/g=x/", "#tag", "straße", "x\x07y", "a@b"}),
        terms={"user": Terms(reject="", honeypot=True)},
        patterns=(Pattern("a/b"), Pattern(r"\Qa/b.\E\/x"), Pattern("n\nx")),
        catch_all=Terms(max_size=1024),
    )
    assert set(plain.write(listing, "example.com")) == {
        f'user@example.com honeypot reject="{REFUSED}"',
        '"john doe"@example.com',
        '"a\\"b\\\\c"@example.com',
        '"/g=x/"@example.com',
        '"#tag"@example.com',
        "straße@example.com",
        "/a\\/b/@example.com",
        "/a\\x{2f}b\\x{2e}\\/x/@example.com",
        "/n\\x{a}x/@example.com",
        "@example.com max_size=1KiB",
    }
    assert list(plain.write(NameList(frozenset(), catch_all=NO_TERMS))) == ["@"]


def test_a_copy_belongs_to_its_domain() -> None:
    builder = ListBuilder()
    plain.read(b"a\n/b/\n@\nc@other.org\nx y\n", builder, domain="example.com")
    lists = builder.build()
    assert lists.keys() == {"example.com", "other.org"}
    assert len(lists["example.com"]) == 3
    assert ANY_DOMAIN not in lists


def test_byte_order_marks_of_files_put_together_are_mistakes_and_no_names():
    builder = ListBuilder()
    intake = Intake("list", builder)
    plain.parse(BytesIO("\ufeffa\n\ufeffb\n\ufeff\n".encode()), intake)
    assert builder.build()[""].names() == {"a"}
    assert intake.bad == 2
