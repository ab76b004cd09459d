"""recipients.sources.http: a list at an URL."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from web import Web

from tideover.config.model import Source, SourceFormat
from tideover.recipients.listing import ANY_DOMAIN
from tideover.recipients.sources.http import HttpLoader, read_token
from tideover.recipients.sources.interface import Load, SourceError


@pytest.fixture
def web() -> Iterator[Web]:
    with Web().running() as running:
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "data" / "recipients"


def load(loader: HttpLoader, version: str | None = None) -> Load | None:
    counts: list[int] = []
    found = asyncio.run(loader.load(version, counts.append))
    assert (found is None) == (not counts)
    return found


def test_a_list_is_loaded_and_then_only_when_it_changed(web: Web, scratch: Path) -> None:
    loader = HttpLoader(web.url("/list"), Source(), wanted="example.com".__eq__, scratch=scratch)
    web.gives(b"a@example.com\nb@example.org\nc\n", ETag='"1"')
    first = load(loader)
    assert first is not None
    assert list(first.lists["example.com"].names()) == ["a"]
    assert list(first.lists[ANY_DOMAIN].names()) == ["c"]
    assert first.skipped == 1
    web.gives(b"", status=304)
    assert load(loader, first.version) is None
    assert list(scratch.iterdir()) == []
    asyncio.run(loader.close())


def test_the_format_goes_by_the_path_or_the_settings(web: Web, scratch: Path) -> None:
    web.gives(b"x,mail\n1,a@example.com\n")
    for source, settings in [
        (web.url("/users.csv?key=hush"), Source()),
        (web.url("/users"), Source(format=SourceFormat.CSV)),
    ]:
        found = load(HttpLoader(source, settings, scratch=scratch))
        assert found is not None
        assert list(found.lists["example.com"].names()) == ["a"]


def test_mistakes_name_the_url_without_its_secrets(web: Web, scratch: Path) -> None:
    web.gives(b"a\nx y\n")
    loader = HttpLoader(web.url("/l?key=hush", "me:word@localhost"), Source(), scratch=scratch)
    found = load(loader)
    assert found is not None
    assert found.mistakes[0].startswith(f"{web.url('/l')}:2: ")
    assert web.requests[0][1]["authorization"].startswith("Basic ")


@pytest.mark.parametrize("body", [b"", b"x y\nx z\n", b"a@example.org\n"])
def test_what_is_no_list_is_refused(web: Web, scratch: Path, body: bytes) -> None:
    web.gives(body)
    loader = HttpLoader(web.url("/l"), Source(), wanted="example.com".__eq__, scratch=scratch)
    with pytest.raises(SourceError):
        load(loader)
    assert list(scratch.iterdir()) == []


def test_the_token_is_sent(web: Web, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    web.gives(b"a\n")
    settings = Source(password_file=tmp_path / "token")
    assert load(HttpLoader(web.url("/l"), settings, scratch=scratch))
    assert web.requests[0][1]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("content", [None, "", "two words", "über", "x" * 5000, "a\nb", "fifo"])
def test_a_bad_token_file_is_named_and_not_shown(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content == "fifo":
        os.mkfifo(path)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(SourceError) as caught:
        read_token(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "words" not in str(caught.value)


def test_what_a_dead_process_left_is_removed(web: Web, scratch: Path) -> None:
    scratch.mkdir(parents=True)
    old, new = scratch / "list-old", scratch / "list-new"
    old.write_text("x")
    new.write_text("x")
    os.utime(old, (0, 0))
    web.gives(b"a\n")
    assert load(HttpLoader(web.url("/l"), Source(), scratch=scratch))
    assert list(scratch.iterdir()) == [new]


def test_a_place_that_cannot_be_written_is_named(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="file"):
        load(HttpLoader(web.url("/l"), Source(), scratch=tmp_path / "file" / "x"))


def test_cancelled_while_it_is_read_leaves_nothing(web: Web, scratch: Path) -> None:
    web.gives(b"".join(b"user%d\n" % n for n in range(300_000)))
    loader = HttpLoader(web.url("/l"), Source(), scratch=scratch)

    async def cancelled() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(loader.load(None, lambda _: started.set()))
        async with asyncio.timeout(20):
            await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert list(scratch.iterdir()) == []
