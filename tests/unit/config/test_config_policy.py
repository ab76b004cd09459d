"""Settings of policy: how they are written, and what is wrong with them."""

from ipaddress import IPv4Address

import pytest

from tideover.config.load import load
from tideover.config.mistakes import ConfigError
from tideover.config.policy_values import (
    parse_http_url,
    parse_list_codes,
    parse_rate,
    parse_score,
    parse_socket,
)

TOP = 'hostname = "mx2.example.org"\ndata_dir = "data"\n'
DOMAIN = '[domains."example.com"]\nprimary = ["127.0.0.1:2526"]\nrecipients = ["file:r"]\n'


def loaded(tmp_path, more):
    path = tmp_path / "tideover.toml"
    path.write_text(TOP + more)
    return load(path)


def mistakes(tmp_path, more):
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, more)
    return "\n".join(error.value.lines())


def test_all_of_it(tmp_path):
    config = loaded(
        tmp_path,
        """
[policy]
greet_delay = "1s"
trusted_networks = ["192.0.2.0/24"]
[profiles.strict]
checks = ["helo", "spf", "dmarc"]
dry_run = ["spf"]
actions = { helo-bare-ip = "reject", spf-fail = 7 }
reject_score = 5
[dns_lists."bl.example.org"]
weight = 4.5
codes = ["127.0.0.2=8", "127.0.0.8/30=2", "&4=3", "*=0"]
[limits]
client = "100/1h"
[rspamd]
url = "http://127.0.0.1:11333/"
[milters.dkim]
socket = "unix:/run/opendkim.sock"
[arc]
domain = "example.org"
selector = "arc"
key_file = "arc.pem"
"""
        + DOMAIN
        + 'profile = "strict"\n',
    )
    strict = config.profiles["strict"]
    assert strict.actions == {"helo-bare-ip": "reject", "spf-fail": 7.0}
    assert config.domains["example.com"].profile == "strict"
    assert config.rspamd.url == "http://127.0.0.1:11333"
    assert str(config.milters["dkim"].socket) == "unix:/run/opendkim.sock"
    assert config.arc.key_file == tmp_path / "arc.pem"
    assert str(config.limits.client) == "100/1h"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (DOMAIN + 'profile = "lax"\n', "no such profile; there are: default"),
        ('[profiles.x]\nchecks = ["hello"]\n', "no such check"),
        ("[profiles.x]\nactions = { spf-fial = 3 }\n", "spf-fail"),
        ('[profiles.x]\nactions = { spf-fail = "refuse" }\n', '"reject" or a score'),
        ("[profiles.x]\nactions = { spf-fail = true }\n", "or a score is wanted"),
        ('[profiles.x]\nchecks = ["spf"]\ndry_run = ["helo"]\n', "helo does not run"),
        ('[profiles.x]\nreject_score = "high"\n', "a number is wanted"),
        ("[profiles.x]\nreject_score = nan\n", "a number is wanted"),
        ('[dns_lists."bl.example"]\ncodes = ["127.0.0.2"]\n', "a weight is written like"),
        ('[dns_lists."bl.example"]\ncodes = ["&300=1"]\n', "a weight is written like"),
        ('[dns_lists."bl.example"]\nof = "name"\n', "address"),
        ('[limits]\nclient = "many"\n', 'a rate is written like "100/1h"'),
        ('[limits]\nclient = "5/0s"\n', 'a rate is written like "100/1h"'),
        ('[rspamd]\nurl = "localhost:11333"\n', "a URL is written like"),
        ('[rspamd]\nurl = "http://h:99999"\n', "a URL is written like"),
        ('[milters.x]\ntimeout = "1s"\n', "this setting is required"),
        ('[milters.x]\nsocket = "inet:1@h"\n', "a socket is written like"),
        ('[clamav]\non_failure = "drop"\n', '"defer"'),
        ('[arc]\ndomain = "example.org"\n', "missing: selector, key_file"),
        (DOMAIN + 'arc_key_file = "k"\n', "set arc_selector too"),
        (DOMAIN + 'arc_selector = "k"\n', "set arc_key_file too"),
        ('[policy]\ngreet = "1s"\n', "greet_delay"),
    ],
)
def test_mistakes_are_told_with_the_cure(tmp_path, more, said):
    assert said in mistakes(tmp_path, more)


def test_codes_of_a_dns_list():
    codes = parse_list_codes(["127.0.0.2=8", "127.0.0.8/30=2", "&4=3", "*=0.5"])
    weights = [
        next(code.weight for code in codes if code.fits(IPv4Address(answer)))
        for answer in ("127.0.0.2", "127.0.0.10", "127.0.0.4", "127.0.1.1")
    ]
    assert weights == [8.0, 2.0, 3.0, 0.5]
    assert [str(code) for code in codes] == ["127.0.0.2=8", "127.0.0.8/30=2", "&4=3", "*=0.5"]


def test_values_are_read_as_they_are_written():
    assert str(parse_rate("90/90s")) == "90/1m30s"
    assert str(parse_socket("127.0.0.1:3310")) == "127.0.0.1:3310"
    assert parse_http_url("https://filter.example/rspamd/") == "https://filter.example/rspamd"
    assert parse_score(-3) == -3.0
    for parse, value in ((parse_rate, parse_rate("1/1s")), (parse_socket, parse_socket("unix:/s"))):
        assert parse(value) is value
