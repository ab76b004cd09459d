import os
import threading
import time

from tideover.events.writer import LineWriter


def test_lines_arrive_whole_and_in_order():
    reader, fd = os.pipe()
    writer = LineWriter(fd)
    for number in range(100):
        writer.write(b"%d\n" % number)
    writer.close()
    assert os.read(reader, 65536).split() == [b"%d" % n for n in range(100)]
    os.close(reader)
    os.close(fd)


def test_a_reader_who_stops_reading_holds_up_nobody():
    reader, fd = os.pipe()
    writer = LineWriter(fd, limit=200_000)
    start = time.monotonic()
    line = b"x" * 999 + b"\n"
    for _ in range(5000):
        writer.write(line)
    assert time.monotonic() - start < 1.0
    assert writer.take_dropped() == 0  # told only when there is room again
    got = []
    thread = threading.Thread(target=lambda: got.extend(iter(lambda: os.read(reader, 65536), b"")))
    thread.start()  # the reader goes on
    writer.close(timeout=10)
    os.close(fd)
    thread.join(10)
    lines = b"".join(got).splitlines(keepends=True)
    assert set(lines) == {line}
    assert 200 <= len(lines) <= 300
    assert len(lines) + writer.take_dropped() == 5000
    os.close(reader)


def test_close_does_not_wait_for_a_reader_for_ever():
    reader, fd = os.pipe()
    writer = LineWriter(fd)
    writer.write(b"x" * 200_000 + b"\n")
    start = time.monotonic()
    writer.close(timeout=0.1)
    assert time.monotonic() - start < 1.0
    os.close(reader)  # frees the thread: its write now fails


def test_a_reader_who_went_away_is_counted_and_disturbs_nobody():
    reader, fd = os.pipe()
    os.close(reader)
    writer = LineWriter(fd)
    writer.write(b"a\nb\n")
    writer.close()
    assert writer.take_dropped() == 2
    os.close(fd)
