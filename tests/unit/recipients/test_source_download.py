"""recipients.sources.download: whole or not at all, and no secret to strangers."""

import asyncio
import gzip
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from web import Web

from tideover.recipients.sources.download import download
from tideover.recipients.sources.interface import SourceError

BODY = b"user\nother\n"


@pytest.fixture
def web() -> Iterator[Web]:
    with Web().running() as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Web]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Web(context).running() as running:
        yield running


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def fetch(url: str, target: Path, validators: str | None = None, **more: object) -> str | None:
    options = {"max_size": 1000, **more}
    return asyncio.run(download(url, target, validators=validators, **options))  # type: ignore[arg-type]


def refused(url: str, target: Path, **more: object) -> str:
    with pytest.raises(SourceError) as caught:
        fetch(url, target, **more)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_there_is_had(web: Web, tmp_path: Path) -> None:
    web.gives(BODY)
    assert fetch(web.url("/list"), tmp_path / "list")
    assert (tmp_path / "list").read_bytes() == BODY
    assert (tmp_path / "list").stat().st_mode & 0o777 == 0o600


def test_an_etag_and_a_date_are_sent_back(web: Web, tmp_path: Path) -> None:
    target, url = tmp_path / "list", web.url("/list")
    date = "Sat, 21 Nov 2026 10:00:00 GMT"
    web.gives(BODY, ETag='W/"1"', Last_Modified=date)
    known = fetch(url, target)
    target.unlink()
    web.gives(b"", status=304)
    assert fetch(url, target, known) is None
    assert not target.exists()
    assert web.requests[1][1]["if-none-match"] == 'W/"1"'
    assert web.requests[1][1]["if-modified-since"] == date


def test_a_file_that_changes_twice_within_a_second_is_not_missed(web: Web, tmp_path: Path) -> None:
    target, url = tmp_path / "list", web.url("/list")
    times = {"Last_Modified": "Sat, 21 Nov 2026 10:00:00 GMT", "ETag": '"10:00:00"'}
    web.gives(b"user\n", Date="Sat, 21 Nov 2026 10:00:00 GMT", **times)
    known = fetch(url, target)
    # the server's clock can't tell this one from the other, so it would say 304
    web.gives(b"fresh\n", Date="Sat, 21 Nov 2026 10:05:00 GMT", **times)
    known = fetch(url, target, known)
    assert "if-modified-since" not in web.requests[-1][1]
    assert "if-none-match" not in web.requests[-1][1]
    assert target.read_bytes() == b"fresh\n"
    web.gives(b"", status=304)
    assert fetch(url, target, known) is None


def test_a_young_file_that_stays_as_it_is_is_soon_asked_for_by_its_date(
    web: Web, tmp_path: Path
) -> None:
    target, url = tmp_path / "list", web.url("/list")
    modified = "Sat, 21 Nov 2026 10:00:00 GMT"
    web.gives(BODY, Date=modified, Last_Modified=modified)
    known = fetch(url, target)
    web.gives(BODY, Date="Sat, 21 Nov 2026 10:05:00 GMT", Last_Modified=modified)
    known = fetch(url, target, known)
    web.gives(b"", status=304)
    assert fetch(url, target, known) is None
    assert web.requests[-1][1]["if-modified-since"] == modified
    web.gives(b"new\n", ETag='"2"')
    assert fetch(url, target, known) not in (None, known)
    assert target.read_bytes() == b"new\n"


def test_same_content_without_validators_is_nothing_new(web: Web, tmp_path: Path) -> None:
    web.gives(BODY)
    target, url = tmp_path / "list", web.url("/list")
    known = fetch(url, target)
    assert fetch(url, target, known) is None
    web.gives(BODY + b"third\n")
    assert fetch(url, target, known)
    assert fetch(url, target, "not what we made")


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_only_200_is_good(web: Web, tmp_path: Path, status: int) -> None:
    web.gives(b"", status=status)
    assert f"answered {status}" in refused(web.url("/list"), tmp_path / "list")


def test_a_truncated_body_is_refused(web: Web, tmp_path: Path) -> None:
    web.gives(BODY, Content_Length="100")
    assert "truncated" in refused(web.url("/list"), tmp_path / "list")


