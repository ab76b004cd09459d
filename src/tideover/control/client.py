"""The tools' end of the control socket: plain blocking calls, as a tool does one thing."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tideover.control.protocol import (
    MAX_ANSWER_LINE,
    MAX_REQUEST,
    SOCKET,
    AnyRequest,
    Code,
    End,
    Failure,
    Item,
    decode_line,
    encode_call,
)

_CONNECT = 5.0
_ANSWER = 300.0


class UnreachableError(Exception):
    """The daemon does not answer. `stopped` is True when there is nobody at the socket at all."""

    def __init__(self, text: str, *, stopped: bool) -> None:
        super().__init__(text)
        self.stopped = stopped


class RefusedError(Exception):
    """The daemon answered with an error: `code` for programs, the text for people."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class ControlClient:
    """One connection; requests one after the other. Use as a context manager.

    Raises:
        UnreachableError: from the constructor and while asking.
    """

    def __init__(self, data_dir: Path, *, answer_timeout: float = _ANSWER) -> None:
        path = data_dir / SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CONNECT)
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            self._socket.close()
            text = f"the daemon does not run (nobody answers at {path})"
            raise UnreachableError(text, stopped=True) from None
        except PermissionError:
            self._socket.close()
            text = f"no right to use {path}: be root or the daemon's user"
            raise UnreachableError(text, stopped=False) from None
        except OSError as error:
            self._socket.close()
            raise UnreachableError(f"{path}: {error}", stopped=False) from None
        self._socket.settimeout(answer_timeout)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, request: AnyRequest) -> Iterator[Item]:
        """The items of the answer as they come.

        Raises:
            RefusedError: the daemon says no.
            UnreachableError: it went away or says nothing.
        """
        try:
            call = encode_call(request)
        except UnicodeEncodeError:
            raise RefusedError("bad-request", "what was typed is no text in UTF-8") from None
        if len(call) > MAX_REQUEST:
            raise RefusedError("bad-request", "too many ids at once: use filters instead")
        try:
            with suppress(BrokenPipeError):  # it may have refused us before we spoke: read why
                self._socket.sendall(call)
            while True:
                data = self._file.readline(MAX_ANSWER_LINE)
                if not data.endswith(b"\n"):
                    raise UnreachableError("the daemon ended the answer halfway", stopped=False)
                line = decode_line(data)
                if isinstance(line, End):
                    return
                if isinstance(line, Failure):
                    raise RefusedError(line.code, line.text)
                yield from line.items
        except TimeoutError:
            raise UnreachableError("the daemon takes too long to answer", stopped=False) from None
        except OSError as error:
            raise UnreachableError(f"the daemon went away: {error}", stopped=False) from None
        except msgspec.DecodeError as error:
            text = f"the daemon's answer can't be understood: {error}"
            raise UnreachableError(text, stopped=False) from None
