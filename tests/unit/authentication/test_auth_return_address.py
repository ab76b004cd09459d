"""Signed return addresses, against vectors made by Mail::SRS 0.31 and Exim 4.96."""

import pytest

from tideover.authentication.return_address import (
    MAX_KEYS,
    read_keys,
    signed_batv,
    signed_srs,
)

MADE = 1795280150  # when the vectors were made: day 20778, "JK" of SRS
DAY = 86400
KEYS = (b"newer key", b"secretkey")

MAIL_SRS = [
    "SRS0=OHJ7=JK=Example.org=Alice.B",
    "SRS0=C7Gn=JK=example.org=bob=x",
    "SRS0+FCEStAm9=JK=example.org=carol",
    "SRS1=pLYD=fwd.example.net==OHJ7=JK=Example.org=Alice.B",
]
EXIM_SRS = ["SRS0=a84f=jk=Example.org=Alice.B"]
EXIM_BATV = [("prvs=378509ca90=alice", "example.com"), ("prvs=07851a217e=Al.Ice", "Example.com")]


@pytest.mark.parametrize("local", MAIL_SRS + EXIM_SRS)
def test_srs_of_others_is_recognised(local):
    assert signed_srs(local, KEYS, MADE) is True
    assert signed_srs(local.lower(), KEYS, MADE) is True
    assert signed_srs(local.upper(), KEYS, MADE) is True
    assert signed_srs(local, KEYS[:1], MADE) is False
    assert signed_srs(local, (), MADE) is False


@pytest.mark.parametrize("local", MAIL_SRS + EXIM_SRS)
def test_each_part_of_srs_is_signed(local):
    at = local.rindex("=") + 1
    assert signed_srs(f"{local[:at]}x{local[at:]}", KEYS, MADE) is False
    assert signed_srs(local.replace("ample", "amples", 1), KEYS, MADE) is False
    assert signed_srs(f"{local[:5]}x{local[6:]}", KEYS, MADE) is False


def test_the_time_of_srs_is_signed_and_runs_out():
    assert signed_srs(MAIL_SRS[0].replace("=JK=", "=JJ="), KEYS, MADE) is False
    for days, valid in ((-2, False), (-1, True), (49, True), (50, False), (1024, True)):
        assert signed_srs(MAIL_SRS[0], KEYS, MADE + days * DAY) is valid
        assert signed_srs(EXIM_SRS[0], KEYS, MADE + days * DAY) is valid


@pytest.mark.parametrize(
    "local",
    ["SRS0=", "SRS0==", "SRS0=OHJ7", "SRS0=OHJ7=JK", "SRS0=OHJ7=JK=Example.org",
     "SRS0=OHJ7=JK=Example.org=", "SRS0=OHJ=JK=Example.org=Alice.B", "SRS0==JK=Example.org=Alice.B",
     "SRS0=OHJ7==Example.org=Alice.B", "SRS0=OHJ7=J1=Example.org=Alice.B",
     "SRS0=öäüß=JK=Example.org=Alice.B", "SRS1=pLYD=fwd.example.net", "SRS1=pLYD==x",
     "SRS1=pLYD=fwd.example.net=", "srs0-x=y=z=a=b"],
)  # fmt: skip
def test_broken_srs_is_forged(local):
    assert signed_srs(local, KEYS, MADE) is not True
    if local.count("=") > 1:
        assert signed_srs(local, KEYS, MADE) is False


@pytest.mark.parametrize(
    "local", ["alice", "", "SRS", "srs2=a=b=c=d", "srs0alice", "xSRS0=a=b=c=d"]
)
def test_other_addresses_are_no_srs(local):
    assert signed_srs(local, KEYS, MADE) is None


@pytest.mark.parametrize(("local", "domain"), EXIM_BATV)
def test_batv_of_exim_is_recognised(local, domain):
    assert signed_batv(local, domain, KEYS, MADE) is True
    assert signed_batv(local.replace("prvs", "PRVS"), domain, KEYS, MADE) is True
    assert signed_batv(local[:9] + local[9:15].upper() + local[15:], domain, KEYS, MADE) is True
    assert signed_batv(local, domain, KEYS[:1], MADE) is False
    assert signed_batv(local + "x", domain, KEYS, MADE) is False
    assert signed_batv(local, "example.net", KEYS, MADE) is False


def test_what_was_signed_in_lower_case_is_recognised_in_any():
    assert signed_batv("prvs=378509ca90=Alice", "EXAMPLE.com", KEYS, MADE) is True
    assert signed_batv("prvs=378509ca90=alice", "EXAMPLE.com", KEYS, MADE) is True


def test_batv_runs_out():
    local, domain = EXIM_BATV[0]  # good until day 20785
    for days, valid in ((0, True), (7, True), (14, True), (15, False), (-93, True), (-94, False),
                        (1000, True)):  # fmt: skip
        assert signed_batv(local, domain, KEYS, MADE + days * DAY) is valid
    assert signed_batv(local.replace("378", "379"), domain, KEYS, MADE) is False


@pytest.mark.parametrize(
    "local", ["prvs=", "prvs=x", "prvs=alice/378509ca90", "prvs=37850=alice", "prvs=378509ca90="]
)
def test_broken_batv_is_forged(local):
    assert signed_batv(local, "example.com", KEYS, MADE) is False


@pytest.mark.parametrize("local", ["alice", "", "prvs", "btv1==x==alice", "jörg"])
def test_other_addresses_are_no_batv(local):
    assert signed_batv(local, "example.com", KEYS, MADE) is None


def test_keys_are_lines_the_newest_first(tmp_path):
    file = tmp_path / "keys"
    file.write_bytes(b"  newer key\r\n\nsecretkey")
    assert read_keys(file) == KEYS
    for text in (b"", b"\n \n", b"k\n" * (MAX_KEYS + 1), b"k" * 100_000):
        file.write_bytes(text)
        with pytest.raises(ValueError, match="keys"):
            read_keys(file)
    with pytest.raises(OSError, match="no such"):
        read_keys(tmp_path / "no such")
