"""Formats of lists: whatever comes in, a list or one clear error; what is written reads back."""

from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st

from tideover.config.model import Source, SourceFormat
from tideover.recipients.formats import plain
from tideover.recipients.formats.reading import read_list
from tideover.recipients.formats.terms import MAX_REJECT, parse_terms, write_terms
from tideover.recipients.interface import Terms
from tideover.recipients.listing import ListBuilder, NameList
from tideover.recipients.names import local_key
from tideover.recipients.patterns import Pattern, PatternError
from tideover.recipients.sources.interface import Load, SourceError

FORMATS = [form for form in SourceFormat if form is not SourceFormat.AUTO]
PIECES = [
    b"user", b"@", b"example.com", b"\n", b"\r\n", b" ", b"\t", b"#", b"/", b"\\", b'"', b":", b",",
    b";", b"|", b"(", b"$", b"^", b"!", b"if /", b"endif", b"REJECT", b"550 5.1.1 ", b":fail:",
    b"smtp:", b"+", b"mail", b"max_size=", b"reject=", b"expires=@", b"honeypot", b"\xff", b"\xc3",
    b"\xe2\x84\xaa", b"\xef\xbb\xbf", b"\0", b"9" * 30, b"[::1]", b"*", b"x" * 300,
]  # fmt: skip
texts = st.binary(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(
    texts, st.sampled_from(FORMATS), st.sampled_from([None, "mail", "2", ""]), st.integers(0, 100)
)
def test_any_octets_are_a_list_or_one_line_of_trouble(
    data: bytes, form: SourceFormat, column: str | None, percent: int
) -> None:
    source = Source(format=form, column=column, max_mistakes=percent)
    try:
        load = read_list(BytesIO(data), "list", source, wanted="example.com".__eq__)
    except SourceError as error:
        trouble = str(error)
    else:
        trouble = ""
        check(load)
    assert trouble.isprintable()


def check(load: Load) -> None:
    assert load.lists.keys() <= {"", "example.com"}
    assert sum(map(len, load.lists.values())) >= 1
    assert all(mistake.isprintable() for mistake in load.mistakes)
    for listing in load.lists.values():
        assert all(local_key(name) == name and "\n" not in name for name in listing.names())
        assert isinstance(listing, NameList)
        assert again(listing).names() == listing.names()


def again(listing: NameList, domain: str = "example.com") -> NameList:
    """The list after it was written and read."""
    lines = list(plain.write(listing))
    assert not any("\n" in line for line in lines)
    builder = ListBuilder()
    plain.read("\n".join(lines).encode(), builder, domain=domain)
    lists = builder.build()
    assert lists.keys() <= {domain}
    return lists.get(domain, NameList(frozenset()))


signs = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="@%!:\ufeff")
keys = st.text(signs, min_size=1, max_size=40).map(local_key)
reject = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"]),
    min_size=1, max_size=MAX_REJECT,
)  # fmt: skip
terms = st.builds(
    Terms,
    honeypot=st.booleans(),
    max_size=st.none() | st.integers(0, 2**62),
    reject=st.none() | reject,
    expires=st.none() | st.integers(-(10**15), 4 * 10**15).map(lambda micro: micro / 1e6),
)


def made(text: str) -> Pattern | None:
    try:
        return Pattern(text)
    except PatternError:
        return None


patterns = (
    st.text("ab/\\QE.*+[]^$|(x){1}\n\x07é ", min_size=1, max_size=15)
    .map(made)
    .filter(lambda pattern: pattern is not None)
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(keys, terms, max_size=10), st.none() | terms)
def test_what_is_written_reads_back_the_same(
    named: dict[str, Terms], catch_all: Terms | None
) -> None:
    plainly = frozenset(named)
    listing = NameList(plainly, terms=named, catch_all=catch_all)
    back = again(listing)
    assert back.names() == plainly
    assert {name: (back.terms or {}).get(name, Terms()) for name in plainly} == named
    assert back.catch_all == catch_all


@settings(max_examples=400, deadline=None)
@given(st.lists(patterns, min_size=1, max_size=3), st.lists(st.text("ab/\\x .é\nQE", max_size=6)))
def test_patterns_read_back_match_the_same(found: list[Pattern], probes: list[str]) -> None:
    listing = NameList(frozenset(), patterns=found)
    back = again(listing)
    assert len(back.patterns) == len(found)
    for before, after in zip(found, back.patterns, strict=True):
        tried = [*probes, before.text, before.text.replace("\\", "")]
        assert [before.matches(probe) for probe in tried] == [after.matches(p) for p in tried]
    assert list(plain.write(again(back))) == list(plain.write(back))


@given(terms)
def test_terms_read_back_the_same(value: Terms) -> None:
    assert parse_terms(write_terms(value)) == value


@given(st.floats(), st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_terms_of_any_source_can_be_written(expires: float, text: str) -> None:
    written = write_terms(Terms(expires=expires, reject=text))
    assert written.isprintable()
    parse_terms(written)
