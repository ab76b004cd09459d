"""What the pages show can be used: examples are valid configurations, links lead somewhere."""

import re
from pathlib import Path

import pytest

from tideover.config.agent import load_agent
from tideover.config.load import load
from tideover.config.settings import settings as all_settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = ROOT / "src/tideover"
HEAD = 'hostname = "mx2.example.org"\ndata_dir = "data"\n'
FULL_OF_EXAMPLES = (
    "README.md", "docs/policy.md", "docs/milters.md", "docs/rspamd.md", "docs/pass-through.md",
    "docs/boundary.md", "docs/trap.md", "docs/agent.md",
)  # fmt: skip


EXAMPLE = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples(page):
    """Those that are more than some lines of a table."""
    return [text for text in EXAMPLE.findall((ROOT / page).read_text()) if "\n[" in f"\n{text}"]


@pytest.mark.parametrize("page", FULL_OF_EXAMPLES)
def test_a_page_has_examples(page):
    assert examples(page)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(text, id=f"{page}-{n}")
        for page in FULL_OF_EXAMPLES
        for n, text in enumerate(examples(page))
    ],
)
def test_an_example_is_a_valid_configuration(example, tmp_path):
    file = tmp_path / "tideover.toml"
    if example.startswith("[agent]"):
        file.write_text(example)
        load_agent(file)
        return
    text = example if "hostname =" in example else HEAD + example
    file.write_text(text.replace('user = "tideover"', ""))  # not every machine has it
    load(file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_each_case_in_which_a_judge_differs_is_named_with_its_reason():
    code = (ROOT / "tests/interop/test_auth_judges.py").read_text()
    lists = re.findall(r'by_\w+: """(.*?)"""', code, re.DOTALL)
    page = (ROOT / "docs/conformance.md").read_text()
    tables = [
        re.sub(r"\n\| \| ", " ", table) for table in page.split("\n\n") if "differs in" in table
    ]
    told = [
        set(re.findall(r"`(\w{4,})`", row)) for table in tables for row in table.splitlines()[2:]
    ]
    assert told == [set(words.split()) for words in lists]
    counts = [int(n) for n in re.findall(r"^\| [\w:. ]+ \((\d+)\) \|", page, re.MULTILINE)]
    assert counts == [len(words.split()) for words in lists]


def test_the_modules_that_pages_name_exist():
    others = {setting.name for setting in all_settings()}
    for page in sorted((ROOT / "docs").glob("*.md")):
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", page.read_text()):
            path = SOURCE / name.replace(".", "/")
            package = SOURCE / name.partition(".")[0]
            if package.is_dir() and name not in others and not name.endswith(".md"):
                assert path.is_dir() or path.with_suffix(".py").exists(), f"{page.name}: {name}"
