"""message.dsn: reports that programs and people can read, to the octet."""

import email
import email.policy
from pathlib import Path

import pytest
from flufl.bounce import all_failures, scan_message
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tideover.message.dsn import MAX_HEADERS, Kind, Report, ReportedRecipient, render
from tideover.message.envelope import QueueId

GOLDEN = Path(__file__).parent / "dsn_golden"
NOW = 1_795_600_000.0
ORIGINAL = (
    b"Received: from client.example.net ([192.0.2.10])\r\n\tby mx2.example.org\r\n"
    b"From: Anna <anna@example.net>\r\nTo: user@example.com\r\nSubject: Hello\r\n"
    b"Message-ID: <1@example.net>\r\n\r\nThe body.\r\n--=_0ABCDEFGHJ\r\n"
)


def report(kind: Kind, **changes: object) -> Report:
    recipient = ReportedRecipient(
        address="user@example.com",
        orcpt="rfc822;User+2BDetail@Example.com",
        status="5.1.1",
        remark="The recipient's mail server refused it:",
        diagnostic="550 5.1.1 No such user here; please look at the list of people "
        "and write to one of those who still work here",
        last_attempt=NOW,
    )
    base = Report(
        kind=kind,
        report_id=QueueId("0ABCDEFGHJ"),
        hostname="mx2.example.org",
        sender="anna@example.net",
        date=NOW,
        arrived=NOW - 5 * 3600,
        recipients=(recipient,),
        original=ORIGINAL,
        whole=True,
        envid="QQ+2B314159",
    )
    return replace(base, **changes)


def failure(**changes: object) -> Report:
    return report(Kind.FAILED, **changes)


def only(report_: Report, **changes: object) -> Report:
    return replace(report_, recipients=(replace(report_.recipients[0], **changes),))


SECOND = ReportedRecipient(
    address="other@example.com", status="5.2.2", remark="The recipient's mail server refused it:",
    diagnostic="552 5.2.2 Mailbox full",
)  # fmt: skip
CASES = {
    "failed": failure(recipients=(failure().recipients[0], SECOND)),
    "failed_full": failure(return_whole=True),
    "expired": only(
        report(Kind.EXPIRED),
        status="4.4.7",
        remark="The recipient's mail server could not be reached.",
        diagnostic=None,
        last_attempt=None,
    ),
    "delayed": only(
        report(Kind.DELAYED),
        status="4.2.0",
        remark="The recipient's mail server answered last:",
        diagnostic="450 4.2.0 Try later",
        retry_until=NOW + 14 * 86400,
    ),
    "relayed": only(
        report(Kind.RELAYED),
        status="2.0.0",
        remark="Passed on to the recipient's mail server.",
        diagnostic=None,
        last_attempt=None,
    ),
    "international": only(
        failure(sender="änna@bücher.example", original="Subject: Grüße\r\n\r\nx\r\n".encode()),
        address="jörg@example.com",
        orcpt="utf-8;J\\x{F6}rg@example.com",
        diagnostic="550 5.1.1 Größe",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    assert render(CASES[name]) == (GOLDEN / f"{name}.eml").read_bytes()


def parsed(data: bytes) -> email.message.EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.SMTPUTF8)
    assert message.defects == []
    return message  # type: ignore[return-value]


@pytest.mark.parametrize("name", CASES)
def test_every_report_is_well_formed(name: str) -> None:
    data = render(CASES[name])
    check_lines(data)
    message = parsed(data)
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Return-Path"] is None
    text, status, returned = message.iter_parts()
    assert [p.defects for p in (text, status, returned)] == [[], [], []]
    assert text.get_content_type() == "text/plain"
    assert "delivery-status" in status.get_content_subtype()
    assert returned.get_content_maintype() in ("text", "message")
    for header in ("Date", "From", "To", "Subject", "Message-ID"):
        assert len(message.get_all(header)) == 1


def check_lines(data: bytes) -> None:
    assert data.endswith(b"\r\n")
    lines = data[:-2].split(b"\r\n")
    assert all(len(line) <= 998 for line in lines)
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)


def fields(data: bytes) -> list[dict[str, str]]:
    """The groups of fields of the delivery-status part."""
    groups = part(data, 2).decode().removesuffix("\r\n").split("\r\n\r\n")
    policy = email.policy.compat32
    return [dict(email.message_from_string(g, policy=policy).items()) for g in groups]


def part(data: bytes, number: int) -> bytes:
    """The content of a part, to the octet."""
    boundary = b"--" + parsed(data).get_boundary().encode()
    return data.split(boundary)[number].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


