"""The diffusivity that first-order schemes add is measured, and a run that estimates one warns."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import impindiff as ipd
from impindiff.advice import numerical_diffusion
from impindiff.experiment import run
from impindiff.problem import ProblemSettings

GRID = ipd.Grid((0.0,), (1.0,), (32,))
D, SPEED = 0.02, 1.0


class Carried(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: Any
    scheme: str = "upwind"

    def tendency(self, t, u, latent):
        D = self.diffusivity
        D = D() if isinstance(D, ipd.Parameter) else D
        return {"c": ipd.advection_diffusion(u["c"], [-SPEED], D, self.grid, self.scheme)}


class Apart(Carried):
    """The same by two operators, and a flux f(u) = speed u."""

    def tendency(self, t, u, latent):
        scheme = {"upwind": "rusanov"}.get(self.scheme, self.scheme)
        carried = ipd.convection(u["c"], lambda c: -SPEED * c, self.grid, scheme)
        return {"c": carried + ipd.diffusion(u["c"], self.diffusivity, self.grid)}


@pytest.mark.parametrize("kind", [Carried, Apart])
@pytest.mark.parametrize(("scheme", "added"), [("upwind", SPEED / 64), ("van_leer", 0.0)])
def test_it_is_speed_times_half_a_cell(kind, scheme, added):
    u = {"c": jnp.ones((3, 32))}  # three samples
    found = numerical_diffusion(kind(GRID, D, scheme), u)
    assert found.added == pytest.approx(added)
    assert found.own == pytest.approx(D)
    assert found.is_notable == (scheme == "upwind")


def test_a_model_without_diffusion_is_not_compared():
    class Transport(Carried):
        def tendency(self, t, u, latent):
            return {"c": ipd.advection(u["c"], [SPEED], self.grid)}

    found = numerical_diffusion(Transport(GRID, D), {"c": jnp.ones(32)})
    assert found.own == 0
    assert found.added > 0
    assert not found.is_notable


def test_the_smallest_diffusivity_along_an_axis_is_compared():
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (32, 32))

    class Two(ipd.HybridModel):
        grid: ipd.Grid

        def tendency(self, t, u, latent):
            slow = ipd.advection_diffusion(u["a"], [SPEED, 0.1], [2.0, 0.002], self.grid)
            return {"a": slow, "b": ipd.diffusion(u["b"], 5.0, self.grid)}

    fields = {"a": jnp.ones((32, 32)), "b": jnp.ones((32, 32))}
    found = numerical_diffusion(Two(grid), fields)
    assert (found.added, found.own) == pytest.approx((0.1 / 64, 0.002))
    assert found.is_notable


def exact(t):
    wave = 2 * np.pi
    x = GRID.axis_centers(0)
    return 1 + np.exp(-D * wave**2 * t) * np.sin(wave * (x + SPEED * t))


class Problem(ipd.Problem):
    scheme = "upwind"

    def model(self, settings, key):
        return Carried(GRID, ipd.Parameter(0.05, lower=0.0), self.scheme)

    def data(self, settings):
        times = np.linspace(0.0, 0.5, 6)
        fields = np.stack([exact(t) for t in times])[None]
        coordinates = {"time": times, "x": np.asarray(GRID.axis_centers(0))}
        return xr.Dataset({"c": (("sample", "time", "x"), fields)}, coordinates)


def settings_of(steps):
    chosen: dict[str, Any] = {
        "stepper": {"name": "kencarp4", "dt": 0.05},
        "training": {"optimizer": "levenberg_marquardt", "steps": steps},
    }
    return ProblemSettings.model_validate(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["upwind", "van_leer"])
def test_an_estimate_that_makes_up_for_it_is_warned_of(scheme, tmp_path):
    problem, lines = Problem(), []
    problem.scheme, problem.name = scheme, "carried"
    metrics = run(problem, settings_of(steps=10), tmp_path / "run", say=lines.append)
    found = metrics.identified["diffusivity"].value
    assert found is not None
    warned = [line for line in lines if line.startswith("warning: ")]
    if scheme == "upwind":
        assert found == pytest.approx(D - SPEED / 64, rel=0.1)
        assert warned == [f"warning: {metrics.warnings[0]}"]
        assert "adds a diffusivity of up to 0.016" in warned[0]
        assert "van_leer" in warned[0]
    else:
        assert found == pytest.approx(D, rel=0.1)
        assert not warned
        assert not metrics.warnings


@pytest.mark.slow
def test_a_flow_that_begins_at_rest_is_warned_of(tmp_path):
    class Rising(Carried):
        def tendency(self, t, u, latent):
            D = self.diffusivity()
            return {"c": ipd.advection_diffusion(u["c"], [-SPEED * t], D, self.grid)}

    class RisingProblem(Problem):
        def model(self, settings, key):
            return Rising(GRID, ipd.Parameter(D, lower=0.0))

    problem = RisingProblem()
    problem.name = "rising"
    metrics = run(problem, settings_of(steps=1), tmp_path / "run")
    (warning,) = (line for line in metrics.warnings if "up to" in line)
    assert "up to 0.0078" in warning  # half the speed at the end of the data, times half a cell
