"""A real feed, pushed to a real directory of recipients."""

import json
import time
from dataclasses import replace

import pytest
from served_console import Served

from tideover.recipients.directory import DirectoryTable
from tideover.recipients.feed.keys import public_text, signing_key
from tideover.recipients.feed.writer import FeedPlan, Recipients, write_feed
from tideover.recipients.interface import Verdict
from tideover.recipients.sources.opening import Surroundings


@pytest.fixture
def pushed(tmp_path):
    key, _ = signing_key(tmp_path / "key.pem")
    served = Served(tmp_path)
    domain = replace(served.config.domains["example.com"], feed_signer=public_text(key))
    served.config = replace(served.config, domains={"example.com": domain})

    def feed(*names, serial, **changes):
        out = tmp_path / f"{serial}-{len(names)}.feed"
        plan = FeedPlan(domain="example.com", serial=serial, **changes)
        write_feed(out, plan, Recipients(names=names), signing_key=key, now=time.time())
        return out.read_bytes()

    served.feed = feed
    with served:

        async def open_directory():
            around = Surroundings(data_dir=tmp_path)
            directory = DirectoryTable(served.config, around, served.events.append)
            await directory.start()
            return directory

        served.directory = served.run(open_directory())
        served.feeds.push = served.directory.push
        yield served
        served.run(served.directory.close())
    assert served.faults == []


def verdict(served, local):
    async def ask():
        found = served.directory.lookup(local, "example.com")
        return found if not hasattr(found, "__await__") else await found

    return served.run(ask()).verdict


def test_a_feed_that_is_pushed_is_in_use_when_200_is_heard(pushed):
    assert verdict(pushed, "alice") is Verdict.DEFER
    answer = pushed.push(pushed.feed("alice", "bob", serial=10))
    assert (answer.status, json.loads(answer.body)["entries"]) == (200, 2)
    assert verdict(pushed, "alice") is Verdict.ACCEPT
    assert verdict(pushed, "eve") is Verdict.REJECT


def test_what_is_not_newer_is_409(pushed):
    feed = pushed.feed("alice", "bob", serial=10)
    assert pushed.push(feed).status == 200
    again = pushed.push(feed)
    assert (again.status, json.loads(again.body)["changed"]) == (200, False)
    assert pushed.push(pushed.feed("alice", serial=9)).status == 409
    assert pushed.push(pushed.feed("eve", serial=10)).status == 409
    assert verdict(pushed, "alice") is Verdict.ACCEPT
    assert verdict(pushed, "eve") is Verdict.REJECT


def test_what_is_wrong_is_422_and_changes_nothing(pushed):
    feed = pushed.feed(*(f"u{n}" for n in range(20)), serial=10)
    assert pushed.push(feed).status == 200
    bad = bytearray(pushed.feed(*(f"u{n}" for n in range(21)), serial=11))
    bad[-1] ^= 1
    assert pushed.push(bytes(bad)).status == 422
    answer = pushed.push(pushed.feed("u1", serial=12))
    assert answer.status == 422
    assert "shrank" in json.loads(answer.body)["refused"]
    assert verdict(pushed, "u5") is Verdict.ACCEPT


def test_a_refusal_names_no_path_of_ours(pushed):
    answer = pushed.push(b"this is no feed")
    assert answer.status == 422
    assert str(pushed.config.data_dir).encode() not in answer.body
