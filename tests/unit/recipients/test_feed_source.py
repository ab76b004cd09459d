"""recipients.sources.feed_source: what is taken, what is refused, what survives a restart."""

import asyncio
import os
import time
from base64 import b64encode
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from feeds import DOMAIN, FAST, NOW, SIGNER, write
from tideover.config.model import Domain, Source
from tideover.recipients.interface import Match
from tideover.recipients.sources import feed_source
from tideover.recipients.sources.feed_source import FeedLoader
from tideover.recipients.sources.interface import KeepsOwnCopy, Load, SourceError

T = TypeVar("T")


def run(waited: Awaitable[T]) -> T:
    async def main() -> T:
        return await waited

    return asyncio.run(main())


class Rig:
    """A feed's owner with `file`, and us with `store`."""

    def __init__(self, place: Path) -> None:
        self.file = place / "owner.feed"
        self.store = place / "data" / "recipients"
        self.place = place
        self.loader = self.restart()

    def restart(
        self,
        source: str = "",
        *,
        signer: str | None = SIGNER,
        key_file: Path | None = None,
        domain: str = DOMAIN,
        settings: Source | None = None,
    ) -> FeedLoader:
        of = Domain(
            primary=None, recipients=("feed:x",), feed_signer=signer, feed_key_file=key_file
        )
        self.loader = FeedLoader(
            source or f"feed:{self.file}",
            settings or Source(),
            domain=domain,
            of=of,
            store=self.store,
        )
        return self.loader

    def load(self, version: str | None = None) -> Load | None:
        return run(self.loader.load(version, lambda _: None))

    def taken(self) -> Load:
        load = self.load()
        assert load is not None
        run(self.loader.keep(load))
        return load

    def refused(self, words: str, version: str | None = None) -> None:
        with pytest.raises(SourceError, match=words) as caught:
            self.load(version)
        assert "\n" not in str(caught.value)

    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.store.iterdir())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def knows(load: Load | None, name: str) -> bool:
    assert load is not None
    match = load.lists[DOMAIN].find(name, None)
    assert match is None or isinstance(match, Match)
    return match is not None


def test_a_feed_is_read_and_says_its_own_times(rig: Rig) -> None:
    write(rig.file, "ann", plan=structs.replace(FAST, refresh=60, retry=5, expire=3600), serial=7)
    load = rig.load()
    assert load is not None
    assert knows(load, "ann")
    assert not knows(load, "bob")
    assert (load.version, load.refresh, load.retry) == ("7", 60.0, 5.0)
    assert load.expires_at == NOW + 3600
    assert isinstance(rig.loader, KeepsOwnCopy)


