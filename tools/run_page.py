"""Runs a page of the documentation as its reader would: its files, commands and Python, in order.

    python tools/run_page.py docs/gallery/plume.md     # in a folder that is thrown away

A block with a title is a file, ```console a list of commands, any other ```python is run. Figures
of a tutorial are those its commands drew, and are kept: the picture
`../results/tutorials/NAME-FIGURE.png` of a page is `figures/FIGURE.png` of the run NAME.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# Their Python is run by tests of their own, which look at its results.
_APART = {"README.md", "training.md", "models.md"}


class Block(NamedTuple):
    """A fenced block: its language, the file that it is, if it is one, and its text."""

    language: str
    title: str | None
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in re.finditer(r'```(\w+)(?: title="([^"]+)")?\n(.*?)```', page.read_text(), re.S):
        yield Block(*found.groups())


def commands_of(block: Block) -> Iterator[list[str]]:
    """The commands of a console block, without comments and prompts."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words:
            yield words


def runs_here(page: Path, block: Block) -> bool:
    """Whether `run_page` runs this Python."""
    return block.language == "python" and page.name not in _APART


def run_page(page: Path, folder: Path, run: Callable[[list[str], Path], None]) -> None:
    """All of a page in a folder; `run` is given each command, and where to run it.

    `cd` is followed here. Python is run in one namespace, in the folder reached so far.
    """
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text)
        elif block.language == "console":
            for words in commands_of(block):
                if words[0] == "cd":
                    folder = folder / words[1]
                else:
                    run(words, folder)
        elif runs_here(page, block):
            before = Path.cwd()
            os.chdir(folder)
            try:
                exec(compile(block.text, str(page), "exec"), names)
            finally:
                os.chdir(before)


def _run(words: list[str], folder: Path) -> None:
    print("$", shlex.join(words), flush=True)
    program = {"impindiff": [sys.executable, "-m", "impindiff"], "python": [sys.executable]}
    subprocess.run([*program[words[0]], *words[1:]], cwd=folder, check=True)


def main() -> None:
    page = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_page(page, folder, _run)
        for picture in re.findall(r"\(\.\./results/tutorials/([\w-]+\.png)\)", page.read_text()):
            run, figure = picture.removesuffix(".png").rsplit("-", 1)
            (drawn,) = folder.rglob(f"runs/{run}/figures/{figure}.png")
            target = ROOT / "docs" / "results" / "tutorials" / picture
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(drawn, target)


if __name__ == "__main__":
    main()
