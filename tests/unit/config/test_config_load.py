import os
import stat

import pytest

from tideover.config.load import load
from tideover.config.mistakes import ConfigError
from tideover.config.model import WhenPrimaryUp
from tideover.config.reload import restart_needed

GOOD = """\
hostname = "MX2.example.org"
data_dir = "spool"

[smtp]
listen = ["127.0.0.1:2525", "[::1]:2525"]

[dns]
servers = ["127.0.0.1:5353", "::1"]

[domains."Example.COM"]
primary = ["127.0.0.1:2526"]
recipients = ["file:list/example.com", "file:/etc/all"]
when_primary_up = "defer"
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "t.toml"
        path.write_text(text)
        return path

    return write


def mistakes(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(mistake) for mistake in caught.value.mistakes]


def top(more):
    return 'hostname = "mx2.example.org"\ndata_dir = "/tmp/x"\n' + more


def test_a_good_file(write, tmp_path):
    config = load(write(GOOD))
    assert config.hostname == "mx2.example.org"
    assert config.data_dir == tmp_path / "spool"
    assert config.smtp.listen == (("127.0.0.1", 2525), ("::1", 2525))
    assert config.dns.servers == (("127.0.0.1", 5353), ("::1", 53))
    assert config.message_lifetime == 14 * 86400
    domain = config.domains["example.com"]
    assert domain.recipients == (f"file:{tmp_path}/list/example.com", "file:/etc/all")
    assert domain.when_primary_up is WhenPrimaryUp.DEFER


def test_all_mistakes_at_once_in_the_order_of_the_file(write):
    text = """\
data_dir = 3
delay_warning = "soon"

[smtp]
lisen = ["127.0.0.1:25"]
listen = [
  "127.0.0.1:2525",   # good
  "localhost:25",
]
max_connections = true
proxy_protocol_from = ["10.1.1.1/8"]

[log]
level = "warn"

[domains."example.com"]
primary = ["a b"]
recipients = []

