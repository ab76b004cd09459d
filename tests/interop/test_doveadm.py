"""A real Dovecot as the one who knows: `doveadm user '*'` as a source."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest

from tideover.config.model import Source
from tideover.recipients.sources.command import CommandLoader
from tideover.recipients.sources.interface import SourceError

pytestmark = [pytest.mark.interop, peers.needs("dovecot", "doveadm")]

CONFIG = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
protocols =
ssl = no
first_valid_uid = 0
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = {place}/users
}}
"""


@pytest.fixture
def dovecot() -> Iterator[Path]:
    """The configuration of a running Dovecot with two users."""
    if os.geteuid() != 0:
        pytest.skip("Dovecot is run by root only")
    with peers.open_directory() as place:
        users = "anna@example.com::1000:1000::/srv/anna::\nbert@example.com::1001:1001::/srv/b::\n"
        (place / "users").write_text(users)
        (place / "dovecot.conf").write_text(CONFIG.format(place=place))
        process = subprocess.Popen(["dovecot", "-F", "-c", place / "dovecot.conf"])
        try:
            deadline = time.monotonic() + 20
            while not (place / "run" / "auth-userdb").exists():
                assert process.poll() is None, (place / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield place
        finally:
            process.terminate()
            process.wait(10)


def names(place: Path) -> set[str]:
    loader = CommandLoader(f"command:doveadm -c {place}/dovecot.conf user '*'", Source())
    found = asyncio.run(loader.load(None, lambda _: None))
    assert found is not None
    assert found.bad == 0
    return set(found.lists["example.com"].names())


def test_its_users_are_the_recipients(dovecot: Path) -> None:
    assert names(dovecot) == {"anna", "bert"}
    with (dovecot / "users").open("a") as more:
        more.write("carl@example.com::1002:1002::/srv/c::\n")
    assert names(dovecot) == {"anna", "bert", "carl"}


def test_without_dovecot_there_is_one_line_of_trouble(dovecot: Path) -> None:
    (dovecot / "users").unlink()
    with pytest.raises(SourceError) as caught:
        names(dovecot)
    assert str(caught.value).startswith("doveadm: ")
    assert str(caught.value).isprintable()
