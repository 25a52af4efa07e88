"""A problem of one's own from its template to the report, by the command."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from running import impindiff

import impindiff as ipd

SHORT = ("--set", "training.steps=6", "--set", "training.save_every=3", "--set", "cells=[12,6]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    parent = tmp_path_factory.mktemp("own")
    done = impindiff("new", "plume", cwd=parent)
    assert "next: cd plume, then impindiff run plume.py --config plume.yaml" in done.stdout
    return parent / "plume"


@pytest.mark.slow
def test_runs_forecasts_and_reports(folder):
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written == {
        "make_data.py",
        "measurements.csv",
        "plume.py",
        "plume.schema.json",
        "plume.yaml",
        "test_plume.py",
    }
    done = impindiff("run", "plume.py", "--config", "plume.yaml", *SHORT, cwd=folder)
    assert f"data {folder / 'measurements.csv'}: 960 values of c, t = 0.05 to 0.6; " in done.stdout
    assert "; 1 sample; 640 later ones for testing" in done.stdout
    run = folder / "runs" / "plume"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["identified"]["diffusivity"]["truth"] == 0.01
    assert "misfit of c, test, 640 values" in done.stdout
    done = impindiff("forecast", "runs/plume", "--until", "1.5", "--out", "longer.nc", cwd=folder)
    assert "longer.nc: 1 samples, 51 times to 1.5" in done.stdout
    impindiff("report", "runs/plume", cwd=folder)
    page = (run / "report.html").read_text()
    assert "Misfit to the measurements" in page
    assert "class Plume(ipd.HybridModel)" in page
    again = impindiff("run", "plume.py", "--out", "runs/plume", "--resume", cwd=folder)
    assert "figures and metrics" in again.stdout


@pytest.mark.slow
def test_its_own_test_passes(folder):
    _its_own_test_passes(folder)


def _its_own_test_passes(folder):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_few_unknown_numbers_are_found_from_a_few_sensors(tmp_path):
    done = impindiff("new", "bar", "--template", "numbers", cwd=tmp_path)
    assert "next: cd bar, then impindiff run bar.py --config bar.yaml" in done.stdout
    done = impindiff("run", "bar.py", "--config", "bar.yaml", cwd=tmp_path / "bar")
    assert "the model explains these data" in done.stdout
    found = json.loads((tmp_path / "bar/runs/bar/metrics.json").read_text())["identified"]
    for number in found.values():
        assert abs(number["value"] - number["truth"]) < 3 * number["standard_error"]
        assert number["standard_error"] < 0.02 * number["truth"]
    _its_own_test_passes(tmp_path / "bar")
    impindiff("forecast", "runs/bar", "--until", "4000", cwd=tmp_path / "bar")
    run = ipd.open_run(tmp_path / "bar/runs/bar")
    longer = xr.load_dataset(run.path / "forecast_until_4000.nc", engine="h5netcdf")
    before, after = (f["T_spread"].interp(time=3000.0) for f in (run.forecast(), longer))
    np.testing.assert_allclose(after, before, rtol=0.01)
    deviation = run.posterior.standard_deviation(lambda bar: bar.diffusivity())
    assert float(deviation) == pytest.approx(found["diffusivity"]["standard_error"], rel=1e-3)
    for damaged in (b"", b"x"):
        (run.path / "posterior.npz").write_bytes(damaged)
        with pytest.raises(ipd.InputError, match=r"posterior\.npz: cannot be read as a posterior"):
            ipd.open_run(run.path).posterior  # noqa: B018
    impindiff("forecast", "runs/bar", "--until", "4000", "--no-bands", cwd=tmp_path / "bar")
    longer = xr.load_dataset(run.path / "forecast_until_4000.nc", engine="h5netcdf")
    assert "T_spread" not in longer


@pytest.mark.slow
def test_the_run_keeps_the_file_that_it_was_made_with(folder):
    impindiff("run", "plume.py", "--config", "plume.yaml", *SHORT, "--out", "kept", cwd=folder)
    original = (folder / "plume.py").read_text()
    try:
        (folder / "plume.py").write_text("raise RuntimeError('changed')\n")
        impindiff("forecast", "kept", "--until", "1.1", cwd=folder)
    finally:
        (folder / "plume.py").write_text(original)


def test_the_schema_knows_own_and_common_keys(folder):
    schema = json.loads((folder / "plume.schema.json").read_text())
    assert {"cells", "training", "stepper"} <= set(schema["properties"])
    impindiff("schema", "burgers", "--out", "burgers.json", cwd=folder)
    assert "truth" in json.loads((folder / "burgers.json").read_text())["properties"]
    printed = impindiff("schema", "plume.py", cwd=folder).stdout
    assert json.loads(printed) == schema


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "defines no problem; write one class that inherits from ipd.Problem"),
        ("import nothing_of_the_kind\n", "line 1: ModuleNotFoundError: No module named"),
        ("def broken(:\n", "line 1: SyntaxError"),
        ("x = 1\ny = x / 0\n", "line 2: ZeroDivisionError: division by zero"),
        (
            "import impindiff as ipd\nclass P(ipd.Problem):\n    pass\n",
            "P lacks model; write it",
        ),
        (
            "import impindiff as ipd\nclass P(ipd.Problem):\n    pass\nclass Q(P):\n    pass\n",
            r"defines 2 problems (P, Q)",
        ),
    ],
)
def test_says_what_is_wrong_with_the_file(tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    done = impindiff("run", "bad.py", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_refuses_names_and_folders(tmp_path):
    for name, words in {
        "two words": "cannot be the name of a Python file",
        "class": "cannot be the name of a Python file",
        "": "cannot be the name of a Python file",
        "../up": "cannot be the name of a Python file",
        "[/x]": "'[/x]' cannot be the name of a Python file",
        "a\x1b[31m": r"'a\x1b[31m' cannot be the name of a Python file",
        "\ufb01eld": "cannot be the name of a Python file",
        "numpy": "'numpy' is the name of a module that is there already",
        "impindiff": "is the name of a module that is there already",
        "xml": "is the name of a module that is there already",
        "typing": "is the name of a module that is there already",
        "make_data": "is the name of a module that is there already",
        "n" * 5000: "File name too long",
    }.items():
        done = impindiff("new", name, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    done = impindiff("new", "there", cwd=tmp_path, check=False)
    assert "is there already" in done.stderr
    done = impindiff("run", "missing.py", cwd=tmp_path, check=False)
    assert "'impindiff new missing' writes a problem" in done.stderr
