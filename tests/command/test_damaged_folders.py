"""Folders of runs that were damaged: one line, exit code 1 or 2, or the right result.

A seed is a damage: some file or folder within is cut short, changed, deleted, or replaced by
something else. IMPINDIFF_DAMAGED_FOLDERS=400 tries so many.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import sys

import jax
import numpy as np
import pytest
import xarray as xr

import impindiff as ipd
from impindiff.command import cli
from impindiff.experiment import Run, run
from impindiff.experiment import _pipeline as pipeline
from impindiff.pages import _run as pages_of_runs
from impindiff.pages._blocks import Picture
from impindiff.problem import load_problem
from impindiff.results import RunMetrics
from impindiff.settings import load_configuration

COUNT = int(os.environ.get("IMPINDIFF_DAMAGED_FOLDERS", "12"))
PROBLEM = """
import jax.numpy as jnp
import impindiff as ipd
from helper import START


class Decay(ipd.HybridModel):
    grid: ipd.Grid
    rate: ipd.Parameter

    def tendency(self, t, u, latent):
        return {"c": -self.rate() * u["c"]}


class Problem(ipd.Problem):
    def model(self, settings, key):
        return Decay(ipd.Grid((0.0,), (1.0,), (2,)), ipd.Parameter(1.0, lower=0.0))

    def initial_state(self, settings, model, data):
        return {"c": jnp.asarray(START)}
