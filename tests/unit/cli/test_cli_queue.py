import json
import time

import pytest

from tideover.events.records import OperatorActed
from tideover.primary.interface import PrimaryState
from tideover.spool.interface import Change, Filter, Settlement, State
from tideover.testing.control import FakeDaemon, FakeDestination


def acted(daemon):
    return [(e.action, e.what, e.count) for e in daemon.events if isinstance(e, OperatorActed)]


def states(daemon):
    import asyncio

    messages = asyncio.run(daemon.spool.select(Filter()))
    return {row.address: str(row.state) for m in messages for row in m.recipients}


def settle(daemon, queue_id, state, **fields):
    import asyncio

    change = Change(index=0, state=state, **fields)
    asyncio.run(
        daemon.spool.settle(
            [Settlement(queue_id=queue_id, changes=(change,), leased=False)], now=1.0
        )
    )


def test_status_json_is_the_contract(tideover, daemon: FakeDaemon):
    daemon.queue("alice@example.com")
    daemon.dispatcher.destinations["example.com"] = FakeDestination(since=1_763_722_262.5)
    code, out, _ = tideover("status", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["domains"]["example.com"]["primary"] == "down"
    assert answer["domains"]["example.com"]["queued"] == 1
    assert answer["domains"]["example.com"]["since"] == "2025-11-21T10:51:02.500Z"
    assert answer["domains"]["example.org"]["primary"] == "unknown"
    assert answer["domains"]["example.org"]["queued"] == 0
    assert answer["running"] is True


def test_queued_counts_deferred_but_neither_held_nor_dead(tideover, daemon: FakeDaemon):
    ids = [daemon.queue(f"{n}@example.com") for n in "abcd"]
    settle(daemon, ids[1], State.DEFERRED, not_before=2e9, reply="450 later")
    settle(daemon, ids[2], State.DEAD, reason="no bounce")
    tideover("queue", "hold", ids[3])
    _, out, _ = tideover("status", "--json")
    domain = json.loads(out)["domains"]["example.com"]
    assert {k: domain[k] for k in ("queued", "deferred", "held", "dead")} == {
        "queued": 2,
        "deferred": 1,
        "held": 1,
        "dead": 1,
    }


def test_status_of_one_domain_and_of_a_foreign_one(tideover, daemon: FakeDaemon):
    code, out, _ = tideover("status", "--json", "--domain", "EXAMPLE.org")
    assert (code, list(json.loads(out)["domains"])) == (0, ["example.org"])
    code, _, err = tideover("status", "--domain", "example.net")
    assert code == 1
    assert "not a domain of ours" in err


def test_status_table_names_the_state_and_the_reason(tideover, daemon: FakeDaemon):
    daemon.dispatcher.destinations["example.com"] = FakeDestination(state=PrimaryState.DOWN)
    code, out, _ = tideover("status")
    line = next(line for line in out.splitlines() if line.startswith("example.com"))
    assert code == 0
    assert "down" in line
    assert "connection refused" in line


def test_queue_list_json_is_the_contract(tideover, daemon: FakeDaemon):
    queue_id = daemon.queue("alice@example.com", "bob@example.com", received_at=1_763_722_262.123)
    settle(daemon, queue_id, State.DEFERRED, not_before=1_763_722_300.0, reply="450 4.2.1 later")
    code, out, _ = tideover("queue", "list", "--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "id": queue_id,
            "sender": "sender@example.net",
            "size": 24,
            "received_at": "2025-11-21T10:51:02.123Z",
            "recipients": [
                {
                    "address": "alice@example.com",
                    "state": "deferred",
                    "attempts": 1,
                    "next_attempt": "2025-11-21T10:51:40.000Z",
                    "last_reply": "450 4.2.1 later",
                },
                {
                    "address": "bob@example.com",
                    "state": "queued",
                    "attempts": 0,
                    "next_attempt": None,
                    "last_reply": None,
                },
            ],
        }
    ]


def test_queue_list_of_an_empty_queue(tideover, daemon: FakeDaemon):
    assert tideover("queue", "list", "--json")[:2] == (0, "[]\n")
    assert tideover("queue", "list")[0] == 0


def test_queue_list_comes_whole_over_many_pages(tideover, daemon: FakeDaemon):
    ids = [daemon.queue("alice@example.com") for _ in range(350)]
    _, out, _ = tideover("queue", "list", "--json")
    assert [message["id"] for message in json.loads(out)] == ids
    _, out, _ = tideover("queue", "list", "--json", "--limit", "101")
    assert [message["id"] for message in json.loads(out)] == ids[:101]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--domain", "example.org"], ["c@example.org"]),
        (["--sender", "other@example.net"], ["b@example.com"]),
        (["--sender", ""], ["n@example.com"]),
        (["--recipient", "a@example.com"], ["a@example.com"]),
        (["--older-than", "1h"], ["a@example.com"]),
        (["--younger-than", "1h", "--domain", "example.com"], ["b@example.com", "n@example.com"]),
        (["--state", "held"], []),
    ],
)
def test_filters(tideover, daemon: FakeDaemon, options, found):
    now = time.time()
    daemon.queue("a@example.com", received_at=now - 7200)
    daemon.queue("b@example.com", sender="other@example.net", received_at=now)
    daemon.queue("c@example.org", received_at=now)
    daemon.queue("n@example.com", sender="", received_at=now)
    _, out, _ = tideover("queue", "list", "--json", *options)
    assert [r["address"] for m in json.loads(out) for r in m["recipients"]] == found


