from base64 import b64encode

import pytest

from tideover.config.check import warnings
from tideover.config.explain import in_force
from tideover.config.load import load
from tideover.config.mistakes import ConfigError

TOP = 'hostname = "mx2.example.org"\ndata_dir = "d"\nuser = "root"\n'
KEY = b64encode(bytes(32)).decode()
SQL = '[sources."sql:p"]\nurl = "sqlite:p.db"\nquery = "SELECT address FROM people"\n'
LDAP = '[sources."ldap:l"]\nurl = "ldap://127.0.0.1"\nbase = "dc=example"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "t.toml"
        path.write_text(TOP + text)
        return path

    return write


def domain(*recipients, more=""):
    listed = ", ".join(f'"{source}"' for source in recipients)
    return f'[domains."a.example"]\nprimary = "mx"\nrecipients = [{listed}]\n{more}'


def mistakes(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(mistake) for mistake in caught.value.mistakes]


SIGNED = f'feed_signer = "{KEY}"\n'
PUSHED = SIGNED + 'feed_push_token_file = "token"\n'
CONSOLE = '[console]\nlisten = "127.0.0.1:8025"\n'


@pytest.mark.parametrize(
    "text",
    [
        domain("file:x", "learn"),
        domain("file:/lists/{domain}", "https://h/{domain}", "command:list {domain}"),
        SQL + domain("sql:p"),
        LDAP + domain("ldap:l"),
        LDAP + 'mode = "lookup"\nfilter = "(mail={address})"\n' + domain("ldap:l"),
        SQL.replace("people", "people WHERE a = :address") + 'mode = "lookup"\n' + domain("sql:p"),
        domain("feed:x.feed", more=SIGNED),
        CONSOLE + domain("feed:push", more=PUSHED),
        '[console]\nlisten = "[::1]:8025"\n',
        '[console]\nlisten = "0.0.0.0:8025"\ntls_certificate = "c.pem"\n',
        '[sources."http://127.0.0.1/x"]\npassword_file = "t"\n' + domain("http://127.0.0.1/x"),
        '[sources."http://localhost:80/x"]\npassword_file = "t"\n'
        + domain("http://localhost:80/x"),
        '[sources."file:x"]\nrefresh = "1m"\nformat = "csv"\n' + domain("file:x"),
        '[sources."callout"]\nmax_rate = 10\n' + domain("callout"),
        'domains_from = "https://h/domains.json"\n',
        'domains_from = "http://127.0.0.1:1/domains.json"\n',
        'domains_from = "sql:p"\n' + SQL,
        '[discover]\nprimary_hosts = ["mx.example.net"]\nrecipients = ["callout"]\n',
    ],
)
def test_good_sources(write, text):
    load(write(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            domain("sql:p"),
            ('line 6: domains."a.example".recipients[0]: its details are missing: add '
            '[sources."sql:p"] with url and query'),
        ),
        (
            domain("file:x", "ldap:l"),
            ('line 6: domains."a.example".recipients[1]: its details are missing: add '
            '[sources."ldap:l"] with url and base'),
        ),
        (
            '[sources."sql:p"]\n',
            ('line 4: sources."sql:p": url is required for a source of the kind "sql": '
            '"postgresql://…", "mysql://…", "mariadb://…", "sqlite:…"'),
        ),
        ('[sources."sql:p"]\nurl = "sqlite:x"\n', "query is required for a source of the"),
        ('[sources."sql:p"]\nurl = "oracle://x"\n', 'line 5: sources."sql:p".url: it begins with'),
        (SQL + 'mode = "lookup"\n', 'line 6: sources."sql:p".query: a lookup must ask for one'),
        (SQL.replace("people", "p WHERE a = :local"), 'which only mode = "lookup" can do'),
        (SQL + 'base = "x"\n', 'no meaning for a source of the kind "sql"; it takes ca_file, '),
        ('[sources."ldap:l"]\nurl = "ldap://h"\n', "base is required for a source of the"),
        ('[sources."ldap:l"]\nbase = "x"\n', 'url is required for a source of the kind "ldap"'),
        (LDAP + 'query = "x"\n', 'line 7: sources."ldap:l".query: it has no meaning'),
        (LDAP + 'filter = "(mail={address})"\n', 'which only mode = "lookup" can do'),
        (LDAP + 'mode = "lookup"\nfilter = "(a=*)"\n', "use {address} or {local}"),
        (LDAP + 'password_file = "x"\n', ".password_file: a password needs bind_dn too"),
        (LDAP.replace("ldap://", "ldaps://") + "starttls = true\n", "leave starttls out"),
        ('[sources."file:x"]\nquery = "x"\n', 'line 5: sources."file:x".query: it has no meaning'),
        ('[sources."file:x"]\nmode = "lookup"\n', 'sources."file:x".mode: it has no meaning'),
        ('[sources."learn"]\nrefresh = "1m"\n', 'kind "learn"; it takes no settings'),
        ('[sources."callout"]\nrefresh = "1m"\n', "it takes lookup_timeout, max_lookups, max_rate"),
        ('[sources."feed:x"]\nformat = "csv"\n', 'sources."feed:x".format: it has no meaning'),
        ('[sources."file:x"]\nrefrehs = "1m"\n', 'did you mean "refresh"?'),
        ('[sources."file:x"]\nrefresh = "0s"\n', "it must be more than 0"),
        ('[sources."file:x"]\nmax_shrink = 101\n', "it must be at most 100"),
        (LDAP + 'starttls = "yes"\n', 'found "yes"; true or false is wanted, without quotes'),
        ('[sources."people"]\nurl = "x"\n', "a source of recipients is written like one of"),
        (
            domain("feed:x.feed"),
            ('line 6: domains."a.example".recipients[0]: a feed needs feed_signer: the public key '
            "that `tideover recipients export` prints where the feed is made"),
        ),
        (domain("file:x", "feed:push", more=SIGNED), "[1]: a pushed feed needs feed_push_"),
        (domain("feed:push", more=PUSHED), "a feed is pushed over HTTP: set console.listen"),
        (domain("feed:x", more='feed_signer = "x"\n'), "an Ed25519 public key: 32 octets in"),
        (domain("file:x", "learn", "file:x"), "recipients[2]: file:{base}/x is there twice"),
        (
            '[console]\nlisten = "192.0.2.1:8025"\n',
            "line 5: console.listen: without console.tls_certificate only a loopback address",
        ),
        ('[console]\nlisten = "127.0.0.1:1"\ntls_key = "k"\n', "set console.tls_certificate too"),
        (
            '[sources."http://h/x"]\npassword_file = "t"\n' + domain("http://h/x"),
            "recipients[0]: its token would travel in clear: use https:, or leave password_",
        ),
        (
            '[sources."feed:http://h/x"]\npassword_file = "t"\n'
            + domain("feed:http://h/x", more=SIGNED),
            "its token would travel in clear",
        ),
        ('domains_from = "file:x"\n', 'line 4: domains_from: a list of domains is at "https://…"'),
        ('domains_from = "http://h/x"\n', "anybody on the way could take our mail"),
        ('domains_from = "https://h/{domain}"\n', '"{domain}" has no meaning here'),
        ('domains_from = "sql:q"\n', 'its details are missing: add [sources."sql:q"]'),
        ('[discover]\nrecipients = ["feed:x"]\n', "discover.recipients[0]: a feed belongs to"),
        ('[discover]\nrecipients = ["callout", "sql:q"]\n', "discover.recipients[1]: its details"),
        ("[discover]\nrecipients = []\n", "at least one item is needed"),
    ],
)  # fmt: skip
def test_mistakes_between_sources_and_domains(write, tmp_path, text, said):
    found = mistakes(write(text))
    assert any(said.replace("{base}", str(tmp_path)) in line for line in found), found
    assert all(line.startswith("line ") for line in found), found


