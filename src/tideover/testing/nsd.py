"""An NSD of its own: an authoritative DNS server of the real world, on a free loopback port.

Configuration, zones and state lie below one directory; the system's instance is not touched. No
root is needed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from tideover.config.values import Endpoint
from tideover.testing.ports import free_port

PROGRAM = "/usr/sbin/nsd"
CONTROL = "/usr/sbin/nsd-control"
_TIMEOUT = 15.0
_SURE = 10

_CONFIG = """\
server:
    ip-address: 127.0.0.1@{port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{root}"
    pidfile: "{root}/nsd.pid"
    zonelistfile: "{root}/zone.list"
    xfrdfile: "{root}/xfrd.state"
    xfrdir: "{root}"
    database: ""
    logfile: "{root}/log"
    rrl-ratelimit: 0
remote-control:
    control-enable: yes
    control-interface: "{root}/control"
"""

_ZONE = """\
$ORIGIN {origin}.
$TTL {ttl}
@ SOA ns hostmaster {serial} 3600 600 86400 {ttl}
@ NS ns
ns A 127.0.0.1
"""


def why_missing() -> str | None:
    """Why no NSD can be run here, or None."""
    absent = [program for program in (PROGRAM, CONTROL) if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (Debian: nsd)" if absent else None


class Nsd:
    """One instance. As a context manager: started, and stopped at the end.

    `zone` writes a zone, to which an SOA with the next serial is added; `reload` puts what was
    written into use. A zone whose file is broken makes the server answer SERVFAIL for it.
    """

    def __init__(self, directory: Path) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        self.serials: dict[str, int] = {}
        self._broken: set[str] = set()
        self._root = directory / "nsd"
        self._root.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def zone(self, origin: str, text: str, *, ttl: int = 300, serial: int | None = None) -> int:
        """Write a zone, which `reload` puts into use. Returns its serial."""
        known = origin in self.serials
        self._broken.discard(origin)
        serial = serial if serial is not None else self.serials.get(origin, 0) + 1
        self.serials[origin] = serial
        path = self._root / f"{origin}.zone"
        path.write_text(_ZONE.format(origin=origin, ttl=ttl, serial=serial) + text)
        later = time.time() + 2 * serial  # NSD compares times by the second
        os.utime(path, (later, later))
        if not known:
            self._write_config()
        return serial

    def break_zone(self, origin: str) -> None:
        """Start anew without the file of this zone, so that the answer is SERVFAIL."""
        (self._root / f"{origin}.zone").unlink(missing_ok=True)
        self._broken.add(origin)
        self.stop()
        self.start()

    def reload(self) -> None:
        """Put what was written into use. Returns when it is."""
        if self._process is None:
            return
        self._control("reconfig")
        self._control("reload")
        self._wait(self._serves_all, "it does not serve the new zones")

    def start(self) -> None:
        """Start it. Returns when it answers.

        Raises:
            RuntimeError: it does not.
        """
        self._write_config()
        self._process = subprocess.Popen(
            (PROGRAM, "-d", "-c", str(self._root / "nsd.conf")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait(self._serves_all, "it does not answer")

    def stop(self) -> None:
        """Stop it; the zones stay for a later start."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """Let it and all its processes die at once; the zones stay for a later start."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def freeze(self) -> None:
        """Let it hang: it stays, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """What it logged."""
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, what)

    def _write_config(self) -> None:
        text = _CONFIG.format(port=self.endpoint.port, root=self._root)
        for origin in self.serials:
            text += f'zone:\n    name: "{origin}"\n    zonefile: "{origin}.zone"\n'
        (self._root / "nsd.conf").write_text(text)

    def _control(self, verb: str) -> None:
        done = subprocess.run(
            (CONTROL, "-c", str(self._root / "nsd.conf"), verb),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
        if done.returncode:
            raise RuntimeError(f"nsd-control {verb}: {done.stdout}{done.stderr}")

    def _wait(self, ready: Callable[[], bool], trouble: str) -> None:
        deadline = time.monotonic() + _TIMEOUT
        in_a_row = 0  # for a moment the server before a reload answers beside the one after it
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            in_a_row = in_a_row + 1 if ready() else 0
            if in_a_row == _SURE:
                return
            time.sleep(0.01)
        log = self.log()[-2000:]
        self.stop()
        raise RuntimeError(f"NSD: {trouble}: {log}")

    def _serves_all(self) -> bool:
        """Whether each zone is served as it was last written."""
        whole = {name: n for name, n in self.serials.items() if name not in self._broken}
        if self._serial("nothing.invalid") is False:
            return False
        return all(self._serial(origin) == serial for origin, serial in whole.items())

    def _serial(self, origin: str) -> int | bool:
        """The serial that is served; True: an answer without one, False: none."""
        query = dns.message.make_query(origin, dns.rdatatype.SOA)
        try:
            answer = dns.query.udp(query, "127.0.0.1", 0.5, self.endpoint.port)
        except (dns.exception.DNSException, OSError):
            return False
        return int(answer.answer[0][0].serial) if answer.answer else True