def test_truncated_chunks_are_refused(web: Web, tmp_path: Path) -> None:
    web.gives(b"5\r\nuser\n\r\n", Transfer_Encoding="chunked")
    assert "truncated" in refused(web.url("/list"), tmp_path / "list")
    web.gives(b"5\r\nuser\n\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    assert fetch(web.url("/list"), tmp_path / "list")
    assert (tmp_path / "list").read_bytes() == b"user\n"


def test_a_body_of_unknown_length_is_refused(web: Web, tmp_path: Path) -> None:
    web.gives(BODY, X_No_Length="")
    assert "whole" in refused(web.url("/list"), tmp_path / "list")


def test_a_body_longer_than_said_is_cut_as_said(web: Web, tmp_path: Path) -> None:
    web.gives(BODY, Content_Length="5")
    assert fetch(web.url("/list"), tmp_path / "list")
    assert (tmp_path / "list").read_bytes() == b"user\n"


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_is_refused(web: Web, tmp_path: Path, *, chunked: bool) -> None:
    if chunked:
        web.gives(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    else:
        web.gives(b"x" * 1001)
    assert "larger than max_size" in refused(web.url("/list"), tmp_path / "list")


def test_gzip_is_read(web: Web, tmp_path: Path) -> None:
    big = BODY * 300_000
    zipped = gzip.compress(big[:1_000_000]) + gzip.compress(big[1_000_000:])
    web.gives(zipped, Content_Encoding="gzip")
    assert fetch(web.url("/list"), tmp_path / "list", max_size=len(big))
    assert (tmp_path / "list").read_bytes() == big
    too_small = refused(web.url("/list"), tmp_path / "list", max_size=len(big) - 1)
    assert "larger than max_size" in too_small


@pytest.mark.parametrize(
    ("body", "coding", "why"),
    [
        (gzip.compress(BODY)[:-3], "gzip", "truncated"),
        (b"", "gzip", "truncated"),
        (b"nothing of the kind", "gzip", "incorrect header"),
        (gzip.compress(gzip.compress(BODY)), "gzip, gzip", "coding"),
        (BODY, "br", "coding"),
    ],
)
def test_what_is_not_whole_gzip_is_refused(
    web: Web, tmp_path: Path, body: bytes, coding: str, why: str
) -> None:
    web.gives(body, Content_Encoding=coding)
    assert why in refused(web.url("/list"), tmp_path / "list")


def test_a_bomb_is_stopped_while_it_unpacks(web: Web, tmp_path: Path) -> None:
    web.gives(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")
    assert "larger than max_size" in refused(web.url("/list"), tmp_path / "list")


def test_redirects_are_followed_a_few_times(web: Web, tmp_path: Path) -> None:
    def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        left = int(path[1:])
        return (302, {"Location": f"/{left - 1}"}, b"") if left else (200, {}, BODY)

    web.answer = answer
    assert fetch(web.url("/5"), tmp_path / "list")
    assert "redirects" in refused(web.url("/6"), tmp_path / "other")


def test_the_token_goes_to_the_first_origin_only(web: Web, tmp_path: Path) -> None:
    with Web().running() as other:
        other.gives(BODY)
        web.answer = lambda path, _: (
            302, {"Location": "/b" if path == "/a" else other.url("/c")}, b"",
        )  # fmt: skip
        assert fetch(web.url("/a"), tmp_path / "list", token="secret")
    assert [r[1].get("authorization") for r in web.requests] == ["Bearer secret"] * 2
    assert other.requests[0][1].get("authorization") is None


def test_a_password_in_the_url_is_used_at_home_only_and_never_told(
    web: Web, tmp_path: Path
) -> None:
    url = web.url("/a?key=word", host="me:hush@localhost")
    with Web().running() as other:
        other.gives(b"", status=500)
        web.answer = lambda *_: (302, {"Location": other.url("/c?key=word")}, b"")
        text = refused(url, tmp_path / "list")
    assert web.requests[0][1]["authorization"].startswith("Basic ")
    assert other.requests[0][1].get("authorization") is None
    assert "hush" not in text
    assert "word" not in text
    text = refused("https://me:hush@[::1/x?word", tmp_path / "list")
    assert "hush" not in text
    assert "word" not in text


def test_a_token_is_not_sent_in_clear(tmp_path: Path) -> None:
    text = refused("http://example.invalid/", tmp_path / "list", token="secret")
    assert "in clear" in text
    assert "secret" not in text


def test_tls_with_our_own_authority(secure: Web, ca_file: Path, tmp_path: Path) -> None:
    secure.gives(BODY)
    assert fetch(secure.url("/list"), tmp_path / "list", ca_file=ca_file)


def test_a_certificate_nobody_vouches_for_is_refused(secure: Web, tmp_path: Path) -> None:
    secure.gives(BODY)
    assert "not trusted" in refused(secure.url("/list"), tmp_path / "list")


def test_a_certificate_of_another_host_is_refused(
    secure: Web, ca_file: Path, tmp_path: Path
) -> None:
    secure.gives(BODY)
    text = refused(secure.url("/list", "127.0.0.1"), tmp_path / "list", ca_file=ca_file)
    assert "not trusted" in text


def test_never_from_https_to_http(secure: Web, web: Web, ca_file: Path, tmp_path: Path) -> None:
    web.gives(BODY)
    secure.gives(b"", status=302, Location=web.url("/list"))
    assert "not https" in refused(secure.url("/list"), tmp_path / "list", ca_file=ca_file)
    assert not web.requests


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bad_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "bad.pem"
    if content is not None:
        path.write_text(content)
    text = refused("https://localhost:1/", tmp_path / "list", ca_file=path)
    assert text.startswith(f"{path}: ")


def test_nobody_there(web: Web, tmp_path: Path) -> None:
    assert "connection refused" in refused("http://127.0.0.1:1/list", tmp_path / "list")


def test_a_server_that_says_nothing_is_left(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr("tideover.recipients.sources.download.SILENCE_TIMEOUT", 0.1)
    go = threading.Event()
    web.answer = lambda *_: (200, {}, BODY) if go.wait(10) else (500, {}, b"")
    assert "Timeout" in refused(web.url("/list"), tmp_path / "list")
    go.set()


def test_cancelled_leaves_nothing(tmp_path: Path, web: Web) -> None:
    web.gives(BODY, Content_Length="100000", X_Stay="1")
    target = tmp_path / "list"

    async def cancelled() -> None:
        async with asyncio.timeout(5):
            task = asyncio.create_task(
                download(web.url("/list"), target, validators=None, max_size=10**6)
            )
            while not task.done() and not target.exists():
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert not target.exists()
