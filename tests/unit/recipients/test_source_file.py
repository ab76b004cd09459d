"""recipients.sources.file: when a file is read, and when it is not."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tideover.config.model import Source, SourceFormat
from tideover.recipients.formats.reading import read_list
from tideover.recipients.listing import ANY_DOMAIN
from tideover.recipients.sources.file import FileLoader
from tideover.recipients.sources.interface import Load, SourceError


class Watched:
    """A file and its loader, with the version that is in use."""

    def __init__(self, path: Path, settings: Source | None = None) -> None:
        self.path = path
        self.loader = FileLoader(f"file:{path}", settings or Source(), domain="example.com")
        self.version: str | None = None
        self.names: frozenset[str] | None = None

    def look(self) -> bool:
        """Whether a new list came."""
        load = self.loader.look(self.version)
        if load is not None:
            self.version = load.version
            self.names = names(load)
        return load is not None

    def trouble(self) -> str:
        with pytest.raises(SourceError) as caught:
            self.look()
        assert "\n" not in str(caught.value)
        return str(caught.value)


def names(load: Load) -> frozenset[str]:
    return frozenset(load.lists[ANY_DOMAIN].names())


@pytest.fixture
def file(tmp_path: Path) -> Watched:
    """A file that was read once."""
    watched = Watched(tmp_path / "example.com.recipients")
    watched.path.write_text("a\n")
    assert watched.look()
    return watched


def age(path: Path, seconds: float = 60) -> None:
    """As if nobody had touched it for a while."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_it_is_read_at_once_and_then_not_again(file: Watched) -> None:
    assert file.names == {"a"}
    assert [file.look() for _ in range(3)] == [False] * 3


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "too large", "empty"])
def test_what_is_no_list_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "list"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_text("user\n" * 10 if kind == "too large" else "")
    watched = Watched(path, Source(max_size=10))
    assert str(path) in watched.trouble()
    assert str(path) in watched.trouble()


def test_a_change_is_used_when_it_has_settled(file: Watched) -> None:
    file.path.write_text("a\nb")
    assert not file.look()  # seen, perhaps still being written
    file.path.write_text("a\nbob\n")
    assert not file.look()
    assert file.look()
    assert file.names == {"a", "bob"}
    assert not file.look()


def test_a_change_of_a_while_ago_is_used_at_the_first_look(file: Watched) -> None:
    file.path.write_text("b\n")
    age(file.path)
    assert file.look()
    assert file.names == {"b"}


def test_a_file_from_the_future_must_settle_too(file: Watched) -> None:
    file.path.write_text("b\n")
    age(file.path, -3600)
    assert [file.look(), file.look()] == [False, True]


def test_an_atomic_replacement_is_used(file: Watched) -> None:
    stat = file.path.stat()
    new = file.path.with_suffix(".new")
    new.write_text("b\n")
    os.utime(new, ns=(stat.st_mtime_ns, stat.st_mtime_ns))  # same size, same time
    new.replace(file.path)
    assert [file.look(), file.look()] == [False, True]
    assert file.names == {"b"}


@pytest.mark.parametrize("loss", ["vanished", "empty", "mistakes", "directory"])
def test_a_loss_stays_a_trouble_until_it_is_mended(file: Watched, loss: str) -> None:
    file.path.unlink()
    if loss == "empty":
        file.path.write_text("")
    elif loss == "mistakes":
        file.path.write_text("a\nb c\nd e\n")
    elif loss == "directory":
        file.path.mkdir()
    if loss != "vanished":
        age(file.path)
    assert len({file.trouble() for _ in range(5)}) == 1


def test_content_that_was_refused_is_not_read_again(
    file: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.path.write_text("")
    age(file.path)
    text = file.trouble()
    monkeypatch.setattr("tideover.recipients.sources.file.read_list", None)
    assert file.trouble() == text


def test_a_file_in_trouble_stays_so_while_it_is_written_anew(file: Watched) -> None:
    file.path.write_text("")
    age(file.path)
    text = file.trouble()
    file.path.write_text("half")
    assert file.trouble() == text
    file.path.write_text("whole\n")
    assert file.trouble() == text
    assert file.look()
    assert file.names == {"whole"}


def test_back_again_after_a_loss(file: Watched) -> None:
    aside = file.path.with_suffix(".aside")
    file.path.rename(aside)
    file.trouble()
    aside.rename(file.path)
    assert not file.look()  # it is what we have
    file.path.rename(aside)
    file.trouble()
    aside.write_text("b\n")
    aside.rename(file.path)
    file.trouble()  # perhaps still being written
    assert file.look()
    assert file.names == {"b"}


def test_a_file_that_changes_while_it_is_read_is_not_used(
    file: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.path.write_text("b\n" * 100)
    age(file.path)
    calls = []

    def fstat(fd: int, real=os.fstat) -> os.stat_result:
        calls.append(fd)
        if len(calls) == 2:
            with file.path.open("a") as more:
                more.write("c\n")
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    assert "changed while" in file.trouble()
    assert "changed while" in file.trouble()  # seen for the first time
    assert file.look()
    assert file.names == {"b", "c"}


def test_a_mistake_while_it_changes_is_no_verdict(
    file: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.path.write_text("x y\nx z\n")
    age(file.path)

    def changing(*args: object, real=read_list, **kwargs: object) -> Load:
        try:
            return real(*args, **kwargs)
        finally:
            file.path.write_text("good\n")

    with monkeypatch.context() as patch:
        patch.setattr("tideover.recipients.sources.file.read_list", changing)
        file.trouble()
    file.trouble()
    assert file.look()
    assert file.names == {"good"}


def test_an_operator_can_have_it_read_again(file: Watched) -> None:
    file.version = None
    assert file.look()


def test_load_is_a_look_in_a_thread(file: Watched) -> None:
    counts: list[int] = []
    load = asyncio.run(file.loader.load(None, counts.append))
    assert load is not None
    assert counts == [1]
    assert asyncio.run(file.loader.load(load.version, counts.append)) is None


def test_only_the_wanted_domain_and_the_format(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("user@example.com x\nuser@example.org x\n")
    settings = Source(format=SourceFormat.POSTFIX)
    wanted = "example.com".__eq__
    load = FileLoader(f"file:{path}", settings, wanted=wanted, domain="example.com").look(None)
    assert load is not None
    assert load.lists.keys() == {"example.com"}
    assert load.skipped == 1


def test_it_is_light() -> None:
    import tracemalloc

    settings, source = Source(), "file:/srv/lists/example.com"
    tracemalloc.start()
    loaders = [FileLoader(source, settings) for _ in range(1000)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(loaders) < 150
