"""Copies of bodies: what waits for a slow disk counts as memory, until it is written."""

import asyncio
import os
import threading

from tideover.policy import body
from tideover.policy.body import Copies


def test_what_is_not_written_yet_is_in_memory(tmp_path, monkeypatch):
    disk, write = threading.Event(), body._append

    def slowly(file, pieces):
        disk.wait(10)
        write(file, pieces)

    async def main():
        monkeypatch.setattr(body, "_append", slowly)
        copies = Copies(tmp_path)
        first, second = copies.new(), copies.new()
        assert first.write(bytes(body.KEEP)) is None
        written = first.write(b"more")
        assert written is not None
        assert copies.in_memory == body.KEEP + 4
        monkeypatch.setattr(body, "KEEP_ALL", body.KEEP)
        pressed = second.write(b"small")
        assert pressed is not None, "others go to disk meanwhile, small as they are"
        disk.set()
        await asyncio.gather(written, pressed)
        assert copies.in_memory == 0
        assert [piece async for piece in second.read()] == [b"small"]
        for one in (first, second):
            one.close()
        assert copies.in_memory == 0

    asyncio.run(main())


def test_a_copy_that_finds_no_room_is_counted_no_more(tmp_path):
    async def main():
        copies = Copies(tmp_path / "missing")
        one = copies.new()
        assert one.write(os.urandom(1000)) is None
        failed = one.write(bytes(body.KEEP))
        try:
            await failed
        except OSError:
            one.close()
        else:
            raise AssertionError("it has no directory")
        assert copies.in_memory == 0

    asyncio.run(main())