def test_a_piped_table_cuts_nothing_and_has_no_colours(tideover, daemon: FakeDaemon):
    address = "a" * 60 + "@" + "example.com"
    queue_id = daemon.queue(address)
    _, out, _ = tideover("queue", "list")
    assert queue_id in out
    assert address in out
    assert "\x1b" not in out


def test_text_of_strangers_cannot_steer_the_terminal(tideover, daemon: FakeDaemon):
    queue_id = daemon.queue("a@example.com")
    settle(daemon, queue_id, State.DEFERRED, reply="450 \x1b[2J\x07 cleared")
    _, out, _ = tideover("queue", "list")
    assert "\x1b" not in out
    assert "\\x1b[2J" in out


def test_show(tideover, daemon: FakeDaemon):
    queue_id = daemon.queue("alice@example.com")
    code, out, _ = tideover("queue", "show", queue_id)
    assert code == 0
    assert "client.example.net [192.0.2.1]:4711 by ESMTP" in out
    assert "sender    not authenticated\n" in out
    _, out, _ = tideover("queue", "show", queue_id, "--json")
    assert json.loads(out)["evidence"]["sender_authenticated"] is None
    assert json.loads(out)["client"]["helo"] == "client.example.net"


def test_show_prints_the_octets_of_the_message(config_file, daemon: FakeDaemon, capfdbinary):
    from tideover.cli.main import run

    body = b"Subject: x\r\n\r\n" + bytes(range(256)) * 1000 + b"\r\n"
    queue_id = daemon.queue("alice@example.com", body=body)
    config = ["--config", str(config_file)]
    assert run(["queue", "show", queue_id, "--body", *config]) == 0
    trace = b"Received: from client.example.net\r\n"
    assert capfdbinary.readouterr().out == trace + body
    assert run(["queue", "show", queue_id, "--headers", *config]) == 0
    assert capfdbinary.readouterr().out == trace + b"Subject: x\r\n"


def test_show_can_not_steer_the_terminal(tideover, daemon: FakeDaemon, monkeypatch):
    body = b"Subject: \x1b]0;x\x07\r\n\ty\r\n\r\n\xc2\x9b2J \xff \xc3\xbc\r\n"
    queue_id = daemon.queue("alice@example.com", body=body)
    with monkeypatch.context() as terminal:
        terminal.setattr("tideover.cli.queue_show._on_terminal", lambda: True)
        _, out, _ = tideover("queue", "show", queue_id, "--body")
    shown = "Subject: \\x1b]0;x\\x07\n\ty\n\n\\x9b2J \\xff \u00fc\n"
    assert out == "Received: from client.example.net\n" + shown


def test_json_can_not_steer_the_terminal(tideover, daemon: FakeDaemon):
    sender = '"\x9b31m"\u202e@example.net'
    queue_id = daemon.queue("alice@example.com", sender=sender)
    for verb in (("list",), ("show", queue_id)):
        _, out, _ = tideover("queue", *verb, "--json")
        assert "\\u009b31m" in out
        assert "\\u202e" in out
        assert all(c.isprintable() or c == "\n" for c in out)
        found = json.loads(out)
        assert sender in (found[0] if verb == ("list",) else found)["sender"]


def test_show_of_an_unknown_id(tideover, daemon: FakeDaemon):
    code, _, err = tideover("queue", "show", "nothere")
    assert (code, err) == (1, "tideover: no message nothere is in the queue\n")


def test_shape_counts_recipients_by_age(tideover, daemon: FakeDaemon):
    now = time.time()
    daemon.queue("a@example.com", "b@example.com", received_at=now - 60)
    daemon.queue("c@example.com", received_at=now - 900)
    daemon.queue("d@example.org", received_at=now - 10 * 86400)
    _, out, _ = tideover("queue", "shape", "--json")
    shape = json.loads(out)
    assert shape["example.com"]["total"] == 3
    assert shape["example.com"]["minutes"]["5"] == 2
    assert shape["example.com"]["minutes"]["20"] == 1
    assert shape["example.org"]["minutes"]["1280+"] == 1
    _, out, _ = tideover("queue", "shape")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:4] == ["domain", "T", "5", "10"]
    assert lines[1][:3] == ["TOTAL", "4", "2"]
    assert lines[2][:3] == ["example.com", "3", "2"]


