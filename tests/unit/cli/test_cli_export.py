"""`recipients export`: from a source to a feed that a backup takes."""

import asyncio
import json
import re
import sqlite3

import pytest

from tideover.cli.main import run
from tideover.config.model import Domain, Source
from tideover.recipients.interface import Confidence
from tideover.recipients.sources.feed_source import FeedLoader
from tideover.recipients.sources.interface import SourceError

LIST = "alice\nbob@example.com\nx@example.org\ntrap honeypot\n/list-.*/\n@@@\n"


@pytest.fixture
def export(tmp_path, monkeypatch, capsys):
    """Run `recipients export` in a directory with a list; returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDEOVER_CONFIG", raising=False)
    (tmp_path / "list").write_text(LIST)

    def command(*more, source="file:list", domain="example.com"):
        code = run(["recipients", "export", "--from", source, "--domain", domain,
                    "--signing-key", "key.pem", "--out", "out.feed", *more])  # fmt: skip
        out, err = capsys.readouterr()
        return code, out, err

    return command


def taken(directory, signer, key_file=None):
    """What a backup makes of the feed."""
    of = Domain(primary=None, recipients=("feed:x",), feed_signer=signer, feed_key_file=key_file)

    async def load():
        source = f"feed:{directory / 'out.feed'}"
        store = directory / "store"
        loader = FeedLoader(source, Source(), domain="example.com", of=of, store=store)
        while True:  # a file that has just been written is not believed to be whole at once
            try:
                found = await loader.load(None, lambda _: None)
            except SourceError as error:
                if "being written" not in str(error):
                    raise
            else:
                await loader.close()
                return found
            await asyncio.sleep(0.05)

    return asyncio.run(load())


def test_what_is_exported_is_taken_by_a_backup(export, tmp_path):
    code, out, err = export()
    assert code == 0
    assert "list:6:" in err
    signer = re.search(r'feed_signer = "(\S+)"', out)[1]
    assert f"public key: {signer}\n" in out
    listing = taken(tmp_path, signer).lists["example.com"]
    assert listing.find("alice", None).confidence is Confidence.HASHED
    assert listing.find("trap", None).terms.honeypot
    assert listing.find("list-x", None).confidence is Confidence.PATTERN
    assert listing.find("x", None) is None
    assert b"alice" not in (tmp_path / "out.feed").read_bytes()


def test_counts_as_json(export):
    code, out, _ = export("--json")
    found = json.loads(out)
    assert code == 0
    assert {name: found[name] for name in ("addresses", "patterns", "honeypots", "skipped")} == {
        "addresses": 2, "patterns": 1, "honeypots": 1, "skipped": 1,
    }  # fmt: skip
    assert (found["mistakes"], found["catch_all"], found["profile"]) == (1, False, "fast")
    assert found["made"] == ["key.pem"]
    code, out, _ = export("--json")
    again = json.loads(out)
    assert (code, again["public_key"], again["made"]) == (0, found["public_key"], [])
    assert again["serial"] > found["serial"]


def test_the_hash_key_may_be_kept_out_of_the_feed(export, tmp_path):
    _, out, _ = export("--json", "--profile", "slow", "--key-file", "hash.key")
    found = json.loads(out)
    assert found["made"] == ["key.pem", "hash.key"]
    assert (tmp_path / "hash.key").stat().st_mode & 0o077 == 0
    load = taken(tmp_path, found["public_key"], tmp_path / "hash.key")
    assert load.version == str(found["serial"])
    with pytest.raises(SourceError):
        taken(tmp_path, found["public_key"])


def test_the_feed_of_another_domain_is_not_overwritten(export, tmp_path):
    export()
    before = (tmp_path / "out.feed").read_bytes()
    code, _, err = export(domain="example.org")
    assert code == 1
    assert "a feed of example.com" in err
    assert (tmp_path / "out.feed").read_bytes() == before


@pytest.mark.parametrize("text", ["", "# nobody\n", "x@example.org\n", None])
def test_nobody_is_no_feed(export, tmp_path, text):
    export()
    before = (tmp_path / "out.feed").read_bytes()
    (tmp_path / "list").unlink()
    if text is not None:
        (tmp_path / "list").write_text(text)
    code, out, err = export()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert (tmp_path / "out.feed").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"source": "what:x"}, "is written like"),
        ({"source": "callout"}, "holds no names"),
        ({"source": "feed:out.feed"}, "holds no names"),
        ({"source": "sql:users"}, "--config"),
        ({"domain": "no domain"}, "example.com"),
    ],
)
def test_what_can_not_be_exported_is_one_line_with_its_cure(export, arguments, said):
    code, out, err = export(**arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_the_details_of_a_source_stand_in_a_file_of_their_own(export, tmp_path):
    with sqlite3.connect(tmp_path / "users.db") as database:
        database.execute("CREATE TABLE users (name TEXT)")
        database.executemany("INSERT INTO users VALUES (?)", [("carol",), ("dave@example.com",)])
    database.close()
    (tmp_path / "export.toml").write_text(
        '[sources."sql:users"]\nurl = "sqlite:users.db"\nquery = "SELECT name FROM users"\n'
    )
    pytest.importorskip("tideover.recipients.sources.sql")
    code, out, err = export("--config", "export.toml", "--json", source="sql:users")
    assert (code, err) == (0, "")
    assert json.loads(out)["addresses"] == 2
    code, _, err = export("--config", "export.toml", source="sql:others")
    assert code == 2
    assert '[sources."sql:others"]' in err
    (tmp_path / "export.toml").write_text('[sources."sql:users"]\nurll = 3\nmax_shrink = "x"\n')
    code, _, err = export("--config", "export.toml", source="sql:users")
    assert code == 2
    assert 'did you mean "url"?' in err
    assert len(err.splitlines()) == 2


def test_a_program_s_output_is_exported(export):
    code, out, _ = export("--json", source="command:printf 'alice\\nbob\\n'")
    assert (code, json.loads(out)["addresses"]) == (0, 2)
