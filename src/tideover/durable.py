"""What is durable on disk beyond the contents of files, which their own fsync makes so."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable: of files made, renamed and removed there.

    Raises:
        OSError: they may not be.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
