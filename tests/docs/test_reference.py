"""The generated pages are up to date, and complete."""

import subprocess
import sys
from pathlib import Path

from tideover.config.findings import CHECKS, FINDINGS
from tideover.config.settings import settings
from tideover.events.encoding import kinds

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_what_the_code_says():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_setting_and_event_is_on_its_page():
    config = (ROOT / "docs/reference/config.md").read_text()
    for setting in settings():
        assert f"| `{setting.key}` |" in config or setting.table, setting.name
    events = (ROOT / "docs/reference/events.md").read_text()
    for kind in kinds():
        assert f"## {kind.__struct_config__.tag}\n" in events


def test_every_check_and_finding_is_on_its_page():
    page = (ROOT / "docs/reference/findings.md").read_text()
    for check in CHECKS:
        assert f"\n## {check}\n\nStages: " in page, check
    for name, finding in FINDINGS.items():
        assert f"| `{name}` |" in page.partition(f"\n## {finding.check}\n")[2], name
