import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.values import (
    BadItemError,
    Endpoint,
    Preferred,
    parse_domain,
    parse_duration,
    parse_endpoint,
    parse_hostname,
    parse_network,
    parse_primary,
    parse_public_key,
    parse_resolver,
    parse_size,
    parse_source,
    source_beside,
    write_duration,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("500ms", 0.5), ("30s", 30), ("1d12h", 129600), ("1.5h", 5400), ("2w", 1209600)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("bad", ["", "5", "5 m", "m5", "-5m", "5x", 5, 5.0, True, None, "9999999d"])
def test_bad_durations(bad):
    with pytest.raises(ValueError, match="a duration is written like"):
        parse_duration(bad)


@given(st.integers(0, 3650 * 86400 * 1000))
def test_written_durations_are_read_as_the_same(milliseconds):
    assert parse_duration(write_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("value", "octets"), [(0, 0), (512, 512), ("512", 512), ("1KiB", 1024), ("2MB", 2_000_000)]
)
def test_sizes(value, octets):
    assert parse_size(value) == octets


@pytest.mark.parametrize(
    "bad", ["", "1.5MiB", "MiB", "-1", -1, True, 1.0, "1 KiB", 2**63, "9" * 40]
)
def test_bad_sizes(bad):
    with pytest.raises(ValueError, match="a size is written like"):
        parse_size(bad)


@given(st.integers(0, 2**62))
def test_written_sizes_are_read_as_the_same(octets):
    assert parse_size(write_size(octets)) == octets


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:2525", ("127.0.0.1", 2525)),
        ("[::1]:25", ("::1", 25)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_listen_addresses(text, endpoint):
    assert parse_endpoint(text) == endpoint
    assert str(Endpoint(*endpoint)) == text


@pytest.mark.parametrize(
    "bad",
    ["127.0.0.1", "::1", "[::1]", "localhost:25", "127.0.0.1:65536", "127.0.0.1:", ":25",
     "1.2.3:25", "[1.2.3.4:25", "127.0.0.1:25x", 25, None, ["127.0.0.1:25"], "127.0.0.1:²"],
)  # fmt: skip
def test_bad_listen_addresses(bad):
    with pytest.raises(ValueError, match="an address is written like"):
        parse_endpoint(bad)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_dns_servers_need_no_port(text, endpoint):
    assert parse_resolver(text) == endpoint


@pytest.mark.parametrize("bad", ["ns.example.com", "192.0.2.53:0", "", 53])
def test_bad_dns_servers(bad):
    with pytest.raises(ValueError, match="a DNS server is written like"):
        parse_resolver(bad)


def test_primaries():
    assert parse_primary("mx") is None
    hops = parse_primary(["Mail.Example.com", "mail:2525", "[2001:db8::1]:26", "192.0.2.1"])
    assert hops == (
        ("mail.example.com", 25), ("mail", 2525), ("2001:db8::1", 26), ("192.0.2.1", 25),
    )  # fmt: skip


def test_primaries_with_preferences_are_written_as_they_are_read():
    hops = parse_primary(["10 in1.example:25", "10  [2001:db8::1]", "0 spare.example:26"])
    assert hops == (
        Preferred(10, Endpoint("in1.example", 25)),
        Preferred(10, Endpoint("2001:db8::1", 25)),
        Preferred(0, Endpoint("spare.example", 26)),
    )
    written = ["10 in1.example:25", "10 [2001:db8::1]:25", "0 spare.example:26"]
    assert [str(hop) for hop in hops] == written
    assert parse_primary(written) == parse_primary(hops) == hops


@pytest.mark.parametrize(
    "bad", ["10 ", "10 a b", "65536 mail", "-1 mail", "1.5 mail", "x mail", "10\tmail", "²1 mail"]
)
def test_a_bad_preference_is_named(bad):
    with pytest.raises(BadItemError) as caught:
        parse_primary(["10 mail.example.com", bad])
    assert (caught.value.index, caught.value.found) == (1, bad)


@pytest.mark.parametrize("hops", [["10 a.example", "b.example"], ["a.example", "10 b.example"]])
def test_all_next_hops_have_a_preference_or_none(hops):
    with pytest.raises(BadItemError, match="or none has") as caught:
        parse_primary(hops)
    assert caught.value.index == 1


@pytest.mark.parametrize("bad", ["mail.example.com", [], 5, {}])
def test_bad_primaries(bad):
    with pytest.raises(ValueError, match='"mx", or a list'):
        parse_primary(bad)


@pytest.mark.parametrize(
    "bad", ["", "a b", "mail:0", "mail:99999", 3, "a..b", "[x]:25", "[1.2.3.4]:25"]
)
def test_a_bad_next_hop_is_named(bad):
    with pytest.raises(BadItemError) as caught:
        parse_primary(["mail.example.com", bad])
    assert (caught.value.index, caught.value.found) == (1, bad)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_domains_become_a_labels(text, name):
    assert parse_domain(text) == name


@pytest.mark.parametrize(
    "bad", ["", ".", "a..b", "-a.example", "a b", "1.2.3.4", "[1.2.3.4]", "a" * 64 + ".com", "a/b",
            "ex\u200bample.\u0300"],
)  # fmt: skip
def test_bad_domains(bad):
    with pytest.raises(ValueError, match="a domain name like"):
        parse_domain(bad)


@pytest.mark.parametrize("bad", ["mx2", "127.0.0.1", "", "m_x.example.com", "::1", "mx."])
def test_a_hostname_is_full_and_no_address(bad):
    with pytest.raises(ValueError, match="a full host name"):
        parse_hostname(bad)


def test_networks():
    assert str(parse_network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(parse_network("192.0.2.1")) == "192.0.2.1/32"
    with pytest.raises(ValueError, match=r'network of this address is "10\.0\.0\.0/8"'):
        parse_network("10.1.2.3/8")
    with pytest.raises(ValueError, match="a network is written like"):
        parse_network("ten")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("list.txt", 'is written like one of "file:PATH", "feed:PATH'),
        ("", '"sql:NAME", "command:PROGRAM ARGUMENTS", "callout", "learn"'),
        ("FILE:x", "is written like one of"),
        ("file:", 'like "file:PATH"'),
        ("https:x", 'like "https://…"'),
        ("http://", 'like "http://…"'),
        ("https://[::1", 'like "https://…"'),
        ("https://a b/", 'like "https://…"'),
        ("callout:x", '"callout" stands alone'),
        ("learn:", '"learn" stands alone'),
        ("ldap:{domain}", '"{domain}" has no meaning in "ldap:NAME"'),
        ("sql:{domain}", '"{domain}" has no meaning in "sql:NAME"'),
        ("file:a\nb", "one line"),
        ("file:a\0b", "one line"),
        ("command:x\x1b", "one line"),
        ("command: ", 'like "command:PROGRAM ARGUMENTS"'),
        ("command:x 'y", "No closing quotation"),
    ],
)
def test_bad_sources(bad, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_source(bad)


@pytest.mark.parametrize(
    "good",
    ["file:x", "file:/lists/{domain}", "feed:push", "feed:https://h/{domain}.feed", "feed:x",
     "https://host/{domain}", "http://[::1]:80/x", "ldap:ad", "sql:people",
     "command:doveadm user *@{domain}", "callout", "learn"],
)  # fmt: skip
def test_sources(good):
    assert parse_source(good) == good


def test_a_relative_path_of_a_source_starts_at_the_directory():
    assert source_beside("file:x/{domain}", "/etc/t") == "file:/etc/t/x/{domain}"
    assert source_beside("feed:x.feed", "/etc/t") == "feed:/etc/t/x.feed"
    for other in ("file:/x", "feed:push", "feed:https://h/x", "sql:x", "command:x y", "learn"):
        assert source_beside(other, "/etc/t") == other


def test_public_keys():
    key = b64encode(bytes(32)).decode()
    assert parse_public_key(key) == key
    for bad in ("", "x", key[:-1], b64encode(bytes(31)).decode(), key + "\n"):
        with pytest.raises(ValueError, match="an Ed25519 public key: 32 octets in base64"):
            parse_public_key(bad)
