"""A real agent beside the primary, in a network from which some clients can't be reached: those
alone are served although the primary is up, and only while the agent says so.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tideover
from pass_rig import until
from tideover.testing import netns
from tideover.testing.netns import Namespace, link, namespaces

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(netns.why_missing()), reason=str(netns.why_missing())),
]

BACKUP, HOME = "10.99.0.1", "10.99.0.2"
CUT_OFF, ANOTHER = "10.98.0.1", "10.97.0.1"
"""Clients of ours to which the home has no route."""

_PORT = 8300
_TIDEOVER = ("env", f"PYTHONPATH={Path(tideover.__file__).parents[1]}", sys.executable, "-m",
             "tideover")  # fmt: skip
_CONFIG = """\
[agent]
listen = "{home}:{port}"
key_file = "agent.key"
allow_private = ["10.0.0.0/8"]
timeout = "2s"

[agent.askers]
backup = "{asker}"
"""


@dataclass
class Networks:
    """The backup's with its clients, and the agent at home."""

    directory: Path
    backup: Namespace
    agent: "subprocess.Popen[bytes]"
    key: str

    def clients(self, *addresses: str) -> "subprocess.Popen[bytes]":
        """They come, one after the other."""
        driver = Path(__file__).with_name("cut_off_driver.py")
        url = f"http://{HOME}:{_PORT}"
        return self.backup.start(
            *("env", _TIDEOVER[1], sys.executable, str(driver), str(self.directory), url, self.key),
            *addresses,
            stdout=subprocess.PIPE,
        )


def told(process: "subprocess.Popen[bytes]") -> dict[str, dict[str, str]]:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    public = {who: _keygen(tmp_path / f"{who}.key") for who in ("backup", "agent")}
    config = tmp_path / "agent.toml"
    config.write_text(_CONFIG.format(home=HOME, port=_PORT, asker=public["backup"]))
    with namespaces("backup", "home") as (backup, home):
        link(backup, f"{BACKUP}/24", home, f"{HOME}/24")
        for address in (CUT_OFF, ANOTHER):
            backup.ip("addr", "add", f"{address}/32", "dev", "lo")
        log = (tmp_path / "agent.log").open("wb")
        agent = home.start(*_TIDEOVER, "agent", "serve", "--config", str(config), stdout=log,
                           stderr=log)  # fmt: skip
        try:
            until(lambda: b" ready on " in (tmp_path / "agent.log").read_bytes())
            yield Networks(tmp_path, backup, agent, public["agent"])
        finally:
            agent.terminate()
            agent.wait(10)
            log.close()


def _keygen(file: Path) -> str:
    done = subprocess.run(
        [*_TIDEOVER, "agent", "keygen", str(file), "--json"], capture_output=True, check=True
    )
    return str(json.loads(done.stdout)["public_key"])


def test_whom_the_agent_cannot_reach_gets_in_at_once(networks: Networks) -> None:
    found = told(networks.clients(BACKUP, CUT_OFF))
    assert found[BACKUP]["verdict"].startswith("450 4.3.2"), "the primary reaches it"
    assert " Queued as " in found[CUT_OFF]["verdict"]
    assert "agent" in found[CUT_OFF]["why"]
    assert "no route" in found[CUT_OFF]["why"]


@pytest.mark.slow
def test_without_an_answer_of_the_agent_nobody_waits_long(networks: Networks) -> None:
    process = networks.clients(CUT_OFF, "STOP", ANOTHER)
    until((networks.directory / "waiting").exists)
    networks.agent.terminate()
    networks.agent.wait(10)
    time.sleep(0.1)
    (networks.directory / "STOP").touch()
    found = told(process)
    assert " Queued as " in found[CUT_OFF]["verdict"]
    assert found[ANOTHER]["verdict"].startswith("450 4.3.2"), "the time rule alone decides"
    assert float(found[ANOTHER]["took"]) < 6
