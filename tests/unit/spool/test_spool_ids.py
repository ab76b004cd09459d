"""Queue ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.spool.ids import EPOCH, IdSource, first_id_of, id_number, id_text

numbers = st.integers(0, 2**49 - 1)


@given(numbers, numbers)
def test_text_sorts_like_numbers_and_comes_back(one, other):
    assert (id_text(one) < id_text(other)) == (one < other)
    assert id_number(id_text(one)) == one
    assert len(id_text(one)) == 10
    assert id_text(one).isalnum()


@pytest.mark.parametrize("text", ["", "0", "000000000I", "000000000a", "00000000000", "Z" * 10])
def test_other_texts_are_no_ids(text):
    with pytest.raises(ValueError, match="not a queue id"):
        id_number(text)


@given(st.lists(st.floats(0, 2e9)), numbers.filter(lambda n: n < 2**48))
def test_ids_grow_whatever_the_clock_does(times, last):
    source = IdSource(last)
    made = [id_number(source.next(time)) for time in times]
    assert all(one < other for one, other in zip([last, *made], made, strict=False))


def test_ids_tell_the_time():
    number = id_number(IdSource().next(EPOCH + 1.5))
    assert number >> 8 == 1500
    assert first_id_of(EPOCH + 1.5) == number
    assert first_id_of(0) == 0


def test_ids_end():
    with pytest.raises(OverflowError):
        IdSource(2**49 - 1).next(EPOCH)
