"""What XCLIENT and XFORWARD lines say, whatever a client called itself."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.smtp.xclient import Identity, hello_name, xclient_line, xforward_lines, xtext

POSTFIX = frozenset(
    ("NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT")
)
FORWARD = frozenset(("NAME", "ADDR", "PROTO", "HELO", "SOURCE", "PORT", "IDENT"))


def client(address: str = "192.0.2.7", **more) -> Identity:
    values = {"port": 4321, "helo": "client.example.net", "extended": True, **more}
    return Identity(address, **values)


def test_all_that_is_known() -> None:
    assert xclient_line(client(name="c.example.net"), POSTFIX) == (
        b"XCLIENT ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP NAME=c.example.net HELO=client.example.net"
        b"\r\n"
    )
    (line,) = xforward_lines(client(name="c.example.net"), FORWARD)
    assert line == (
        b"XFORWARD NAME=c.example.net ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP"
        b" HELO=client.example.net SOURCE=REMOTE\r\n"
    )


def test_what_is_not_known_is_denied_lest_ours_stays() -> None:
    nameless = client(port=0, helo="", extended=False, name=None, reverse_name=None)
    assert xclient_line(nameless, POSTFIX) == (
        b"XCLIENT ADDR=192.0.2.7 PORT=[UNAVAILABLE] PROTO=SMTP NAME=[UNAVAILABLE]"
        b" REVERSE_NAME=[UNAVAILABLE] HELO=[UNAVAILABLE]\r\n"
    )


def test_a_name_that_is_not_known_now_is_no_name_that_is_not_there() -> None:
    line = xclient_line(client(), POSTFIX)
    assert line is not None
    assert b"NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL]" in line
    line = xclient_line(client(name=None, reverse_name="r.example.net"), POSTFIX)
    assert line is not None
    assert b"NAME=[UNAVAILABLE] REVERSE_NAME=r.example.net" in line
    assert b"NAME=[UNAVAILABLE]" in xforward_lines(client(name=""), FORWARD)[0]


def test_only_what_was_offered() -> None:
    assert xclient_line(client(), frozenset({"ADDR"})) == b"XCLIENT ADDR=192.0.2.7\r\n"
    assert xclient_line(client(), frozenset({"NAME", "LOGIN"})) is None
    assert xclient_line(client(), frozenset()) is None
    assert xforward_lines(client(), frozenset({"HELO"})) == [
        b"XFORWARD HELO=client.example.net\r\n"
    ]
    assert xforward_lines(client(), frozenset()) == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("2001:db8:0::1", b"IPV6:2001:db8::1"),
        ("fe80::1%eth0", b"IPV6:fe80::1"),
        ("::ffff:192.0.2.1", b"192.0.2.1"),
    ],
)
def test_addresses(address: str, told: bytes) -> None:
    line = xclient_line(client(address), POSTFIX)
    assert line is not None
    assert line.split(b" ")[1] == b"ADDR=" + told


@pytest.mark.parametrize("address", ["", "unknown", "192.0.2.1 NAME=x", "1\r\nQUIT"])
def test_what_is_no_address_is_never_told(address: str) -> None:
    assert xclient_line(client(address), POSTFIX) is None
    assert b"ADDR=[UNAVAILABLE]" in xforward_lines(client(address), FORWARD)[0]


def test_no_client_is_told_as_such() -> None:
    (line,) = xforward_lines(None, FORWARD)
    assert line.startswith(b"XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]")
    assert line.endswith(b"SOURCE=LOCAL\r\n")


def test_xtext() -> None:
    assert xtext("a b+c=d\r\ne\N{LATIN SMALL LETTER U WITH DIAERESIS}") == (
        "a+20b+2Bc+3Dd+0D+0Ae+C3+BC"
    )


def test_long_names_are_one_xclient_that_has_the_address_but_several_xforwards() -> None:
    long = client(helo="h" * 255, name="n" * 255)
    line = xclient_line(long, POSTFIX)
    assert line is not None
    assert b"ADDR=" in line
    assert b"HELO=" not in line
    assert len(xforward_lines(long, FORWARD)) == 2


def test_a_hello_that_is_no_word_is_not_said() -> None:
    for helo in (
        "",
        "a b",
        "x\r\nQUIT",
        "h" * 256,
        "\N{LATIN SMALL LETTER U WITH DIAERESIS}.example",
    ):
        assert hello_name(client(helo=helo), "mx2.example.org") == b"mx2.example.org"
    assert hello_name(client(helo="[192.0.2.7]"), "mx2.example.org") == b"[192.0.2.7]"


_LINE = re.compile(rb"X(CLIENT|FORWARD)( [A-Z_]+=[!-<>-~]+)+\r\n")


@given(st.text(), st.text(), st.text(), st.integers())
def test_whatever_it_called_itself_each_line_is_one_command(
    address: str, helo: str, name: str, port: int
) -> None:
    for where in (address, "192.0.2.1"):
        identity = client(where, helo=helo, name=name, port=port)
        line = xclient_line(identity, POSTFIX)
        for told in [*xforward_lines(identity, FORWARD), *([line] if line else [])]:
            assert _LINE.fullmatch(told)
            assert len(told) <= 512
            assert all(len(part.partition(b"=")[2]) <= 255 for part in told[:-2].split(b" "))
        assert re.fullmatch(rb"[!-~]{1,255}", hello_name(identity, "us"))
