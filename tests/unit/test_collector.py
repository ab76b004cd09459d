"""Collections after a large load: at most one of them takes long."""

import subprocess
import sys

_CODE = """
import gc, time
from tideover import collector
collector.begin()
kept = [{n: []} for n in range(400_000)]
times = []
for _ in range(3):
    start = time.perf_counter()
    collector.clear()
    times.append(time.perf_counter() - start)
assert gc.get_freeze_count() > 400_000, gc.get_freeze_count()
assert times[2] < times[0] / 4, times
del kept
assert gc.get_freeze_count() < 400_000, "frozen objects are freed still"
"""


def test_what_one_collection_found_alive_is_not_looked_at_by_the_next():
    # in a process of its own: what is frozen here would stay so for all other tests
    subprocess.run([sys.executable, "-c", _CODE], check=True, timeout=50)