def test_details_meet_the_sources_of_domains_whatever_the_path_is_written_like(write, tmp_path):
    text = '[sources."file:lists/{domain}"]\nrefresh = "7m"\n' + domain("file:lists/{domain}")
    config = load(write(text))
    (source,) = config.domains["a.example"].recipients
    assert source == f"file:{tmp_path}/lists/{{domain}}"
    assert config.sources[source].refresh == 420


def test_the_path_of_a_database_starts_at_the_files_directory(write, tmp_path):
    assert load(write(SQL)).sources["sql:p"].url == f"sqlite:{tmp_path}/p.db"


def test_the_same_source_twice(write, tmp_path):
    text = f'[sources."file:x"]\nretry = "1m"\n[sources."file:{tmp_path}/x"]\nretry = "2m"\n'
    found = mistakes(write(text))
    assert found[0].startswith("line 6: ")
    assert "this source is there already" in found[0]


def test_warnings_of_sources(write, tmp_path):
    (tmp_path / "token").write_text("x")
    text = (
        '[sources."file:y"]\n'
        '[sources."sql:p"]\nurl = "postgresql://me:secret@h/d"\nquery = "SELECT 1"\n'
        'password_file = "pw"\n'
        '[sources."ldap:l"]\nurl = "ldap://h"\nbase = "x"\nbind_dn = "y"\npassword_file = "token"\n'
        + domain(
            "sql:p", "ldap:l", "command:no-such-program-here x", "file:z/{domain}", more=SIGNED
        )
        + '[domains."b.example"]\nprimary = "mx"\nrecipients = ["file:z/{domain}", "feed:f"]\n'
        + SIGNED
        + 'feed_key_file = "k"\n'
    )
    wait = "until it can be read, recipients get 4xx"
    base = str(tmp_path)
    found = list(warnings(load(write(text))))
    assert found == [
        'domains."a.example".recipients: no-such-program-here is no program that can be run; '
        + wait,
        f'domains."a.example".recipients: {base}/z/a.example does not exist; {wait}',
        'domains."a.example".feed_signer: of no use without a feed: source in recipients',
        f'domains."b.example".recipients: {base}/z/b.example does not exist; {wait}',
        f'domains."b.example".recipients: {base}/f does not exist; {wait}',
        (
            f'domains."b.example".feed_key_file: {base}/k does not exist; until it can be read, no '
            "feed is"
        ),
        f'sources."file:{base}/y": no domain names this source, letter by letter; is it misspelt?',
        f'sources."sql:p".password_file: {base}/pw does not exist; {wait}',
        'sources."sql:p".url: holds a password; password_file keeps it out of this file',
        'sources."ldap:l".url: the password travels in clear; use ldaps:// or starttls',
    ]
    assert "secret" not in "".join(found)


def test_a_password_is_not_shown(write):
    text = '[sources."sql:p"]\nurl = "mysql://me:secret@h/d"\nquery = "SELECT 1"\n'
    path = write(text)
    rows = {row.key: (row.value, row.origin) for row in in_force(load(path), path)}
    assert rows["sources.sql:p.url"] == ('"mysql://me:***@h/d"', "file")
    assert rows["sources.sql:p.mode"] == ('"full"', "default")


def test_a_mistake_in_all_of_many_domains_is_told_within_bounds(write):
    text = "".join(
        f'[domains."d{n}.example"]\nprimary = "mx"\nrecipients = ["sql:p"]\n' for n in range(3000)
    )
    found = mistakes(write(text))
    assert len(found) == 1001
    assert found[-1] == "and 2000 more of them"
