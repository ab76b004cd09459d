"""The verbs about recipients, with a daemon that answers; and what `status` tells of sources."""

import json
import time
from dataclasses import replace

import pytest

from tideover.cli.main import run
from tideover.config.directory import DomainFiles
from tideover.config.domains import UNREADABLE
from tideover.config.mistakes import Mistake
from tideover.config.model import WhenPrimaryUp
from tideover.control.protocol import MxChangeInfo, MxInfo
from tideover.recipients.report import Refreshed, SourceStatus
from tideover.testing.control import FakeDaemon

FRESH = SourceStatus(
    domain="example.com", source="file:x", state="fresh", entries=1234, loaded_at=1_763_722_262.5
)
STALE = SourceStatus(
    domain="example.com", source="https://lists.example/x", state="stale", entries=10,
    trouble="connection refused", confirm=True, mistakes=("x:3: no address",), bad=5,
)  # fmt: skip
FEED = SourceStatus(domain="example.com", source="feed:push", state="fresh", entries=5000)


def test_lookup_says_what_a_client_hears(tideover, daemon: FakeDaemon):
    daemon.directory.names["example.com"] = ["alice"]
    code, out, _ = tideover("recipients", "lookup", "alice@example.com")
    assert code == 0
    assert "is accepted (listed by test)" in out
    assert "250 2.1.5" in out
    code, out, _ = tideover("recipients", "lookup", "eve@example.com")
    assert code == 1
    assert "550 5.1.1" in out
    assert "does not exist" in out


