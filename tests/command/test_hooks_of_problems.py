"""What a user-defined problem gets wrong is told in one line, before anything is written."""

import sys

import pytest

from impindiff.command import cli

TEXT = """
import sys
import jax.numpy as jnp
import numpy as np
import xarray as xr
import impindiff as ipd


class Decay(ipd.HybridModel):
    grid: ipd.Grid
    rate: ipd.Parameter

    def tendency(self, t, u, latent):
        return {"c": -self.rate() * u["c"]}


class Settings(ipd.ProblemSettings):
    cells: int = 8


class Problem(ipd.Problem):
    settings = Settings

    def model(self, settings, key):
        return Decay(ipd.Grid((0.0,), (1.0,), (settings.cells,)), ipd.Parameter(1.0, lower=0.0))

    def initial_state(self, settings, model, data):
        return {"c": jnp.ones(model.grid.cells)}

    def data(self, settings):
        t = np.linspace(0.1, 1.0, 6)
        columns = {"time": t, "value": np.exp(-t), "x": np.full(6, 0.01), "quantity": ["c"] * 6}
        return xr.Dataset({name: ("observation", values) for name, values in columns.items()})
"""
LINE = TEXT.count("\n") + 3  # of the body of a hook that is added
RIGHT = 'return {"c": -self.rate() * u["c"]}'
HOOKS = {
    "model(self, settings, key)": [
        ("return None", "model returned None; expected a HybridModel with a field 'grid'"),
        ("return jnp.ones(3)", "model returned float64[3]; expected a HybridModel"),
        ("return Decay(None, ipd.Parameter(1.0))", "expected a HybridModel with a field 'grid'"),
        ("sys.exit(0)", f"line {LINE}, in model: SystemExit"),
        ("return self.model(settings, key)", f"line {LINE}, in model: RecursionError"),
        (r"raise KeyError('a\n\x1b[31m[/x]')", r"in model: KeyError: 'a\n\x1b[31m[/x]'"),
    ],
    "model(self, settings)": [
        ("return None", "model(settings) cannot be called (too many positional arguments)"),
    ],
    "measurements(self, settings)": [
        ("return None", "Problem.measurements is named data now; rename it"),
    ],
    "initial_state(self, settings, model)": [
        ("return {}", "initial_state(settings, model) cannot be called"),
    ],
    "initial_state(self, settings, model, data)": [
        ("return None", "initial_state returned None; expected real arrays of shape (8,)"),
        ("return {}", "initial_state returned {}"),
        ("return {'c': 1.0}", "initial_state returned {'c': 1.0}"),
        ("return {'c': 'hello'}", "initial_state returned {'c': 'hello'}"),
        ("return {'c': jnp.ones(5)}", "initial_state returned {c: float64[5]}"),
        ("return {'c': jnp.full(8, 1j)}", "initial_state returned {c: complex128[8]}"),
        ("return {'c': jnp.full(8, jnp.nan)}", "some are NaN or infinite"),
        ("return {'c': jnp.ones((3, 8))}", "3 samples, but the measurements are of 1"),
        ("return {'d': jnp.ones(8)}", "in tendency: KeyError: 'c'"),
    ],
    "data(self, settings)": [
        ("return None", "data returned None; expected an xarray.Dataset"),
        ("return 1 / 0", f"line {LINE}, in data: ZeroDivisionError"),
        ("return xr.Dataset()", "measurements: "),
    ],
    "quantities(self, u)": [
        ("return None", "quantities returned None; expected a dictionary of arrays"),
        ("return {'c': 3}", "quantities returned {'c': 3}"),
        ("return {'a/b': u['c']}", "names without a slash"),
        ("return {'d': u['c']}", "'c' was measured, but the model's quantities are d"),
    ],
    "boundaries(self, model)": [
        ("return None", "boundaries returned None; expected a dictionary of boundary conditions"),
        ("return (ipd.Periodic(),)", "expected a dictionary of boundary conditions"),
        ("return {3: (ipd.Periodic(),)}", "expected a dictionary of boundary conditions"),
        ("return {'c': 0.5}", "for 'c': boundary: expected 1 entries, one per axis, got 0.5"),
        ("return {'c': ipd.Dirichlet()}", "got a single condition"),
        ("return {'c': [ipd.Dirichlet()] * 2}", "expected 1 entries, one per axis, got 2"),
        ("return {'c': ['no flux']}", "for 'c': boundary of axis 0: expected Periodic"),
        ("return {'c': (ipd.Dirichlet('a'),)}", "value: expected real numbers, got str 'a'"),
        ("return {'c': (ipd.Dirichlet(lambda: 1),)}", "Dirichlet: value() cannot be called with"),
        ("return {'d': (ipd.Dirichlet(),)}", "conditions of 'd', which is no quantity"),
        ("return 1 / 0", f"line {LINE}, in boundaries: ZeroDivisionError"),
    ],
    "boundaries(self)": [("return {}", "boundaries() cannot be called")],
    "latent_fields(self, model, t)": [
        ("return None", "latent_fields returned None"),
        ("return {'a': jnp.ones(3)}", "latent_fields returned {a: float64[3]}"),
        ("return {3: jnp.ones(8)}", "latent_fields returned {3: float64[8]}"),
    ],
    "identified(self, model)": [
        ("return None", "identified returned None; expected a dictionary of single numbers"),
        ("return {'a': 'text'}", "identified returned {'a': 'text'}"),
        ("return {'a': jnp.ones(3)}", "identified returned {a: float64[3]}"),
    ],
    "truths(self, settings)": [
        ("return 3", "truths returned 3 (int)"),
        ("return {'rate': None}", "truths returned {'rate': None} (dict)"),
    ],
    "step(self, settings)": [
        ("return 'x'", "step returned 'x'"),
        ("return -1.0", "step returned -1.0"),
    ],
}
CASES = [
    (f"{TEXT}\n    def {head}:\n        {body}\n", words)
    for head, bodies in HOOKS.items()
    for body, words in bodies
] + [
    (TEXT.replace(RIGHT, "return None"), "tendency returned None; expected the structure"),
    (TEXT.replace(RIGHT, "return {'c': jnp.ones(3)}"), "tendency returned {c: float64[3]}"),
    (TEXT.replace(RIGHT, "return {'d': u['c']}"), "tendency returned {d: float64[8]}"),
    (TEXT.replace(RIGHT, "return {'c': u['z']}"), "line 14, in tendency: KeyError: 'z'"),
    (TEXT.replace(RIGHT, "return u if u['c'][0] > 0 else u"), "line 14, in tendency: Tracer"),
    (TEXT.replace("settings = Settings", "settings = dict"), "inherits from ipd.ProblemSettings"),
    (
        f"{TEXT}\n    labels = {{'c': 3}}",
        "labels is {'c': 3} (dict); expected a dictionary",
    ),
    (
        TEXT.replace(
            "cells: int = 8", "cells: int = 8\n    truth: dict[str, float] = {'rat': 1.0}"
        ),
        "truth.rat: the problem identifies no number of that name; it identifies rate",
    ),
    (f"{TEXT}\n    labels = None", "labels is None; expected a dictionary of texts by name"),
    (f"{TEXT}\n    infers = 3", "infers is 3 (int); expected a text"),
    (TEXT.replace("cells: int = 8", "cells: int = 'a'"), "cells: must be an integer, not 'a'"),
    (TEXT.replace("cells: int = 8", "cells: int = 5_000_000_000"), "of memory, this machine has"),
    (f"{TEXT}\nraise ValueError('mine')", "ValueError: mine"),
    (f"{TEXT}\nsys.exit('bye')", "SystemExit"),
    (f"{TEXT}\n\x00", "SyntaxError"),
    (f"{TEXT}\nx = )(", "SyntaxError"),
]


