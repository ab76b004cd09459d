"""What a server costs: CPU time and memory of its whole process tree, disk flushes."""

import os
import re
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """The process and all its descendants that live now."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents.setdefault(int(_stat(int(name))[1]), []).append(int(name))
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu(root: int) -> float:
    """CPU seconds so far of a process tree, its ended and waited-for children included."""
    total = 0
    for pid in tree(root):
        try:
            total += sum(int(field) for field in _stat(pid)[11:15])
        except OSError:
            continue
    return total / TICKS


def memory(root: int) -> dict[str, float]:
    """Memory of a process tree: PSS counts shared pages once, RSS for each process."""
    rss = pss = processes = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        if found := dict(re.findall(r"^(Rss|Pss):\s+(\d+)", text, re.MULTILINE)):
            rss += int(found["Rss"])
            pss += int(found["Pss"])
            processes += 1
    return {
        "pss_mib": round(pss / 1024, 1),
        "rss_mib": round(rss / 1024, 1),
        "processes": processes,
    }


def flushes(directory: Path) -> int:
    """Cache flushes so far of the disk that holds `directory` (the whole machine's)."""
    device = os.stat(directory).st_dev
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[18]) if len(fields) > 18 else 0
    return 0


def settle(root: int, limit: float = 60.0) -> None:
    """Wait until a process tree has used under 3 % of a core for a second."""
    end = time.monotonic() + limit
    before, quiet = cpu(root), 0
    while time.monotonic() < end and quiet < 4:
        time.sleep(0.25)
        now = cpu(root)
        quiet = quiet + 1 if now - before <= 0.0101 else 0
        before = now
