"""The pages of docs/: their commands are those of the program, their Python is tested code."""

import ast
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

import impindiff as ipd
from impindiff.command.cli import app

ROOT = Path(__file__).parents[1]
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*OUTSIDE, *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = typer.main.get_command(app)


def console_lines(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.split("#")[0].strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_are_known_with_their_options(page):
    for line in console_lines(page):
        program, *arguments = shlex.split(line, comments=True)
        if program != "impindiff":
            continue
        assert arguments, line
        command = COMMAND.commands[arguments[0]]  # pyright: ignore[reportAttributeAccessIssue]
        # raises for an option or a value that there is not
        command.make_context(arguments[0], arguments[1:], resilient_parsing=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_targets_scripts_and_extras_are_there(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    written = re.findall(r'```python title="([^"]+)"', page.read_text())
    for line in console_lines(page):
        program, *arguments = shlex.split(line, comments=True)
        if program == "make":
            assert arguments[0] in targets, line
        elif program == "python" and arguments[0] not in written:
            assert (ROOT / arguments[0]).is_file(), line
    for extra in re.findall(r"impindiff\[(\w+)\]", page.read_text()):
        assert extra in project["optional-dependencies"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_of_the_library_exist(page):
    for name in re.findall(r"`ipd\.(\w+)", page.read_text()):
        assert hasattr(ipd, name), name


def test_the_page_on_models_shows_the_example_that_is_tested():
    page = (ROOT / "docs" / "start" / "your_model.md").read_text()
    block, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    example = (ROOT / "examples" / "reaction_diffusion" / "gray_scott.py").read_text()
    code = re.sub(r'^ *"""(?:.|\n)*?"""\n', "", example, flags=re.M)
    assert "".join(block.split()) == "".join(code.split())


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda p: p.name)
def test_links_from_outside_the_site_lead_to_files(page):
    """Those between pages are checked by `make docs`."""
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (ROOT / link).exists(), link


AVOIDED = {
    r"\b(tells|says|told(?! apart))\b": "a thing reports, states or returns",
    r"\bbeside\b": "next to, besides, with",
    r"\bof (one's|its|his|their|your) own\b": "its own ..., user-defined",
    r"\b(held|kept)[ -]back\b|\bheld[ -]out\b": "test set, validation set",
    r"\bthat there (is|are) not\b": "that does not exist",
    r"\bas (it is|they are) had\b": "as available",
}


def public_text():
    """(place, a line of documentation, docstring or message)."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for number, line in enumerate(page.read_text().splitlines(), 1):
            yield f"{page.relative_to(ROOT)}:{number}", line
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield f"{path.name}:{node.lineno}", " ".join(node.value.split())


@pytest.mark.slow
def test_text_is_in_the_words_of_the_field():
    found = [
        f"{place}: write {better!r}, not {match[0]!r}"
        for place, text in public_text()
        for pattern, better in AVOIDED.items()
        for match in re.finditer(pattern, text, re.I)
    ]
    assert not found


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_numbers_of_the_gallery_are_those_of_its_pages():
    gallery = ROOT / "docs" / "gallery"
    rows = re.findall(r"^\| \[.*\]\((\w+\.md)\)(.*)$", (gallery / "index.md").read_text(), re.M)
    assert len(rows) == len(list(gallery.glob("*.md"))) - 1
    for page, row in rows:
        text = (gallery / page).read_text()
        for number in re.findall(r"[\d.]+ %", row):
            assert number in text, f"{page}: {number}"


@pytest.fixture(scope="module")
def reference():
    """tools/site_reference.py, with what it writes into the site."""
    return runpy.run_path(str(ROOT / "tools" / "site_reference.py"))


def test_the_site_has_every_key_with_its_meaning(reference):
    text = reference["configuration"]()
    for key in ("seed", "solver.rtol", "training.validation", "training.shooting.segments"):
        assert f"| `{key}` |" in text
    assert "Of user-defined problems:" in text
    assert "| any |" not in text  # a type that the page does not know


def test_the_site_has_every_command_with_its_options(reference):
    text = reference["commands"]()
    for name, command in COMMAND.commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        assert all(
            option.opts[0] in section for option in command.params if option.opts[0][0] == "-"
        )


def test_generated_text_replaces_its_marker(reference):
    page = reference["on_page_markdown"]("before\n\n<!-- generated: commands -->\n")
    assert page.startswith("before\n\n## list")
    assert "generated" not in page
