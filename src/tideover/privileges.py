"""What the daemon is to the operating system: its user and its limits."""

import os
import pwd
import resource
import sys
from pathlib import Path


class PrivilegeError(Exception):
    """The daemon can't become the user it is to be. The text says why."""


def raise_file_limit() -> int:
    """As many open files as the system lets us have, and how many these are: each connection is
    one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def prepare_directory(path: Path, user: str | None) -> None:
    """Make the data directory, private to the user that the daemon goes on as.

    Raises:
        PrivilegeError: it can't be made, or not be written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if user is not None and os.geteuid() == 0:
            entry = _entry(user)
            if path.stat().st_uid != entry.pw_uid:
                _give_away(path, entry)
    except OSError as error:
        raise PrivilegeError(f"data_dir {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise PrivilegeError(
            f"data_dir {path} is not writable for us; give it to the daemon's user"
        )


def drop(user: str | None) -> None:
    """Go on as `user`, for good, when we are root. Without `user` nothing changes.

    Raises:
        PrivilegeError: no such user, or the system refuses.
    """
    if user is None or os.geteuid() != 0:
        return
    entry = _entry(user)
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise PrivilegeError(f"can't go on as user {user}: {error.strerror}") from None


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"there is no user {user!r}; make one, or change `user`") from None


def _give_away(path: Path, entry: pwd.struct_passwd) -> None:
    """The directory and what is in it: made by root, or by another user before a change."""
    os.chown(path, entry.pw_uid, entry.pw_gid)
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(Path(folder, name), entry.pw_uid, entry.pw_gid, follow_symlinks=False)
