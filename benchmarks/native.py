"""The parts in C, compiled when they are needed: those that in Python would be measured too."""

import subprocess
from pathlib import Path


def compiled(name: str, work: Path, *options: str) -> Path:
    """Compile `name`.c of this folder into the directory `work`; returns the result's path."""
    result = work / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["gcc", "-O2", "-Wall", *options, "-o", result, source, "-ldl"], check=True)
    return result
