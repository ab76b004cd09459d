"""A disk that fails when told to, for a process under test.

The process runs with a small library (faulty_disk.c) in front of the C library's write, fsync and
the like. What happens to files below a directory is told by a control file, at any time::

    disk = FaultyDisk(tmp_path / "shim", under=data_dir)
    process = subprocess.Popen([...], env=os.environ | disk.environment)
    disk.fail("sync", "EIO")
    disk.recover()
"""

import subprocess
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

Call = Literal["write", "sync", "size", "open"]
"""write and pwrite; fsync and fdatasync; ftruncate; opening for writing."""

Error = Literal["ENOSPC", "EIO", "EROFS"]


class FaultyDisk:
    """Faults for files below `under`. Needs gcc; builds the library in `workshop`."""

    def __init__(self, workshop: Path, *, under: Path) -> None:
        """Build the library.

        Raises:
            FileNotFoundError: there is no gcc.
            subprocess.CalledProcessError: it can't be built.
        """
        workshop.mkdir(parents=True, exist_ok=True)
        library = workshop / "faulty_disk.so"
        self._control = workshop / "faults"
        with as_file(files("tideover.testing").joinpath("faulty_disk.c")) as source:
            command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(source)]
            subprocess.run([*command, "-ldl"], check=True, timeout=60)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTY_DISK_UNDER": str(under.resolve()),
            "FAULTY_DISK_CONTROL": str(self._control),
        }

    def fail(self, call: Call, error: Error, *, name: str = "") -> None:
        """From now on this call fails, on files whose name ends with `name`."""
        self._set(f"{call} {error} {name}")

    def delay(self, call: Call, milliseconds: int, *, name: str = "") -> None:
        """From now on this call takes so much longer."""
        self._set(f"{call} {milliseconds} {name}")

    def recover(self) -> None:
        """The disk is sound again."""
        self._set("")

    def _set(self, text: str) -> None:
        fresh = self._control.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._control)
