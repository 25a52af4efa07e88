"""The scripts that a user would start from run, and what they print is true."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_own_model_has_a_gradient(capsys):
    names = run("own_model")
    assert names["value"] > 0
    assert jnp.abs(names["gradient"].velocity.network.weights[0]).max() > 0
    assert "gradient of the first layer: (" in capsys.readouterr().out


def test_the_gas_of_quasi_steady_obeys_its_equation_and_so_does_the_gradient(capsys):
    names = run("quasi_steady")
    model, u0, loss = names["model"], names["u0"], names["loss"]
    stats = names["stats"]
    assert stats.converged.all()
    assert stats.linear_iterations.sum() < 3 * stats.iterations.sum()
    assert "in 10 steps" in capsys.readouterr().out
    # solid fills the bed from the inlet, at the gas's rate
    solid = names["observed"][-1]
    assert (jnp.diff(solid, axis=0) < 0).all()
    assert 0 < float(solid.min()) < float(solid.max()) < 1
    assert set(u0) == {"gas", "solid"}

    def moved(h):
        return eqx.tree_at(lambda m: m.diffusivity.log_slopes, model, replace_fn=lambda v: v + h)

    h = 1e-4
    (above, _), (below, _) = loss(moved(h)), loss(moved(-h))
    slope = float(jnp.sum(names["gradient"].diffusivity.log_slopes))
    assert float(above - below) / (2 * h) == pytest.approx(slope, rel=1e-5)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(names["gradient"]))


def test_both_rates_of_gray_scott_are_found_from_scattered_values(tmp_path):
    example = tmp_path / "reaction_diffusion"
    shutil.copytree(EXAMPLES / "reaction_diffusion", example)
    assert len((example / "gray_scott.py").read_text().splitlines()) <= 60
    subprocess.run([sys.executable, "make_data.py"], cwd=example, check=True, timeout=300)
    assert len((example / "measurements.csv").read_text().splitlines()) == 501
    command = ["-m", "impindiff", "run", "gray_scott.py", "--config", "gray_scott.yaml"]
    subprocess.run([sys.executable, *command], cwd=example, check=True, timeout=300)
    metrics = json.loads((example / "runs" / "gray_scott" / "metrics.json").read_text())
    for found in metrics["identified"].values():
        assert found["value"] == pytest.approx(found["truth"], rel=0.01)
    assert set(metrics["identified"]) == {"feed", "kill"}
