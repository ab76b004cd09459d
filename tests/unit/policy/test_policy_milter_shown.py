"""The header section as milters see and change it, and the edits that come out of it."""

from hypothesis import given
from hypothesis import strategies as st

from tideover.message.edits import Add, Change, Remove, added_above, edited
from tideover.message.fields import parse_header
from tideover.policy.engines.milter.shown import Shown

HEAD = b"Subject: one\r\nX-A: 1\r\nx-a:2\r\n\tfolded\r\nTo: b@example.com\r\n\r\nbody"


def shown(head=HEAD):
    return Shown(parse_header(head, whole=True))


def seen(one):
    return [name + b":" + value for name, value in one.fields()]


def stored(one, head=HEAD):
    edits = one.edits()
    return added_above(edits) + b"Received: us\r\n" + edited(parse_header(head, whole=True), edits)


def test_nothing_changed_nothing_edited():
    assert seen(shown()) == [b"Subject: one", b"X-A: 1", b"x-a:2\r\n\tfolded", b"To: b@example.com"]
    assert shown().edits() == ()


def test_added_below_all_others():
    one = shown()
    one.add(b"X-B", b" b\n\tc")
    assert one.edits() == (Add(b"X-B", b" b\r\n\tc", 4),)
    assert seen(one)[-1] == b"X-B: b\r\n\tc"
    assert stored(one).endswith(b"To: b@example.com\r\nX-B: b\r\n\tc\r\n")


def test_places_count_our_received_field():
    one = shown()
    one.insert(0, b"X-0", b" above all")
    one.insert(2, b"X-2", b" below Received")
    one.insert(3, b"X-3", b" below that")
    one.insert(4000, b"X-9", b" below all")
    assert stored(one).split(b"\r\n")[:5] == [
        b"X-0: above all", b"Received: us", b"X-2: below Received", b"X-3: below that",
        b"Subject: one",
    ]  # fmt: skip
    assert stored(one).endswith(b"X-9: below all\r\n")


def test_the_last_at_the_top_is_topmost():
    one = shown()
    one.insert(0, b"X-1", b" first")
    one.insert(0, b"X-2", b" second")
    assert one.edits() == (Add(b"X-1", b" first"), Add(b"X-2", b" second"))
    assert seen(one)[:2] == [b"X-2: second", b"X-1: first"]
    assert stored(one).startswith(b"X-2: second\r\nX-1: first\r\nReceived: us\r\n")


def test_changed_deleted_and_added_by_number():
    one = shown()
    one.change(2, b"X-A", b" two")
    one.change(0, b"subject", b"")
    one.change(7, b"X-A", b" eight")
    one.change(7, b"X-Q", b"")
    assert one.edits() == (
        Change(b"x-a", 2, b" two"), Remove(b"Subject", 1), Add(b"X-A", b" eight", 3),
    )  # fmt: skip
    assert stored(one) == (
        b"Received: us\r\nX-A: 1\r\nx-a: two\r\nTo: b@example.com\r\nX-A: eight\r\n"
    )


def test_our_own_received_can_t_be_changed():
    one = shown()
    one.change(1, b"Received", b" forged")
    assert stored(one).startswith(b"Received: us\r\n")
    assert stored(one).endswith(b"Received: forged\r\n")


def test_numbers_stay_while_one_filter_deletes_and_move_for_the_next():
    one = shown()
    one.change(1, b"X-A", b"")
    one.change(2, b"X-A", b"")
    one.settle()
    assert seen(one) == [b"Subject: one", b"To: b@example.com"]
    assert stored(one) == b"Received: us\r\nSubject: one\r\nTo: b@example.com\r\n"
    other = shown()
    other.change(1, b"X-A", b"")
    other.settle()
    other.change(1, b"X-A", b" now the first")
    assert stored(other).count(b"X-A") + stored(other).count(b"x-a") == 1


def test_a_later_filter_changes_what_an_earlier_one_added():
    one = shown()
    one.insert(0, b"X-Score", b" 1")
    one.add(b"X-Low", b" 1")
    one.settle()
    one.change(1, b"X-Score", b" 2")
    one.change(1, b"X-Low", b"")
    one.settle()
    assert one.edits() == (Add(b"X-Score", b" 2"),)


def test_no_value_forges_a_field_or_ends_the_section():
    one = shown()
    one.add(b"X-B", b" a\r\nBcc: x\n\n\nevil\rmore\r\n")
    assert stored(one).endswith(b"X-B: a\r\n\tBcc: x\r\n\tevil\r\n\tmore\r\n")


NAME = st.sampled_from([b"Subject", b"X-A", b"To", b"X-New", b"Received"])
VALUE = st.sampled_from([b"", b" v", b"w", b" l\n\tm", b"\n\tx", b" "])
WISH = st.tuples(
    st.sampled_from(["add", "insert", "change", "settle"]), st.integers(0, 8), NAME, VALUE
)


@given(st.lists(WISH, max_size=25))
def test_what_was_shown_last_is_what_is_stored(wishes):
    one = shown()
    for what, index, name, value in wishes:
        if what == "add":
            one.add(name, value)
        elif what == "settle":
            one.settle()
        else:
            getattr(one, what)(index, name, value)
    one.settle()
    lines = stored(one).replace(b"Received: us\r\n", b"", 1)
    assert lines == b"".join(line + b"\r\n" for line in seen(one))
    again = parse_header(lines + b"\r\n", whole=True)
    assert [field.name + b":" + field.value for field in again.fields] == seen(one)
    assert not again.broken