[domains."example.org"]
primary = "mx"
recipients = ["example.org"]
"""
    form = 'an address is written like "127.0.0.1:25" or "[::1]:25"'
    network = 'a network is written like "10.0.0.0/8", "2001:db8::/32" or as one address'
    hop = (
        'a next hop is written like "mail.example.com", "192.0.2.25:25" or "[2001:db8::25]:25", '
        'before it a preference if you like: "10 mail.example.com"'
    )
    assert mistakes(write(text)) == [
        "hostname: this setting is required",
        "line 1: data_dir: found 3; a path in quotes is wanted",
        (
            'line 2: delay_warning: found "soon"; a duration is written like "30s", "5m", "4h" or '
            '"14d", at most "3650d"'
        ),
        'line 5: smtp.lisen: there is no such setting; did you mean "listen"?',
        f"line 8: smtp.listen[1]: found \"localhost:25\"; {form}: 'localhost' is not an IP address",
        "line 10: smtp.max_connections: found true; a whole number without quotes is wanted",
        (
            f'line 11: smtp.proxy_protocol_from[0]: found "10.1.1.1/8"; {network}; the network of '
            'this address is "10.0.0.0/8"'
        ),
        'line 14: log.level: found "warn"; allowed: "debug", "info", "warning" or "error"',
        f'line 17: domains."example.com".primary[0]: found "a b"; {hop}',
        'line 18: domains."example.com".recipients: found []; at least one item is needed',
        (
            'line 22: domains."example.org".recipients[0]: found "example.org"; a source of '
            'recipients is written like one of "file:PATH", "feed:PATH, feed:URL or feed:push", '
            '"http://…", "https://…", "ldap:NAME", "sql:NAME", "command:PROGRAM ARGUMENTS", '
            '"callout", "learn"'
        ),
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[smtp]\nuser = "x"\n', "it belongs at the top of the file, before the first [table]"),
        ('listen = ["127.0.0.1:25"]\n', "it belongs in [smtp]"),
        (
            "wholly_unknown_thing = 1\n",
            "there is no such setting; allowed here: arc, clamav, console, cut_off",
        ),
        ('[smpt]\nlisten = ["127.0.0.1:25"]\n', 'did you mean "smtp"?'),
        ('[smtp]\ntls_key = "k"\n', "set smtp.tls_certificate too"),
        ('[smtp]\nlisten = ["127.0.0.1:25", "127.0.0.1:25"]\n', "127.0.0.1:25 is there twice"),
        ('user = "no-such-user-here"\n', 'this machine has no user "no-such-user-here"'),
        ("[outbound]\nfirst_connections = 50\n", "must not exceed outbound.max_connections"),
        ('[cut_off]\nafter = "2h"\nremember = "1h"\n', "longer than cut_off.after"),
        ('max_message_size = "1KiB"\n', "at least 65536"),
        ('domains_dir = "\\u0000"\n', "can't hold the sign NUL"),
        ('[dns]\ntimeout = "0s"\n', "more than 0"),
        ("smtp = 3\n", "a table is wanted"),
        ("domains = 3\n", "a table is wanted"),
        ('[domains]\n"a..b" = {primary = "mx", recipients = ["file:x"]}\n', "a domain name like"),
        ('[domains."a.b"]\nprimary = "mxx"\nrecipients = ["file:x"]\n', '"mx", or a list'),
        ('[domains."a.b"]\nrecipients = ["file:x"]\n', '"a.b".primary: this setting is required'),
        ('[domains."a.b"]\nprimary = "mx"\nrecipients = "file:x"\n', "a list in [ ] is wanted"),
        ('[domains."a.b"]\nprimary = "mx"\nrecipient = ["file:x"]\n', 'mean "recipients"?'),
        (
            '[domains."a.b"]\nprimary = "mx"\nrecipients = ["file:x"]\nwhen_primary_up = "no"\n',
            'allowed: "auto", "pass-through", "defer" or "accept"',
        ),
    ],
)
def test_mistakes(write, more, said):
    found = mistakes(write(top(more)))
    assert any(said in text for text in found), found
    assert all(text.startswith("line ") for text in found)


def test_the_same_domain_in_two_forms(write):
    entry = 'primary = "mx"\nrecipients = ["file:x"]\n'
    text = top(f'[domains."BÜCHER.example"]\n{entry}[domains."xn--bcher-kva.example"]\n{entry}')
    assert mistakes(write(text)) == [
        (
            'line 6: domains."xn--bcher-kva.example": this domain is there already '
            "(as xn--bcher-kva.example)"
        )
    ]


def test_a_path_too_long_for_the_control_socket(write):
    found = mistakes(write(f'hostname = "mx2.example.org"\ndata_dir = "/{"x" * 100}"\n'))
    assert found[0].startswith("line 2: data_dir: at most 90 octets")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hostname = "mx2\n', "line 1: column 16: not TOML: "),
        ("a = 1\na = 2\n", "line 2: column 6: not TOML: Cannot overwrite a value"),
        ('hostname = "x"\n[smtp\n', "line 2: column 6: not TOML: "),
        ("a = ", "line 1: column 5: not TOML: "),
        ("a = " + "[" * 5000, "not TOML: nested too deeply"),
        ("a = " + "1" * 5000, "not TOML: a number is too long"),
    ],
)
def test_what_is_not_toml_has_line_and_column(write, text, said):
    found = mistakes(write(text))
    assert len(found) == 1
    assert found[0].startswith(said)


def test_what_is_not_utf8(tmp_path):
    path = tmp_path / "t.toml"
    path.write_bytes(b"# fine\nhostname = '\xff'\n")
    found = mistakes(path)
    assert found == ["line 2: TOML is written in UTF-8; here is something else"]


def test_files_that_cannot_be_read(tmp_path):
    assert mistakes(tmp_path / "none") == ["can't be read: No such file or directory"]
    assert mistakes(tmp_path) == ["the configuration must be a file; this is a directory"]
    os.mkfifo(tmp_path / "fifo")
    assert mistakes(tmp_path / "fifo") == [
        "the configuration must be a file; this is no plain file"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it(write):
    path = write(GOOD)
    path.chmod(stat.S_IWUSR)
    assert mistakes(path) == ["can't be read: Permission denied"]


def many_domains(count):
    entry = 'primary = ["10.0.0.1"]\nrecipients = ["file:x"]\n'
    return top("".join(f'[domains."d{n}.example"]\n{entry}' for n in range(count)))


def test_a_large_file_is_read_in_pieces_with_the_same_result(write):
    config = load(write(many_domains(5000)))
    assert len(config.domains) == 5000
    assert config.domains["d4999.example"].primary == (("10.0.0.1", 25),)


def test_mistakes_in_later_pieces_have_their_line(write):
    text = many_domains(5000) + '[domains."bad.example"]\nprimry = "mx"\nrecipients = ["file:x"]\n'
    assert mistakes(write(text)) == [
        'line 15003: domains."bad.example".primary: this setting is required',
        (
            'line 15004: domains."bad.example".primry: there is no such setting; did you mean '
            '"primary"?'
        ),
    ]


def test_tables_after_the_domains_and_headers_inside_strings_are_read_right(write):
    trap = (
        '[domains."t.example"]\nprimary = "mx"\nrecipients = ["file:x"]\n'
        'recipient_delimiter = """+\n[a.b]"""\n'
    )
    text = many_domains(4000) + trap + many_domains(1).split("\n", 2)[2].replace("d0", "e0")
    config = load(write(text + '[log]\nlevel = "debug"\n'))
    assert config.log.level == "debug"
    assert config.domains["t.example"].recipient_delimiter == "+\n[a.b]"
    assert len(config.domains) == 4002


def test_a_domain_twice_in_different_pieces(write):
    text = many_domains(5000) + '[domains."d0.example"]\nprimary = "mx"\nrecipients = ["file:x"]\n'
    found = mistakes(write(text))
    assert found[0].startswith("line 15003: column ")
    assert "not TOML: Cannot declare" in found[0]


def test_a_domain_twice_in_two_spellings_in_different_pieces(write):
    text = many_domains(5000) + '[domains."D0.example"]\nprimary = "mx"\nrecipients = ["file:x"]\n'
    found = mistakes(write(text))
    assert found == [
        'line 15003: domains."D0.example": this domain is there already (as d0.example)'
    ]


def test_what_a_reload_cannot_change(write):
    old = load(write(GOOD))
    new = load(write(GOOD.replace("MX2", "mx3").replace("[::1]:2525", "[::1]:2626")))
    assert restart_needed(old, old) == ()
    assert restart_needed(old, new) == ("hostname", "smtp.listen")
    changed = load(write(GOOD.replace('"defer"', '"accept"')))
    assert restart_needed(old, changed) == ()