def test_lookup_json_is_the_contract(tideover, daemon: FakeDaemon):
    daemon.directory.names["example.com"] = ["alice"]
    code, out, _ = tideover("recipients", "lookup", "alice@example.com", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["address"] == "alice@example.com"
    assert found["domain"] == "example.com"
    assert (found["verdict"], found["confidence"], found["source"]) == ("accept", "listed", "test")
    assert found["answer"]["primary_up"]["code"] == 250
    assert found["answer"]["primary_down"]["code"] == 250
    assert found["sources"][0]["matched"] == "alice"
    assert found["sources"][0]["loaded_at"] == "1970-01-12T13:46:40.000Z"
    code, out, _ = tideover("recipients", "lookup", "a@example.net", "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["domain"]) == (1, "foreign", "")
    assert found["answer"]["primary_up"]["code"] == 554


def test_lookup_tells_the_primary_up_from_the_primary_down(tideover, daemon: FakeDaemon):
    code, out, _ = tideover("recipients", "lookup", "asked@example.com", "--json")
    answer = json.loads(out)["answer"]
    assert (code, answer["primary_up"]["code"], answer["primary_down"]["code"]) == (0, 250, 450)
    assert answer["primary_down"]["reason"] == "the primary is down"


@pytest.mark.parametrize(
    ("posture", "address", "hears"),
    [
        ("accept", "alice", "250 2.1.5 Recipient OK"),
        ("defer", "alice", "450 4.3.2 (go to the primary)"),
        ("defer", "eve", "550 5.1.1"),
        ("pass-through", "eve", "what the primary says  "),
        ("auto", "alice", "what the primary says, or 450 4.3.2 (go to the primary) where it"),
        ("auto", "eve", "what the primary says, or 550 5.1.1"),
    ],
)
def test_lookup_knows_who_answers_while_the_primary_is_up(
    tideover, daemon: FakeDaemon, posture, address, hears
):
    settings = daemon.config.domains["example.com"]
    daemon.config.domains["example.com"] = replace(settings, when_primary_up=WhenPrimaryUp(posture))
    daemon.directory.names["example.com"] = ["alice"]
    _, out, _ = tideover("recipients", "lookup", f"{address}@example.com")
    (line,) = [line for line in out.splitlines() if line.startswith("primary up ")]
    assert line.startswith(f"primary up      {hears}")


@pytest.mark.parametrize(
    "text", ["no address", "anna", "@example.com", "a@b@c d", "<a@example.com>", ""]
)
def test_lookup_of_what_is_no_address(tideover, daemon: FakeDaemon, text):
    code, _, err = tideover("recipients", "lookup", text)
    assert code == 2
    assert err.count("\n") == 1


def test_list_names_what_is_known_in_clear_and_counts_the_rest(tideover, daemon: FakeDaemon):
    daemon.directory.names["example.com"] = [f"user{n:04}" for n in range(2500)]
    daemon.directory.statuses = [FRESH, FEED]
    code, out, err = tideover("recipients", "list", "EXAMPLE.com")
    assert code == 0
    assert out.splitlines() == [f"user{n:04}@example.com" for n in range(2500)]
    assert err == "feed:push: 5,000 entries, hashed: their names can't be told from it\n"
    assert len(json.loads(tideover("recipients", "list", "example.com", "--json")[1])) == 2500
    assert tideover("recipients", "list", "example.net")[0] == 1


def test_refresh_is_a_table_and_its_exit_code(tideover, daemon: FakeDaemon):
    good = Refreshed(domain="", source="file:x", entries=1234, changed=True)
    daemon.directory.refreshed = [good]
    code, out, _ = tideover("recipients", "refresh")
    assert code == 0
    assert "1,234" in out
    bad = Refreshed(
        domain="example.com", source="feed:push", entries=9, changed=False, refused="it shrank"
    )
    daemon.directory.refreshed = [good, bad]
    code, out, _ = tideover("recipients", "refresh", "--domain", "Example.com", "--confirm")
    assert code == 1
    assert "it shrank" in out
    assert daemon.directory.calls[-1] == ("refresh", "example.com", True)
    assert [(e.action, e.what, e.count) for e in daemon.events] == [
        ("refresh", "all", 1), ("refresh-confirmed", "domain=example.com", 1),
    ]  # fmt: skip
    code, out, _ = tideover("recipients", "refresh", "--json")
    assert (code, [r["refused"] for r in json.loads(out)]) == (1, [None, "it shrank"])
    assert tideover("recipients", "refresh", "--domain", "example.net")[0] == 1


def test_a_refresh_that_takes_long_is_waited_for(tideover, daemon: FakeDaemon, monkeypatch):
    monkeypatch.setattr("tideover.control.knowing._TOLD_EVERY", 0.02)
    daemon.directory.refreshed = [
        Refreshed(domain="", source="file:x", entries=1, changed=False)
    ]  # fmt: skip
    daemon.directory.refresh_lasts = 0.2
    code, out, _ = tideover("recipients", "refresh")
    assert code == 0
    assert "unchanged" in out


def test_refresh_needs_the_daemon(tideover):
    code, _, err = tideover("recipients", "refresh")
    assert code == 3
    assert "does not run" in err


def test_status_says_which_sources_are_in_trouble(tideover, daemon: FakeDaemon):
    daemon.directory.statuses = [FRESH]
    assert "  ok" in tideover("status")[1]
    daemon.directory.statuses = [FRESH, STALE]
    assert "  confirm" in tideover("status")[1]
    _, out, _ = tideover("status", "--domain", "example.com")
    assert "1,234" in out
    assert "connection refused" in out
    assert "x:3: no address" in out
    assert "4 more malformed lines" in out
    assert "tideover recipients refresh --domain example.com --confirm" in out


def test_status_json_has_the_sources_and_the_mx_set(tideover, daemon: FakeDaemon):
    daemon.directory.statuses = [FRESH, STALE]
    daemon.mx.states["example.com"] = MxInfo(
        hosts=("10 mail.example.com", "20 mx2.example.org"), own=20, serial=2026112101,
        checked_at=1_763_722_262.5, next_at=1_763_722_562.5, alarm="the set is gone",
    )  # fmt: skip
    daemon.mx.changes["example.com"] = [
        MxChangeInfo(at=1_763_722_262.5, before=("10 old.example.com",),
                     after=("10 mail.example.com",), serial=7)
    ]  # fmt: skip
    _, out, _ = tideover("status", "--json", "--domain", "example.com")
    found = json.loads(out)["domains"]["example.com"]
    assert [source["state"] for source in found["sources"]] == ["fresh", "stale"]
    assert found["sources"][0]["loaded_at"] == "2025-11-21T10:51:02.500Z"
    assert found["mx"]["alarm"] == "the set is gone"
    assert found["mx"]["history"][0]["at"] == "2025-11-21T10:51:02.500Z"
    _, out, _ = tideover("status", "--json")
    domains = json.loads(out)["domains"]
    assert domains["example.com"]["mx"]["history"] == []
    assert domains["example.org"]["mx"] is None
    _, out, _ = tideover("status", "--domain", "example.com")
    assert "20 mx2.example.org" in out
    assert "Alarm: the set is gone" in out
    assert "10 old.example.com" in out


CALLOUT = """
[domains."example.net"]
primary = "mx"
recipients = ["callout", "learn"]
"""


@pytest.fixture
def asking(config_file):
    """A configuration in which example.net is asked for by callouts."""
    config_file.write_text(config_file.read_text() + CALLOUT)


def test_import_sends_addresses_in_portions(asking, tideover, daemon: FakeDaemon, tmp_path):
    names = [f"{n:05}-" + "a" * 50 for n in range(3000)]
    text = "\n".join([*names, "Bob@example.net", "trap honeypot", "else@example.org", "/x.*/"])
    (tmp_path / "seeds").write_text(text)
    code, out, err = tideover(
        "recipients", "import", "--domain", "example.net", str(tmp_path / "seeds")
    )
    assert (code, err) == (0, "")
    assert "3,001 of them new" in out
    assert daemon.directory.seeded == sorted(
        [f"{name}@example.net" for name in names] + ["bob@example.net"]
    )
    assert {event.action for event in daemon.events} == {"import"}
    assert not any("@" in event.what for event in daemon.events)
    code, out, _ = tideover(
        "recipients", "import", "--domain", "example.net", "--json", str(tmp_path / "seeds")
    )
    assert (code, json.loads(out)["new"]) == (0, 0)


def test_import_for_a_domain_without_callouts_says_why_not(tideover, daemon, tmp_path):
    (tmp_path / "seeds").write_text("alice\n")
    code, _, err = tideover(
        "recipients", "import", "--domain", "example.com", str(tmp_path / "seeds")
    )
    assert code == 2
    assert "callout" in err
    assert daemon.directory.seeded == []


def test_import_of_a_missing_file_is_one_line(asking, tideover, daemon, tmp_path):
    code, _, err = tideover("recipients", "import", "--domain", "example.net", str(tmp_path / "no"))
    assert code == 1
    assert err.count("\n") == 1


def test_a_word_is_heard_every_second(daemon: FakeDaemon, config_file, monkeypatch):
    """Else a client would give up on a long load, and an operator would wonder."""
    from tideover.cli.asking import order_at_length
    from tideover.control.protocol import Progress, Refresh

    monkeypatch.setattr("tideover.control.knowing._TOLD_EVERY", 0.05)
    daemon.directory.refresh_lasts = 0.3
    start = time.monotonic()
    items = list(order_at_length(config_file, Refresh()))
    assert Progress(source="test", entries=1000) in items
    assert 0.25 < time.monotonic() - start < 5


def test_text_of_strangers_cannot_steer_the_terminal(tideover, daemon: FakeDaemon):
    daemon.directory.refreshed = [
        Refreshed(domain="", source="x", entries=1, changed=False, refused="\x1b[2Jgone")
    ]
    assert "\x1b" not in tideover("recipients", "refresh")[1]


def test_lookup_has_no_traceback_for_odd_bytes(daemon, config_file, capsys):
    code = run(["recipients", "lookup", "a\udcff@example.com", "--config", str(config_file)])
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("address", ["x@example.org", "example.net", "a b@example.net", ""])
def test_the_daemon_takes_no_seed_but_addresses_of_the_domain(
    asking, daemon: FakeDaemon, config_file, address
):
    from tideover.cli.asking import order
    from tideover.control.client import RefusedError
    from tideover.control.protocol import Seed

    with pytest.raises(RefusedError, match="is not an address in"):
        order(config_file, Seed(domain="example.net", addresses=("a@example.net", address)))
    assert daemon.directory.seeded == []


LIST = SourceStatus(
    domain="", source="https://lists.example/d", state="stale", entries=10, confirm=True,
    trouble="3 of 10 domains are gone from it", loaded_at=1_763_722_262.5,
)  # fmt: skip


def test_a_list_of_domains_that_shrank_is_confirmed_by_name(tideover, daemon: FakeDaemon):
    code, _, err = tideover("recipients", "refresh", "--domains")
    assert (code, "domains_from is not set" in err) == (2, True)
    daemon.listed = LIST
    code, out, _ = tideover("recipients", "refresh", "--domains")
    assert (code, "3 of 10 domains are gone" in out) == (1, True)
    code, out, _ = tideover("recipients", "refresh", "--domains", "--confirm")
    assert (code, "new" in out) == (0, True)
    assert [(e.action, e.what) for e in daemon.events] == [
        ("refresh", "domains_from"), ("refresh-confirmed", "domains_from"),
    ]  # fmt: skip
    assert daemon.directory.calls == []
    assert tideover("recipients", "refresh", "--domains", "--domain", "example.com")[0] == 2


def test_status_tells_of_the_list_of_domains_and_of_broken_files(tideover, daemon: FakeDaemon):
    daemon.listed = LIST
    mistake = Mistake(path="primary", line=3, allowed="wrong", file="/etc/t/d/bad.example.toml")
    daemon.domain_files = DomainFiles(domains={}, mistakes=[mistake], more=4, held=1, ignored=[])
    daemon.config.domains["bad.example"] = UNREADABLE
    _, out, _ = tideover("status")
    assert "domains from https://lists.example/d: stale, 10 domains" in out
    assert "3 of 10 domains are gone from it" in out
    assert "/etc/t/d/bad.example.toml: line 3" in out
    assert "and 4 more files" in out
    bad = next(line for line in out.splitlines() if line.startswith("bad.example "))
    assert "its settings can't be used" in bad
    found = json.loads(tideover("status", "--json")[1])
    assert found["domains_from"]["confirm"] is True
    assert len(found["broken_files"]) == 2
    assert found["domains"]["bad.example"]["reason"].startswith("its settings can't be used")
