"""The agent's file, and what a domain with an agent needs."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tideover.config.agent import Agent, load_agent
from tideover.config.load import load
from tideover.config.mistakes import ConfigError

KEY = "A" * 43 + "="
OTHER = "B" * 42 + "A="
GOOD = f'[agent]\nlisten = "127.0.0.1:8025"\nkey_file = "agent.key"\naskers = {{ mx2 = "{KEY}" }}\n'


def mistakes(read, tmp_path, text):
    file = tmp_path / "file.toml"
    file.write_text(text)
    try:
        return read(file)
    except ConfigError as error:
        return "\n".join(error.lines())


def test_a_small_file_is_enough(tmp_path):
    agent = mistakes(load_agent, tmp_path, GOOD)
    assert agent.askers == {"mx2": KEY}
    assert agent.key_file == tmp_path / "agent.key"
    assert (agent.timeout, agent.keep, agent.ports, agent.allow_private) == (4.0, 300.0, (25,), ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "agent: this setting is required"),
        ("[agent]\n", "agent.listen: this setting is required"),
        (GOOD + "tls_key = 'x'\n", "line 5: agent.tls_key: a key alone is of no use"),
        (GOOD + "timeout = '1m'\n", "agent.timeout: "),
        (GOOD + "ports = [0]\n", "agent.ports[0]: "),
        (GOOD + "speed = 3\n", "line 5: agent.speed: "),
        (GOOD.replace(KEY, "x"), "agent.askers.mx2: "),
        (GOOD.replace(f'mx2 = "{KEY}"', ""), "nobody may ask"),
        (GOOD.replace(f'mx2 = "{KEY}"', f'a = "{KEY}", b = "{KEY}"'), "askers.b: another backup"),
        ("[agent\n", "not TOML"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, text, told):
    assert told in mistakes(load_agent, tmp_path, text)


PAGE = (Path(__file__).resolve().parents[3] / "docs" / "agent.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_names_each_setting():
    told = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert {field.name for field in fields(Agent)} <= told


def test_the_examples_of_the_page_can_be_used(tmp_path):
    agent, backup = EXAMPLES
    assert mistakes(load_agent, tmp_path, agent).askers.keys() == {"mx2"}
    assert mistakes(load, tmp_path, MAIN + backup).domains["example.com"].agent is not None


MAIN = 'hostname = "mx2.example.org"\ndata_dir = "data"\n'
DOMAIN = '[domains."example.com"]\nprimary = "mx"\nrecipients = ["file:r"]\n'
ASKING = '[cut_off]\nkey_file = "backup.key"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DOMAIN + 'agent = "http://a.example:8025"\n', "set agent_key too"),
        (DOMAIN + 'agent = "http://a.example:8025"\n', "set [cut_off] key_file too"),
        (DOMAIN + f'agent_key = "{KEY}"\n', "set agent too"),
        (ASKING + DOMAIN + f'agent = "ftp://a"\nagent_key = "{KEY}"\n', "a URL is written like"),
    ],
)
def test_an_agent_needs_its_key_and_ours(tmp_path, text, told):
    assert told in mistakes(load, tmp_path, MAIN + text)


def test_a_domain_with_an_agent(tmp_path):
    text = MAIN + ASKING + DOMAIN + f'agent = "https://a.example"\nagent_key = "{OTHER}"\n'
    assert mistakes(load, tmp_path, text).domains["example.com"].agent_key == OTHER
