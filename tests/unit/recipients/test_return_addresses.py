"""Addresses that a domain's servers sign: whose they are, and that no forged one exists."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tideover.config.model import Config, Domain
from tideover.config.policy import Profile
from tideover.config.values import Endpoint
from tideover.recipients.directory import DirectoryTable
from tideover.recipients.interface import Verdict
from tideover.recipients.return_addresses import ReturnKeys, return_keys
from tideover.recipients.sources.opening import Surroundings

NOW = 1_800_000_000.0
SRS = "SRS0={}={}=example.net=someone"


def srs(key=b"secret"):
    import hmac
    from base64 import b64encode

    letters, day = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", int(NOW // 86_400)
    time = letters[day // 32 % 32] + letters[day % 32]
    mark = hmac.digest(key, f"{time}example.netsomeone".lower().encode(), "sha1")
    return SRS.format(b64encode(mark).decode()[:4], time)


def looked_up(path: Path, *locals_: str, profile: Profile | None, then: Profile | None = None):
    """Verdicts of a directory in which user@example.com exists; `then` is loaded afterwards."""
    (path / "list").write_text("user\n")
    config = Config(
        hostname="mx2.example.org",
        data_dir=path,
        profiles={} if profile is None else {"signing": profile},
        domains={
            "example.com": Domain(primary=(Endpoint("127.0.0.1", 2526),), profile="signing",
                                  recipients=(f"file:{path}/list",)),
        },
    )  # fmt: skip

    async def run():
        around = Surroundings(data_dir=path)
        directory = DirectoryTable(config, around, lambda _: None, clock=lambda: NOW)
        await directory.start()
        try:
            if then is not None:
                directory.lookup("user", "example.com")
                await directory.reconfigure(replace(config, profiles={"signing": then}))
            found = [directory.lookup(local, "example.com").verdict for local in locals_]
            said = [(await directory.explain(f"{local}@example.com")).primary_down.verdict
                    for local in locals_]  # fmt: skip
            assert said == found
            return found
        finally:
            await directory.close()

    return asyncio.run(run())


@pytest.fixture
def key(tmp_path):
    file = tmp_path / "key"
    file.write_text("secret\n")
    return file


YES, NO, LATER = Verdict.ACCEPT, Verdict.REJECT, Verdict.DEFER


def test_without_keys_they_are_addresses_like_others(tmp_path):
    signed = ("user", "prvs=0123abcdef=user", srs())
    assert looked_up(tmp_path, *signed, profile=None) == [YES, NO, NO]
    assert looked_up(tmp_path, *signed, profile=Profile()) == [YES, NO, NO]


def test_a_batv_address_exists_where_its_owner_does(tmp_path, key):
    found = looked_up(
        tmp_path, "user", "prvs=0123abcdef=user", "PRVS=0123ABCDEF=User+detail",
        "prvs=0123abcdef=nobody", "prvs=user", "prvs=", "nobody", srs(),
        profile=Profile(batv_key_file=key),
    )  # fmt: skip
    assert found == [YES, YES, YES, NO, YES, NO, NO, NO]


def test_an_srs_address_exists_where_it_was_signed_here(tmp_path, key):
    found = looked_up(
        tmp_path, "user", srs(), srs().lower(), srs(b"other"), "SRS0=", "prvs=0123abcdef=user",
        profile=Profile(srs_key_file=key),
    )  # fmt: skip
    assert found == [YES, YES, YES, NO, NO, NO]


def test_keys_that_cannot_be_read_refuse_nobody(tmp_path):
    missing = Profile(srs_key_file=tmp_path / "missing")
    found = looked_up(tmp_path, "user", "nobody", srs(), "prvs=0123abcdef=user", profile=missing)
    assert found == [YES, NO, LATER, YES]


def test_a_new_configuration_is_a_new_set_of_keys(tmp_path, key):
    with_key, without = Profile(batv_key_file=key), Profile()
    asked = "prvs=0123abcdef=user"
    assert looked_up(tmp_path, asked, profile=without, then=with_key) == [YES]
    assert looked_up(tmp_path, asked, profile=with_key, then=without) == [NO]


def test_a_profile_without_keys_has_none(key):
    assert return_keys(None) is None
    assert return_keys(Profile()) is None
    assert return_keys(Profile(srs_key_file=key)) == ReturnKeys(srs=(b"secret",))
