"""recipients.file_source: what a file may hold, and when it is used."""

import os
from pathlib import Path

import pytest

from tideover.recipients.file_source import MAX_LINE, FileSource


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "example.com.recipients"


def loaded(path: Path, content: bytes | str) -> FileSource:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = FileSource(path, "example.com")
    assert source.read()
    return source


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("user", {"user"}),
        ("User@Example.COM", {"user"}),
        ("user@example.com  # the boss", {"user"}),
        ("  user  ", {"user"}),
        ("user\r", {"user"}),
        ("# all of them\n\nuser\n\n", {"user"}),
        ("\ufeffuser", {"user"}),
        ("user#tag", {"user#tag"}),
        ('"john doe"@example.com', {"john doe"}),
        ('"john"', {"john"}),
        ("Straße", {"straße"}),
        ("Jose\u0301", {"josé"}),
        ("a.b-c_d=e'f/g", {"a.b-c_d=e'f/g"}),
        ("a\nA\na@example.com", {"a"}),
    ],
)
def test_lines_that_name_a_recipient(path: Path, line: str, names: set[str]) -> None:
    source = loaded(path, line)
    assert source.trouble is None
    assert source.names == names


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@example.com", "catch-all"),
        ("user@other.org", "another domain"),
        ("user@example.com.", "another domain"),
        ("user@[127.0.0.1]", "another domain"),
        ("user%other.org@example.com", "can't hold any of"),
        ("other.org!user", "can't hold any of"),
        ('"user@other.org"@example.com', "can't hold any of"),
        ("@relay.org:user@example.com", "catch-all"),
        ("user> SIZE=1", "not an address"),
        ("two words", "not an address"),
        ("a@b@example.com", "not an address"),
        ("<user@example.com>", "not an address"),
        ("\x00", "not an address"),
        ("x" * 300, "not an address"),
        ("x" * (MAX_LINE + 1), "longer than"),
    ],
)
def test_a_mistake_is_named_by_file_and_line(path: Path, line: str, why: str) -> None:
    source = loaded(path, f"first\n{line}\nlast\n")
    assert source.names is None
    assert source.trouble is not None
    assert source.trouble.startswith(f"{path}:2: ")
    assert why in source.trouble


def test_not_utf8_is_named_by_line(path: Path) -> None:
    source = loaded(path, b"a\nb\nc\xff\n")
    assert source.trouble == f"{path}:3: not UTF-8"


def test_few_of_many_mistakes_are_told(path: Path) -> None:
    source = loaded(path, "@\n" * 1000)
    assert source.trouble is not None
    assert source.trouble.count(";") < 10


def test_idn_domain_in_both_forms(path: Path) -> None:
    path.write_text("a@bücher.example\nb@BÜCHER.example\nc@xn--bcher-kva.example\n")
    source = FileSource(path, "xn--bcher-kva.example")
    source.read()
    assert source.names == {"a", "b", "c"}


@pytest.mark.parametrize("content", [b"", b"\n\n# nobody\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_no_list(path: Path, content: bytes) -> None:
    source = loaded(path, content)
    assert source.names is None
    assert source.trouble == f"{path}: names no recipient"


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "too large"])
def test_what_is_no_file_of_ours(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "too large":
        path.write_text("user\n" * 10)
        monkeypatch.setattr("tideover.recipients.file_source.MAX_FILE", 10)
    source = FileSource(path, "example.com")
    assert source.read()
    assert source.names is None
    assert str(path) in (source.trouble or "")


def test_a_change_is_used_when_it_has_settled(path: Path) -> None:
    source = loaded(path, "a\n")
    assert [source.poll(), source.poll(), source.poll()] == [False, False, False]
    path.write_text("a\nb")
    assert not source.poll()  # seen, perhaps still being written
    path.write_text("a\nbob\n")
    assert not source.poll()
    assert source.poll()
    assert source.names == {"a", "bob"}
    assert not source.poll()


def test_an_atomic_replacement_is_used(path: Path) -> None:
    source = loaded(path, "a\n")
    stat = path.stat()
    new = path.with_suffix(".new")
    new.write_text("b\n")
    os.utime(new, ns=(stat.st_mtime_ns, stat.st_mtime_ns))  # same size, same time
    new.replace(path)
    assert [source.poll(), source.poll()] == [False, True]
    assert source.names == {"b"}


@pytest.mark.parametrize("loss", ["vanished", "empty", "mistake", "directory"])
def test_the_last_good_list_stays_and_the_loss_is_told_once(path: Path, loss: str) -> None:
    source = loaded(path, "a\n")
    path.unlink()
    if loss == "empty":
        path.write_text("")
    elif loss == "mistake":
        path.write_text("a\nb@other.org\n")
    elif loss == "directory":
        path.mkdir()
    news = [source.poll() for _ in range(5)]
    assert news.count(True) == 1
    assert source.trouble is not None
    assert source.names == {"a"}


def test_back_again_after_a_loss(path: Path) -> None:
    source = loaded(path, "a\n")
    aside = path.with_suffix(".aside")
    path.rename(aside)
    assert source.poll()
    aside.rename(path)
    assert [source.poll(), source.poll(), source.poll()] == [False, True, False]
    assert source.trouble is None


def test_a_file_that_changes_while_it_is_read_is_not_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = loaded(path, "a\n")
    path.write_text("b\n" * 100)
    calls = []

    def fstat(fd: int, real=os.fstat) -> os.stat_result:
        calls.append(fd)
        if len(calls) == 2:
            with path.open("a") as file:
                file.write("c\n")
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    assert source.read()
    assert source.names == {"a"}
    assert "changed while" in (source.trouble or "")
    assert [source.poll(), source.poll()] == [False, True]
    assert source.names == {"b", "c"}
