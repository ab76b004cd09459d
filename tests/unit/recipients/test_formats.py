"""recipients.formats: maps of Postfix, aliases, tables and accounts."""

from io import BytesIO

import pytest
from reading import both, load, mistakes, names, refused, terms

from tideover.config.model import Source, SourceFormat
from tideover.recipients.formats.reading import format_of, read_list
from tideover.recipients.formats.terms import REFUSED
from tideover.recipients.interface import NO_TERMS, Confidence, Terms


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/etc/aliases", "aliases"),
        ("/etc/aliases.example", "aliases"),
        ("/etc/passwd", "passwd"),
        ("/srv/Users.CSV", "csv"),
        ("https://example.com/users.tsv", "csv"),
        ("/srv/aliases.d/list", "plain"),
        ("doveadm", "plain"),
    ],
)
def test_auto_goes_by_the_name(name: str, expected: str) -> None:
    assert format_of(name, Source()) == SourceFormat(expected)
    assert format_of(name, Source(format=SourceFormat.POSTFIX)) is SourceFormat.POSTFIX


# Postfix

MAP = """
# relay_recipients
User@Example.com   OK
\tand more: this goes on with the value

   # a comment in between
john@example.com root,
    other@example.com
"jane doe@example.com" x
"jim doe"@example.com x
bare x
someone@example.org x
example.com  this is the head of an old virtual domain
"""


def test_a_map_of_postfix() -> None:
    assert names(MAP, "postfix") == {"user", "john", "jane doe", "jim doe", "bare"}
    assert load(MAP, "postfix").skipped == 1


def test_a_dot_makes_no_domain_of_a_local_part() -> None:
    """As in a map that several domains share, where each domain is wanted."""
    text = b"john.smith x\nold.example x\nann@old.example x\nnew.example x\n.old.example x\n"
    settings = Source(format=SourceFormat.POSTFIX)
    lists = read_list(BytesIO(b"new.example head\n@new.example x\n" + text), "map", settings).lists
    assert set(lists[""].names()) == {"john.smith"}
    assert set(lists["old.example"].names()) == {"ann"}


def test_a_catch_all_of_postfix() -> None:
    assert terms("user@example.com x\n@example.com root\n", "zz", "postfix") == NO_TERMS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("REJECT", Terms(reject=REFUSED)),
        ("REJECT 5.1.6 has moved", Terms(reject="has moved")),
        ("550 5.1.1  no  such\tuser", Terms(reject="no such user")),
        ("554", Terms(reject=REFUSED)),
        ("error:5.1.6 gone", Terms(reject="gone")),
        ("error:5.1.6:gone", Terms(reject="gone")),
        ("550 " + "x" * 300, Terms(reject="x" * 200)),
        ("450 try later", NO_TERMS),
        ("DEFER", NO_TERMS),
        ("DISCARD", NO_TERMS),
        ("reject@example.com", NO_TERMS),
        ("REJECTED@example.com", NO_TERMS),
        ("5500", NO_TERMS),
    ],
)
def test_values_that_refuse(value: str, expected: Terms) -> None:
    assert terms(f"user@example.com {value}\n", "user", "postfix") == expected


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"/^sales-[a-z]+@example\.com$/", ["sales-de"], ["sales-1", "xsales-de"]),
        (r"/sales@example\.com$/i", ["sales", "my-sales"], ["salesx"]),
        (r"/^(a|b)@example\.com$/", ["a", "b"], ["ab"]),
        (r"/^[|(]x\|y\@example\.com$/", ["|x|y"], ["|x"]),
        (r"/@example\.com$/", ["whoever"], []),
        (r"/^a\/b@example\.com$/", ["a/b"], ["ab"]),
        (r"/^x@example.com$/ REJECT", [], []),
    ],
)
def test_patterns_of_postfix(pattern: str, yes: list[str], no: list[str]) -> None:
    if not yes:
        # an unescaped dot is no literal domain
        assert "must end in @DOMAIN$" in mistakes(f"{pattern} x", "postfix", good="good x")
        return
    own, everywhere = both(load(f"{pattern} OK\n", "postfix"))
    assert len(everywhere) == 0
    assert [name for name in yes if own.find(name, None) is None] == []
    assert [name for name in no if own.find(name, None) is not None] == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("user@example.com", "without a value"),
        ('"user@example.com', "without a value"),
        ("user%x@example.com y", "can't hold"),
        ('"a@b@example.com" y', "can't hold"),
        ("@ x", "without a domain"),
        ("@[::1] x", "no domain name"),
        ("!/x@example.com$/ OK", "not with !"),
        (r"/^x@example\.com$/x OK", "/REGEX/i"),
        (r"/^x@example\.com$/", "with a value"),
        ("/^sales-/ OK", "must end in @DOMAIN$"),
        (r"/^a|b@example\.com$/ OK", "must end in @DOMAIN$"),
        (r"/^a@b@example\.com$/ OK", "must end in @DOMAIN$"),
        (r"/^(?=a)b@example\.com$/ OK", "RE2"),
        (r"/^(a@example\.com$/ OK", "RE2"),
        (b"us\xffer@example.com x", "not UTF-8"),
    ],
)
def test_mistakes_of_postfix(line: str | bytes, why: str) -> None:
    assert why in mistakes(line, "postfix", good="good x")