def run(capsys, monkeypatch, path, *more, command="run"):
    short = ["--set", "training.steps=2", "--set", "stepper.dt=0.1"]
    out = ["--out", str(path.parent / "run")] if command == "run" else []
    monkeypatch.setattr(sys, "argv", ["impindiff", *more, command, str(path), *short, *out])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capsys.readouterr().err


@pytest.mark.few(33)
@pytest.mark.parametrize(("text", "words"), CASES)
def test_one_line(capsys, monkeypatch, tmp_path, text, words):
    path = tmp_path / "own.py"
    path.write_text(text)
    code, printed = run(capsys, monkeypatch, path)
    assert code == 2, printed
    assert printed.count("\n") == 1
    assert words in printed
    assert "\x1b" not in printed
    assert not (tmp_path / "run").exists()


# the workflow that is shared with run: one of each kind is enough
@pytest.mark.parametrize(("text", "words"), CASES[::6])
def test_check_says_the_same(capsys, monkeypatch, tmp_path, text, words):
    path = tmp_path / "own.py"
    path.write_text(text)
    code, printed = run(capsys, monkeypatch, path, command="check")
    assert (code, printed.count("\n")) == (2, 1), printed
    assert words in printed


def test_the_traceback_is_shown_to_who_asks_for_it(capsys, monkeypatch, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(f"{TEXT}\n    def truths(self, settings):\n        return settings.nothing\n")
    code, printed = run(capsys, monkeypatch, path)
    assert (code, "Traceback" in printed) == (2, False)
    code, printed = run(capsys, monkeypatch, path, "--traceback")
    assert (code, "Traceback" in printed) == (2, True)
    assert "return settings.nothing" in printed