def test_hold_and_release_by_id(tideover, daemon: FakeDaemon):
    one, two = daemon.queue("a@example.com"), daemon.queue("b@example.com")
    code, out, _ = tideover("queue", "hold", one, "--reason", "looks odd")
    assert (code, out) == (0, "1 recipient held.\n")
    assert states(daemon) == {"a@example.com": "held", "b@example.com": "queued"}
    assert tideover("queue", "release", one)[:2] == (0, "1 recipient released.\n")
    assert states(daemon) == {"a@example.com": "queued", "b@example.com": "queued"}
    assert ("notify", "example.com") in daemon.dispatcher.calls
    assert acted(daemon) == [("hold", one, 1), ("release", one, 1)]
    assert two not in str(acted(daemon))


def test_hold_of_a_domain_holds_what_is_yet_to_come(tideover, daemon: FakeDaemon):
    daemon.queue("a@example.com")
    tideover("queue", "hold", "--domain", "Example.COM", "--reason", "moving")
    assert ("hold", "example.com") in daemon.dispatcher.calls
    _, out, _ = tideover("status", "--json")
    domain = json.loads(out)["domains"]["example.com"]
    assert (domain["primary"], domain["held"]) == ("held", 1)
    assert domain["reason"].endswith(": moving")
    tideover("queue", "release", "--domain", "example.com")
    assert ("unhold", "example.com") in daemon.dispatcher.calls
    _, out, _ = tideover("status", "--json")
    assert json.loads(out)["domains"]["example.com"]["held"] == 0


def test_dead_letters_are_listed_and_come_back_only_when_meant(tideover, daemon: FakeDaemon):
    queue_id = daemon.queue("a@example.com")
    settle(daemon, queue_id, State.DEAD, reason="expired; no bounce may be sent")
    _, out, _ = tideover("queue", "dead", "--json")
    assert json.loads(out)[0]["recipients"][0]["reason"] == "expired; no bounce may be sent"
    assert "expired; no bounce may be sent" in tideover("queue", "dead")[1]
    tideover("queue", "release", "--domain", "example.com")
    assert states(daemon) == {"a@example.com": "dead"}
    tideover("queue", "release", queue_id)
    assert states(daemon) == {"a@example.com": "queued"}


def test_flush_wakes_the_deferred_and_tries_the_primary(tideover, daemon: FakeDaemon):
    queue_id = daemon.queue("a@example.com")
    settle(daemon, queue_id, State.DEFERRED, not_before=2e9)
    code, out, _ = tideover("queue", "flush", "--domain", "example.com", "--json")
    assert (code, json.loads(out)) == (0, {"woken": 1})
    assert daemon.dispatcher.calls == [("flush", ["example.com"])]
    assert states(daemon) == {"a@example.com": "queued"}


def test_flush_wait_says_when_the_queue_is_not_empty(tideover, daemon: FakeDaemon):
    daemon.queue("a@example.com")
    daemon.queue("c@example.org")
    code, out, _ = tideover("queue", "flush", "--all", "--wait", "--timeout", "10ms", "--json")
    assert (code, json.loads(out)) == (1, {"woken": 0, "queued": 2})


def test_flush_wait_ends_when_the_queue_is_empty(tideover, daemon: FakeDaemon):
    daemon.queue("a@example.com")
    code, out, _ = tideover("queue", "flush", "--domain", "example.org", "--wait")
    assert (code, out) == (0, "Nothing of it is queued any more.\n")


def test_remove_needs_a_yes(tideover, daemon: FakeDaemon):
    queue_id = daemon.queue("a@example.com")
    code, _, err = tideover("queue", "remove", queue_id)
    assert code == 2
    assert "--yes" in err
    assert states(daemon) == {"a@example.com": "queued"}
    code, out, _ = tideover("queue", "remove", queue_id, "--yes")
    assert (code, out) == (0, "1 message removed.\n")
    assert states(daemon) == {}
    assert acted(daemon) == [("remove-ordered", queue_id, 0), ("remove", queue_id, 1)]


@pytest.mark.parametrize("verb", ["hold", "release", "flush", "remove"])
def test_an_act_on_everything_must_be_meant(tideover, daemon: FakeDaemon, verb):
    daemon.queue("a@example.com")
    code, _, err = tideover("queue", verb)
    assert code == 2
    assert "--all" in err
    assert acted(daemon) == []


@pytest.mark.parametrize("verb", ["hold", "release", "flush", "remove"])
def test_an_act_needs_the_daemon(tideover, verb):
    extra = ["--yes"] if verb == "remove" else []
    code, _, err = tideover("queue", verb, "--all", *extra)
    assert code == 3
    assert "does not run" in err
    assert len(err.splitlines()) == 1