def test_conditions_of_postfix_are_not_understood() -> None:
    text = "good@example.com x\nif /x/\n/^a@example\\.com$/ y\nif !/y/\nendif\nendif\nlast x\n"
    found = load(text, "postfix", max_mistakes=100)
    assert found.bad == 3
    assert sum(map(len, found.lists.values())) == 2


# Aliases

ALIASES = """# /etc/aliases
postmaster:    root
root: admin@example.net,
   other@example.net
"john doe": john
Jane.Doe : jane
prog: "|/usr/bin/x: y"
list: :include:/etc/list
user@example.com: x
him@example.org: x
empty:
gone: :fail: has moved
later: :defer: busy
hole: :blackhole:
nobody: :unknown:
folded:
  :FAIL: folded away
"""


def test_aliases() -> None:
    assert names(ALIASES, "aliases") == {
        "postmaster", "root", "john doe", "jane.doe", "prog", "list", "user", "empty", "gone",
        "later", "hole", "folded",
    }  # fmt: skip
    assert load(ALIASES, "aliases").skipped == 1
    assert terms(ALIASES, "gone", "aliases") == Terms(reject="has moved")
    assert terms(ALIASES, "folded", "aliases") == Terms(reject="folded away")
    assert terms(ALIASES, "hole", "aliases") == NO_TERMS


def test_catch_alls_of_aliases() -> None:
    own, everywhere = both(load("*: x\n*@example.com: :fail: no\n", "aliases"))
    assert everywhere.catch_all == NO_TERMS
    assert own.catch_all == Terms(reject="no")


def test_a_line_may_be_as_long_as_a_mailing_list() -> None:
    targets = ", ".join(f"user{n}@example.net" for n in range(20_000))
    assert names(f"list: {targets}\nlast: x\n", "aliases") == {"list", "last"}
    folded = "\n ".join(f"user{n}@example.net," for n in range(20_000))
    assert names(f"list: {folded}\nlast: x\n", "aliases") == {"list", "last"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no colon", "not like NAME: TARGET"),
        (": x", "not like NAME: TARGET"),
        ('"open: x', "not like NAME: TARGET"),
        ("a b: x", "not an address"),
        ("a%b: x", "can't hold"),
        ('"a@b@c": x', "no domain name"),
        ('"": x', "1 to 255"),
        (b"a\xff: x", "not UTF-8"),
    ],
)
def test_mistakes_of_aliases(line: str | bytes, why: str) -> None:
    assert why in mistakes(line, "aliases", good="good: x")


# CSV


