"""One round for one server: every phase once, each way to load on a fresh start."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
from load import ACCEPT, LIMIT, REJECT, Sink, reject, source
from servers import Server

WARM_UP = 100
FIRST_HOME_LIMIT = 15.0
Result = dict[str, Any]
Log = Callable[[str, str, Result], None]


def one_round(server: Server, count: int, work: Path, log: Log) -> Result:
    """All phases; the result has an entry a phase."""
    results: Result = {}

    def note(phase: str, result: Result) -> None:
        results[phase] = result
        log(server.name, phase, result)

    for way in ACCEPT:
        os.sync()  # what the phase before deleted is not this one's cost
        server.start()
        try:
            source(server.port, WARM_UP, ("-s", "20"))
            measure.settle(server.pid)
            messages = count // 2 if way == "accept_new200" else count
            note(way, accept(server, way, messages, work))
            if way == "accept_new20":
                note("first_home", first_home(server))
            if way == "accept_reuse20":
                note("memory", measure.memory(server.pid))
                note("drain", drain(server, count + WARM_UP))
                for phase in REJECT:
                    note(phase, refuse(server, phase, count, work))
        finally:
            server.stop()
    return results


def accept(server: Server, way: str, count: int, work: Path) -> Result:
    """The primary is down; `count` messages of 4 KiB come in."""
    flushes, cpu = measure.flushes(work), measure.cpu(server.pid)
    seconds = source(server.port, count, ACCEPT[way])
    flushes = measure.flushes(work) - flushes
    during = measure.cpu(server.pid) - cpu
    measure.settle(server.pid)
    queued = server.queued()
    return {
        "per_s": round(count / seconds, 1),
        "cpu_per_1000": round((measure.cpu(server.pid) - cpu) / count * 1000, 3),
        "cores": round(during / seconds, 2),
        "flushes_per_message": round(flushes / count, 3),
        "lost": count + WARM_UP - queued,
    }


def first_home(server: Server) -> Result:
    """The primary comes back, and nobody says so: seconds until the first message is there."""
    with Sink(server.primary) as sink:
        while not sink.got and time.monotonic() - sink.started < FIRST_HOME_LIMIT:
            time.sleep(0.01)
        if sink.got:
            return {"seconds": round(sink.first - sink.started, 2)}
        return {"seconds": None, "more_than": FIRST_HOME_LIMIT}


def drain(server: Server, count: int) -> Result:
    """The primary comes back with the whole queue waiting, and the operator's flush is given."""
    cpu = measure.cpu(server.pid)
    with Sink(server.primary, told=False) as sink:
        server.flush()
        nudged = time.monotonic()
        while sink.got < count and time.monotonic() - sink.started < LIMIT:
            if time.monotonic() - max(sink.last, nudged) > 10:
                server.flush()
                nudged = time.monotonic()
            time.sleep(0.02)
        # the server still has to record the last of them
        measure.settle(server.pid)
        left = server.queued()
        seconds = sink.last - sink.started
        flow = sink.last - sink.first
    return {
        "per_s": round(sink.got / seconds, 1),
        "per_s_from_first": round(sink.got / flow, 1) if flow else None,
        "seconds": round(seconds, 2),
        "cpu_per_1000": round((measure.cpu(server.pid) - cpu) / count * 1000, 3),
        "lost": count - sink.got - left,
        "left": left,
    }


def refuse(server: Server, phase: str, count: int, work: Path) -> Result:
    """Unknown recipients, refused at RCPT."""
    sessions, each = REJECT[phase]
    cpu = measure.cpu(server.pid)
    found = reject(work, server.port, count, sessions, each)
    return {
        "per_s": round(found["refused"] / found["seconds"], 1),
        "cpu_per_1000": round((measure.cpu(server.pid) - cpu) / found["refused"] * 1000, 3),
        "client_cores": round(found["client_cpu"] / found["seconds"], 2),
        "wrong": found["wrong"],
    }


def ceiling(port: int, count: int) -> dict[str, float]:
    """smtp-source to smtp-sink with nothing between: messages a second."""
    rates = {}
    for way, options in ACCEPT.items():
        with Sink(port):
            time.sleep(0.3)
            rates[way] = round(count / source(port, count, options), 1)
    return rates
