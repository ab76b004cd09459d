"""Every case of `auth_arc_cases` has the result that it should have."""

import asyncio
import re

import pytest

from auth_arc_cases import CASES, TXT
from tideover.authentication.arc.validate import arc_validate
from tideover.testing.dns import FakeNames
from tideover.testing.signing import body_of, header_of


def test_every_arc_case_has_a_name_of_its_own():
    names = [name for name, _, _ in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("message", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_arc_case(message, expected):
    names = FakeNames(txt=TXT)
    found = asyncio.run(arc_validate(header_of(message), body_of(message), names, now=1.8e9))
    assert found.result == expected, found.reason
    assert re.fullmatch("|[ -~]+", found.reason)
    if "stands above" not in found.reason:  # it passes all the same
        assert bool(found.reason) == (expected == "fail")