@pytest.mark.parametrize(
    "text",
    [
        "a@example.com\nb@example.com\n",
        "a\nb\n",
        "a@example.com,Anna\nb@example.com,Bert\n",
        "Name;E-Mail\nAnna;a@example.com\nBert;b@example.com\n",
        'Name\tMail address\tx\n"A\tA"\ta@example.com\t\nB\tb@example.com\t\n',
        "local|x\na|1\nb|2\n",
        '"Name","Email"\r\n"Anna, ""A""","a@example.com"\r\n"two\r\nlines","b@example.com"\r\n',
        "x,mail\n1,a@example.com\n2,\n3,b@example.com\n",
        "x;mail\n1;a@example.com,b@example.com\n",
        "Street Address,Home Address,Address\n1,2,a\n1,2,b\n",
        "mail,x\n a , 1\nb,2\n\n",
    ],
)
def test_tables(text: str) -> None:
    assert names(text, "csv") == {"a", "b"}


def test_a_table_of_google() -> None:
    text = (
        "First Name [Required],Last Name [Required],Email Address [Required],"
        "Recovery Email,Work Secondary Email,Home Address\n"
        "Anna,A,a@example.com,anna@example.net,x@example.net,Street\n"
    )
    assert names(text, "csv") == {"a"}


def test_a_table_of_microsoft() -> None:
    text = (
        "Alternate email addresses,City,Proxy addresses,Street address,User principal name\n"
        "x@example.net,B,smtp:a+tag@example.com+SMTP:b@example.com,S,b@example.com\n"
        "y@example.net,B,SIP:q@example.com;smtp:c@example.com; X500:/o=E; X400:C=US;A= ;,S,c\n"
        "z@example.net,B,SIP:z@example.com,S,z\n"
    )
    assert names(text, "csv") == {"a+tag", "b", "c"}


@pytest.mark.parametrize(
    ("column", "expected"),
    [("login", {"a"}), (" LOGIN ", {"a"}), ("2", {"x"}), (None, {"x"})],
)
def test_the_column_that_is_set(column: str | None, expected: set[str]) -> None:
    assert names("login,mail\na,x@example.com\n", "csv", column=column) == expected


def test_a_column_that_is_not_there() -> None:
    assert "no column is headed 'nick'" in refused("login,mail\na,b\n", "csv", column="nick")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a b@example.com,x", "not an address"),
        ("a%b@example.com,x", "can't hold"),
        ('"never closed,x', "not closed"),
        (b"a\xff,x", "not UTF-8"),
        ("x" * 70_000 + ",x", "longer than"),
    ],
)
def test_mistakes_of_tables(line: str | bytes, why: str) -> None:
    assert why in mistakes(line, "csv", good="good,x")


def test_a_missing_field_is_a_mistake() -> None:
    found = load("x,mail\n1,a@example.com\n2\n3,b@example.com\n", "csv")
    assert found.mistakes == ("list:3: has no field 2",)


def test_a_quote_that_is_never_closed_spoils_its_own_line_only() -> None:
    text = 'mail,x\n"a,1\n' + "".join(f"user{n}@example.com,x\n" for n in range(1000))
    found = load(text, "csv")
    assert found.bad == 1
    assert sum(map(len, found.lists.values())) == 1000


def test_many_open_quotes_cost_no_time() -> None:
    text = '"\n' + "x\n" * 98 + '"a\n\n"x,\n'  # pairs that close late
    refused(("x" + text) * 2000 + '"\n' * 20_001, "csv", max_mistakes=0)


# Accounts


def test_accounts() -> None:
    text = (
        "root:x:0:0:root:/root:/bin/bash\nAnna:x:1000:1000:Anna,,,:/home/anna:/bin/sh\n"
        "+@netgroup::::::\n-bad\n# no\n\n"
    )
    assert names(text, "passwd") == {"root", "anna"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("anna:x:1:1:x:/home", "7 fields"),
        ("anna", "7 fields"),
        (" anna:x:1:1:x:/:/", "white space"),
        (":x:1:1:x:/:/", "1 to 255"),
        ("a%b:x:1:1:x:/:/", "can't hold"),
        (b"a\xff:x:1:1:x:/:/", "not UTF-8"),
    ],
)
def test_mistakes_of_accounts(line: str | bytes, why: str) -> None:
    assert why in mistakes(line, "passwd", good="good:x:1:1:x:/:/")


def test_a_catch_all_is_weaker_than_a_name() -> None:
    own, _ = both(load("user@example.com\n@example.com\n"))
    found = own.find("user", None)
    assert found is not None
    assert found.confidence is Confidence.LISTED
