"""The rules of the house that a tool can check: layers, purity, sizes, names, proofs."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "tideover"
MAX_FILE = 500
MAX_FUNCTION = 80

IO_AND_CHANCE = {
    "asyncio", "logging", "os", "random", "secrets", "select", "socket", "sqlite3", "ssl",
    "subprocess", "threading", "time", "uvloop",
}  # fmt: skip
PURE = ("smtp", "message", "bounce/decide.py", "outbound/schedule.py", "outbound/pacing.py")
VAGUE = re.compile(r"(^|_)(utils?|common|helpers?|misc)(_|$)")


def modules(*parts: str) -> list[Path]:
    """Every Python file under these places of the package; each place must exist."""
    found = []
    for part in parts or ("",):
        place = SRC / part
        assert place.exists(), f"{part} has moved: change this test with it"
        found += [place] if place.is_file() else sorted(place.rglob("*.py"))
    return found


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", modules(*PURE), ids=name_of)
def test_pure_modules_do_no_io(path: Path) -> None:
    banned = {name for name in imports(path) if name.split(".")[0] in IO_AND_CHANCE}
    calls = {
        node.func.id
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not banned
    assert not calls & {"open", "print", "input"}


@pytest.mark.parametrize("path", modules("smtp"), ids=name_of)
def test_the_protocol_core_needs_the_standard_library_only(path: Path) -> None:
    foreign = {
        name
        for name in imports(path)
        if not name.startswith("tideover.smtp")
        and name.split(".")[0] not in sys.stdlib_module_names
    }
    assert not foreign


# testing/ holds fakes: never part of the daemon
_MAKERS = ("spool/", "outbound/", "testing/")


def test_i1_only_a_spool_or_the_client_side_makes_a_receipt() -> None:
    makers = {
        name_of(path)
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) == "Receipt"
    }
    assert makers
    assert {maker for maker in makers if not maker.startswith(_MAKERS)} == set()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_file_is_one_concern(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_function_is_a_glance_long(path: Path) -> None:
    long = {
        f"{function.name}: {function.end_lineno - function.lineno + 1} lines"
        for function in functions(path)
        if function.end_lineno and function.end_lineno - function.lineno >= MAX_FUNCTION
    }
    assert not long


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path))
    assert not any(VAGUE.search(part) for part in path.relative_to(SRC).with_suffix("").parts)


def test_an_init_file_holds_no_code() -> None:
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    for path in SRC.rglob("__init__.py"):
        assert all(isinstance(node, allowed) for node in tree(path).body), name_of(path)


def test_nothing_reaches_up_to_the_composition_root() -> None:
    users = {name_of(p) for p in modules() if any(i == "tideover.app" for i in imports(p))}
    # besides the command line only what forks it, with its imports made, for tests
    assert {user for user in users if not user.startswith("cli/")} == {"testing/warm.py"}


def test_the_layers_hold() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run(
        [tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_invariant_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "invariants.md").read_text()
    defined = {
        f"{path.relative_to(ROOT)}::{name}"
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    sections = re.split(r"^## (?=I\d+)", text, flags=re.MULTILINE)[1:]
    assert sections
    for section in sections:
        title = section.splitlines()[0]
        named = re.findall(r"`(tests/[\w/]+\.py::test_\w+)`", section)
        assert named, f"{title} names no test"
        assert set(named) <= defined, f"{title}: {sorted(set(named) - defined)} do not exist"
