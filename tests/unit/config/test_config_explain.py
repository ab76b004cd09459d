import os
import shutil
from pathlib import Path

import pytest

from tideover.config.check import warnings
from tideover.config.explain import UnknownSettingError, example, explain, find, in_force
from tideover.config.load import load
from tideover.config.locate import data_dir
from tideover.config.settings import settings


def test_every_setting_has_a_text_that_is_a_sentence():
    for setting in settings():
        assert setting.text[:1].isupper(), setting.name
        assert setting.text.endswith((".", ")")), setting.name


def test_settings_of_the_top_come_before_all_tables():
    """After a table's header they would belong to it."""
    top = [setting.table for setting in settings() if len(setting.path) == 1]
    assert top == sorted(top)


def test_the_example_loads_cleanly(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(example())
    assert load(path).hostname == "mx2.example.org"


def test_the_example_names_every_setting():
    for setting in settings():
        if not setting.table:
            assert f"{setting.key} =" in example(), setting.name


def test_the_examples_defaults_are_the_defaults(tmp_path):
    """Commented-out lines with a value, put in force, change nothing."""
    path, bare = tmp_path / "t.toml", tmp_path / "bare.toml"
    bare.write_text(example())
    lines = []
    for line in example().splitlines():
        key, equals, value = line.removeprefix("# ").partition(" = ")
        commented = line.startswith("# ") and equals and key.isidentifier()
        lines.append(f"{key} = {value}" if commented and not value.startswith(" ") else line)
    path.write_text("\n".join(lines))
    assert load(path) == load(bare)


def test_explain_says_type_form_and_default():
    text = explain(find("smtp.listen"))
    assert "list of address" in text
    assert '"127.0.0.1:25"' in text
    assert '["0.0.0.0:25", "[::]:25"]' in text
    assert "it is required" in explain(find("hostname"))
    assert "at least 100" in explain(find("smtp.max_recipients"))
    assert "smtp.tls_key" in explain(find("smtp"))
    assert "domains.NAME.primary" in explain(find("domains"))
    assert find('domains."example.com".primary').name == "domains.NAME.primary"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("smtp.lisen", "smtp.listen"), ("listen", "smtp.listen or trap.listen"), ("xyzzy", None)],
)
def test_an_unknown_setting_has_its_nearest(key, nearest):
    with pytest.raises(UnknownSettingError) as caught:
        find(key)
    assert (f"did you mean {nearest}" in str(caught.value)) if nearest else True
    assert ("did you mean" in str(caught.value)) == bool(nearest)


def test_what_is_in_force_and_where_it_comes_from(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        'hostname = "mx2.example.org"\ndata_dir = "d"\n[smtp]\ncommand_timeout = "90s"\n'
        '[domains."Example.COM"]\nprimary = "mx"\nrecipients = ["file:x"]\n'
        '[domains."b.example"]\nprimary = ["10 in1", "20 in2:26"]\nrecipients = ["file:x"]\n'
    )
    found = {row.key: (row.value, row.origin) for row in in_force(load(path), path)}
    assert found["smtp.command_timeout"] == ('"1m30s"', "file")
    assert found["smtp.data_timeout"] == ('"3m"', "default")
    assert found["user"] == (None, "default")
    assert found['domains."example.com".primary'] == ('"mx"', "file")
    assert found['domains."b.example".primary'] == ('["10 in1:25", "20 in2:26"]', "file")
    assert found['domains."example.com".when_primary_up'] == ('"auto"', "default")


def test_warnings(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        'hostname = "mx2.example.org"\ndata_dir = "d"\nuser = "root"\n[smtp]\n'
        'tls_certificate = "cert.pem"\n[domains."a.example"]\nprimary = "mx"\n'
        'recipients = ["file:."]\n[domains."b.example"]\nprimary = "mx"\nrecipients = ["file:b"]\n'
    )
    (tmp_path / "b").write_text("user\n")
    assert list(warnings(load(path))) == [
        (
            f'domains."a.example".recipients: {tmp_path}/. is a directory; until it can be read, '
            "recipients get 4xx"
        ),
        (
            f"smtp.tls_certificate: {tmp_path}/cert.pem does not exist; until it can be read, a "
            "self-made one is used"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('data_dir = "x"\n[smtp]\nlisten = broken', "x"),
        ("hostname = 3\ndata_dir = '/abs'\n", "/abs"),
        ("[smtp]\n", None),
        ("data_dir = 3\n", None),
        ("not toml\n", None),
    ],
)
def test_the_data_directory_is_found_without_checking_the_rest(tmp_path: Path, text, found):
    path = tmp_path / "t.toml"
    path.write_text(text)
    assert data_dir(path) == (None if found is None else tmp_path / found)


def test_no_data_directory_without_a_file(tmp_path):
    assert data_dir(tmp_path / "none") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_key_that_the_daemons_user_may_not_read(tmp_path):
    path, key = tmp_path / "t.toml", tmp_path / "backup.key"
    path.write_text(
        'hostname = "mx2.example.org"\ndata_dir = "d"\nuser = "nobody"\n'
        '[cut_off]\nkey_file = "backup.key"\n[domains."a.example"]\nprimary = "mx"\n'
        'recipients = ["learn"]\n'
    )
    key.touch(0o600)
    assert list(warnings(load(path))) == [
        (
            f"cut_off.key_file: {key} can't be read by nobody (chown nobody {key}); until it can "
            "be read, its purpose is not served"
        )
    ]
    shutil.chown(key, "nobody")
    assert list(warnings(load(path))) == []