def test_fields_of_a_failure() -> None:
    message, first, second = fields(render(CASES["failed"]))
    assert message == {
        "Original-Envelope-Id": "QQ+314159",
        "Reporting-MTA": "dns; mx2.example.org",
        "Arrival-Date": "Wed, 25 Nov 2026 04:46:40 +0000",
    }
    assert first["Original-Recipient"] == "rfc822; User+Detail@Example.com"
    assert first["Final-Recipient"] == "rfc822; user@example.com"
    assert first["Action"] == "failed"
    assert first["Status"] == "5.1.1"
    assert first["Diagnostic-Code"].startswith("smtp; 550 5.1.1 No such user")
    assert second["Final-Recipient"] == "rfc822; other@example.com"
    assert "Remote-MTA" not in first
    assert "Last-Attempt-Date" not in second


def test_fields_of_the_others() -> None:
    actions = {name: fields(render(case))[1]["Action"] for name, case in CASES.items()}
    assert actions == {
        "failed": "failed",
        "failed_full": "failed",
        "expired": "failed",
        "delayed": "delayed",
        "relayed": "relayed",
        "international": "failed",
    }
    delayed = fields(render(CASES["delayed"]))[1]
    assert delayed["Will-Retry-Until"] == "Wed, 9 Dec 2026 09:46:40 +0000"


@pytest.mark.parametrize(
    ("name", "temporary", "permanent"),
    [
        ("failed", set(), {b"User+Detail@Example.com", b"other@example.com"}),
        ("failed_full", set(), {b"User+Detail@Example.com"}),
        ("expired", set(), {b"User+Detail@Example.com"}),
        ("delayed", {b"User+Detail@Example.com"}, set()),
        ("relayed", set(), set()),
    ],
)
def test_a_list_manager_understands_it(
    name: str, temporary: set[bytes], permanent: set[bytes]
) -> None:
    message = email.message_from_bytes(render(CASES[name]))
    assert all_failures(message) == (temporary, permanent)
    assert scan_message(message) == permanent


def test_international_report() -> None:
    data = render(CASES["international"])
    types = [part.get_content_type() for part in parsed(data).iter_parts()]
    assert types == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    recipient = fields(data)[1]
    assert recipient["Final-Recipient"] == "utf-8; jörg@example.com"
    assert recipient["Original-Recipient"] == "utf-8; Jörg@example.com"
    assert "Grüße".encode() in data


def test_a_report_without_international_address_is_ascii() -> None:
    original = "Subject: Grüße\r\nX: \xff\r\n\r\n".encode("latin-1")
    data = render(only(failure(original=original), diagnostic="550 5.1.1 gelöscht"))
    assert data.isascii()
    assert b"Subject: Gr??e\r\n" in data


def test_ret_full_returns_the_original_and_the_boundary_is_not_in_it() -> None:
    data = render(CASES["failed_full"])
    assert b"\r\n\r\n" + ORIGINAL + b"\r\n--=_" in data
    assert parsed(data).get_boundary() == "=_0ABCDEFGHJ_1"


@pytest.mark.parametrize(
    "changes",
    [
        {"return_whole": False},
        {"whole": False},
        {"original": b"A: b\r\n\r\n\xff\r\n"},
        {"original": b"A: b\r\n\r\n" + b"x" * 999 + b"\r\n"},
    ],
)
def test_only_the_header_is_returned(changes: dict[str, object]) -> None:
    data = render(failure(**{"return_whole": True, **changes}))
    assert b"text/rfc822-headers" in data
    assert b"The body" not in data
    assert b"xxxx" not in data


def test_an_8_bit_original_is_returned_when_it_was_declared() -> None:
    original = b"A: b\r\n\r\n\xff\xfe\r\n"
    data = render(failure(return_whole=True, eight_bit=True, original=original))
    assert part(data, 3) == original
    assert b"Content-Transfer-Encoding: 8bit\r\n\r\nA: b" in data


@pytest.mark.parametrize(
    "original",
    [
        b"",
        b"\r\n",
        b"No header at all",
        b"A: " + b"x" * 200_000,
        b"A: b\r\n" * 20_000,
        b"A: " + "ü".encode() * 5000 + b"\r\n\r\n",
        b"\r\n\r\n\r\n",
    ],
)
def test_strange_originals(original: bytes) -> None:
    for case in (failure(), CASES["international"]):
        data = render(replace(case, original=original))
        check_lines(data)
        assert len(data) < MAX_HEADERS + 4096
        assert len(list(parsed(data).iter_parts())) == 3


NASTY = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.just(
    "x\r\nBcc: victim@example.org\r\n\r\n"
)


@given(remark=NASTY, diagnostic=NASTY, sender=NASTY, envid=NASTY, orcpt=NASTY)
def test_no_text_from_outside_leaves_its_line(
    remark: str, diagnostic: str, sender: str, envid: str, orcpt: str
) -> None:
    data = render(
        only(
            failure(sender=sender, envid=envid),
            remark=remark,
            diagnostic=diagnostic,
            orcpt=f"rfc822;{orcpt}",
        )
    )
    check_lines(data)
    assert b"\r\nBcc:" not in data
    head = data.split(b"\r\n\r\n")[0]
    assert head.count(b"\r\n") == 8
