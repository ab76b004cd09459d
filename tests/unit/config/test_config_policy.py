import pytest

from tideover.config.check import warnings
from tideover.config.explain import in_force
from tideover.config.load import load
from tideover.config.mistakes import ConfigError

TOP = 'hostname = "mx2.example.org"\ndata_dir = "/tmp/x"\n'
DOMAIN = '[domains."example.com"]\nprimary = "mx"\nrecipients = ["file:r"]\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "t.toml"
        path.write_text(TOP + text + DOMAIN)
        return path

    return write


def mistakes(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_tables_that_an_operator_names_are_in_force(write):
    path = write(
        '[profiles.strict]\nreject_score = 6\nactions = { spf-fail = "reject", helo-bare-ip = 2 }\n'
        '[dns_lists."BL.example.org"]\ncodes = ["127.0.0.2=8", "&4=3", "*=0"]\n'
        '[milters.opendkim]\nsocket = "127.0.0.1:8891"\n'
    )
    rows = {row.key: (row.value, row.origin) for row in in_force(load(path), path)}
    assert rows["profiles.strict.reject_score"] == ("6", "file")
    assert rows["profiles.strict.hold_score"] == (None, "default")
    actions = '{ spf-fail = "reject", helo-bare-ip = 2 }'
    assert rows["profiles.strict.actions"] == (actions, "file")
    codes = '["127.0.0.2=8", "&4=3", "*=0"]'
    assert rows['dns_lists."bl.example.org".codes'] == (codes, "file")
    assert rows['dns_lists."bl.example.org".weight'] == ("5", "default")
    assert rows["milters.opendkim.socket"] == ('"127.0.0.1:8891"', "file")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            '[profiles.strict]\nchecks = ["spff"]\n',
            'line 4: profiles.strict.checks[0]: found "spff"; there is no such check; there are: ',
        ),
        (
            '[profiles.strict]\nactions = { spf-fial = "reject" }\n',
            'line 4: profiles.strict.actions.spf-fial: found "spf-fial"; there is no such finding',
        ),
        (
            "[profiles.strict]\nactions = { spf-fail = true }\n",
            'line 4: profiles.strict.actions.spf-fail: found true; "accept", "hold", "defer", ',
        ),
        (
            '[profiles.strict]\nchecks = ["spf"]\ndry_run = ["greylist"]\n',
            "line 5: profiles.strict.dry_run: greylist does not run: it is not in checks",
        ),
        (
            "[profiles.strict]\ndefer_score = 10\n",
            "line 4: profiles.strict.defer_score: it must be less than reject_score (10), or it",
        ),
        (
            "[profiles.strict]\nhold_score = 7\ndefer_score = 6\n",
            "line 4: profiles.strict.hold_score: it must be less than defer_score (6), or it",
        ),
        (
            '[policy]\nmessage_timeout = "10m"\n',
            "line 4: policy.message_timeout: at most 9m: clients do not wait longer",
        ),
        (
            '[policy]\ngreet_delay = "2m"\n',
            "line 4: policy.greet_delay: at most 1m: clients do not wait longer",
        ),
        (
            '[greylist]\nwindow = "5m"\n',
            "line 4: greylist.window: it must be more than greylist.delay, or nobody gets in",
        ),
        (
            '[dns_lists."a.example"]\n[dns_lists."A.example"]\n',
            'line 4: dns_lists."A.example": this list is there already (as a.example)',
        ),
        (
            '[rspamd]\nurl = "http://[::1"\n',
            'line 4: rspamd.url: found "http://[::1"; a URL is written like "http://127',
        ),
        (
            '[arc]\ndomain = "example.org"\nselector = "a b"\nkey_file = "k"\n',
            'line 5: arc.selector: found "a b"; a selector is written like "arc2026"',
        ),
        (
            '[limits]\nclient = "0/1h"\n',
            'line 4: limits.client: found "0/1h"; a rate is written like "100/1h" or "5/1m"',
        ),
        (
            "[milters.x]\n",
            "line 3: milters.x.socket: this setting is required",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write, text, mistake):
    (told,) = mistakes(write(text))
    assert told.startswith(mistake)


def test_scores_in_their_order_are_fine(write):
    config = load(write("[profiles.strict]\nhold_score = 4\ndefer_score = 6\n"))
    assert config.profiles["strict"].hold_score == 4


def test_a_domain_names_a_profile_that_there_is(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(TOP + "[profiles.strict]\n" + DOMAIN + 'profile = "strct"\n')
    (told,) = mistakes(path)
    expected = "there is no such profile; there are: default, strict"
    assert told == f'line 7: domains."example.com".profile: {expected}'


def test_a_key_file_of_many_domains_is_told_once(tmp_path):
    path = tmp_path / "t.toml"
    key = 'arc_selector = "a1"\narc_key_file = "gone.pem"\n'
    other = DOMAIN.replace("example.com", "example.net")
    path.write_text(TOP + DOMAIN + key + other + key)
    told = [one for one in warnings(load(path)) if "gone.pem" in one]
    assert len(told) == 1
    assert told[0].startswith('domains."example.com".arc_key_file: ')
