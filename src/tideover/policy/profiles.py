"""By which profile mail for a domain is judged."""

from collections.abc import Mapping
from typing import Final

from tideover.config.model import Config
from tideover.config.policy import Profile

DEFAULT: Final = Profile()


def profiles(config: Config) -> Mapping[str, Profile]:
    """All profiles by name; "default" is always there."""
    return {"default": DEFAULT} | config.profiles
