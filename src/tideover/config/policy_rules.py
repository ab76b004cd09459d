"""What is wrong between the settings of policy and the domains that name them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tideover.config.model import Config, Domain
from tideover.config.policy import Profile
from tideover.config.sources import Trouble
from tideover.config.values import write_duration

_PATIENCE: Final = {"greet_delay": 60.0, "stage_timeout": 240.0, "message_timeout": 540.0}
"""Seconds that may be set at most: a minute less than clients have to wait, or far less."""


class PolicyRules:
    """The rules of one configuration, of which its main part is valid."""

    def __init__(self, config: Config) -> None:
        self._profiles = {"default", *config.profiles}

    def broken_by(self, domain: Domain) -> Iterator[Trouble]:
        """What is wrong with a domain; where, counted from its table."""
        if domain.profile not in self._profiles:
            known = ", ".join(sorted(self._profiles))
            yield ("profile",), f"there is no such profile; there are: {known}"
        if domain.arc_key_file is not None and domain.arc_selector is None:
            yield ("arc_key_file",), "a key has a name in DNS: set arc_selector too"
        if domain.arc_selector is not None and domain.arc_key_file is None:
            yield ("arc_selector",), "a selector names a key: set arc_key_file too"


def broken_policy(config: Config) -> Iterator[Trouble]:
    """What is wrong between settings of the main part."""
    arc = {key: getattr(config.arc, key) for key in ("domain", "selector", "key_file")}
    missing = [key for key, value in arc.items() if value is None]
    if missing and len(missing) < len(arc):
        yield ("arc",), f"a seal needs domain, selector and key_file; missing: {', '.join(missing)}"
    for key, most in _PATIENCE.items():
        if getattr(config.policy, key) > most:
            reason = "clients do not wait longer (RFC 5321 §4.5.3.2)"
            yield ("policy", key), f"at most {write_duration(most)}: {reason}"
    if config.greylist.window <= config.greylist.delay:
        yield ("greylist", "window"), "it must be more than greylist.delay, or nobody gets in"
    for name, profile in config.profiles.items():
        for key, allowed in _broken_profile(profile):
            yield ("profiles", name, key), allowed


def _broken_profile(profile: Profile) -> Iterator[tuple[str, str]]:
    for check in profile.dry_run:
        if check not in profile.checks:
            yield "dry_run", f"{check} does not run: it is not in checks"
    harsher, bound = "reject_score", profile.reject_score
    for key, score in (("defer_score", profile.defer_score), ("hold_score", profile.hold_score)):
        if score is None:
            continue
        if score >= bound:
            yield key, f"it must be less than {harsher} ({bound:g}), or it never counts"
        harsher, bound = key, score


def key_files(config: Config) -> Iterator[tuple[str, Path]]:
    """Every file with a key or password of policy or for agents, and the setting that names it."""
    named = [("arc.key_file", config.arc.key_file),
             ("rspamd.password_file", config.rspamd.password_file),
             ("cut_off.key_file", config.cut_off.key_file)]  # fmt: skip
    for name, profile in config.profiles.items():
        named += [(f"profiles.{name}.batv_key_file", profile.batv_key_file),
                  (f"profiles.{name}.srs_key_file", profile.srs_key_file)]  # fmt: skip
    named += [(f'domains."{name}".arc_key_file', domain.arc_key_file)
              for name, domain in config.domains.items()]  # fmt: skip
    first = {file: key for key, file in reversed(named) if file is not None}
    yield from ((key, file) for file, key in reversed(first.items()))
