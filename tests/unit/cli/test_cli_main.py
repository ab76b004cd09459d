import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tideover import __version__
from tideover.cli import main as main_module
from tideover.cli.main import ROOT, run
from tideover.events.encoding import encode
from tideover.events.records import SessionOpened
from tideover.events.store import EventStore


def commands(command, path=()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in commands(ROOT)])
def test_every_command_has_help(path, tideover):
    code, out, err = tideover(*path, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: tideover")


def test_every_verb_says_what_it_does_in_a_short_sentence():
    for path, command in commands(ROOT):
        assert command.get_short_help_str(60).endswith("."), path
        assert "..." not in command.get_short_help_str(60), path


def test_verbs_that_read_speak_json():
    for path, command in commands(ROOT):
        serve = path[-1:] == ("serve",)
        acts = isinstance(command, click.Group) or serve or path in ((), ("config", "example"))
        names = {option for p in command.params for option in p.opts}
        assert ("--json" in names) is not acts, path


def test_version(tideover):
    assert tideover("--version") == (0, f"tideover {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["queue", "lits"], "No such command 'lits'"),
        (["queue", "list", "--domian", "x"], "Did you mean '--domain'?"),
        (["queue", "list", "--older-than", "5"], "a duration is written like"),
        (["queue", "list", "--limit", "0"], "0 is not in the range"),
        (["queue", "list", "--state", "lost"], "'lost' is not one of"),
        (["queue", "show"], "Missing argument 'ID'"),
        (["serve", "--log-format", "xml"], "'xml' is not one of"),
        (["queue", "hold", "--all", "--domain", "example.com"], "--all can't go together"),
        (["queue", "dead", "--state", "held"], "--state makes no sense here"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tideover, arguments, said):
    code, out, err = tideover(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert "--help'" in err


def test_a_config_with_mistakes_is_exit_code_2_for_every_verb(tideover, config_file):
    config_file.write_text("hostname = 3\n")
    code, _, err = tideover("status")
    assert code == 2
    assert err.splitlines() == [
        f"{config_file}: data_dir: this setting is required",
        f"{config_file}: line 1: hostname: found 3; text in quotes is wanted",
    ]


def test_no_config_at_all(tideover, tmp_path):
    code, _, err = tideover("status", "--config", str(tmp_path / "none.toml"))
    assert (code, err) == (2, f"{tmp_path}/none.toml: can't be read: No such file or directory\n")


def test_the_unexpected_is_one_line_and_a_traceback_only_when_asked_for(tideover, monkeypatch):
    def explode(*args, **kwargs):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(main_module.ROOT, "main", explode)
    code, _, err = tideover("status")
    assert code == 1
    assert err.startswith("tideover: a bug, please report it: ZeroDivisionError: oops")
    assert err.count("\n") == 1
    monkeypatch.setenv("TIDEOVER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["status"])


def test_trouble_can_not_steer_the_terminal(tideover, daemon):
    code, _, err = tideover("queue", "show", "\x1b[2J\x9b31m")
    assert code == 1
    assert err == "tideover: no message \\x1b[2J\\x9b31m is in the queue\n"


def test_who_may_not_read_the_log_does_not_hear_that_it_is_empty(tideover, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    code, out, err = tideover("explain", "1JMBY3KA80")
    assert (code, out) == (3, "")
    assert "no right to read" in err
    assert "knows nothing" not in err


def test_a_log_that_never_was_knows_nothing(tideover):
    code, _, err = tideover("explain", "1JMBY3KA80")
    assert code == 1
    assert "knows nothing of 1JMBY3KA80" in err


def test_a_reader_who_has_enough_is_no_trouble():
    command = f"{sys.executable} -m tideover config example | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Configuration")


def test_a_reader_who_has_enough_while_lines_come_is_no_trouble(config_file):
    command = [sys.executable, "-m", "tideover", "handover", "postfix", "--address", "192.0.2.1"]
    with subprocess.Popen(
        [*command, "--config", config_file], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as verb:
        verb.stdout.close()
        assert (verb.stderr.read(), verb.wait(30)) == (b"", 0)


def test_a_caller_who_closed_the_output_is_no_trouble():
    command = f"{sys.executable} -m tideover config example >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_starting_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from tideover.cli.main import run\n"
        "from tideover.cli.asking import ask\n"
        "run(['queue', 'list', '--config', '/none'])\n"
        "heavy = ('rich', 'sqlite3', 'cryptography', 'dns', 'asyncio')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n", done.stderr


def test_config_check(tideover, config_file):
    code, out, _ = tideover("config", "check", str(config_file))
    assert code == 0
    assert out.endswith(": good\n")
    (config_file.parent / "example.org.recipients").unlink()
    code, out, _ = tideover("config", "check")
    assert code == 0
    assert "warning: domains." in out
    config_file.write_text(config_file.read_text() + "[smtp]\nlisen = 3\n[log]\nlevel = 4\n")
    code, out, err = tideover("config", "check")
    assert (code, out) == (2, "")
    assert 'smtp.lisen: there is no such setting; did you mean "listen"?' in err
    assert err.splitlines()[-1] == f"{config_file}: 2 mistakes; nothing of it is used"
    code, out, _ = tideover("config", "check", "--json")
    answer = json.loads(out)
    assert (code, answer["good"]) == (2, False)
    assert [(m["path"], m["nearest"]) for m in answer["mistakes"]] == [
        ("smtp.lisen", "listen"), ("log.level", None),
    ]  # fmt: skip


def test_config_show(tideover):
    code, out, _ = tideover("config", "show", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["hostname"] == {"value": '"mx2.example.org"', "origin": "file"}
    assert shown["smtp.max_connections"] == {"value": "10000", "origin": "default"}
    code, out, _ = tideover("config", "show", "--changed")
    assert "smtp.max_connections" not in out
    assert 'domains."example.com".primary' in out


def test_config_explain(tideover):
    code, out, _ = tideover("config", "explain", "smtp.max_recipients")
    assert code == 0
    assert "RFC 5321 asks at least 100" in out
    code, out, _ = tideover("config", "explain", "smtp.max_recipients", "--json")
    assert json.loads(out)["default"] == "100"
    code, _, err = tideover("config", "explain", "smtp.max_recipient")
    assert code == 1
    assert "did you mean smtp.max_recipients" in err


def test_config_example_passes_its_own_check(tideover, tmp_path):
    path = tmp_path / "example.toml"
    path.write_text(tideover("config", "example")[1])
    assert tideover("config", "check", str(path))[0] == 0


def test_explain(tideover, config_file):
    store = EventStore(config_file.parent / "events", max_size=1 << 20)
    opened = SessionOpened(time=5.0, session="S1", client="192.0.2.1", port=1, listener="l")
    store.take(opened, encode(opened))
    store.close()
    code, out, _ = tideover("explain", "S1")
    assert code == 0
    assert "session-opened" in out
    assert "\x1b" not in out
    assert json.loads(tideover("explain", "S1", "--json")[1])[0]["client"] == "192.0.2.1"
    code, _, err = tideover("explain", "S2")
    assert code == 1
    assert "knows nothing of S2" in err


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_serve_hands_over_to_the_daemon(tideover, config_file, monkeypatch, log_format):
    from tideover import app

    calls = []
    monkeypatch.setattr(app, "serve", lambda *args: calls.append(args) or 2)
    assert tideover("serve", "--log-format", log_format)[0] == 2
    assert calls == [(config_file, log_format)]


def test_serve_try_makes_what_it_needs_and_never_overwrites(tideover, tmp_path, monkeypatch):
    from tideover import app
    from tideover.config.check import warnings
    from tideover.config.load import load

    served = []
    monkeypatch.setattr(app, "serve", lambda path, form: served.append(path) or 0)
    directory = tmp_path / "var"
    code, out, _ = tideover("serve", "--try", str(directory))
    assert code == 0
    config = load(served[0])
    assert config.domains["example.com"].primary == (("127.0.0.1", 2526),)
    assert ("127.0.0.1", 2525) in config.smtp.listen
    assert not [text for text in warnings(config) if "recipients" in text]
    assert "swaks --server 127.0.0.1:2525" in out
    assert f"queue list --config {served[0]}" in out
    example = out.split("three lines of Python:\n")[1].split("\n\n")[0]
    compile("\n".join(line.strip() for line in example.splitlines()), "example", "exec")
    names = directory / "example.com.recipients"
    names.write_text("zoe\n")
    tideover("serve", "--try", str(directory))
    assert names.read_text() == "zoe\n"


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "tideover", "--version"], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == f"tideover {__version__}\n"
