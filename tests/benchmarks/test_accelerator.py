"""benchmarks/accelerator.py on its smallest sizes: what it checks, what it leaves out, its page."""

import copy
import importlib
import json
import sys

import jax
import pytest

SOLVE, STEP = "multigrid solve, 16 x 16 x 16 cells", "training step, 2 x 32 x 16 cells"

pytestmark = pytest.mark.usefixtures("found")


@pytest.fixture(scope="module")
def script(found):
    return importlib.import_module("accelerator")


@pytest.fixture(scope="module")
def page(found):
    return importlib.import_module("accelerator_page")


@pytest.fixture(scope="module")
def reference(script):
    return json.loads(script.REFERENCE.read_text())


@pytest.fixture
def smallest(script, reference, monkeypatch, tmp_path):
    """One check, one solve and one product; calls the script, returns its exit code and rows."""
    sizes = script.Sizes(training=(), multigrid=((16, 16),), operators=((16, 16),), infiltration=())
    monkeypatch.setattr(script, "SMALL", sizes)
    monkeypatch.setattr(script, "CHECKS", {SOLVE: script.CHECKS[SOLVE]})
    monkeypatch.setattr(script, "FORMS", ("advection, upwind",))
    monkeypatch.setattr(script, "REPEATS", 2)

    def call(*arguments, numbers=None):
        stored, written = tmp_path / "reference.json", tmp_path / "out.json"
        numbers = numbers or {SOLVE: reference["numbers"][SOLVE]}
        stored.write_text(json.dumps({"numbers": numbers}))
        options = ["--small", "--json", str(written), "--reference", str(stored), *arguments]
        monkeypatch.setattr(sys, "argv", ["accelerator.py", *options])
        code = script.main()
        return code, json.loads(written.read_text())

    return call


@pytest.mark.slow
def test_all_rows_are_measured_and_shown(smallest, page, capsys):
    code, results = smallest()
    assert code == 0
    rows = results["rows"]
    assert [row["outcome"] for row in rows] == ["measured"] * 8
    assert {row["precision"] for row in rows} == {"float64", "float32"}
    for row in rows:
        seconds = row["seconds"]
        assert 0 < seconds["lowest"] <= seconds["median"] <= seconds["highest"]
        assert row["compile_seconds"] > 0
    double, single = (row for row in rows if row["part"] == "checks")
    assert double["errors"]["solution"] < 1e-8
    # the same program in float64 would be as near to the reference
    assert 1e-8 < single["errors"]["solution"] < 2e-4
    solves = [row for row in rows if row["part"] == "multigrid, 2-D"]
    assert all(row["converged"] and row["iterations"] > 0 for row in solves)
    section = page.section(results)
    assert section.count("| pass |") == 2
    # a table for the checks, one for all but products, one for these
    assert section.count("| float64 |") + section.count("| float32 |") == 2 + 4 + 4
    assert "**a CPU (" in section
    assert len(capsys.readouterr().out.splitlines()) == 1 + 8


@pytest.mark.slow
def test_a_number_that_is_off_fails(smallest, page, reference):
    numbers = {SOLVE: copy.deepcopy(reference["numbers"][SOLVE])}
    numbers[SOLVE]["solution"]["values"][3] *= 1.01
    code, results = smallest("--only", "checks", numbers=numbers)
    assert code == 1
    double, single = results["rows"]
    assert not double["passed"]
    assert not single["passed"]
    assert "**off**" in page.section(results)


def test_a_state_that_is_not_a_number_is_off(script):
    expected = script.fingerprint([1.0, 2.0])
    assert not script.error(script.fingerprint([1.0, float("nan")]), expected) <= 1e9


@pytest.mark.slow
def test_what_no_time_is_left_for_is_named(smallest, script, page, monkeypatch):
    monkeypatch.setattr(script, "BUDGETS", dict.fromkeys(script.BUDGETS, 0.0))
    code, results = smallest()
    assert code == 0  # the checks are done
    outcomes = [row["outcome"] for row in results["rows"]]
    assert outcomes == ["measured"] * 2 + ["out of time"] * 6
    assert page.section(results).count("**out of time**") == 6


def faulty(message):
    def measure(*_):
        raise jax.errors.JaxRuntimeError(message)

    return measure


@pytest.mark.slow
def test_what_does_not_fit_the_memory_is_named_and_other_faults_fail(
    smallest, script, page, monkeypatch
):
    monkeypatch.setattr(script, "multigrid", faulty("RESOURCE_EXHAUSTED: Out of memory allocating"))
    only = ("--only", "checks", "multigrid, 2-D")
    code, results = smallest(*only)
    assert code == 0
    assert [row["outcome"] for row in results["rows"][2:]] == ["out of memory"] * 2
    assert page.section(results).count("**out of memory**") == 2
    monkeypatch.setattr(script, "multigrid", faulty("INTERNAL: no kernel\nmore lines"))
    code, results = smallest(*only)
    assert code == 1
    assert {row["outcome"] for row in results["rows"][2:]} == {"failed: INTERNAL: no kernel"}


def test_a_check_that_cannot_run_fails(smallest, script, monkeypatch):
    monkeypatch.setattr(script, "checked", faulty("RESOURCE_EXHAUSTED: Out of memory"))
    code, results = smallest("--only", "checks")
    assert code == 1
    assert {row["outcome"] for row in results["rows"]} == {"out of memory"}


def test_rows_that_are_not_reached_are_written_before_the_first(script):
    def measure():
        return {"seen": copy.deepcopy(states[-1])}

    states = []
    case = script.Case("checks", {"program": "p", "precision": "float64"}, measure)
    rows = script.run([case, case], lambda rows: states.append(copy.deepcopy(rows)))
    first, second = rows
    assert [row["outcome"] for row in first["seen"]] == ["did not finish", "not reached"]
    assert [row["outcome"] for row in second["seen"]] == ["measured", "did not finish"]
    assert script.failed(states[0])


@pytest.mark.slow
def test_a_training_step_agrees_with_the_reference(script, reference):
    """Loss, state and gradient of the network, in both precisions."""
    for precision in ("float64", "float32"):
        with script.in_precision(precision):
            row = script.checked(script.CHECKS[STEP], precision, reference["numbers"][STEP])
        assert row["passed"], row["errors"]
        assert set(row["errors"]) == {"loss", "state", "gradient"}


def test_a_reference_of_other_checks_is_refused(smallest, script):
    with pytest.raises(SystemExit, match="of other checks; write it anew with --write-reference"):
        smallest(numbers={"another": {}})


def test_the_reference_has_every_check(script, reference):
    assert set(reference["numbers"]) == set(script.CHECKS)
    assert reference["device"]["platform"] == "cpu"
    for quantities in reference["numbers"].values():
        for of in quantities.values():
            assert of["rms"] > 0
            assert 0 < len(of["values"]) <= script.SAMPLED