"""
MEASUREMENTS = "quantity,t,x,value\n" + "".join(
    f"c,{t},0.25,{np.exp(-2 * t):.6f}\n" for t in (0.1, 0.2)
)
CHANGES = ["training.steps=6", "training.save_every=2", "training.log_every=1", "stepper.dt=0.1"]


class Interruption(BaseException):
    pass


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, one that was interrupted after four of six steps, and the right results."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "decay.py").write_text(PROBLEM)
    (folder / "helper.py").write_text("START = [1.0, 2.0]\n")
    (folder / "data.csv").write_text(MEASUREMENTS)
    changes = [*CHANGES, f"data.path={folder / 'data.csv'}", f"problem={folder / 'decay.py'}"]
    problem = load_problem(folder / "decay.py")
    settings = load_configuration(problem.settings, [], changes)

    def stop(progress):
        if progress.step == 4:
            raise Interruption

    with pytest.raises(Interruption):
        run(problem, settings, folder / "interrupted", show=stop)
    run(problem, settings, folder / "finished")
    for name in ("decay.py", "helper.py"):
        (folder / name).write_text("raise RuntimeError('not the copy that the run keeps')\n")
    return folder


def call(*arguments):
    """The exit code of the command, here."""
    before, sys.argv = sys.argv, ["impindiff", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = before
    return 0


def do_damage(folder, rng):
    """Damage one file or folder; what it was, and how."""
    paths = sorted(folder.rglob("*"))
    states = [p for p in paths if "training_state" in p.parts]
    others = [p for p in paths if p not in states]
    # the many files that Orbax writes a third of the time
    path = rng.choice(states if rng.random() < 1 / 3 else others)
    how = rng.choice(["cut", "flip", "flip", "delete", "empty", "folder", "binary", "json", "line"])
    name = str(path.relative_to(folder))
    if path.is_dir():
        shutil.rmtree(path)
        if rng.random() < 0.5:
            path.write_text("a file\n")
        return name, "folder"
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: rng.randrange(len(content) or 1)])
    elif how == "flip":
        for _ in range(rng.choice([1, 3, 30])):
            if content:
                content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "binary":
        path.write_bytes(rng.randbytes(rng.randrange(1, 5000)))
    elif how == "json":
        other = [
            [],
            {},
            3,
            None,
            "text",
            {"step": 1},
            [{"losses": "x"}],
            {"problem": 5, "train": []},
        ]
        path.write_text(json.dumps(rng.choice(other)) + "\n")
    elif how == "line":
        lines = content.split(b"\n")
        lines[rng.randrange(len(lines))] = rng.choice([b"[/x]", b"{", b"!!binary x", b"a: b: c"])
        path.write_bytes(b"\n".join(lines))
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
    return name, how


def same_forecast(path, other, *, banded):
    with xr.open_dataset(path) as found, xr.open_dataset(other) as expected:
        assert "c_spread" in expected
        assert ("c_spread" in found) == banded
        return all(bool((found[name] == expected[name]).all()) for name in found.data_vars)


@pytest.fixture
def no_figures(monkeypatch):
    """They take longer than all else, and only write."""
    monkeypatch.setattr(pipeline, "draw_figures", lambda *_: None)
    monkeypatch.setattr(pages_of_runs, "film", lambda forecast, horizon: Picture("", 1, 1, "", ""))


@pytest.fixture(scope="module")
def expected(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "f.nc"
    assert call("forecast", runs / "finished", "--until", "0.3", "--out", out) == 0
    return out


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("seed", range(COUNT))
def test_damage_is_one_line_or_does_not_matter(runs, expected, tmp_path, capfd, seed):
    rng = random.Random(seed)
    which = rng.choice(["finished", "interrupted"])
    folder, out = tmp_path / "run", tmp_path / "f.nc"
    shutil.copytree(runs / which, folder)
    name, how = do_damage(folder, rng)
    damage = f"{which}: {name}: {how}"
    commands = [["report"], ["forecast", "--until", "0.3", "--out", out], ["run"]]
    for command in commands if COUNT > 40 else rng.sample(commands, 1):
        capfd.readouterr()
        arguments = [command[0], folder, *command[1:]]
        if command == ["run"]:
            arguments = ["run", "decay.py", "--out", folder, "--resume"]
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code = call(*arguments)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - largest < 1_000_000, damage
        printed = capfd.readouterr()
        where = f"{damage}: {command[0]}: {code}: {printed.err}{printed.out}"
        assert code in (0, 1, 2), where
        assert "Traceback" not in printed.err + printed.out, where
        lines = printed.err.splitlines()
        assert len(lines) == (code != 0), where
        assert not lines or lines[0].startswith("impindiff: "), where
        if code == 0 and command[0] == "forecast":
            # without the posterior, as of a run without bands
            banded = (folder / "posterior.npz").is_file()
            assert same_forecast(out, expected, banded=banded), where
        if code == 0 and command[0] == "run":
            model = (folder / "model.eqx").read_bytes()
            assert model == (runs / "finished" / "model.eqx").read_bytes(), where
    with contextlib.suppress(ipd.InputError):
        found = ipd.open_run(folder)
        assert isinstance(found.metrics, RunMetrics)
        found.forecast()
        found._repr_html_()
    if seed % 20 == 19 and COUNT > 40:  # each run has programs of its own
        jax.clear_caches()
    assert not [p for p in folder.rglob("*") if "partial" in p.name or "orbax-check" in p.name]


@pytest.mark.slow
def test_the_report_runs_no_code(runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs / "finished", folder)
    for code in (
        folder / "problem.py",
        tmp_path / "elsewhere.py",
        folder / "modules" / "helper.py",
    ):
        code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    configuration = folder / "config.yaml"
    text = configuration.read_text()
    text = text.replace(str(runs / "decay.py"), str(tmp_path / "elsewhere.py"))
    configuration.write_text(text)
    assert call("report", folder) == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_no_file_outside_of_the_folder_is_run(runs, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(runs / "finished", folder)
    (folder / "problem.py").unlink()
    assert call("forecast", folder, "--until", "0.3", "--changed-data") == 2
    assert "nothing outside of the run's folder is run" in capfd.readouterr().err
    (tmp_path / "problem.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (folder / "problem.py").symlink_to(tmp_path / "problem.py")
    assert call("forecast", folder, "--until", "0.3", "--changed-data") == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_half_a_configuration_is_called_damaged(runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs / "finished", folder)
    configuration = folder / "config.yaml"
    text = configuration.read_text()
    for length in range(0, len(text) - 4, 97):
        configuration.write_text(text[:length])
        with pytest.raises(
            ipd.InputError, match=r"config\.yaml: is damaged, or written by an earlier"
        ):
            _ = Run(folder).problem
    configuration.write_text("seed: 1\n...\n")
    with pytest.raises(ipd.InputError, match="is damaged, for it names no problem"):
        _ = Run(folder).problem


@pytest.mark.slow
@pytest.mark.parametrize("what", ["data.csv", "run/problem.py", "run/modules/helper.py"])
def test_what_has_changed_since_the_run_began_is_noticed(runs, tmp_path, capfd, what):
    folder, data = tmp_path / "run", tmp_path / "data.csv"
    (tmp_path / "decay.py").write_text(PROBLEM)
    (tmp_path / "helper.py").write_text("START = [1.0, 2.0]\n")
    data.write_text(MEASUREMENTS)
    shutil.copytree(runs / "finished", folder)
    inputs = json.loads((folder / "inputs.json").read_text())
    inputs["data.path"]["path"] = str(data)
    (folder / "inputs.json").write_text(json.dumps(inputs))
    assert call("forecast", folder, "--until", "0.3") == 0
    # of the same size
    path = tmp_path / what
    path.write_text(path.read_text().replace("1", "3", 1))
    capfd.readouterr()
    for arguments in (
        ["forecast", folder, "--until", "0.3"],
        ["run", "decay.py", "--resume", "--out", folder],
    ):
        assert call(*arguments) == 2
        error = capfd.readouterr().err
        assert str(path) in error
        assert "has changed since the run in" in error
        assert "--changed-data" in error
        assert error.count("\n") == 1
    assert call("forecast", folder, "--until", "0.3", "--changed-data") == 0
