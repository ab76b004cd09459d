"""`tideover agent`: keys, and what happens when it can't serve or ask."""

import json

import pytest

from tideover.cli.main import run

KEY = "A" * 43 + "="


def test_keygen_prints_the_public_key_and_keeps_what_is_there(tmp_path, capsys):
    file = tmp_path / "agent.key"
    assert run(["agent", "keygen", "--json", str(file)]) == 0
    public = json.loads(capsys.readouterr().out)["public_key"]
    assert len(public) == 44
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert run(["agent", "keygen", str(file)]) == 1
    assert "there already" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert run(["agent", "keygen", str(tmp_path / "no" / "such")]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("made", [False, True])
def test_an_agent_that_cannot_start_says_why(tmp_path, capsys, made):
    if made:
        run(["agent", "keygen", str(tmp_path / "agent.key")])
    file = tmp_path / "agent.toml"
    file.write_text(
        '[agent]\nlisten = "192.0.2.1:8025"\nkey_file = "agent.key"\n'
        f'askers = {{ mx2 = "{KEY}" }}\n'
    )
    assert run(["agent", "serve", "--config", str(file)]) == 2
    told = capsys.readouterr().err
    assert ("cannot listen on 192.0.2.1:8025" if made else "tideover agent keygen") in told


def test_asking_without_an_agent_says_so(tmp_path, capsys):
    file = tmp_path / "tideover.toml"
    file.write_text(
        'hostname = "mx2.example.org"\ndata_dir = "data"\n'
        '[domains."example.com"]\nprimary = "mx"\nrecipients = ["file:r"]\n'
    )
    ask = ["agent", "ask", "--config", str(file)]
    assert run([*ask, "example.com", "192.0.2.1"]) == 1
    assert "set agent and agent_key" in capsys.readouterr().err
    assert run([*ask, "example.com", "host.example"]) == 2
    assert "an IP address is wanted" in capsys.readouterr().err
