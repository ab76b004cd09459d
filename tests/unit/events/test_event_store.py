import errno
import json
import os

import pytest

from tideover.events.encoding import encode
from tideover.events.records import DaemonStopped
from tideover.events.store import EventStore, segments


def event(text="x"):
    return DaemonStopped(time=1.0, reason=text)


def put(store, *texts):
    for text in texts:
        store.take(event(text), encode(event(text)))
    store.flush()


def reasons(directory):
    lines = b"".join(path.read_bytes() for path in segments(directory)).splitlines()
    return [json.loads(line)["reason"] for line in lines if line]


def test_events_are_appended_and_private(tmp_path):
    directory = tmp_path / "events"
    store = EventStore(directory, max_size=1 << 20)
    put(store, "a", "b")
    put(store, "c")
    store.close()
    assert reasons(directory) == ["a", "b", "c"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in segments(directory)] == ["000001.jsonl"]
    assert segments(directory)[0].stat().st_mode & 0o777 == 0o600


def test_a_restart_goes_on_in_the_same_segment(tmp_path):
    for text in "ab":
        store = EventStore(tmp_path, max_size=1 << 20)
        put(store, text)
        store.close()
    assert reasons(tmp_path) == ["a", "b"]
    assert len(segments(tmp_path)) == 1


def test_one_flush_is_one_write(tmp_path):
    writes = []

    def write(fd, data):
        writes.append(len(data))
        return os.write(fd, data)

    store = EventStore(tmp_path, max_size=1 << 20, write=write)
    put(store, *"abcdef")
    assert len(writes) == 1
    store.flush()
    assert len(writes) == 1


def test_the_size_is_bounded_and_the_oldest_goes_first(tmp_path):
    store = EventStore(tmp_path, max_size=8000)
    for number in range(1000):
        put(store, str(number))
        assert sum(path.stat().st_size for path in segments(tmp_path)) <= 8000
    store.close()
    kept = reasons(tmp_path)
    assert kept == [str(number) for number in range(1000 - len(kept), 1000)]
    assert len(kept) > 60
    assert segments(tmp_path)[0].name != "000001.jsonl"


def test_a_smaller_bound_is_kept_from_the_next_segment_on(tmp_path):
    put(EventStore(tmp_path, max_size=100_000), *map(str, range(1000)))
    store = EventStore(tmp_path, max_size=4000)
    put(store, "last")
    store.close()
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 4000
    assert reasons(tmp_path)[-1] == "last"


def test_a_line_that_a_crash_tore_does_not_swallow_the_next(tmp_path):
    put(EventStore(tmp_path, max_size=1 << 20), "a")
    with segments(tmp_path)[0].open("ab") as file:
        file.write(b'{"level":"info","event":"daemon-sto')
    put(EventStore(tmp_path, max_size=1 << 20), "b")
    lines = segments(tmp_path)[0].read_bytes().splitlines()
    assert json.loads(lines[2])["reason"] == "b"


class Disk:
    """Writes that fail as long as `error` is set; `room` is taken first."""

    def __init__(self):
        self.error, self.room, self.now = None, 0, 100.0

    def write(self, fd, data):
        if self.error is None:
            return os.write(fd, data)
        if self.room:
            taken, self.room = self.room, 0
            return os.write(fd, data[:taken])
        raise OSError(self.error, os.strerror(self.error))

    def clock(self):
        return self.now


@pytest.mark.parametrize("room", [0, 10])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_in_trouble_drops_counts_and_is_tried_again(tmp_path, error, room):
    disk = Disk()
    store = EventStore(tmp_path, max_size=1 << 20, write=disk.write, clock=disk.clock)
    put(store, "a")
    disk.error, disk.room = error, room
    put(store, "lost", "lost")
    put(store, "lost")
    assert store.dropped == 3
    disk.error = None
    put(store, "still not tried again")
    assert store.dropped == 4
    disk.now += 1.1
    put(store, "b")
    store.close()
    lines = [json.loads(line) for line in segments(tmp_path)[0].read_bytes().splitlines()]
    assert [line["event"] for line in lines] == [
        "daemon-stopped", "events-dropped", "daemon-stopped",
    ]  # fmt: skip
    assert (lines[1]["count"], lines[1]["sink"], lines[2]["reason"]) == (4, "store", "b")
    assert store.dropped == 0


def test_a_directory_that_cannot_be_made_disturbs_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    store = EventStore(tmp_path / "file" / "events", max_size=1 << 20)
    put(store, "a")
    store.close()
    assert store.dropped == 1


def test_other_files_are_left_alone(tmp_path):
    for name in ("README", "x.jsonl", "000000.jsonl", "²³.jsonl"):
        (tmp_path / name).write_text("mine")
    store = EventStore(tmp_path, max_size=1000)
    put(store, *map(str, range(100)))
    for number in range(100):
        put(store, str(number))
    assert (tmp_path / "README").read_text() == "mine"
    assert (tmp_path / "x.jsonl").read_text() == "mine"
