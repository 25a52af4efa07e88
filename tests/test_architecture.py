"""The floors of the package: imports run downward only, and importing changes nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "impindiff"
FLOORS = {
    "errors": 0,
    "support": 1,
    "checks": 2,
    "grid": 2,
    "implicit": 2,
    "fields": 2,
    "operators": 3,
    "steppers": 3,
    "interop": 4,
    "preconditioners": 4,
    "devices": 4,
    "rollout": 5,
    "observations": 4,
    "data": 5,
    "advice": 5,
    "incompressible": 5,
    "spectral": 5,
    "training": 6,
    "inference": 7,
    "settings": 8,
    "problem": 9,
    "results": 9,
    "report": 10,
    "methods": 10,
    "problems": 10,
    "experiment": 11,
    "compare": 12,
    "pages": 12,
    "command": 13,
    "__main__": 14,
}
FILES = sorted(p for p in SOURCE.rglob("*.py") if p.parent != SOURCE or p.stem in FLOORS)


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == "impindiff":
                rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}: relative import; write it from impindiff on")
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_downward(path):
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for other in imported_rooms(path) - {room}:
        assert FLOORS[other] < FLOORS[room], f"{path} (floor {FLOORS[room]}) imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_with_an_underscore_is_its_own_rooms(path):
    room = path.relative_to(SOURCE).parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and "._" in node.module:
            assert node.module.split(".")[1] == room, f"{path} imports {node.module}"


@pytest.mark.slow
def test_import_leaves_jax_as_it_was_and_skips_what_only_the_command_needs():
    code = (
        "import jax; before = dict(jax.config.values); import sys; import impindiff; "
        "assert dict(jax.config.values) == before; "
        "heavy = {'matplotlib', 'orbax', 'pydantic', 'typer', 'rich', 'xarray', 'zarr', 'pint'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_errors_are_sentences_without_a_full_stop():
    """One form for all: they are read in lines of a log, and after other words."""
    stopped = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for text in node.exc.args:
                    last = text.values[-1] if isinstance(text, ast.JoinedStr) else text
                    if isinstance(last, ast.Constant) and str(last.value).endswith("."):
                        stopped.append(f"{path.name}:{node.lineno}")
    assert not stopped


def docstrings():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                place = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 1)}"
                yield place, ast.get_docstring(node) or "None."


def test_docstrings_begin_with_a_line_that_stands_alone():
    """A noun phrase or an imperative, with a full stop."""
    hanging = re.compile(r"(What|Of|See|Whether|How|By|In|From|With|Where|Which|Those)\b")
    wrong = []
    for place, text in docstrings():
        summary = text.split("\n\n")[0]
        if hanging.match(summary) or "\n" in summary or not summary.endswith("."):
            wrong.append(f"{place}: {summary}")
    assert not wrong


def test_docstrings_have_their_parts_in_one_order():
    """As in CONTRIBUTING.md: Arguments, Returns, Raises, and the source at the end."""
    order = ["**Arguments:**", "**Returns:**", "**Raises:**", "Source:"]
    wrong = []
    for place, text in docstrings():
        parts = re.findall(r"^(\*\*(?:Arg|Ret|Rai)\w+:?\*\*|Source:|Returns |Raises )", text, re.M)
        if parts != [part for part in order if part in parts]:
            wrong.append(f"{place}: {parts}")
    assert not wrong


def test_no_two_files_of_tests_have_one_name():
    """Pytest imports them by their names alone, and collects nothing where two are the same."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py")]
    assert not {name for name in names if names.count(name) > 1}


def test_the_page_for_contributors_has_these_floors():
    page = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", page, re.MULTILINE)
    found = {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}
    assert found == {room: floor for room, floor in FLOORS.items() if (SOURCE / room).is_dir()}
