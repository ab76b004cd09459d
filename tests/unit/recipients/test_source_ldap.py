"""LDAP sources without a server: settings, filters, values."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.config.model import Source
from tideover.recipients.sources.interface import SourceError
from tideover.recipients.sources.ldap import LdapLoader
from tideover.recipients.sources.ldap_message import read_message
from tideover.recipients.sources.ldap_query import (
    address_in,
    base_of,
    escape,
    full_filter,
    leaves_gap,
    lookup_filter,
    server_of,
)


def source(**more: Any) -> Source:
    return Source(**{"url": "ldap://db.example", "base": "dc=example", **more})


@pytest.mark.parametrize(
    ("url", "starttls", "said"),
    [
        ("ldap://db.example", False, "ldap://db.example:389"),
        ("ldaps://db.example/", False, "ldaps://db.example:636"),
        ("ldap://[::1]:3389", True, "ldap://[::1]:3389"),
    ],
)
def test_where_to_connect_to(url: str, starttls: bool, said: str) -> None:
    server = server_of(source(url=url, starttls=starttls))
    assert str(server) == said
    assert server.starttls is starttls


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"url": None}, "url: needs"),
        ({"url": "http://db.example"}, "url: needs"),
        ({"url": "ldap://"}, "url: needs"),
        ({"url": "ldap://db:port"}, "url: needs"),
        ({"url": "ldap://db:99999"}, "url: needs"),
        ({"url": "ldap://[::1"}, "url: needs"),
        ({"url": "ldap://me:geheim@db.example"}, "url: needs"),
        ({"url": "ldap://db.example/dc=example"}, "url: needs"),
        ({"url": "ldaps://db.example", "starttls": True}, "starttls: "),
        ({"base": None}, "base: needs"),
        ({"bind_dn": "cn=x"}, "bind_dn and password_file"),
        ({"password_file": Path("x")}, "bind_dn and password_file"),
    ],
)
def test_settings_that_can_not_be_used(more: dict[str, Any], why: str) -> None:
    with pytest.raises(SourceError, match=why) as caught:
        server_of(source(**more))
    assert "geheim" not in str(caught.value)


def test_filters_without_one_of_the_operator() -> None:
    assert full_filter(source(), None) == "(|(mail=*)(mailLocalAddress=*)(proxyAddresses=*))"
    assert lookup_filter(source(), "a*", "example.com") == (
        "(|(mail=a\\2a@example.com)(mailLocalAddress=a\\2a@example.com)"
        "(proxyAddresses=smtp:a\\2a@example.com)(proxyAddresses=SMTP:a\\2a@example.com))"
    )


def test_places_are_filled_once() -> None:
    chosen = source(filter="(&(a={local})(b={domain})(c={address})(d={other}))")
    assert lookup_filter(chosen, "{domain}", "example.com") == (
        "(&(a={domain})(b=example.com)(c={domain}@example.com)(d={other}))"
    )


@pytest.mark.parametrize("text", ["(a={local})", "(a={address})"])
def test_a_list_knows_no_single_address(text: str) -> None:
    with pytest.raises(SourceError, match=r"filter: .* has no meaning here"):
        full_filter(source(filter=text), "example.com")


def test_a_domain_where_there_is_none() -> None:
    with pytest.raises(SourceError, match="base: "):
        base_of(source(base="ou={domain},dc=x"), None)
    assert base_of(source(base="ou={domain},dc=x"), "example.com") == "ou=example.com,dc=x"


@pytest.mark.parametrize("name", ["mail)(a", "", "a b", "ma*l", "1.2."])
def test_attributes_that_are_no_names(name: str) -> None:
    with pytest.raises(SourceError, match="attributes: "):
        full_filter(source(attributes=(name,)), None)


@given(st.text())
def test_a_value_never_leaves_its_place_in_a_filter(value: str) -> None:
    import sansldap

    try:
        parsed = sansldap.LDAPFilter.from_string(f"(&(a={escape(value)})(b=c))")
    except UnicodeEncodeError:
        return  # a lone surrogate, which no client can send
    assert isinstance(parsed, sansldap.FilterAnd)
    first, second = parsed.filters
    assert second == sansldap.FilterEquality("b", b"c")
    assert isinstance(first, sansldap.FilterEquality)
    assert first.value == value.encode()


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("SMTP:ada@example.com", "ada@example.com"),
        ("smtp:ada@example.com", "ada@example.com"),
        ("X500:/o=Example/cn=ada", None),
        ("sip:ada@example.com", None),
        ("ada", "ada"),
    ],
)
def test_what_a_value_holds(value: str, address: str | None) -> None:
    assert address_in(value) == address


def test_where_active_directory_keeps_no_mailboxes() -> None:
    assert not leaves_gap("ldap://example.com/CN=Configuration,DC=example,DC=com")
    assert not leaves_gap("ldap://DomainDnsZones.example.com/DC=DomainDnsZones,DC=example,DC=com")
    assert leaves_gap("ldap://branch.example.com/OU=Branch,DC=example,DC=com")
    assert leaves_gap("ldap://[")


@pytest.mark.parametrize("content", [None, b"", b"\nsecond line", b"\xff\xfe"])
def test_a_password_file_without_a_password(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    chosen = source(bind_dn="cn=x", password_file=path)
    with pytest.raises(SourceError, match=f"password_file {path}: "):
        asyncio.run(LdapLoader("ldap:x", chosen).load(None, lambda _: None))


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(SourceError, match=r"ldap://nobody\.invalid:389: "):
        asyncio.run(
            LdapLoader("ldap:x", source(url="ldap://nobody.invalid")).load(None, lambda _: None)
        )


def test_an_element_that_ends_too_early_is_no_message() -> None:
    """The end of a search, whose result says that it has no octets."""
    import sansldap

    session = sansldap.LDAPClient()
    everyone = sansldap.LDAPFilter.from_string("(mail=*)")
    session.search_request("dc=x", filter=everyone, attributes=["mail"])
    end = bytes.fromhex(
        "303502010165090a0004000400a300202630240416312e322e3834302e"
        "3131333535362e312e342e333139040a30080201010403616263"
    )

    async def exactly(count: int) -> bytes:
        nonlocal end
        data, end = end[:count], end[count:]
        return data

    with pytest.raises(ValueError, match="too early"):
        asyncio.run(read_message(session, exactly))
