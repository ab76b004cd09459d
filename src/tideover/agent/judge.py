"""From what was seen to a verdict: the only place that knows what it means. Pure.

*Unreachable* needs somebody's word, or a trace that stops where it should not; never silence alone.
"""

from typing import NamedTuple

from tideover.agent.protocol import Verdict
from tideover.agent.routes import looped, near
from tideover.agent.sights import Said, Sight, Trace


class Judgement(NamedTuple):
    """A verdict, and why."""

    verdict: Verdict
    reason: str


def judge(address: str, knock: Sight, echo: Sight, trace: Trace, short: str | None) -> Judgement:
    """What a connection, an echo request and a trace say together.

    `short` is why the trace counts as too short (`Routes.too_short`).
    """
    for sight, word in ((knock, "answers"), (echo, "answers echo"), (trace.end, "answers echo")):
        if sight.said is Said.ARRIVED:
            return Judgement(Verdict.REACHABLE, f"the host {word}")
    if knock.said is Said.NO_TABLE:
        return Judgement(Verdict.UNREACHABLE, "the primary's host has no route to it")
    sights = (knock, echo, trace.end)
    spoken = _spoken(address, sights)
    if spoken is not None:
        return spoken
    if router := looped(trace):
        return Judgement(Verdict.UNREACHABLE, f"packets go in circles, past {router}")
    if short is not None:
        return Judgement(Verdict.UNREACHABLE, short)
    for sight in sights:
        if sight.said is Said.FORBIDDEN:
            return Judgement(Verdict.UNKNOWN, f"a filter at {sight.by} refuses")
    for sight in sights:
        if sight.said is Said.REFUSED_HERE:
            return Judgement(Verdict.UNKNOWN, "the primary's own host does not send there")
    last = trace.last
    where = f" behind hop {last.ttl} ({last.by})" if last is not None else ""
    return Judgement(Verdict.UNKNOWN, f"silence{where}: perhaps a firewall")


def _spoken(address: str, sights: tuple[Sight, ...]) -> Judgement | None:
    """What a router says that can't bring packets there.

    One in the client's own network says only that this host is not there, or is not to be found:
    the route to its network is whole.
    """
    said = [sight for sight in sights if sight.said is Said.NO_ROUTE]
    for sight in said:
        if near(sight.by) != near(address):
            return Judgement(Verdict.UNREACHABLE, f"the router {sight.by} has no route to it")
    if said:
        return Judgement(Verdict.UNKNOWN, f"its own network ({said[0].by}) does not let us to it")
    return None
