"""authentication.tags: tag lists of strangers have limits."""

import pytest

from tideover.authentication.tags import TagError, parse_tags


def test_a_tag_list_has_so_many_tags_at_most():
    tags = [f"a{n}=1" for n in range(100)]
    assert len(parse_tags(";".join(tags).encode())) == 100
    with pytest.raises(TagError, match="more than 100 tags"):
        parse_tags(";".join([*tags, "b=1", "c=1"]).encode())


def test_what_an_error_says_is_short():
    with pytest.raises(TagError) as error:
        parse_tags(b"a" * 8000 + b"=1;" + b"a" * 8000 + b"=1")
    assert len(str(error.value)) < 100


def test_a_tag_list_has_so_many_octets_at_most():
    with pytest.raises(TagError, match="octets"):
        parse_tags(b"a=" + b"1" * 20_000)
