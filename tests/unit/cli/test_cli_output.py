"""Tables on a terminal: what does not fit is folded or wrapped, and never cut."""

import sys

import pytest

from tideover.cli import output
from tideover.config.load import load
from tideover.testing.control import FakeDaemon, ServedDaemon

LONG = "students.some-university.example.org"


@pytest.fixture
def terminal(capsys, monkeypatch):
    """Call something on a terminal of so many columns; returns the lines that it prints."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("LINES", "25")

    def lines(width, function, *arguments):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        found = function(*arguments)
        out = capsys.readouterr().out if found is None else found[1]
        return out.splitlines()

    return lines


def test_a_long_domain_takes_nothing_from_the_others(terminal, tideover, config_file):
    domain = f'[domains."{LONG}"]\nprimary = "mx"\nrecipients = ["learn"]\n'
    config_file.write_text(config_file.read_text() + domain)
    fake = FakeDaemon(load(config_file))
    fake.queue(f"a@{LONG}")
    with ServedDaemon(fake, config_file.parent):
        status, shape = (terminal(80, tideover, *verb) for verb in (["status"], ["queue", "shape"]))
    assert max(map(len, status)) <= 80
    heads = ("domain", "primary", "for", "queued", "held", "dead", "size", "oldest", "sources")
    assert tuple(status[1].split()) == (*heads, "reason")
    rows = status[3:]
    first = next(n for n, row in enumerate(rows) if row.startswith(LONG[:8]))
    assert "".join(row.split(" ")[0] for row in rows[first:]).startswith(LONG)
    assert "unknown" in rows[first]  # the state of the primary is whole
    assert "1280+" in shape[0]
    assert any(row.startswith(LONG) for row in shape)


def test_numbers_are_whole_where_they_do_not_fit(terminal):
    numbers = tuple(f"{number}2345" for number in range(10, 20))
    columns = ("~domain", *(f">{number}" for number in range(10)))
    lines = terminal(40, output.table, columns, [("example.com", *numbers)])
    assert all(number in lines[2] for number in numbers)


def test_a_table_that_fits_is_left_alone(terminal):
    lines = terminal(
        80,
        output.table,
        ("~domain", ">queued"),
        [("example.com", "1"), ("b\x1b[2J\u202e.example", "2")],
    )
    assert [line.split() for line in (lines[0], *lines[2:])] == [
        ["domain", "queued"],
        ["example.com", "1"],
        ["b\\x1b[2J\\x202e.example", "2"],
    ]
