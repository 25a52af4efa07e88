"""Numbers that a run cannot vouch for: the run reports them with their reason."""

import json

import pytest
from running import impindiff

pytestmark = pytest.mark.slow  # whole runs of the command

ROD = '''
"""A rod whose loss and conductivity one sine cannot tell apart."""
import jax.numpy as jnp
import numpy as np

import impindiff as ipd


class Rod(ipd.HybridModel):
    grid: ipd.Grid
    k: ipd.Parameter
    loss: ipd.Parameter

    def tendency(self, t, u, latent):
        return {"T": ipd.diffusion(u["T"], self.k(), self.grid) - self.loss() * u["T"]}


class Problem(ipd.Problem):
    """A rod."""

    settings = ipd.ProblemSettings.with_defaults(
        stepper={"dt": 0.1},
        solver={"rtol": 1e-13, "atol": 1e-15},  # what it leaves over tells parameters apart
        training={"steps": 2},
    )

    def model(self, settings, key):
        grid = ipd.Grid((0.0,), (1.0,), (20,), boundary=(ipd.Dirichlet(0.0),))
        return Rod(grid, ipd.Parameter(0.1, lower=0.0), ipd.Parameter(0.1, lower=0.0))

    def initial_state(self, settings, model, data):
        x = model.grid.axis_centers(0)
        return {"T": jnp.sin(jnp.pi * x) + SECOND * jnp.sin(3 * jnp.pi * x)}

    def data(self, settings):
        t, x = (a.ravel() for a in np.meshgrid(np.linspace(0.1, 1, 10), np.arange(0.1, 1, 0.1)))
        T = np.sin(np.pi * x) * np.exp(-0.8 * t)
        T += SECOND * np.sin(3 * np.pi * x) * np.exp(-4.7 * t)
        T += 0.01 * np.random.default_rng(0).normal(size=t.shape)
        return ipd.data.points({"time": t, "x": x, "T": T, "standard_deviation": 0.01})
'''


def metrics_of(tmp_path, second):
    (tmp_path / "rod.py").write_text(ROD.replace("SECOND", second))
    done = impindiff("run", "rod.py", "--out", "run", cwd=tmp_path)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert all(f"warning: {line}" in done.stdout for line in metrics["warnings"])
    assert (tmp_path / "run" / "figures" / "identifiability.png").is_file()
    return metrics


def test_parameters_that_cannot_be_told_apart(tmp_path):
    metrics = metrics_of(tmp_path, "0.0")
    (line,) = metrics["warnings"]
    assert line.startswith("the data do not determine all parameters: cannot be told apart: k and")
    # infinite, which JSON does not have
    assert metrics["identifiability"]["condition_indices"] == [1.0, None]


def test_training_that_stopped_short_and_a_model_that_does_not_fit(tmp_path):
    metrics = metrics_of(tmp_path, "0.5")
    (line,) = metrics["warnings"]
    assert line.startswith("training has not converged: with the best fit k would change by -0.0")
    check = metrics["model_check"]
    assert check["explains"] is False
    assert check["tests"]["size"]["rejects"]
    assert "times the stated errors" in check["verdict"]
