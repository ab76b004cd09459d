from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tideover.cli.main import run
from tideover.config.load import load
from tideover.testing.control import FakeDaemon, ServedDaemon

CONFIG = """\
hostname = "mx2.example.org"
data_dir = "."

[domains."example.com"]
primary = ["127.0.0.1:2526"]
recipients = ["file:example.com.recipients"]

[domains."example.org"]
primary = "mx"
recipients = ["file:example.org.recipients"]
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(CONFIG)
    (tmp_path / "example.com.recipients").write_text("alice\nbob\n")
    (tmp_path / "example.org.recipients").write_text("carol\n")
    return path


@pytest.fixture
def tideover(
    capsys: pytest.CaptureFixture[str], config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command line in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("TIDEOVER_CONFIG", str(config_file))

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def daemon(config_file: Path) -> Iterator[FakeDaemon]:
    """A daemon that answers on the control socket of `config_file`."""
    fake = FakeDaemon(load(config_file))
    with ServedDaemon(fake, config_file.parent):
        yield fake
