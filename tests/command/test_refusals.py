"""Wrong input: one line, exit code 2, no traceback, nothing written."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from impindiff.command import cli

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


@pytest.mark.few(9)
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
        ("data.path=absent.nc", ["truth.dt: does nothing with data.path=absent.nc"]),
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


def test_changes_without_their_option(capsys, monkeypatch, tmp_path):
    changes = ["--set", "seed=1", "seed=2"]
    line = refused(capsys, monkeypatch, "run", CASE, *changes, "--out", tmp_path / "run")
    assert "seed=2" in line
    assert "--set KEY=VALUE --set KEY=VALUE" in line


def test_case_and_folders(capsys, monkeypatch, tmp_path):
    assert CASE in refused(capsys, monkeypatch, "run", "advektion")
    (tmp_path / "note.txt").write_text("mine")
    assert "not empty" in refused(capsys, monkeypatch, "run", CASE, "--out", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]
    line = refused(capsys, monkeypatch, "run", CASE, "--out", tmp_path, "--resume")
    assert "holds no run" in line
    absent = ["--set", f"data.path={tmp_path / 'absent.nc'}", "--out", tmp_path / "run"]
    line = refused(capsys, monkeypatch, "run", CASE, *absent)
    assert "absent.nc" in line
    assert "no such file" in line
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
        ({"rename": {"x": "lon"}}, ["lon", "x"]),
        ({"rename": {"phi": "c"}}, ["phi", "it has c"]),
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
        ("data.test=[2]", "data.test"),
    ):
        line = refused(
            capsys, monkeypatch, "run", CASE, "--set", f"data.path={path}", "--set", override,
            "--out", tmp_path / "run",
        )  # fmt: skip
        assert part in line
    assert not (tmp_path / "run").exists()


def test_a_gap_in_the_initial_state_of_own_files(capsys, monkeypatch, tmp_path):
    """One at another time is a value that was not measured."""
    path = own_file(tmp_path / "own.nc", nan=(1, 0, 3, 4))
    arguments = ["--set", f"data.path={path}", "--out", tmp_path / "run"]
    line = refused(capsys, monkeypatch, "run", CASE, *arguments)
    assert "'phi' has 1 gaps at the first time" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["liste"], "No such command 'liste'"),
        (["run"], "Missing argument"),
        (["run", "burgers", "--nothing"], "No such option"),
        (["run", "[/x]\x1b[31m"], r"there is no problem '[/x]\x1b[31m'"),
        (["run", "[/x].py"], "[/x].py: there is no such file"),
        (["run", "n" * 5000 + ".py"], "File name too long"),
        (["run", CASE, "--config", "/dev/zero"], "is larger than 1 MB"),
        (["run", CASE, "--config", "."], "Is a directory"),
        (["run", CASE, "--set", "="], "expected KEY=VALUE"),
        (["run", CASE, "--set", "seed.x.y=1"], "seed.x: there is no such key"),
        (["run", CASE, "--set", "seed=!!binary aGk="], "the tag !!binary is not taken"),
        (["run", CASE, "--set", "seed=[/x]"], "seed: "),
        (["run", CASE, "--devices", "1000000000"], "--devices"),
        (["forecast", "[/x]", "--until", "1e300"], "[/x]: is not the folder of a run"),
        (["forecast", ".", "--until", "soon"], "--until"),
        (["inspect", "[/x]"], "[/x]: there is no such file"),
        (["report", "[/x]"], "[/x]: there is no such folder"),
        (["schema", "[/x]"], "there is no problem '[/x]'"),
        (["compare", CASE, "--methods", "[/x]"], "there is no method '[/x]'"),
        (["compare", CASE, "--budget", "nan"], "budget: must be"),
        (["compare", CASE, "--budget", "-1"], "budget: must be greater than 0"),
        (["compare", CASE, "--seeds", "0"], "--seeds"),
    ],
)
def test_arguments(capsys, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, monkeypatch, *arguments)
    assert words in line
    assert "\x1b" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_who_stops_reading_is_not_told(tmp_path):
    command = f"{sys.executable} -m impindiff list | true"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
