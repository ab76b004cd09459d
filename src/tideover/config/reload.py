"""What a reload can't change while the daemon runs."""

from tideover.config.model import Config

_FIXED = (
    ("hostname",),
    ("data_dir",),
    ("user",),
    ("smtp", "listen"),
    ("smtp", "max_connections"),
    ("console", "listen"),
    ("console", "tls_certificate"),
    ("console", "tls_key"),
    ("log", "max_size"),
    ("trap", "listen"),
    ("trap", "nolisting"),
)
"""Bound to sockets, files or rights that exist once, from the start to the end of the process."""


def restart_needed(old: Config, new: Config) -> tuple[str, ...]:
    """The settings that differ and wait for a restart, as dotted keys; all others apply at once."""
    return tuple(".".join(path) for path in _FIXED if _at(old, path) != _at(new, path))


def _at(config: Config, path: tuple[str, ...]) -> object:
    value: object = config
    for part in path:
        value = getattr(value, part)
    return value
