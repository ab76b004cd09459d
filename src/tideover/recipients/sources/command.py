"""A program that prints recipients, such as `doveadm user '*'`.

It runs without a shell, in a session of its own, with nothing on its stdin and a minimal
environment. What it prints counts only when it has ended with exit status 0. At the end, however
that comes, its whole process group is killed.
"""

import asyncio
import contextlib
import os
import pwd
import shlex
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from os.path import basename
from typing import IO, Final, cast

from tideover.config.model import Source
from tideover.config.values import source_rest, write_size
from tideover.recipients.sources.interface import Load, SourceError
from tideover.recipients.sources.reading import load_from

_IN_MEMORY: Final = 4 << 20
"""Octets of output that are not put into a temporary file."""
_MAX_TOLD: Final = 200
_MAX_STDERR: Final = 4096
_END: Final = 5.0
"""Seconds for a killed program to be gone."""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandLoader:
    """One program with its arguments. `domain`: the only one that is wanted, if so."""

    __slots__ = ("_domain", "_settings", "_text", "_wanted")

    def __init__(
        self,
        source: str,
        settings: Source,
        *,
        wanted: Callable[[str], bool] | None = None,
        domain: str | None = None,
    ) -> None:
        self._text = source_rest(source)
        self._settings = settings
        self._wanted = wanted
        self._domain = domain

    async def load(self, version: str | None, progress: Callable[[int], None]) -> Load | None:
        """As `Loader.load`; it is never known to be unchanged without being run.

        Raises:
            SourceError: it can't be run, fails, prints too much or nothing of use.
        """
        arguments = _split(self._text)
        label = basename(arguments[0])[:_MAX_TOLD]  # arguments may hold a password
        output = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed below
        try:
            await _run(arguments, label, output, self._settings.max_size)
            output.seek(0)
            return await load_from(
                output,
                label,
                self._settings,
                wanted=self._wanted,
                domain=self._domain,
                version=None,
                progress=progress,
            )
        except OSError as error:
            raise SourceError(f"{label}: {error.strerror or error}") from None
        finally:
            output.close()

    async def close(self) -> None:
        """Nothing runs between two loads."""


def _split(text: str) -> list[str]:
    """Program and arguments, quoted as for a shell.

    Raises:
        SourceError: there are none.
    """
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise SourceError(f"the command can't be parsed: {error}") from None
    if not arguments or not arguments[0]:
        raise SourceError("the command is empty")
    return arguments


async def _run(arguments: list[str], label: str, output: IO[bytes], max_size: int) -> None:
    """Run it to its end.

    Raises:
        OSError: it can't be started, or its output not be kept.
        SourceError: it fails, or prints too much.
    """
    loop = asyncio.get_running_loop()
    transport, running = await loop.subprocess_exec(
        lambda: _Running(output, max_size),
        *arguments,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    try:
        await running.failed_or_ended()
        status = transport.get_returncode()
    finally:
        running.kill()
        transport.close()  # a child in a session of its own may still hold our pipes
        await asyncio.wait([running.ended], timeout=_END)
    if running.size > max_size:
        raise SourceError(f"{label}: prints more than max_size, {write_size(max_size)}")
    if status:
        how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
        said = running.complaint()
        raise SourceError(f"{label}: {how}" + (f": {said}" if said else ""))


def _environment() -> dict[str, str]:
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir  # after a change of user HOME is still root's
    except KeyError:
        home = "/"
    return {"PATH": os.environ.get("PATH", _PATH), "LANG": "C.UTF-8", "HOME": home}


class _Running(asyncio.SubprocessProtocol):
    """Takes in what a program prints, up to `max_size` octets with its complaints."""

    def __init__(self, output: IO[bytes], max_size: int) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.size = 0
        self._failed: asyncio.Future[None] = loop.create_future()
        self._output = output
        self._max_size = max_size
        self._complaint = b""
        self._group: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        # cast: uvloop's is none by name
        self._group = cast("asyncio.SubprocessTransport", transport).get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A piece of its stdout or stderr."""
        self.size += len(data)
        if self._failed.done():
            return
        if self.size > self._max_size:
            self._failed.set_result(None)
        elif fd != 1:
            self._complaint = (self._complaint + data)[:_MAX_STDERR]
        else:
            try:
                self._output.write(data)
            except (OSError, ValueError) as error:  # a full disk; closed
                self._failed.set_exception(error)

    def process_exited(self) -> None:
        """It has ended; children of it that still hold our pipes must not keep us waiting."""
        self.kill()

    def kill(self) -> None:
        """Kill its whole process group."""
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and its pipes are closed."""
        if not self.ended.done():
            self.ended.set_result(None)

    async def failed_or_ended(self) -> None:
        """Wait for its end, or until no more of it can be used.

        Raises:
            OSError: its output can't be kept.
        """
        await asyncio.wait([self.ended, self._failed], return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            self._failed.result()

    def complaint(self) -> str:
        """The first line that it wrote to stderr."""
        lines = self._complaint.decode(errors="replace").splitlines()
        text = next((line.strip() for line in lines if line.strip()), "")
        return "".join(sign if sign.isprintable() else "?" for sign in text)[:_MAX_TOLD]
