"""recipients.directory: who is listed, who never is, and how the list keeps up."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.model import Config, Domain
from tideover.config.values import Endpoint
from tideover.events.records import Event, RecipientsFailed, RecipientsLoaded
from tideover.recipients.answer import answer
from tideover.recipients.directory import DirectoryTable
from tideover.recipients.domain_table import DomainTable
from tideover.recipients.interface import Finding, Standing

LISTED, UNKNOWN, FOREIGN, UNAVAILABLE = (
    Standing.LISTED,
    Standing.UNKNOWN,
    Standing.FOREIGN,
    Standing.UNAVAILABLE,
)


def config(data_dir: Path, delimiter: str = "+", **domains: tuple[str, ...]) -> Config:
    return Config(
        hostname="mx2.example.org",
        data_dir=data_dir,
        domains={
            name.replace("_", "."): Domain(
                primary=(Endpoint("127.0.0.1", 2526),),
                recipients=tuple(f"file:{f}" for f in files),
                recipient_delimiter=delimiter,
            )
            for name, files in domains.items()
        },
    )


class Setting:
    """Two domains, a directory and what it told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "com").write_text("user\nJohn.Doe@example.com\nlist+daily\n")
        (place / "idn").write_text("anna@bücher.example\n")
        self.events: list[Event] = []
        self.config = config(place, example_com=("com",), **{"xn--bcher-kva_example": ("idn",)})
        self.table = DirectoryTable(self.config, place, self.events.append)
        self.table.load()

    def standing(self, local: str, domain: str = "example.com") -> Standing:
        return self.table.lookup(local, domain).standing

    def poll(self, times: int = 2) -> None:
        for _ in range(times):
            asyncio.run(self.table.poll())


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


@pytest.mark.parametrize(
    ("local", "domain"),
    [
        ("user", "example.com"),
        ("USER", "Example.COM"),
        ("john.doe", "example.com"),
        ("user+detail", "example.com"),
        ("user+a+b", "example.com"),
        ("user+", "example.com"),
        ("User+X=y.org", "example.com"),
        ("list+daily", "example.com"),
        ("list+Daily", "example.com"),
        ("postmaster", "example.com"),
        ("PostMaster", "example.com"),
        ("anna", "bücher.example"),
        ("anna", "BÜCHER.Example"),
        ("anna", "bu\u0308cher.example"),
        ("anna", "XN--bcher-kva.example"),
    ],
)
def test_listed(setting: Setting, local: str, domain: str) -> None:
    finding = setting.table.lookup(local, domain)
    assert finding.standing is LISTED
    assert finding.domain in setting.config.domains
    assert answer(finding) is None


@pytest.mark.parametrize(
    "local",
    [
        "nobody", "", "+", "+user", "list", "list+weekly", "postmaster+x", "user-x", "user=x",
        "user%other.org", "other.org!user", "user@other.org", "user+x@other.org",
        "user+x%other.org", "user+other.org!x", "@other.org:user", "user ", " user",
        "user\x00", "user+\r\nx", 'user+"', "user+a b", "x" * 10_000, "user\u200b", "ＵＳＥＲ",
    ],
)  # fmt: skip
def test_i8_a_tricky_or_unknown_local_part_is_not_listed(setting: Setting, local: str) -> None:
    finding = setting.table.lookup(local, "example.com")
    assert finding.standing is UNKNOWN
    refusal = answer(finding)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (550, "5.1.1")


