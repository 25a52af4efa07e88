"""Comparisons with peers: the timing, a peer that is missing, and the scripts of the page."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"


@pytest.fixture(scope="module")
def common():
    sys.path[:0] = [str(PEERS), str(ROOT / "tools")]
    try:
        yield importlib.import_module("common")
    finally:
        del sys.path[:2]


def test_a_row_for_each_program_with_its_error(common):
    programs = {"once": lambda x: (x, x), "twice": lambda x: (2 * x, x)}
    rows = common.timed("4", programs, (jnp.ones(4),), lambda found: float(found[0][0]))
    assert [(row["program"], row["error"]) for row in rows] == [("once", 1.0), ("twice", 2.0)]
    assert all(0 < row["after"] < row["first"] for row in rows)


def test_a_script_without_its_peer_says_how_to_install_it_and_writes_nothing(tmp_path):
    code = (
        "import sys; from common import script; "
        "sys.argv[1:] = ['--json', 'rows.json']; script('no-such-peer', lambda quick: 1 / 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{PEERS}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("no-such-peer is not installed, its rows are left out: pip")
    assert not (tmp_path / "rows.json").exists()


def test_every_script_is_there_and_on_the_page(common):
    results = importlib.import_module("make_results")
    found = {path.stem for path in PEERS.glob("*.py")} - {"common", "run"}
    assert set(results.PEERS) == found
    stored = json.loads((ROOT / "docs" / "results" / "peers.json").read_text())
    assert set(stored["peers"]) <= found
