import os

import pytest

from tideover.config.check import warnings
from tideover.config.directory import MAX_FILE
from tideover.config.domains import UNREADABLE
from tideover.config.explain import in_force
from tideover.config.load import load, load_to_serve
from tideover.config.mistakes import MAX_MISTAKES, ConfigError

TOP = 'hostname = "mx2.example.org"\ndata_dir = "d"\nuser = "root"\ndomains_dir = "domains"\n'
GOOD = 'primary = ["10.0.0.1"]\nrecipients = ["file:x"]\n'


@pytest.fixture
def main(tmp_path):
    (tmp_path / "domains").mkdir()
    (tmp_path / "x").write_text("user\n")
    path = tmp_path / "t.toml"
    path.write_text(TOP)
    return path


@pytest.fixture
def put(main):
    def put(name, text=GOOD):
        (main.parent / "domains" / f"{name}.toml").write_bytes(
            text if isinstance(text, bytes) else text.encode()
        )

    return put


def said(loaded):
    return [f"{m.file.rpartition('/')[2]}: {m}" for m in loaded.files.mistakes]


def refused(path, before=None):
    with pytest.raises(ConfigError) as caught:
        load_to_serve(path, before)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_each_file_is_a_domain_with_paths_from_the_main_file_on(main, put):
    put("A.example")
    put("bücher.example", GOOD + 'message_lifetime = "1d"\n')
    config = load(main)
    assert sorted(config.domains) == ["a.example", "xn--bcher-kva.example"]
    assert config.domains["a.example"].recipients == (f"file:{main.parent}/x",)
    assert config.domains["xn--bcher-kva.example"].message_lifetime == 86400


def test_domains_of_the_main_file_and_of_the_directory_are_served_together(main, put):
    main.write_text(TOP + f'[domains."m.example"]\n{GOOD}')
    put("a.example")
    assert sorted(load(main).domains) == ["a.example", "m.example"]


def test_only_toml_files_count_and_others_that_look_so_are_named(main, put):
    put("a.example")
    put("not a domain")
    (main.parent / "domains/README").write_text("x")
    (main.parent / "domains/.a.toml").write_text("x")
    (main.parent / "domains/a.example.toml~").write_text("x")
    loaded = load_to_serve(main)
    assert list(loaded.config.domains) == ["a.example"]
    assert list(warnings(loaded.config, loaded.files)) == [
        "domains_dir: not a domain.toml is left out: its name is no domain"
    ]


def test_C2_a_link_that_leads_nowhere_costs_its_domain_time_and_not_its_mail(main, put):
    put("a.example")
    elsewhere = main.parent / "elsewhere.toml"
    elsewhere.write_text(GOOD)
    (main.parent / "domains/l.example.toml").symlink_to(elsewhere)
    before = load_to_serve(main)
    elsewhere.unlink()
    fresh, again = load_to_serve(main), load_to_serve(main, before)
    assert fresh.config.domains["l.example"] is UNREADABLE
    assert again.config.domains["l.example"] is before.config.domains["l.example"]
    assert said(fresh) == ["l.example.toml: can't be read: No such file or directory"]


def test_C2_all_mistakes_are_named_with_file_and_line_and_spoil_only_their_domain(main, put):
    put("a.example")
    put("b.example", 'primary = ["10.0.0.1"]\n\nrecipient = ["file:x"]\nprimray = 3\n')
    put("c.example", "primary = \n")
    put("d.example", b'primary = "\xff"\n')
    put("e.example", "")
    put("f.example", "x" * (MAX_FILE + 1))
    put("g.example", 'primary = "mx"\nrecipients = ["sql:people"]\n')
    os.mkfifo(main.parent / "domains/h.example.toml")
    (main.parent / "domains/i.example.toml").mkdir()
    loaded = load_to_serve(main)
    assert said(loaded) == [
        "b.example.toml: recipients: this setting is required",
        'b.example.toml: line 3: recipient: there is no such setting; did you mean "recipients"?',
        'b.example.toml: line 4: primray: there is no such setting; did you mean "primary"?',
        "c.example.toml: line 1: column 11: not TOML: Invalid value",
        "d.example.toml: TOML is written in UTF-8; here is not",
        "e.example.toml: primary: this setting is required",
        "e.example.toml: recipients: this setting is required",
        "f.example.toml: larger than 64 KiB",
        (
            "g.example.toml: line 2: recipients[0]: its details are missing: add "
            '[sources."sql:people"] with url and query'
        ),
        "h.example.toml: primary: this setting is required",
        "h.example.toml: recipients: this setting is required",
        "i.example.toml: can't be read: Is a directory",
    ]
    domains = loaded.config.domains
    assert {name for name in domains if domains[name] is UNREADABLE} == {
        f"{letter}.example" for letter in "bcdefghi"
    }
    assert loaded.files.held == 8


