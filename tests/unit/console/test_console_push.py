"""A feed is pushed: who may, what is answered, and what is left behind."""

import json
import shutil
import socket
import time

import pytest
from served_console import TOKEN, Served

from tideover.console import feeds as feeds_module
from tideover.console import upload as upload_module
from tideover.console.attempts import LIMIT
from tideover.recipients.report import Refreshed
from tideover.recipients.sources.interface import SourceError


def left(served):
    return list((served.config.data_dir / "pushes").iterdir())


def test_a_feed_is_taken(served):
    answer = served.push(b"x" * 200_000)
    assert answer.status == 200
    assert json.loads(answer.body) == {"domain": "example.com", "entries": 3, "changed": True}
    assert served.feeds.got == [("example.com", b"x" * 200_000)]
    assert served.feeds.mode == 0o600
    assert left(served) == []
    [event] = served.events
    assert (event.domain, event.client, event.entries) == ("example.com", "127.0.0.1", 3)


def test_a_feed_in_chunks_and_a_domain_in_capitals(served):
    answer = served.request(
        "PUT", "/v1/domains/EXAMPLE.com/feed", iter([b"a" * 100, b"b" * 100]),
        {"Authorization": f"bearer {TOKEN}"},
    )  # fmt: skip
    assert answer.status == 200
    assert served.feeds.got == [("example.com", b"a" * 100 + b"b" * 100)]


@pytest.mark.parametrize("domain", ["example.com", "example.org", "example.net", "%00", "a" * 300])
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "é" * 20])
def test_strangers_hear_401_and_nothing_else(served, domain, token):
    if token is not None:
        token = token.encode().decode("latin-1")
    answer = served.push(b"x" * 1000, domain=domain, token=token)
    assert (answer.status, answer.body) == (401, b"")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers.get("server") is None
    assert served.feeds.got == []
    assert left(served) == []


def test_the_token_of_one_domain_is_none_for_another(served):
    assert served.push(domain="example.org").status == 401


@pytest.mark.parametrize("scheme", ["Basic", "Bearerx", ""])
def test_only_bearer_tokens_count(served, scheme):
    assert served.push(token=None, Authorization=f"{scheme} {TOKEN}").status == 401


@pytest.mark.parametrize("text", ["short", "", "two words of a token", None])
def test_a_token_file_that_is_no_good_lets_nobody_in(served, text):
    path = served.config.data_dir / "token"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert served.push(token=text).status == 401
    assert str(path) in served.events[0].reason
    if text:
        assert text not in served.events[0].reason


def test_a_token_that_is_changed_counts_at_once(served):
    (served.config.data_dir / "token").write_text("another-token-of-16")
    assert served.push().status == 401
    assert served.push(token="another-token-of-16").status == 200


def test_who_is_wrong_too_often_is_not_listened_to(served):
    assert {served.push(token="wrong").status for _ in range(LIMIT)} == {401}
    answer = served.push()
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert [event.status for event in served.events] == [401, 401]  # not one for each
    assert served.push(X_Forwarded_For="192.0.2.7").status == 200  # another one, by a proxy


def test_whom_a_proxy_names_last_counts(served):
    for n in range(LIMIT):
        served.push(token="wrong", X_Forwarded_For=f"198.51.100.{n}, 192.0.2.7")
    assert served.push(X_Forwarded_For="192.0.2.7").status == 429
    assert served.push(X_Forwarded_For="what is this").status == 200


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (SourceError("feed refused: serial 3 is older than 4, which we have"), 409),
        (SourceError("feed refused: the signature is wrong"), 422),
        (KeyError("example.com"), 422),
        (Refreshed(domain="", source="", entries=9, changed=False, refused="it shrank"), 422),
        (OSError(28, "No space left on device"), 503),
    ],
)
def test_a_refusal_says_why(served, result, status):
    served.feeds.result = result
    answer = served.push()
    assert answer.status == status
    assert "refused" in json.loads(answer.body)
    assert served.events[0].status == status
    assert left(served) == []


def test_a_bug_is_500_and_told(served):
    served.feeds.result = ZeroDivisionError("oops")
    answer = served.push()
    assert (answer.status, answer.body) == (500, b"")
    assert isinstance(served.faults.pop()["exception"], ZeroDivisionError)
    served.feeds.result = Refreshed(domain="", source="", entries=1, changed=False)
    assert served.push().status == 200


def test_a_feed_that_is_too_large_is_not_read(served):
    started = time.monotonic()
    answer = served.push(b"x", Content_Length="300001", Expect="100-continue")
    assert answer.status == 413
    assert time.monotonic() - started < 5
    chunks = iter([b"x" * 100_000] * 4)
    answer = served.request(
        "PUT", "/v1/domains/example.com/feed", chunks,
        {"Authorization": f"Bearer {TOKEN}"},
    )  # fmt: skip
    assert answer.status == 413
    assert served.feeds.got == []
    assert left(served) == []


def test_a_packed_feed_is_refused(served):
    assert served.push(Content_Encoding="gzip").status == 415


def test_the_disk_is_not_filled(served):
    free = shutil.disk_usage(served.config.data_dir).free
    object.__setattr__(served.config, "min_free_space", free * 2)
    answer = served.push()
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert left(served) == []


def test_a_slow_body_is_cut_off(served, monkeypatch):
    monkeypatch.setattr(upload_module, "PIECE_TIMEOUT", 0.1)
    assert served.push(b"x", Content_Length="1000").status == 408
    monkeypatch.setattr(upload_module, "PIECE_TIMEOUT", 10)
    monkeypatch.setattr(upload_module, "BODY_TIMEOUT", 0.1)
    assert served.push(b"x", Content_Length="1000").status == 408
    assert left(served) == []


def test_a_check_that_hangs_is_given_up(served, monkeypatch):
    monkeypatch.setattr(feeds_module, "_PUSH_TIMEOUT", 0.1)
    served.feeds.lasts = 5
    assert served.push().status == 408
    assert served.run(no_busy(served)) is None


async def no_busy(served):
    return None


def test_who_goes_away_leaves_nothing_behind(served):
    head = (
        f"PUT /v1/domains/example.com/feed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.server.port)) as client:
        client.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
    deadline = time.monotonic() + 5
    while not served.events and time.monotonic() < deadline:
        time.sleep(0.01)
    assert served.events[0].status == 400
    assert served.feeds.got == []
    assert left(served) == []
    assert served.push().status == 200


def test_one_push_a_domain_at_once(served):
    served.feeds.lasts = 0.5
    first = served.connect()
    first.request("PUT", "/v1/domains/example.com/feed", b"1", {"Authorization": f"Bearer {TOKEN}"})
    while not served.feeds.got:
        time.sleep(0.01)
    answer = served.push(b"2")
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert first.getresponse().status == 200
    first.close()


def test_what_a_dead_process_left_is_removed(tmp_path):
    (tmp_path / "pushes").mkdir()
    (tmp_path / "pushes" / "dead.part").write_bytes(b"half")
    with Served(tmp_path) as served:
        assert left(served) == []


def test_no_token_in_any_event(served):
    served.push()
    served.push(token="wrong-token-of-someone")
    for event in served.events:
        assert TOKEN not in repr(event)
        assert "wrong-token" not in repr(event)