def test_what_has_not_changed_is_not_read_again(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    assert rig.load("7") is None
    os.utime(rig.file)
    assert rig.load("7") is None, "the same content"
    assert knows(rig.load(), "ann"), "whoever has no version gets it"
    write(rig.file, "ann", "bob", serial=8)
    assert knows(rig.load("7"), "bob")


def test_only_what_is_kept_outlives_a_restart(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    write(rig.file, "bob", serial=8)
    assert rig.load("7") is not None
    rig.file.unlink()
    rig.restart()
    restored = run(rig.loader.restore())
    assert knows(restored, "ann")
    assert not knows(restored, "bob")
    rig.refused("No such file")
    assert rig.files() == [".feed", ".offer"]


def test_an_offer_that_waits_for_a_word_is_offered_again(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    write(rig.file, "bob", serial=8)
    first = rig.load("7")
    again = rig.load("7")
    assert again is first
    assert again is not None
    run(rig.loader.keep(again))
    assert rig.load("8") is None
    assert rig.files() == [".feed"]


def test_an_offer_may_be_taken_back(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    good = rig.file.read_bytes()
    write(rig.file, "bob", serial=8)
    offered = rig.load("7")
    assert offered is not None
    rig.file.write_bytes(good)
    assert rig.load("7") is None
    assert rig.files() == [".feed"]
    with pytest.raises(SourceError, match="newer feed"):
        run(rig.loader.keep(offered))


def test_an_older_serial_is_refused_over_restarts_too(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    old = rig.file.read_bytes()
    write(rig.file, "bob", serial=8)
    rig.taken()
    rig.file.write_bytes(old)
    rig.refused("serial 7 is older than 8", "8")
    rig.restart()
    assert knows(run(rig.loader.restore()), "bob")
    rig.refused("serial 7 is older than 8")


def test_the_same_serial_with_other_content_is_refused(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    rig.file.unlink()
    write(rig.file, "bob", serial=7)
    rig.refused("serial 7 again", "7")
    rig.refused("serial 7 again", "7")


def test_a_refused_file_is_not_read_again_until_it_changes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    rig.file.write_bytes(b"rubbish")
    rig.refused("not a feed", "7")
    monkeypatch.setattr(rig.loader, "_copy", None)
    rig.refused("not a feed", "7")


def test_the_good_copy_stays_when_the_offer_is_bad(rig: Rig) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    whole = rig.file.read_bytes()
    for bad in (b"", whole[:-1], whole + b" ", b"x" + whole[1:]):
        rig.file.write_bytes(bad)
        rig.refused("feed refused")
        assert rig.files() == [".feed"]
    rig.restart()
    assert knows(run(rig.loader.restore()), "ann")


def test_nobody_is_believed_without_a_signer(rig: Rig) -> None:
    write(rig.file, "ann")
    rig.restart(signer=None)
    rig.refused("feed_signer")
    rig.restart(signer=b64encode(bytes(32)).decode())
    rig.refused("not feed_signer")
    rig.restart()
    write(rig.file, "ann", signing_key=Ed25519PrivateKey.generate())
    rig.refused("not feed_signer")
    rig.restart(domain="example.org")
    write(rig.file, "ann")
    rig.refused("of example.com")


def test_a_new_signer_does_not_believe_the_old_copy(rig: Rig) -> None:
    write(rig.file, "ann")
    rig.taken()
    rig.restart(signer=b64encode(bytes(32)).decode())
    with pytest.raises(SourceError, match="not feed_signer"):
        run(rig.loader.restore())


def test_the_hash_key_comes_from_its_own_file(rig: Rig) -> None:
    key = rig.place / "hash.key"
    key.write_text(b64encode(bytes(range(32))).decode() + "\n")
    key.chmod(0o600)
    write(rig.file, "ann", plan=structs.replace(FAST, key=bytes(range(32))))
    rig.refused("feed_key_file")
    rig.restart(key_file=key)
    assert knows(rig.load(), "ann")
    key.chmod(0o644)
    rig.refused("others can read it")
    key.unlink()
    rig.refused("hash.key")


def test_a_feed_may_not_be_larger_than_set(rig: Rig) -> None:
    write(rig.file, *(f"user{n}" for n in range(1000)))
    rig.restart(settings=Source(max_size=2000))
    rig.refused("larger than")
    assert rig.files() == []


def test_no_fifo_holds_us_up(rig: Rig) -> None:
    os.mkfifo(rig.file)
    rig.refused("not a feed")


def test_the_owners_file_is_never_mapped(rig: Rig) -> None:
    write(rig.file, *(f"user{n}" for n in range(5000)))
    load = rig.taken()
    os.truncate(rig.file, 10)
    assert knows(load, "user4999")


def test_no_name_is_in_the_store(rig: Rig) -> None:
    write(rig.file, "ann.somebody")
    rig.taken()
    for path in rig.store.iterdir():
        assert b"ann" not in path.read_bytes()
        assert "ann" not in path.name
        assert "example" not in path.name


def test_what_died_while_copying_is_swept_away(rig: Rig) -> None:
    write(rig.file, "ann")
    load = rig.taken()
    assert load.copy is not None
    leftover = rig.store / f"{load.copy.stem}.0badcafe.part"
    leftover.write_bytes(b"half")
    rig.restart()
    run(rig.loader.restore())
    assert rig.files() == [".feed"]


# Pushed


def test_a_pushed_feed_is_on_the_disk_before_it_is_acknowledged(rig: Rig) -> None:
    upload = rig.place / "upload"
    rig.restart("feed:push")
    rig.refused("nothing was pushed yet")
    write(upload, "ann", serial=7)
    assert run(rig.loader.offer(upload)) == 7
    upload.unlink()
    rig.restart("feed:push")  # died before the next load
    assert run(rig.loader.restore()) is None
    load = rig.taken()
    assert knows(load, "ann")
    assert rig.load("7") is None


def test_a_bad_push_is_refused_and_costs_nothing(rig: Rig) -> None:
    upload = rig.place / "upload"
    rig.restart("feed:push")
    write(upload, "ann", serial=7)
    run(rig.loader.offer(upload))
    rig.taken()
    assert run(rig.loader.offer(upload)) == 7, "the same again is fine"
    upload.unlink()
    write(upload, "bob", serial=6)
    with pytest.raises(SourceError, match="older"):
        run(rig.loader.offer(upload))
    upload.write_bytes(b"rubbish")
    with pytest.raises(SourceError, match="not a feed"):
        run(rig.loader.offer(upload))
    assert rig.load("7") is None
    assert rig.files() == [".feed"]


def test_an_offer_that_nobody_believes_any_more_is_told_once(rig: Rig) -> None:
    upload = rig.place / "upload"
    rig.restart("feed:push")
    write(upload, "ann")
    run(rig.loader.offer(upload))
    rig.restart("feed:push", signer=b64encode(bytes(32)).decode())
    rig.refused("not feed_signer")
    rig.refused("nothing was pushed yet")


def test_nothing_is_pushed_to_a_feed_that_is_fetched(rig: Rig) -> None:
    write(rig.file, "ann")
    with pytest.raises(SourceError, match="pushed"):
        run(rig.loader.offer(rig.file))


def test_one_thread_at_a_time(rig: Rig) -> None:
    write(rig.file, "ann")
    with rig.loader._lock:
        rig.refused("already")
    assert knows(rig.load(), "ann")


# Fetched


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path)) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"feed:http://127.0.0.1:{server.server_port}/owner.feed"
        server.shutdown()
        thread.join()


def test_a_feed_is_fetched_when_it_is_new(rig: Rig, url: str) -> None:
    rig.restart(url)
    rig.refused("404")
    write(rig.file, "ann", serial=7)
    rig.taken()
    assert rig.load("7") is None
    rig.file.unlink()
    rig.refused("404", "7")
    rig.file.write_bytes(b"rubbish")
    later = time.time() + 100  # HTTP knows no more than seconds
    os.utime(rig.file, (later, later))
    rig.refused("not a feed", "7")
    rig.file.unlink()
    write(rig.file, "bob", serial=8)
    os.utime(rig.file, (later + 1, later + 1))
    assert knows(rig.load("7"), "bob")
    assert rig.files() == [".feed", ".offer"]


def test_serials_grow_although_the_last_good_copy_could_not_be_opened_at_the_start(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(rig.file, "ann", serial=7)
    rig.taken()
    rig.file.unlink()
    write(rig.file, "bob", serial=6)
    rig.restart()

    def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr("tideover.recipients.sources.feed_source.open_feed", no_memory)
        with pytest.raises(SourceError, match="Cannot allocate memory"):
            run(rig.loader.restore())
    rig.refused("serial 6 is older than 7")


def test_a_full_disk_does_not_tell_the_password_of_an_url(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.restart("feed:https://user:secret@mail.example.com/x.feed?token=hidden")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tideover.recipients.sources.feed_source.token_hex", full)
    rig.refused(r"^https://mail.example.com/x.feed: No space left on device$")


def test_files_of_a_file_system_that_hangs_take_no_thread_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = Event()
    monkeypatch.setattr(feed_source, "_signature", lambda _: back.wait(30.0))

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
        loads = [
            asyncio.ensure_future(Rig(tmp_path / str(n)).loader.load("1", lambda _: None))
            for n in range(20)
        ]
        await asyncio.wait(loads, timeout=0.1)
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        try:
            async with asyncio.timeout(5.0):
                assert await asyncio.to_thread(len, "body") == 4
        finally:
            back.set()

    asyncio.run(scenario())