def test_C2_a_broken_file_keeps_the_settings_that_the_daemon_has(main, put):
    put("a.example")
    put("b.example")
    first = load_to_serve(main)
    put("a.example", "broken")
    put("b.example", GOOD + 'honeypots = "swallow"\n')
    second = load_to_serve(main, first)
    assert second.config.domains["a.example"] == first.config.domains["a.example"]
    assert second.config.domains["b.example"].honeypots == "swallow"
    assert (second.files.kept, second.files.held, len(second.files.mistakes)) == (1, 0, 1)
    third = load_to_serve(main, second)
    assert third.config.domains["a.example"] == first.config.domains["a.example"]


def test_C2_a_file_that_was_broken_at_the_start_is_good_after_a_reload(main, put):
    put("a.example", "broken")
    first = load_to_serve(main)
    second = load_to_serve(main, first)
    assert second.config.domains["a.example"] is UNREADABLE
    assert (second.files.kept, second.files.held) == (0, 1)
    put("a.example")
    third = load_to_serve(main, second)
    assert third.config.domains["a.example"].primary == (("10.0.0.1", 25),)
    assert not third.files.mistakes


def test_the_domains_of_a_removed_file_are_ours_no_more(main, put):
    put("a.example")
    put("b.example")
    first = load_to_serve(main)
    (main.parent / "domains/a.example.toml").unlink()
    assert list(load_to_serve(main, first).config.domains) == ["b.example"]


def test_a_domain_twice_is_taken_from_the_main_file_and_named(main, put):
    main.write_text(TOP + f'[domains."a.example"]\n{GOOD}honeypots = "swallow"\n')
    put("a.example")
    put("BÜCHER.example")
    put("xn--bcher-kva.example")
    loaded = load_to_serve(main)
    assert said(loaded) == [
        "a.example.toml: a.example is there already, in the main file",
        (
            "xn--bcher-kva.example.toml: xn--bcher-kva.example is there already, in another "
            "spelling in this directory"
        ),
    ]
    assert loaded.config.domains["a.example"].honeypots == "swallow"
    assert len(loaded.config.domains) == 2


def test_C3_a_directory_that_is_not_there_is_a_mistake_of_the_whole(main):
    (main.parent / "domains").rmdir()
    assert refused(main) == [
        f"line 4: domains_dir: {main.parent}/domains can't be read: No such file or directory"
    ]


def test_C3_an_empty_directory_never_replaces_a_full_one(main, put):
    assert load_to_serve(main).config.domains == {}
    put("a.example")
    before = load_to_serve(main)
    (main.parent / "domains/a.example.toml").unlink()
    found = refused(main, before)
    assert len(found) == 1
    assert "domains holds no domain any more, and held 1: is it mounted?" in found[0]


def test_mistakes_of_the_main_file_and_of_the_directory_are_told_at_once(main, put):
    main.write_text(TOP + f'[domains."a..b"]\n{GOOD}')
    put("a.example", "broken")
    found = refused(main)
    assert [text.partition(":")[0] for text in found] == ["line 5", "line 1"]


def test_so_many_mistakes_are_bounded(main, put):
    for number in range(MAX_MISTAKES + 3):
        put(f"d{number}.example", "")
    loaded = load_to_serve(main)
    assert len(loaded.files.mistakes) <= MAX_MISTAKES + 2
    assert loaded.files.more > 0
    error = ConfigError(main, loaded.files.mistakes, loaded.files.more)
    assert str(error.mistakes[-1]).startswith("and ")


def test_what_is_in_force_is_told_of_the_directory_too(main, put):
    put("A.example")
    put("b.example", "broken")
    rows = {row.key: (row.value, row.origin) for row in in_force(load(main), main)}
    assert rows['domains."a.example".primary'] == ('["10.0.0.1:25"]', "file")
    assert rows['domains."a.example".honeypots'] == ('"reject"', "default")
    assert rows['domains."b.example".recipients'] == ("[]", "default")


def test_equal_texts_share_one_value(main, put):
    put("a.example")
    put("b.example")
    domains = load(main).domains
    assert domains["a.example"] is domains["b.example"]


def test_what_did_not_change_is_the_same_object_after_a_reload(main, put):
    main.write_text(TOP + f'[domains."m.example"]\n{GOOD}')
    put("a.example", GOOD + "# one\n")
    put("b.example", GOOD + "# two\n")
    before = load_to_serve(main)
    put("b.example", GOOD + 'honeypots = "swallow"\n')
    after = load_to_serve(main, before)
    same = {n for n in after.config.domains if after.config.domains[n] is before.config.domains[n]}
    assert same == {"a.example", "m.example"}
