"""recipients.directory: who is listed, who never is, and how the list keeps up."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.model import (
    Config,
    Domain,
    HoneypotAction,
    MinConfidence,
    Source,
    SourceFormat,
)
from tideover.config.values import Endpoint
from tideover.events.event import Event
from tideover.events.recipient_records import RecipientsFailed, RecipientsLoaded
from tideover.recipients.answer import answer
from tideover.recipients.directory import DirectoryTable
from tideover.recipients.domain_table import DomainTable
from tideover.recipients.interface import Confidence, Finding, Verdict
from tideover.recipients.listing import NameList
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.sources.opening import Surroundings

LISTED, UNKNOWN, FOREIGN, UNAVAILABLE = (
    Verdict.ACCEPT,
    Verdict.REJECT,
    Verdict.FOREIGN,
    Verdict.DEFER,
)
NOW = 1_800_000_000.0


def config(
    data_dir: Path,
    delimiter: str = "+",
    sources: dict[str, Source] | None = None,
    **domains: tuple[str, ...],
) -> Config:
    return Config(
        hostname="mx2.example.org",
        data_dir=data_dir,
        sources=sources or {},
        domains={
            name.replace("_", "."): Domain(
                primary=(Endpoint("127.0.0.1", 2526),),
                recipients=tuple(f"file:{data_dir}/{f}" for f in files),
                recipient_delimiter=delimiter,
            )
            for name, files in domains.items()
        },
    )


def table_of(delimiters: str = "+", /, **lists: set[str] | None) -> DomainTable:
    """A domain whose sources have read these names; None: never read."""
    sources = []
    for name, names in lists.items():
        source = LoadedSource(name, "d", None, Source(), 60.0)  # type: ignore[arg-type]
        if names is not None:
            source.lists = {"d": NameList(frozenset(names))}
            source.confirmed(NOW)
        else:
            source.failed("gone", NOW, 60.0)
        sources.append(source)
    settings = Domain(primary=None, recipients=(), recipient_delimiter=delimiters)
    return DomainTable("d", settings, sources, NOW)


def look(table: DomainTable, local: str) -> Finding:
    finding = table.lookup(local, NOW)
    assert isinstance(finding, Finding)
    return finding


class Setting:
    """A directory of domains with files, and what it told. Works only while `run` runs."""

    def __init__(self, place: Path, given: Config) -> None:
        self.place = place
        self.events: list[Event] = []
        self.config = given
        self.runner = asyncio.Runner()
        around = Surroundings(data_dir=place)
        self.table = self.run(self._make(around))

    async def _make(self, around: Surroundings) -> DirectoryTable:
        table = DirectoryTable(self.config, around, self.events.append)
        await table.start()
        return table

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def lookup(self, local: str, domain: str = "example.com") -> Finding:
        async def ask() -> Finding:
            finding = self.table.lookup(local, domain)
            return finding if isinstance(finding, Finding) else await finding

        return self.run(ask())

    def verdict(self, local: str, domain: str = "example.com") -> Verdict:
        return self.lookup(local, domain).verdict

    def poll(self, times: int = 2) -> None:
        for _ in range(times):
            self.run(self.table.refresh(None))

    def close(self) -> None:
        self.run(self.table.close())
        self.runner.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[object]:
    made = []

    def make(given: Config) -> Setting:
        made.append(Setting(tmp_path, given))
        return made[-1]

    yield make
    for setting in made:
        setting.close()


@pytest.fixture
def setting(tmp_path: Path, make) -> Setting:
    (tmp_path / "com").write_text("user\nJohn.Doe@example.com\nlist+daily\n")
    (tmp_path / "idn").write_text("anna@bücher.example\n")
    return make(config(tmp_path, example_com=("com",), **{"xn--bcher-kva_example": ("idn",)}))


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
    finding = setting.lookup(local, domain)
    assert finding.verdict is LISTED
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
    finding = setting.lookup(local, "example.com")
    assert finding.verdict is UNKNOWN
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
    finding = setting.lookup(local, domain)
    assert finding.verdict is FOREIGN
    assert finding.domain == ""
    refusal = answer(finding)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (554, "5.7.1")


def test_i8_a_sign_that_folds_to_a_letter_is_another_domain(tmp_path: Path, make) -> None:
    (tmp_path / "k").write_text("user\n")
    setting = make(config(tmp_path, kelvin_example=("k",)))
    assert setting.verdict("user", "kelvin.example") is LISTED
    assert setting.verdict("user", "\u212aelvin.example") is FOREIGN


@given(local=st.text(), domain=st.text() | st.sampled_from(["example.com", "EXAMPLE.com"]))
def test_i8_lookup_never_raises_and_lists_only_what_is_named(local: str, domain: str) -> None:
    directory = DirectoryTable(
        config(Path(), example_com=()), Surroundings(data_dir=None), lambda _: None
    )
    directory._tables["example.com"] = table_of(s={"user"})
    finding = directory.lookup(local, domain)
    assert isinstance(finding, Finding)
    if finding.verdict is LISTED:
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
def test_delimiters(delimiters: str, local: str, standing: Verdict) -> None:
    assert look(table_of(delimiters, s={"user"}), local).verdict is standing


def test_several_sources_list_together_and_the_finding_names_the_one() -> None:
    table = table_of(a={"x"}, b={"y"})
    found = look(table, "y")
    assert (found.verdict, found.confidence, found.source) == (LISTED, Confidence.LISTED, "b")
    assert look(table, "z").verdict is UNKNOWN


def test_a_domain_with_an_unread_source_cannot_say_unknown() -> None:
    table = table_of(a={"x"}, b=None)
    said = [look(table, local).verdict for local in ("x", "postmaster", "z")]
    assert said == [LISTED, LISTED, UNAVAILABLE]


@pytest.mark.parametrize("content", [None, "", "bad line\n"])
def test_a_source_that_was_never_read_gives_4xx_until_it_is(
    tmp_path: Path, make, content: str | None
) -> None:
    file = tmp_path / "r"
    if content is not None:
        file.write_text(content)
    setting = make(config(tmp_path, example_com=("r",)))
    refusal = answer(setting.lookup("user"))
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (450, "4.1.1")
    assert setting.verdict("postmaster") is LISTED
    assert [type(e) for e in setting.events] == [RecipientsFailed]
    file.write_text("user\n")
    setting.poll(3)
    assert setting.verdict("user") is LISTED
    assert [type(e) for e in setting.events] == [RecipientsFailed, RecipientsLoaded]


def test_answers_name_no_path_and_no_primary(setting: Setting) -> None:
    for local, domain in [("no", "example.com"), ("u", "other.org")]:
        text = str(answer(setting.lookup(local, domain)))
        assert "127.0.0.1" not in text
        assert str(setting.place) not in text


def test_events_of_the_start(setting: Setting) -> None:
    assert [e for e in setting.events if isinstance(e, RecipientsLoaded)] == setting.events
    assert [(e.source, e.addresses) for e in setting.events] == [  # type: ignore[attr-defined]
        (f"file:{setting.place}/com", 3),
        (f"file:{setting.place}/idn", 1),
    ]


def test_a_changed_file_is_used(setting: Setting) -> None:
    (setting.place / "com").write_text("fresh\nuser\n")
    setting.poll()
    assert setting.verdict("fresh") is LISTED
    assert setting.verdict("john.doe") is UNKNOWN
    assert setting.verdict("anna", "bücher.example") is LISTED


def test_a_lost_file_keeps_the_list_and_says_later_to_all_others(setting: Setting) -> None:
    (setting.place / "com").unlink()
    setting.events.clear()
    setting.poll(4)
    assert setting.verdict("user") is LISTED
    assert setting.verdict("nobody") is UNAVAILABLE
    assert [type(e) for e in setting.events] == [RecipientsFailed]


def test_reload_keeps_what_unchanged_sources_have_read(setting: Setting) -> None:
    (setting.place / "com").unlink()
    (setting.place / "org").write_text("olga\n")
    new = config(setting.place, delimiter="-", example_com=("com",), example_org=("org",))
    setting.run(setting.table.reconfigure(new))
    assert setting.verdict("user-x") is LISTED
    assert setting.verdict("user+x") in (UNKNOWN, UNAVAILABLE)
    assert setting.verdict("olga", "example.org") is LISTED
    assert setting.verdict("anna", "bücher.example") is FOREIGN


def test_a_source_with_other_details_is_opened_anew(tmp_path: Path, make) -> None:
    (tmp_path / "r").write_text("user OK\n")
    name = f"file:{tmp_path}/r"
    setting = make(config(tmp_path, example_com=("r",)))
    assert setting.verdict("user") is UNAVAILABLE
    new = config(tmp_path, sources={name: Source(format=SourceFormat.POSTFIX)}, example_com=("r",))
    setting.run(setting.table.reconfigure(new))
    assert setting.verdict("user") is LISTED


def test_one_source_serves_several_domains(tmp_path: Path, make) -> None:
    (tmp_path / "all").write_text("a@one.example\nb@two.example\nc@three.example\nbare\n")
    setting = make(config(tmp_path, one_example=("all",), two_example=("all",)))
    assert setting.verdict("a", "one.example") is LISTED
    assert setting.verdict("b", "one.example") is UNKNOWN
    assert setting.verdict("b", "two.example") is LISTED
    assert setting.verdict("bare", "two.example") is LISTED
    assert len(setting.table._registry._sources) == 1


def test_a_source_that_names_nobody_of_a_domain_does_not_refuse_all_of_it(
    tmp_path: Path, make
) -> None:
    (tmp_path / "all").write_text("a@one.example\n")
    setting = make(config(tmp_path, one_example=("all",), two_example=("all",)))
    assert setting.verdict("b", "one.example") is UNKNOWN
    assert setting.verdict("b", "two.example") is UNAVAILABLE


def test_the_domain_stands_in_a_sources_name(tmp_path: Path, make) -> None:
    for name in ("one.example", "two.example"):
        (tmp_path / name).write_text(f"user-of-{name[:3]}\n")
    setting = make(config(tmp_path, one_example=("{domain}",), two_example=("{domain}",)))
    assert setting.verdict("user-of-one", "one.example") is LISTED
    assert setting.verdict("user-of-one", "two.example") is UNKNOWN


def test_a_domain_that_is_lost_leaves_nothing_behind(tmp_path: Path, make) -> None:
    for name in ("one.example", "two.example", "all"):
        (tmp_path / name).write_text("user\n")
    given = config(tmp_path, one_example=("{domain}", "all"), two_example=("{domain}", "all"))
    asked = replace(given.domains["one.example"], recipients=("learn",))
    given.domains["three.example"] = asked
    setting = make(given)
    registry = setting.table._registry

    async def lose(name: str) -> None:
        setting.table.lose(name, given.domains.pop(name))
        while setting.table._leaving:
            await asyncio.sleep(0)

    assert setting.verdict("user", "three.example") is UNAVAILABLE
    (learn,) = (source for source in registry._sources.values() if source.name == "learn")
    assert learn._troubles
    for name in ("one.example", "three.example"):
        setting.run(lose(name))
        assert setting.verdict("user", name) is FOREIGN
    assert setting.verdict("user", "two.example") is LISTED
    assert sorted(key[1] or "" for key in registry._sources) == ["", "two.example"]
    assert list(registry._users.values()) == [{"two.example"}]
    assert not learn._troubles


def test_honeypots_patterns_and_catch_alls_of_a_file(tmp_path: Path, make) -> None:
    (tmp_path / "r").write_text("user max_size=1MiB\ntrap honeypot\n/sales-.*/\n")
    given = config(tmp_path, example_com=("r",))
    setting = make(given)
    assert setting.lookup("user").max_size == 1 << 20
    assert setting.lookup("trap").confidence is Confidence.HONEYPOT
    assert setting.table.listing("example.com") == ["user@example.com"]
    assert setting.lookup("Sales-x").confidence is Confidence.PATTERN
    assert setting.verdict("nobody") is UNKNOWN
    domain = given.domains["example.com"]
    changed = replace(domain, honeypots=HoneypotAction.SWALLOW, min_confidence=MinConfidence.LISTED)
    setting.run(setting.table.reconfigure(replace(given, domains={"example.com": changed})))
    assert setting.verdict("trap") is Verdict.SWALLOW
    assert setting.verdict("sales-x") is UNAVAILABLE


def test_an_entry_that_has_expired_hides_nobody_and_is_nobody(tmp_path: Path, make) -> None:
    gone = "ann+shop expires=@1\ntemp expires=@1\ntrap honeypot expires=@1\n"
    (tmp_path / "a").write_text(f"ann\n{gone}")
    (tmp_path / "b").write_text("temp expires=@1\n/t.*/\n")
    setting = make(config(tmp_path, a_example=("a",), b_example=("b",)))
    assert setting.verdict("temp", "a.example") is UNKNOWN, "the only list is whole"
    assert setting.verdict("trap", "a.example") is UNKNOWN
    assert setting.table.trap("trap", "a.example") is None
    assert setting.verdict("ann+shop", "a.example") is LISTED, "as ann+whatever is"
    assert setting.verdict("temp", "b.example") is LISTED, "the pattern is still there"


def test_a_honeypot_is_one_whichever_source_says_so(tmp_path: Path, make) -> None:
    (tmp_path / "people").write_text("user\nlure\ntrap-1\n")
    (tmp_path / "traps").write_text("lure honeypot\n/trap-.*/ honeypot\n")
    setting = make(config(tmp_path, example_com=("people", "traps")))
    assert setting.verdict("user") is LISTED
    for trap in ("lure", "trap-1"):
        assert setting.lookup(trap).confidence is Confidence.HONEYPOT
        told = setting.run(setting.table.explain(f"{trap}@example.com"))
        assert told.primary_up == told.primary_down == setting.lookup(trap)


def test_listing(setting: Setting) -> None:
    assert setting.table.listing("EXAMPLE.com") == [
        "john.doe@example.com",
        "list+daily@example.com",
        "user@example.com",
    ]
    assert setting.table.listing("bücher.example") == ["anna@xn--bcher-kva.example"]
    assert setting.table.listing("other.org") == []


def test_explain_says_what_each_source_knows(tmp_path: Path, make) -> None:
    (tmp_path / "a").write_text("user\n")
    setting = make(config(tmp_path, example_com=("a", "b")))
    explanation = setting.run(setting.table.explain("User+x@Example.com"))
    assert explanation.primary_up.verdict is LISTED
    assert explanation.primary_down.verdict is LISTED
    first, second = explanation.sources
    assert (first.matched, first.confidence, first.trouble) == ("user", "listed", None)
    assert (second.matched, second.silence) == (None, "unsure")
    assert "No such file" in (second.trouble or "")
    for address, verdict in [
        ("user@other.org", FOREIGN),
        ('"user"@example.com', LISTED),
        ("not an address", FOREIGN),
    ]:
        assert setting.run(setting.table.explain(address)).primary_up.verdict is verdict


def test_the_state_of_sources(tmp_path: Path, make) -> None:
    (tmp_path / "a").write_text("user\n")
    setting = make(config(tmp_path, example_com=("a", "b")))
    good, bad = setting.table.sources("example.com")
    assert (good.state, good.entries, bad.state, bad.entries) == ("fresh", 1, "never", None)
    assert "No such file" in (bad.trouble or "")
    assert setting.table.sources("other.org") == []
    assert len(setting.table.sources()) == 2


@pytest.mark.parametrize(
    "local", ["u\u017fer", "po\u017ftmaster", "stra\u00dfe", "\u212ailo", "u\u017fer+x"]
)
def test_I8_letters_that_only_look_alike_are_not_the_same(local):
    names = frozenset({"user", "strasse", "kilo"})
    assert look(table_of(s=set(names)), local).verdict is UNKNOWN
