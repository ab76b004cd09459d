"""A filter that does not answer in time, or breaks: what follows is for its `on_failure` to say."""

import asyncio
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

import engines
from tideover.config.policy import Clamav, Milter, OnFailure
from tideover.policy import catalogue
from tideover.policy.interface import Entry, Stage, Verb
from tideover.policy.round import Round

DEFER, ACCEPT = OnFailure.DEFER, OnFailure.ACCEPT
SOCKET = engines.at(1)


async def never(_):
    await asyncio.get_running_loop().create_future()


async def broken(_):
    raise LookupError("a bug")


def entry(check, name="clamav", **sections):
    """The entry of the catalogue, but with this check."""
    services = replace(engines.services(**sections), memory=SimpleNamespace(buckets=None))
    found = catalogue.entries(services)[Stage.MESSAGE]
    return replace(next(one for one in found if one.name == name), run=check)


def said(one: Entry, stage=Stage.MESSAGE):
    async def main():
        about = replace(engines.about(), stage=stage)
        judged = Round([one], about, timeout=0.01, emit=lambda _: None)
        if (waits := judged.settled()) is not None:
            await waits
        return judged.results[one.name]

    return asyncio.run(main())


@pytest.mark.parametrize("check", [never, broken])
@pytest.mark.parametrize(("setting", "action"), [(DEFER, Verb.DEFER), (ACCEPT, 0.0)])
def test_of_a_message(check, setting, action):
    result = said(entry(check, clamav=Clamav(socket=SOCKET, on_failure=setting)))
    (found,) = result.found
    assert (found.name, found.action) == ("engine-failed", action)
    assert found.reason.startswith("clamav: ")
    assert not result.undecided


@pytest.mark.parametrize(
    ("settings", "action"),
    [((ACCEPT, DEFER), Verb.DEFER), ((DEFER, ACCEPT), Verb.DEFER), ((ACCEPT, ACCEPT), 0.0)],
)
def test_of_several_milters_the_strictest(settings, action):
    milters = {f"m{n}": Milter(socket=SOCKET, on_failure=one) for n, one in enumerate(settings)}
    assert said(entry(never, "milters", milters=milters)).found[0].action == action


def test_before_the_body_it_is_undecided():
    """It is asked again about the message."""
    milters = {"one": Milter(socket=SOCKET)}
    result = said(entry(never, "milters", milters=milters), Stage.RCPT)
    assert result.found == ()
    assert result.undecided
