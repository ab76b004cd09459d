"""recipients.sources.command: a program that prints recipients."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tideover.config.model import Source, SourceFormat
from tideover.recipients.listing import ANY_DOMAIN
from tideover.recipients.sources.command import CommandLoader
from tideover.recipients.sources.interface import Load, SourceError


def load(command: str, **settings: object) -> Load:
    loader = CommandLoader(f"command:{command}", Source(**settings))  # type: ignore[arg-type]
    found = asyncio.run(loader.load("whatever", lambda _: None))
    assert found is not None
    return found


def refused(command: str, **settings: object) -> str:
    with pytest.raises(SourceError) as caught:
        load(command, **settings)
    assert str(caught.value).isprintable()
    return str(caught.value)


def is_gone(pid: int) -> bool:
    """Within a moment; a zombie counts as gone."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_what_it_prints_is_the_list() -> None:
    found = load("printf 'a\\nb@example.com\\n%s\\n' 'c # d'")
    assert set(found.lists[ANY_DOMAIN].names()) == {"a", "c"}
    assert set(found.lists["example.com"].names()) == {"b"}
    assert found.version is None


def test_a_format_can_be_set() -> None:
    text = load("sh -c 'printf root:x:0:0:root:/root:/bin/sh'", format=SourceFormat.PASSWD)
    assert set(text.lists[ANY_DOMAIN].names()) == {"root"}


def test_there_is_no_shell() -> None:
    found = load(r"printf '%s\n' $HOME a; *")
    assert found.lists[ANY_DOMAIN].names() == {"$home", "*"}
    assert found.bad == 1  # "a;"


def test_accounts_of_this_machine() -> None:
    found = load("getent passwd", format=SourceFormat.PASSWD)
    assert "root" in found.lists[ANY_DOMAIN].names()


def test_its_surroundings_are_minimal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "hush")
    out = tmp_path / "out"
    load(f"""sh -c 'cat; env > {out}; pwd >> {out}; echo a'""")
    lines = out.read_text().splitlines()
    assert {line.partition("=")[0] for line in lines} - {"_", "SHLVL", "OLDPWD"} == {
        "PATH", "LANG", "HOME", "PWD", "/",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("sh -c 'echo a; exit 3'", "sh: exit status 3"),
        ("sh -c 'echo a; echo >&2; echo no\033way >&2; echo more >&2; exit 1'", "1: no?way"),
        ("sh -c 'echo a; kill -9 $$'", "killed by signal 9"),
        ("sh -c true", "names no recipient"),
        ("/no/such/program secret", "program: No such file"),
        ("/etc/passwd", "Permission denied"),
        ("'open", "can't be parsed"),
        ("''", "empty"),
        ("yes", "prints more than max_size, 1MiB"),
        ("sh -c 'yes >&2'", "prints more than max_size"),
        ("sh -c 'echo no >&2; sleep 60 & exit 2'", "exit status 2: no"),
    ],
)
def test_a_failure_is_one_line(command: str, why: str) -> None:
    text = refused(command, max_size=1 << 20)
    assert why in text
    assert "secret" not in text


@pytest.mark.parametrize("how", ["cancelled", "too much", "done", "failed"])
def test_nothing_of_it_is_left(tmp_path: Path, how: str) -> None:
    pids = tmp_path / "pids"
    end = {"cancelled": "sleep 60", "too much": "yes", "done": "true", "failed": "exit 1"}[how]
    # the child closes its output, or we would wait for it
    loader = CommandLoader(
        f"""command:sh -c 'sleep 60 >&- 2>&- & echo $$ $! > {pids}; echo a; {end}'""",
        Source(max_size=1000),
    )

    async def run() -> None:
        task = asyncio.create_task(loader.load(None, lambda _: None))
        if how == "cancelled":
            async with asyncio.timeout(20):
                while not pids.exists() or len(pids.read_text().split()) < 2:
                    await asyncio.sleep(0.01)
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() == (how == "cancelled")
        assert task.cancelled() or (task.exception() is None) == (how == "done")

    asyncio.run(run())
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_a_child_that_keeps_our_pipe_does_not_outlast_the_timeout(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = f"setsid sh -c 'echo $$ > {pids}; exec sleep 60'"
    # ends when the child is out of its group, and not before: else it is killed with it
    program = f"{child} & while ! test -s {pids}; do sleep 0.01; done"
    loader = CommandLoader(f'command:sh -c "{program}"', Source())

    async def run() -> int:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await loader.load(None, lambda _: None)
        await asyncio.sleep(0.05)
        return len(os.listdir("/proc/self/fd")) - before

    try:
        assert asyncio.run(run()) <= 2  # the child watcher's own
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), 9)


def test_big_output_goes_through_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tideover.recipients.sources.command._IN_MEMORY", 1000)
    found = load("seq 200000")
    assert len(found.lists[ANY_DOMAIN]) == 200_000


def test_under_uvloop() -> None:
    import uvloop

    async def run() -> tuple[int, str]:
        found = await CommandLoader("command:seq 1000", Source()).load(None, lambda _: None)
        assert found is not None
        with pytest.raises(SourceError) as caught:
            await CommandLoader("command:sh -c 'echo no >&2; exit 7'", Source()).load(
                None, lambda _: None
            )
        with pytest.raises(SourceError):
            await CommandLoader("command:/no/such/program", Source()).load(None, lambda _: None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await CommandLoader("command:sleep 60", Source()).load(None, lambda _: None)
        return len(found.lists[ANY_DOMAIN]), str(caught.value)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == (1000, "sh: exit status 7: no")
