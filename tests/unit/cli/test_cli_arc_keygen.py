"""`tideover arc keygen`: the key goes into a file, its public half on the screen."""

import json
import tomllib

import dns.rdatatype
import dns.zone
import pytest

from tideover.authentication.arc.sealing_key import key_record, load_key
from tideover.config.load import load


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_key_its_record_and_its_settings(tideover, tmp_path):
    code, out, _ = tideover("arc", "keygen", "Example.com.", "arc2026")
    path = tmp_path / "arc2026.example.com.pem"
    key = load_key(path)
    assert (code, key.key_size) == (0, 2048)
    assert "PRIVATE" not in out
    record, settings = out.split("In DNS:\n")[1].split("In the configuration:\n")
    zone = dns.zone.from_text(f"$TTL 60\n@ SOA a b 1 1 1 1 1\n@ NS a\n{record}", "example.com")
    (txt,) = zone.find_rdataset("arc2026._domainkey", dns.rdatatype.TXT)
    assert b"".join(txt.strings).decode() == key_record(key)
    assert tomllib.loads(settings)["arc"] == {
        "domain": "example.com", "selector": "arc2026", "key_file": str(path)
    }  # fmt: skip


def test_the_settings_are_what_the_configuration_takes(tideover, config_file):
    _, out, _ = tideover("arc", "keygen", "example.com", "x", "--bits", "1024")
    config_file.write_text(config_file.read_text() + out.split("In the configuration:\n")[1])
    assert load(config_file).arc.selector == "x"


def test_json_and_a_file_of_choice(tideover, tmp_path):
    args = ("arc", "keygen", "example.com", "x", "--bits", "1024", "--out", "k.pem", "--json")
    code, out, _ = tideover(*args)
    data = json.loads(out)
    key = load_key(tmp_path / "k.pem")
    assert (code, data["file"], data["bits"]) == (0, "k.pem", 1024)
    assert (data["name"], data["record"]) == ("x._domainkey.example.com", key_record(key))


def test_a_file_that_is_there_stays(tideover, tmp_path):
    (tmp_path / "k.pem").write_text("mine")
    code, out, err = tideover("arc", "keygen", "example.com", "x", "--out", "k.pem")
    assert (code, out) == (1, "")
    assert "is there already" in err
    assert (tmp_path / "k.pem").read_text() == "mine"


@pytest.mark.parametrize("names", [("exa..mple", "x"), ("example.com", "a b"), ("", "x")])
def test_names_that_dns_can_not_have(tideover, names, tmp_path):
    code, _, err = tideover("arc", "keygen", *names)
    assert code == 2
    assert "no domain name" in err
    assert not list(tmp_path.glob("*.pem"))
