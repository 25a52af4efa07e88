"""docs/evidence/claims.md and the README's table agree with the stored comparisons."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def evidence():
    """tools/make_evidence.py as a module; its neighbours are found as when it is run."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("make_evidence")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def test_the_page_is_written_from_what_is_stored(evidence):
    assert evidence.PAGE.read_text() == evidence.page()


def test_the_rows_of_the_readme_are_those_stored(evidence):
    readme = (ROOT / "README.md").read_text()
    rows = [line for line in readme.splitlines() if line.count("|") == 7]
    assert len(rows) >= 5
    assert set(rows) <= set(evidence.headline("steady").splitlines())


def test_the_tables_of_other_pages_are_written_from_what_is_stored(evidence):
    results = importlib.import_module("make_results")
    for name, (place, rows) in results.TABLES.items():
        text = (results.DOCS / place).read_text()
        assert results.between(text, name, rows()) == text, f"{place}: {name}"
    with pytest.raises(ValueError, match="no '<!-- results: "):
        results.between("a page", "results", "")


def test_every_figure_and_command_of_the_page_exists(evidence):
    from impindiff.problems import PROBLEMS

    text = evidence.PAGE.read_text()
    figures = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(figures) >= 8
    for figure in figures:
        assert (evidence.PAGE.parent / figure).is_file(), figure
    for name in [*evidence.COMPARISONS, *evidence.STUDIES]:
        assert evidence.command_of(name).split()[2] in PROBLEMS


def test_stored_results_are_small():
    stored = (ROOT / "docs" / "results").rglob("*")
    assert sum(path.stat().st_size for path in stored if path.is_file()) < 8e6


def test_a_claim_is_judged_by_its_numbers(evidence, monkeypatch):
    """Other numbers, another verdict."""
    claims = importlib.import_module("claims")
    errors = {"implicit": 1.0, "fno": 4.0, "conv_lstm": 7.0}
    monkeypatch.setattr(claims, "error", lambda name, method, time="horizon": errors[method])
    assert claims.factor("steady", "horizon") == 4.0
    assert claims.long_horizon_verdict().startswith(claims.FAILS)
    errors["fno"] = 6.0
    assert claims.long_horizon_verdict().startswith(claims.HOLDS)


@pytest.mark.slow
def test_the_page_can_be_written_again_without_a_run(tmp_path):
    code = "import make_evidence; print(len(make_evidence.page()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5000
