"""A filter written in a few lines, with Debian's python3-milter: the real libmilter behind it.

It runs as a child process of the system's Python, and writes down what it is told.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.testing.child import Child
from tideover.testing.opendkim import takes_connections
from tideover.testing.ports import free_port

_PYTHON = Path("/usr/bin/python3")
_LIBRARY = Path("/usr/lib/python3/dist-packages/Milter")

_PROGRAM = """\
import json, sys
import Milter

def tell(*what):
    print(json.dumps(what), flush=True)

class Filter(Milter.Base):
{methods}

{setup}
Milter.factory = Filter
Milter.set_flags(Milter.ADDHDRS | Milter.CHGHDRS | Milter.QUARANTINE{flags})
Milter.runmilter("test", {socket!r}, timeout=60)
"""


def why_missing() -> str | None:
    """Why no such filter can be run here, or None."""
    present = _PYTHON.exists() and _LIBRARY.exists()
    return None if present else "not installed: python3-milter (Debian: python3-milter)"


class PythonMilter:
    """One filter. As a context manager: started, and stopped at the end.

    `methods` is the body of its class, not indented; `tell(...)` in it writes a record, which
    `told` gives back; `setup` is run after it. `flags` are names of further actions that it asks
    for. With `unix` it listens at a socket of that name, which has to be short.
    """

    def __init__(
        self,
        directory: Path,
        methods: str,
        *,
        setup: str = "",
        flags: tuple[str, ...] = (),
        unix: str = "",
    ) -> None:
        port = free_port()
        root = directory / f"milter-{port}"
        root.mkdir(parents=True)
        if unix:
            self.address = SocketAddress(None, unix)
        else:
            self.address = SocketAddress(Endpoint("127.0.0.1", port), "")
        script = root / "filter.py"
        script.write_text(
            _PROGRAM.format(
                methods="".join(f"    {line}\n" for line in methods.splitlines()),
                setup=setup,
                flags="".join(f" | Milter.{flag}" for flag in flags),
                socket=f"unix:{unix}" if unix else f"inet:{port}@127.0.0.1",
            )
        )
        self.child = Child(
            (str(_PYTHON), "-I", str(script)),
            root / "output",
            lambda: takes_connections(self.address),
        )

    def __enter__(self) -> Self:
        self.child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.kill()

    @property
    def told(self) -> list[Any]:
        """What it wrote down, oldest first."""
        return [json.loads(line) for line in self.child.log().splitlines() if line.startswith("[")]
