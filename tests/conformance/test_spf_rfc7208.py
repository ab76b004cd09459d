"""The RFC 7208 suite of the SPF community, by its zones, against our evaluation."""

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from tideover.authentication.spf import check_host
from tideover.dns.resolver import DnsUnavailable, NoSuchName

SUITE = Path(__file__).parents[2] / "build/suites/rfc7208-tests.yml"
NOW = 1_700_000_000.0

pytestmark = pytest.mark.skipif(
    not SUITE.exists(), reason="build/suites/rfc7208-tests.yml is missing: .ci/peers fetches it"
)


class SuiteNames:
    """`Names` on a zone of the suite. As its authors say: type SPF stands for TXT where a name has
    no TXT of its own, and a time-out holds for all types that have no records.
    """

    def __init__(self, zone):
        self._zone = {str(name).lower(): as_txt(records) for name, records in zone.items()}

    async def txt(self, name):
        texts = self._records(name, "TXT")
        return tuple("".join(one).encode("latin-1") for one in texts)

    async def a(self, name):
        return tuple(self._records(name, "A"))

    async def aaaa(self, name):
        return tuple(self._records(name, "AAAA"))

    async def mx(self, name):
        return tuple((preference, host.lower()) for preference, host in self._records(name, "MX"))

    async def ptr(self, address):
        return tuple(self._records(ip_address(address).reverse_pointer, "PTR"))

    def _records(self, name, kind, seen=()):
        key = name.lower().removesuffix(".")
        if key in seen:
            raise DnsUnavailable("an alias leads back to itself")
        if key not in self._zone:
            raise NoSuchName(f"{name} does not exist", 60.0)
        found = [value for kind_there, value in self._zone[key] if kind_there == kind]
        if found:
            return found
        if ("TIMEOUT", "") in self._zone[key]:
            raise DnsUnavailable(f"no answer for {name}")
        for kind_there, value in self._zone[key]:
            if kind_there == "CNAME":
                return self._records(value, kind, (*seen, key))
        return []


def as_txt(records):
    pairs = [pair for one in records if isinstance(one, dict) for pair in one.items()]
    copied = any(kind == "TXT" for kind, _ in pairs)
    return [
        *(("TXT" if kind == "SPF" and not copied else kind, value)
          for kind, value in pairs if value != "NONE"),
        *(("TIMEOUT", "") for one in records if one == "TIMEOUT"),
    ]  # fmt: skip


def cases():
    if not SUITE.exists():
        return
    for number, scenario in enumerate(yaml.safe_load_all(SUITE.read_text("utf-8"))):
        for name, case in scenario["tests"].items():
            yield pytest.param(scenario["zonedata"], case, id=f"{number}-{name}")


@pytest.mark.parametrize(("zone", "case"), list(cases()))
def test_case(zone, case):
    sender = case["mailfrom"] or ""
    result = asyncio.run(
        check_host(
            address=case["host"], sender=sender, helo=case["helo"], names=SuiteNames(zone),
            scope="mfrom" if sender else "helo", receiver="receiver.example", now=NOW,
        )
    )  # fmt: skip
    wanted = case["result"]
    assert result.result in (wanted if isinstance(wanted, list) else [wanted]), result
    if result.result == "fail" and "explanation" in case:
        wanted = case["explanation"]
        assert result.explanation == ("" if wanted == "DEFAULT" else wanted)


def test_all_cases_are_run():
    assert len(list(cases())) == 203
