"""What rspamd's answers mean, and its header edits in all their forms."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engines
from tideover.config.findings import FINDINGS
from tideover.message.edits import Add, Change, Remove, added_above, edited
from tideover.message.fields import parse_header
from tideover.policy.engines.rspamd_answer import result_of
from tideover.policy.engines.rspamd_edits import MOST, header_edits, subject_edits

HEADER = parse_header(
    b"Received: one\r\nReceived: two\r\nSubject: Minutes\r\nX-Spam: No\r\nTo: u@e.example\r\n\r\n",
    whole=True,
)


def read(**answer):
    answer = {"action": "no action", "score": 7.25, "required_score": 15.0, **answer}
    raw = json.dumps(answer).encode()
    return result_of(raw, engines.about().message, smtputf8=False)


def edits(smtputf8=False, **milter):
    return header_edits(milter, HEADER, smtputf8=smtputf8)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("reject", "rspamd-reject"),
        ("soft reject", "rspamd-defer"),
        ("quarantine", "rspamd-quarantine"),
        ("discard", "rspamd-quarantine"),
        ("add header", "rspamd-spam"),
        ("rewrite subject", "rspamd-spam"),
    ],
)
def test_actions_are_findings(action, name):
    (found,) = read(action=action, symbols={"BAD": {"score": 7.25}}).found
    assert found.name == name
    assert FINDINGS[name].check == "rspamd"
    assert found.action is None
    assert found.reply is None
    assert found.reason == f"{action}, 7.25 of 15.00: BAD(7.25)"


@pytest.mark.parametrize("action", ["no action", "accept", "greylist", "an action of its own"])
def test_other_actions_find_nothing(action):
    result = read(action=action)
    assert not result.found
    assert result.edits is None
    assert result.evidence == {"rspamd": f"{action}, 7.25 of 15.00"}


def test_its_own_text_is_the_reply():
    text = {"smtp_message": "Matched\r\n250 fine \x1b[2J ü " + "x" * 1000}
    (rejected,) = read(action="reject", messages=text).found
    (deferred,) = read(action="soft reject", messages=text).found
    assert (rejected.reply.code, rejected.reply.enhanced) == (554, "5.7.1")
    assert (deferred.reply.code, deferred.reply.enhanced) == (451, "4.7.1")
    (line,) = deferred.reply.lines
    assert line.startswith("Matched 250 fine ?[2J ? xxx")
    assert len(line) == 200


@pytest.mark.parametrize("messages", [{"smtp_message": 3}, {"smtp_message": " "}, {"x": "y"}])
def test_without_a_text_the_default_is_said(messages):
    assert read(action="reject", messages=messages).found[0].reply is None


def test_the_heaviest_symbols_are_kept():
    symbols = {f"SYMBOL_{n}": {"score": n / 10 * (-1) ** n} for n in range(1000)}
    kept = read(symbols=symbols).evidence["rspamd-symbols"]
    assert kept.startswith("SYMBOL_999(-99.90) SYMBOL_998(99.80) ")
    assert len(kept.split()) == 30
    long = read(symbols={"X" * 5000 + str(n): {"score": n} for n in range(30)})
    assert len(long.evidence["rspamd-symbols"]) <= 700


def test_spam_is_marked_as_rspamds_own_milter_marks_it():
    assert read(action="add header").edits == (Add(b"X-Spam", b"Yes"),)


def test_a_subject_is_rewritten():
    result = read(action="rewrite subject", subject="*** Spam *** Minutes")
    assert result.edits == (Change(b"Subject", 1, b"*** Spam *** Minutes"),)
    assert read(action="add header", subject="other").edits == (Add(b"X-Spam", b"Yes"),)


def test_a_subject_is_added_where_there_is_none():
    none = parse_header(b"To: u@example.com\r\n\r\n", whole=True)
    assert subject_edits("*** Spam ***", none, smtputf8=False) == (
        Add(b"Subject", b"*** Spam ***"),
    )


def test_a_subject_in_other_letters_is_encoded():
    (change,) = subject_edits("Spam: Grüße", HEADER, smtputf8=False)
    assert change.value == b"=?utf-8?b?U3BhbTogR3LDvMOfZQ==?="
    (change,) = subject_edits("Spam: Grüße", HEADER, smtputf8=True)
    assert change.value == "Spam: Grüße".encode()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("a", [Add(b"X", b"a")]),
        (3, [Add(b"X", b"3")]),
        ({"value": "a"}, [Add(b"X", b"a")]),
        ({"value": "a", "order": 0}, [Add(b"X", b"a")]),
        ({"value": "a", "order": 1}, [Add(b"X", b"a")]),
        ({"value": "a", "order": 3}, [Add(b"X", b"a", 2)]),
        ({"value": "a", "index": 3.0}, [Add(b"X", b"a", 2)]),
        ({"value": "a", "order": 99}, [Add(b"X", b"a", 5)]),
        ({"value": "a", "order": -1}, [Add(b"X", b"a", 5)]),
        ({"value": "a", "order": -2}, [Add(b"X", b"a", 4)]),
        ({"value": "a", "order": -99}, [Add(b"X", b"a", 0)]),
        ({"value": "a", "order": "first"}, [Add(b"X", b"a")]),
        ({"value": "a", "order": 1e300}, [Add(b"X", b"a")]),
        (["a", {"value": "b", "order": -1}], [Add(b"X", b"a"), Add(b"X", b"b", 5)]),
        ({"order": 1}, []),
        ({"value": ["a"]}, []),
        ([["a"]], []),
        (True, []),
        (None, []),
    ],
)  # fmt: skip
def test_fields_are_added_in_all_forms(wanted, expected):
    assert list(edits(add_headers={"X": wanted})) == expected


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("X-Spam", 0, [Remove(b"X-Spam", 0)]),
        ("x-spam", 1, [Remove(b"x-spam", 1)]),
        ("X-Spam", -1, [Remove(b"X-Spam", -1)]),
        ("X-Spam", [1, 2], [Remove(b"X-Spam", 2), Remove(b"X-Spam", 1)]),
        ("X-Other", 0, []),
        ("X-Spam", "all", []),
        ("X-Spam", None, []),
        ("X-Spam", 1e300, []),
        ("Received", 0, [Remove(b"Received", 0)]),
        ("Received", 1, []),  # ours
        ("Received", 3, [Remove(b"Received", 2)]),
    ],
)
def test_fields_are_removed_in_all_forms(name, wanted, expected):
    assert list(edits(remove_headers={name: wanted})) == expected


def test_removals_come_before_additions():
    found = edits(add_headers={"X-Spam": "Yes"}, remove_headers={"X-Spam": 0})
    assert found == (Remove(b"X-Spam", 0), Add(b"X-Spam", b"Yes"))


@pytest.mark.parametrize("name", ["", "X:Y", "X Y", "X\r\nY", "X\0", "é", "X" * 77])
def test_a_name_that_is_none_is_left_out(name):
    assert not edits(add_headers={name: "a"}, remove_headers={name: 0})


@pytest.mark.parametrize("value", ["x" * 901, "x " * 10_000, "a\n" + "x" * 901])
def test_a_value_that_is_too_long_is_left_out(value):
    assert not edits(add_headers={"X": value})


@pytest.mark.parametrize("tables", [[], "x", 3, None, {"X": {}}])
def test_tables_that_are_none_are_left_out(tables):
    assert not edits(add_headers=tables, remove_headers=tables)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a\nb", b"a\r\n\tb"),
        ("a \r\n\t b\r\n\r\nX-Forged: c\n", b"a \r\n\t b\r\n\tX-Forged: c"),
        (" a\0b\x7f\tc", b" ab\tc"),
        ("ä\nö", b"=?utf-8?b?w6Qgw7Y=?="),
    ],
)
def test_lines_are_folded_and_control_characters_left_out(value, written):
    assert edits(add_headers={"X": value}) == (Add(b"X", written),)


def test_edits_are_bounded():
    many = {f"X-{n}": ["a"] * 1000 for n in range(1000)}
    assert len(edits(add_headers=many, remove_headers=many)) == MOST


@given(st.text(max_size=60), st.text(max_size=80), st.booleans(), st.integers(-5, 9))
def test_no_edit_forges_another_field(name, value, smtputf8, order):
    found = edits(smtputf8, add_headers={name: [value, {"value": value, "order": order}],
                                         "X-Good": value})  # fmt: skip
    written = added_above(found) + edited(HEADER, found) + b"\r\n"
    read_again = parse_header(written, whole=True)
    assert not read_again.broken
    assert len(read_again.fields) == len(HEADER.fields) + len(found)
    assert read_again.length == len(written)
    assert b"\0" not in written
