"""Checks that ask DNS, run on tables: without an event loop, so a check that waits is seen."""

from pathlib import Path

from tideover.config.model import Config
from tideover.message.envelope import Client, SessionId
from tideover.policy.interface import About
from tideover.policy.services import Services

US = "mx2.example.org"
HOME = "example.com"
CLIENT = "192.0.2.1"


def about(stage, *, address=CLIENT, helo="mail.sender.example", sender=None, results=None):
    client = Client(
        session=SessionId("s"), address=address, port=40000, helo=helo, protocol="ESMTP"
    )
    domain = (sender or "").rpartition("@")[2]
    return About(
        stage=stage,
        client=client,
        now=1_000_000.0,
        sender=sender,
        sender_domain="" if domain.startswith("[") else domain,
        results=results or {},
    )


def services(names, **settings):
    config = Config(hostname=US, data_dir=Path("/nowhere"), **settings)
    return Services(
        config=config, names=names, memory=None, is_ours={HOME}.__contains__, emit=print
    )


def ended(coroutine):
    """What it returns; it must not wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("it waits")


def found(result):
    """The names of what was found, or "undecided", or nothing."""
    assert not (result.found and result.undecided)
    return "undecided" if result.undecided else " ".join(one.name for one in result.found)
