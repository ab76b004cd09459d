"""Copies of messages on their way in: what they hold, and what they cost."""

import asyncio

import pytest

from tideover.policy import body
from tideover.policy.body import KEEP, PIECE, Copies


def filled(tmp_path, pieces, *, then=None, **limits):
    """A copy of these pieces: what `then` says of it."""

    async def main():
        copies = Copies(tmp_path)
        for name, value in limits.items():
            setattr(copies, name, value)
        copy = copies.new()
        for piece in pieces:
            if (waits := copy.write(piece)) is not None:
                await waits
        return await then(copies, copy)

    return asyncio.run(main())


async def read(_copies, copy):
    return [piece async for piece in copy.read()]


def test_a_small_one_stays_in_memory_until_it_is_closed(tmp_path):
    async def then(copies, copy):
        assert copy.whole == [b"one", b"two"]
        assert (copy.size, copies.in_memory, copies.files) == (6, 6, 0)
        assert await read(copies, copy) == [b"one", b"two"]
        copy.close()
        copy.close()
        assert (copies.in_memory, copies.files) == (0, 0)

    filled(tmp_path, [b"one", b"two"], then=then)


def test_a_large_one_goes_to_a_file_that_has_no_name(tmp_path):
    pieces = [bytes([n]) * 100_000 for n in range(25)]

    async def then(copies, copy):
        assert copy.whole is None
        assert (copies.in_memory, copies.files) == (0, 1)
        assert list(tmp_path.iterdir()) == []
        found = await read(copies, copy)
        assert b"".join(found) == b"".join(pieces)
        assert max(map(len, found)) <= PIECE
        copy.close()
        copy.close()
        assert (copies.in_memory, copies.files) == (0, 0)

    filled(tmp_path, pieces, then=then)


def test_small_ones_go_to_files_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(body, "KEEP_ALL", 10)

    async def then(copies, first):
        second = copies.new()
        await second.write(b"12345")
        assert (first.whole, second.whole) == ([b"123456"], None)
        assert copies.in_memory == 6
        assert await read(copies, second) == [b"12345"]
        second.close()
        first.close()
        assert (copies.in_memory, copies.files) == (0, 0)

    filled(tmp_path, [b"123456"], then=then)


def test_octet_by_octet_they_are_few_pieces_all_the_same(tmp_path):
    async def then(copies, copy):
        assert len(copy.whole) <= 257
        assert b"".join(copy.whole) == b"ab" * 10_000
        assert copies.in_memory == 20_000
        copy.close()
        assert copies.in_memory == 0

    filled(tmp_path, [b"ab"] * 10_000, then=then)


def test_files_are_a_share_of_those_that_may_be_open(tmp_path):
    async def then(copies, copy):
        other = copies.new()
        with pytest.raises(OSError, match="too many large messages"):
            await other.write(b"x" * (KEEP + 1))
        other.close()
        assert (copies.in_memory, copies.files) == (0, 1)
        copy.close()
        again = copies.new()
        await again.write(b"x" * (KEEP + 1))
        again.close()

    filled(tmp_path, [b"x" * (KEEP + 1)], then=then, most_files=1)


def test_a_file_that_can_not_be_made_is_told_as_a_failed_write(tmp_path):
    async def then(copies, copy):
        copies.directory = tmp_path / "gone"
        with pytest.raises(FileNotFoundError):
            await copy.write(b"x" * KEEP)
        copy.close()
        assert (copies.in_memory, copies.files) == (0, 0)

    filled(tmp_path, [b"x"], then=then)
