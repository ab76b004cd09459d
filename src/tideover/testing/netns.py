"""Networks of Linux network namespaces: hosts and routers with routes of their own, as root."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

_numbers = count()


@cache
def why_missing() -> str | None:
    """Why there can't be any here; None when there can."""
    if shutil.which("ip") is None:
        return "not installed: ip (iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"tideover-{os.getpid()}-try"
    done = _ip("netns", "add", name, check=False)
    if done.returncode:
        return f"the kernel gives no network namespace: {done.stderr.decode().strip()}"
    try:
        made = _ip("-n", name, "link", "add", "name", "tda", "type", "veth", check=False)
        return f"no veth: {made.stderr.decode().strip()}" if made.returncode else None
    finally:
        _ip("netns", "del", name, check=False)


@dataclass(frozen=True)
class Namespace:
    """One host or router."""

    name: str

    def ip(self, *arguments: str) -> None:
        """Run `ip` in it."""
        _ip("-n", self.name, *arguments)

    def set(self, key: str, value: str) -> None:
        """Set a kernel setting, as `net/ipv4/ip_forward`."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/{key}")

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in it."""
        return subprocess.run(self.command(*command), check=check, capture_output=True, timeout=30)

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401
        """Start a command in it; ending it is the caller's."""
        return subprocess.Popen(self.command(*command), **options)

    def command(self, *command: str) -> Sequence[str]:
        """The command line that runs it in here."""
        return ("ip", "netns", "exec", self.name, *command)


@contextmanager
def namespaces(*names: str) -> Iterator[tuple[Namespace, ...]]:
    """Hosts with nothing but loopback; all gone at the end, with their links."""
    with ExitStack() as stack:
        made = []
        for name in names:
            space = Namespace(f"tideover-{os.getpid()}-{next(_numbers)}-{name}")
            _ip("netns", "add", space.name)
            stack.callback(_ip, "netns", "del", space.name, check=False)
            space.ip("link", "set", "lo", "up")
            made.append(space)
        yield tuple(made)


def link(one: Namespace, address: str, other: Namespace, other_address: str) -> None:
    """A cable between two; addresses with their prefix length, IPv4 or IPv6."""
    number = next(_numbers)
    ends = f"td{number}a", f"td{number}b"
    one.ip(
        "link", "add", "name", ends[0], "type", "veth", "peer", "name", ends[1], "netns", other.name
    )
    for space, end, its in ((one, ends[0], address), (other, ends[1], other_address)):
        # without duplicate address detection: an IPv6 address may be used at once (RFC 4862 §5.4)
        space.ip("addr", "add", its, "dev", end, *(["nodad"] if ":" in its else []))
        space.ip("link", "set", end, "up")


def _ip(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(("ip", *arguments), capture_output=True, check=False, timeout=30)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done