@pytest.mark.parametrize(
    "domain",
    [
        "", ".", "other.org", "com", "sub.example.com", "notexample.com", "example.com.evil.org",
        "example.com.", ".example.com", "example..com", "[127.0.0.1]", "[IPv6:::1]", "127.0.0.1",
        "example.com ", "example.com\x00", "example。com", "ｅxample.com", "example.com@other.org",
        "xn--", "xn--\u00fc", "\ud800.com", "exam\u00adple.com", "x" * 300, "a." * 5000,
        "ü" * 64 + ".example", "bücher.example.", "xn--bcher-kva.example.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("local", ["user", "postmaster"])
def test_i8_a_foreign_or_tricky_domain_is_not_listed(
    setting: Setting, local: str, domain: str
) -> None:
    finding = setting.table.lookup(local, domain)
    assert finding.standing is FOREIGN
    assert finding.domain == ""
    refusal = answer(finding)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (554, "5.7.1")


def test_i8_a_sign_that_folds_to_a_letter_is_another_domain(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("user\n")
    table = DirectoryTable(config(tmp_path, kelvin_example=("k",)), tmp_path, lambda _: None)
    table.load()
    assert table.lookup("user", "kelvin.example").standing is LISTED
    assert table.lookup("user", "\u212aelvin.example").standing is FOREIGN


@given(local=st.text(), domain=st.text() | st.sampled_from(["example.com", "EXAMPLE.com"]))
def test_i8_lookup_never_raises_and_lists_only_what_is_named(local: str, domain: str) -> None:
    table = DirectoryTable(config(Path(), example_com=()), Path(), lambda _: None)
    table.load()
    table._tables["example.com"] = DomainTable("example.com", {"s": frozenset({"user"})}, "+")
    finding = table.lookup(local, domain)
    if finding.standing is LISTED:
        assert domain.lower() == "example.com"
        assert local.casefold() == "postmaster" or local.casefold().partition("+")[0] == "user"


@pytest.mark.parametrize(
    ("delimiters", "local", "standing"),
    [
        ("", "user+x", UNKNOWN),
        ("-", "user-x", LISTED),
        ("-", "user+x", UNKNOWN),
        ("+-", "user-x+y", LISTED),
        ("+-", "user+x-y", LISTED),
        ("]^\\", "user]x", LISTED),
        (".", "user.x", LISTED),
        (".", "userx", UNKNOWN),
    ],
)
def test_delimiters(delimiters: str, local: str, standing: Standing) -> None:
    table = DomainTable("example.com", {"s": frozenset({"user"})}, delimiters)
    assert table.lookup(local).standing is standing


def test_several_sources_list_together_and_the_finding_names_the_one() -> None:
    table = DomainTable("d", {"a": frozenset({"x"}), "b": frozenset({"y"})}, "+")
    assert table.lookup("y") == Finding(standing=LISTED, domain="d", source="b")
    assert table.lookup("z").standing is UNKNOWN


def test_a_domain_with_an_unread_source_cannot_say_unknown() -> None:
    table = DomainTable("d", {"a": frozenset({"x"}), "b": None}, "+")
    assert table.lookup("x").standing is LISTED
    assert table.lookup("postmaster").standing is LISTED
    refusal = answer(table.lookup("z"))
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (451, "4.3.0")


@pytest.mark.parametrize("content", [None, "", "bad line\n"])
def test_a_source_that_was_never_read_gives_4xx_until_it_is(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "r"
    if content is not None:
        file.write_text(content)
    events: list[Event] = []
    table = DirectoryTable(config(tmp_path, example_com=("r",)), tmp_path, events.append)
    table.load()
    assert table.lookup("user", "example.com").standing is UNAVAILABLE
    assert [type(e) for e in events] == [RecipientsFailed]
    file.write_text("user\n")
    for _ in range(3):
        asyncio.run(table.poll())
    assert table.lookup("user", "example.com").standing is LISTED
    assert [type(e) for e in events] == [RecipientsFailed, RecipientsLoaded]


def test_answers_name_no_path_and_no_primary(setting: Setting) -> None:
    for local, domain in [("no", "example.com"), ("u", "other.org")]:
        text = str(answer(setting.table.lookup(local, domain)))
        assert "127.0.0.1" not in text
        assert str(setting.place) not in text


def test_events_of_the_start(setting: Setting) -> None:
    assert [e for e in setting.events if isinstance(e, RecipientsLoaded)] == setting.events
    assert [(e.domain, e.source, e.addresses) for e in setting.events] == [  # type: ignore[attr-defined]
        ("example.com", "file:com", 3),
        ("xn--bcher-kva.example", "file:idn", 1),
    ]


def test_a_changed_file_is_used(setting: Setting) -> None:
    (setting.place / "com").write_text("fresh\n")
    setting.poll()
    assert setting.standing("fresh") is LISTED
    assert setting.standing("user") is UNKNOWN
    assert setting.standing("anna", "bücher.example") is LISTED


def test_a_lost_file_keeps_the_list_and_is_told_once(setting: Setting) -> None:
    (setting.place / "com").unlink()
    setting.events.clear()
    setting.poll(4)
    assert setting.standing("user") is LISTED
    assert [type(e) for e in setting.events] == [RecipientsFailed]


def test_reload_keeps_what_unchanged_sources_have_read(setting: Setting) -> None:
    (setting.place / "com").unlink()
    (setting.place / "org").write_text("olga\n")
    new = config(setting.place, delimiter="-", example_com=("com",), example_org=("org",))
    asyncio.run(setting.table.reconfigure(new))
    assert setting.standing("user-x") is LISTED
    assert setting.standing("user+x") is UNKNOWN
    assert setting.standing("olga", "example.org") is LISTED
    assert setting.standing("anna", "bücher.example") is FOREIGN


def test_watch_polls_until_cancelled(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tideover.recipients.directory.POLL", 0.001)
    (setting.place / "com").write_text("fresh\n")

    async def until_used() -> None:
        watch = asyncio.create_task(setting.table.watch())
        async with asyncio.timeout(10):
            while setting.standing("fresh") is not LISTED:
                await asyncio.sleep(0.001)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    asyncio.run(until_used())


def test_listing(setting: Setting) -> None:
    assert setting.table.listing("EXAMPLE.com") == [
        "john.doe@example.com",
        "list+daily@example.com",
        "user@example.com",
    ]
    assert setting.table.listing("bücher.example") == ["anna@xn--bcher-kva.example"]
    assert setting.table.listing("other.org") == []


def test_explain_says_what_each_source_knows(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("user\n")
    table = DirectoryTable(config(tmp_path, example_com=("a", "b")), tmp_path, lambda _: None)
    table.load()
    explanation = table.explain("User+x@Example.com")
    assert explanation.finding.standing is LISTED
    first, second = explanation.sources
    assert (first.matched, first.addresses, first.trouble) == ("user", 1, None)
    assert (second.matched, second.addresses) == (None, None)
    assert "No such file" in (second.trouble or "")
    assert table.explain("user@other.org").sources == ()
    assert table.explain('"user"@example.com').finding.standing is LISTED
    assert table.explain("not an address").finding.standing is FOREIGN


@pytest.mark.parametrize(
    "local", ["u\u017fer", "po\u017ftmaster", "stra\u00dfe", "\u212ailo", "u\u017fer+x"]
)
def test_I8_letters_that_only_look_alike_are_not_the_same(local):
    names = frozenset({"user", "strasse", "kilo"})
    assert DomainTable("example.com", {"s": names}, "+").lookup(local).standing is UNKNOWN
