"""Reading verbs while no daemon runs: on a real spool."""

import asyncio
import json

import pytest

from tideover.control.offline import SPOOL
from tideover.message.envelope import Client, Envelope, NewMessage, Recipient, SessionId
from tideover.recipients.domain_copy import DomainCopy
from tideover.spool.sqlite import open_spool


@pytest.fixture
def queue_id(config_file):
    """A message in the spool of a daemon that has stopped."""

    async def main():
        spool = await open_spool(config_file.parent / SPOOL, sink=lambda event: None)
        queue_id = spool.new_id(1_763_722_262.0)
        intake = spool.open(queue_id)
        if (wait := intake.write(b"Subject: offline\r\n\r\nbody\r\n")) is not None:
            await wait
        client = Client(
            session=SessionId("s"), address="192.0.2.1", port=1, helo="h", protocol="ESMTP"
        )
        recipient = Recipient(address="alice@example.com", domain="example.com")
        await intake.commit(
            NewMessage(
                queue_id=queue_id,
                received_at=1_763_722_262.0,
                envelope=Envelope(sender="a@example.net", recipients=(recipient,)),
                client=client,
                trace=b"Received: x\r\n",
            )
        )
        await spool.close()
        return queue_id

    return asyncio.run(main())


def test_status(tideover, queue_id):
    code, out, _ = tideover("status", "--json")
    answer = json.loads(out)
    assert (code, answer["running"]) == (0, False)
    assert answer["domains"]["example.com"]["primary"] == "unknown"
    assert answer["domains"]["example.com"]["queued"] == 1
    assert "is not running" in tideover("status")[1]


def test_list_show_and_shape(tideover, queue_id):
    assert json.loads(tideover("queue", "list", "--json")[1])[0]["id"] == queue_id
    assert queue_id in tideover("queue", "show", queue_id)[1]
    assert json.loads(tideover("queue", "shape", "--json")[1])["example.com"]["total"] == 1
    assert tideover("queue", "dead", "--json")[1] == "[]\n"
    assert tideover("queue", "show", "nothere")[0] == 1


def test_body(config_file, queue_id, capfdbinary):
    from tideover.cli.main import run

    assert run(["queue", "show", queue_id, "--body", "--config", str(config_file)]) == 0
    whole = b"Received: x\r\nSubject: offline\r\n\r\nbody\r\n"
    assert capfdbinary.readouterr().out == whole


def test_a_daemon_that_never_ran_has_an_empty_queue(tideover):
    assert json.loads(tideover("status", "--json")[1])["domains"]["example.com"]["queued"] == 0
    assert tideover("queue", "list", "--json")[1] == "[]\n"


def test_recipients_come_from_their_sources(tideover):
    code, out, _ = tideover("recipients", "lookup", "alice@example.com", "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["confidence"]) == (0, "accept", "listed")
    assert found["sources"][0]["matched"] == "alice"
    assert tideover("recipients", "list", "example.org")[1] == "carol@example.org\n"


def test_status_of_one_domain_shows_its_sources(tideover):
    _, out, _ = tideover("status", "--domain", "example.com", "--json")
    [source] = json.loads(out)["domains"]["example.com"]["sources"]
    assert (source["state"], source["entries"]) == ("fresh", 2)


def test_status_of_all_domains_opens_no_source(tideover):
    _, out, _ = tideover("status", "--json")
    assert json.loads(out)["domains"]["example.com"]["sources"] is None


def test_a_foreign_spool_is_one_clear_line(tideover, config_file):
    (config_file.parent / SPOOL).write_bytes(b"not a database" * 100)
    code, _, err = tideover("queue", "list")
    assert code == 2
    assert "not a spool" in err
    assert err.count("\n") == 1


def test_domains_of_a_list_are_ours_while_no_daemon_runs(tideover, config_file):
    url = "https://lists.example/domains"
    text = config_file.read_text()
    config_file.write_text(f'domains_from = "{url}"\n{text}')
    row = {"primary": ["10.0.0.1"], "recipients": ["file:recipients"]}
    DomainCopy(config_file.parent).put(url, {"listed.example": row}, 1_763_722_262.0)
    (config_file.parent / "recipients").write_text("dora\n")
    code, out, _ = tideover("recipients", "lookup", "dora@listed.example", "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "accept")
    found = json.loads(tideover("status", "--json")[1])
    assert "listed.example" in found["domains"]
    assert (found["domains_from"]["source"], found["domains_from"]["entries"]) == (url, 1)


def test_reading_verbs_change_no_file(tideover, config_file, queue_id):
    before = seen(config_file.parent)
    for verb in ("status", "status --domain example.com", "queue list",
                 "recipients lookup alice@example.com", "recipients list example.com"):  # fmt: skip
        assert tideover(*verb.split())[0] == 0
    assert seen(config_file.parent) == before


def seen(directory):
    """When each file was changed; but for those that SQLite needs to read, and which as root it
    gives to the owner of the spool.
    """
    files = (path for path in directory.iterdir() if not path.name.endswith(("-shm", "-wal")))
    return {path.name: path.stat().st_mtime_ns for path in files}
