"""What an operator hears of a key that can't be used."""

import os

import pytest

from tideover.agent.keys import AgentKeyError, make_key, private_key


def test_a_key_that_is_missing_names_its_cure(tmp_path):
    with pytest.raises(AgentKeyError, match=r"there is no such key; make it with: tideover agent"):
        private_key(tmp_path / "a.key")


def test_a_key_of_somebody_else_names_its_cure(tmp_path, monkeypatch):
    make_key(tmp_path / "a.key")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(AgentKeyError, match=r"a\.key: its owner alone may read it: chown it to"):
        private_key(tmp_path / "a.key")
