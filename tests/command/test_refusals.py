"""Wrong input: one line, exit code 2, no traceback, nothing written."""

import sys

import numpy as np
import pytest
import xarray as xr

from impindiff import cli

CASE = "advection_diffusion_steady"


def refused(capsys, monkeypatch, *arguments):
    """The one line that the command prints on standard error."""
    monkeypatch.setattr(sys, "argv", ["impindiff", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    return lines[0]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.stpes=5", ["training.stpes", "'steps'"]),
        ("training.steps=many", ["training.steps", "many"]),
        ("training.steps=0", ["training.steps", "1"]),
        ("stepper.name=euler", ["stepper.name", "crank_nicolson", "rk4"]),
        ("stepper.dt=-0.1", ["stepper.dt", "0"]),
        ("grid.cells=[128]", ["grid.cells"]),
        ("grid.upper=[-2, 1]", ["lower must be below upper"]),
        ("observations.times=[0.3]", ["observations.times", "0.3", "0.2"]),
        ("observations.sensors=9000", ["observations.sensors", "8192"]),
        ("observations.noise=-1", ["observations.noise"]),
        ("truth.refine=3", ["truth.refine", "1, 2"]),
        ("precision=float16", ["precision", "float64"]),
        ("grid.boundary=[zero_gradient, periodic]", ["grid.boundary", "data.path"]),
        ("data.path=absent.nc", ["absent.nc", "no such file"]),
        ("nothing", ["KEY=VALUE"]),
    ],
)
def test_configuration(capsys, monkeypatch, tmp_path, override, parts):
    small = ["--set", "truth.dt=0.05", "--set", "truth.training_samples=1"]
    line = refused(
        capsys, monkeypatch, "run", CASE, *small, "--set", override, "--out", tmp_path / "run"
    )
    for part in parts:
        assert part in line
    assert not (tmp_path / "run").exists()


def test_case_and_folders(capsys, monkeypatch, tmp_path):
    assert CASE in refused(capsys, monkeypatch, "run", "advektion")
    (tmp_path / "note.txt").write_text("mine")
    assert "not empty" in refused(capsys, monkeypatch, "run", CASE, "--out", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]
    line = refused(capsys, monkeypatch, "run", CASE, "--out", tmp_path, "--resume")
    assert "holds no run" in line
    out = tmp_path / "f.nc"
    line = refused(capsys, monkeypatch, "forecast", tmp_path, "--until", "1", "--out", out)
    assert "not the folder of a run" in line
    line = refused(capsys, monkeypatch, "forecast", tmp_path, "--until", "1", "--sample", "0")
    assert "--sample" in line
    assert "--animate" in line
    line = refused(capsys, monkeypatch, "run", CASE, "--config", tmp_path / "absent.yaml")
    assert "absent.yaml" in line


def own_file(path, **changes):
    x, y = np.linspace(-0.9, 0.9, 10), np.linspace(0.1, 0.9, 9)
    values = np.random.default_rng(0).random((2, 3, 10, 9))
    dataset = xr.Dataset(
        {"phi": (("sample", "time", "x", "y"), values)},
        {"time": [0.0, 0.05, 0.1], "x": x, "y": y},
    )
    dataset = dataset.assign_coords({k: v for k, v in changes.items() if k in dataset.coords})
    if "nan" in changes:
        dataset["phi"][changes["nan"]] = np.nan
    if "rename" in changes:
        dataset = dataset.rename(changes["rename"])
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"x": np.linspace(0, 1, 10) ** 2}, ["'x'", "even"]),
        ({"time": [0.0, 0.05, np.nan]}, ["time"]),
        ({"time": [0.0, 0.05, 0.05]}, ["time", "increas"]),
        ({"nan": (1, 2, 3, 4)}, ["phi", "sample=1", "time=2"]),
        ({"rename": {"x": "lon"}}, ["lon", "x"]),
        ({"rename": {"phi": "c"}}, ["phi", "(c)"]),
    ],
)
def test_own_files(capsys, monkeypatch, tmp_path, changes, parts):
    path = own_file(tmp_path / "own.nc", **changes)
    arguments = ["--set", f"data.path={path}", "--out", tmp_path / "run"]
    line = refused(capsys, monkeypatch, "run", CASE, *arguments)
    assert str(path) in line
    for part in parts:
        assert part in line, line
    assert not (tmp_path / "run").exists()


def test_times_and_samples_of_own_files(capsys, monkeypatch, tmp_path):
    path = own_file(tmp_path / "own.nc")
    for override, part in (
        ("observations.times=[0.07]", "0.05"),
        ("data.held_out=[2]", "data.held_out"),
        ("forecast.until=0.5", "forecast.until"),
    ):
        line = refused(
            capsys, monkeypatch, "run", CASE, "--set", f"data.path={path}", "--set", override,
            "--out", tmp_path / "run",
        )  # fmt: skip
        assert part in line
    assert not (tmp_path / "run").exists()
