"""The pages of the documentation run: every file, command and piece of Python, in their order.

The commands are a reader's own; where one trains or computes for long it is given a smaller
problem by options that come after its own, below.
"""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from forked_command import run_command

ROOT = Path(__file__).parents[2]
_SCRIPT = runpy.run_path(str(ROOT / "tools" / "run_page.py"))
blocks_of, commands_of = _SCRIPT["blocks_of"], _SCRIPT["commands_of"]
run_page, runs_here = _SCRIPT["run_page"], _SCRIPT["runs_here"]

PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if any(block.language == "console" or runs_here(page, block) for block in blocks_of(page))
)
BOX = {
    "grid.cells": "[16,8]",
    "truth.training_samples": "2",
    "truth.test_samples": "1",
    "truth.dt": "0.02",
    "stepper.dt": "0.025",
    "observations.times": "[0.05]",
    "forecast.until": "0.1",
    "forecast.every": "0.05",
    "forecast.bands": "false",
    "field.width": "4",
    "field.depth": "1",
    "training.steps": "2",
}
PLATE = {
    "grid.cells": "[8]",
    "refine": "1",
    "substeps": "1",
    "time.end": "0.4",
    "time.step": "0.2",
    "forecast.every": "0.2",
    "forecast.bands": "false",
    "stepper.name": "backward_euler",
    "specimens.thickness": "[1.0]",
    "specimens.test_thickness": "[0.7]",
    "observations.ct_block": "2",
    "observations.ct_times": "[0.4]",
    "observations.mass_times": "2",
    "observations.mass_until": "0.4",
    "training.steps": "2",
}
SHORT = {"training.steps": "2", "forecast.bands": "false"}
# by what the command works on
SMALLER = {
    "advection_diffusion_steady": BOX,
    "burgers": BOX,
    "advection_diffusion_dynamic": BOX,
    "burgers_public": SHORT | {"grid.cells": "256"},
    "vapor_infiltration_closure": PLATE | {"closure.knots": "2"},
    "vapor_infiltration_field": PLATE
    | {
        "grid.cells": "[8,8]",
        "field.width": "4",
        "field.depth": "1",
        "training.restart_steps": "1",
    },
    "plume.py": {"training.steps": "2", "cells": "[12,6]"},  # with bands
    "decaying.py": SHORT | {"cells": "[12,6]"},
    "closure.py": SHORT | {"stepper.dt": "0.1", "forecast.until": "0.4"},
    "gray_scott.py": {},  # as it is: the rates it finds are checked
    "cavity.py": {},  # the same
    # run whole in test_measured_examples.py
    "scratch_assay.py": SHORT,
    "scratch_laws.py": SHORT,
    "streambed_heat.py": SHORT,
    "streambed_flow.py": SHORT,
    "column_tracer.py": SHORT,
    "column_tritium.py": SHORT,
    "pumping_tests.py": SHORT,
    "radar_rain.py": SHORT | {"cell": "16"},
    "four_d_var.py": SHORT,
}
# checked in test_documents.py
NOT_RUN = {"make", "pip", "git"}


def smaller(words: list[str]) -> list[str]:
    if words[0] not in ("run", "data", "compare") or "--resume" in words:
        return words
    added = SMALLER[words[1]]
    if any(word.startswith("training.horizon") for word in words):
        added = added | {"training.steps": "201"}  # longer than its stages
    # fields of modes, not networks
    if {"examples/sensors.yaml", "examples/changing.yaml"} & set(words):
        added = {k: v for k, v in added.items() if not k.startswith("field")}
        added["field.modes"] = "6"
        added["observations.sensors"] = "64"
    if words[0] == "data":
        added = {k: v for k, v in added.items() if not k.startswith(("training", "field"))}
    options = [part for item in added.items() for part in ("--set", "=".join(item))]
    if words[0] == "compare":
        options += ["--methods", "implicit", "--seeds", "1"]
    return [*words, *options]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder for all pages, and what was done in it: a command is run once."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder, set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page, reader, public_data):
    home, done = reader

    def run(words, folder):
        program, *arguments = words
        if program in NOT_RUN or "FILE" in arguments or (folder, *words) in done:
            return
        if program == "python" and (ROOT / arguments[0]).is_file():
            return  # a benchmark or an example of the repository, which has tests of its own
        if words[1] == "fetch" and "--list" not in words:
            public_data(words[2])
        if words[1] == "compare" and any("compare" in earlier for earlier in done):
            return  # made smaller they are one and the same
        done.add((folder, *words))
        assert program in ("python", "impindiff"), f"{page.name}: no program '{program}'"
        if program == "impindiff":
            found = run_command(smaller(arguments), folder)
        else:
            command = [sys.executable, *arguments]
            found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert found.returncode == 0, f"{page.name}: {words}: {found.stdout}{found.stderr}"

    run_page(page, home, run)


def test_what_the_problems_of_the_tutorials_leave(reader):
    home, _ = reader
    run = home / "plume" / "runs" / "plume"
    page = (run / "report.html").read_text()
    assert "Misfit to the measurements" in page
    assert "class Plume(ipd.HybridModel)" in page
    decaying = json.loads((run.parent / "decaying" / "metrics.json").read_text())
    assert set(decaying["identified"]) == {"diffusivity", "decay"}
    written = runpy.run_path(str(home / "plume" / "decaying.py"))
    assert float(written["true_model"](written["Settings"]()).decay()) == pytest.approx(0.1)
    assert (home / "runs" / "closure" / "figures" / "latent.png").is_file()
    rates = json.loads((home / "runs" / "gray_scott" / "metrics.json").read_text())["identified"]
    assert set(rates) == {"feed", "kill"}
    assert len((home / "measurements.csv").read_text().splitlines()) == 501
    flow = json.loads((home / "runs" / "cavity" / "metrics.json").read_text())["identified"]
    for found in (*rates.values(), *flow.values()):
        assert found["value"] == pytest.approx(found["truth"], rel=0.01)


def test_the_tutorial_on_rates_shows_the_example():
    blocks = {b.title: b.text for b in blocks_of(ROOT / "docs" / "gallery" / "gray_scott.md")}
    for name in ("gray_scott.py", "make_data.py", "gray_scott.yaml"):
        example = (ROOT / "examples" / "reaction_diffusion" / name).read_text()
        assert blocks[name].strip() == example.strip()
    assert len(blocks["gray_scott.py"].splitlines()) <= 60


@pytest.mark.parametrize(
    "name", ["scratch_assay", "streambed_heat", "column_tracer", "pumping_tests", "radar_rain"]
)
def test_the_pages_on_measured_data_show_the_examples(name):
    for block in blocks_of(ROOT / "docs" / "gallery" / f"{name}.md"):
        if block.title is not None:
            example = (ROOT / "examples" / "measured" / block.title).read_text()
            assert block.text.strip() == example.strip()


def test_every_command_of_every_page_is_accounted_for():
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "console":
                for words in commands_of(block):
                    assert words[0] in NOT_RUN | {"impindiff", "python", "cd"}, words
