"""Exact solutions on radii and stretched axes, by the code of `validation/coordinates.py`."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import central_difference_error
from impindiff.grid import geometric, tanh

VALIDATION = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "coordinates.py"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "kind", "axis", "cells"),
    [
        ("cooling_error", "cylindrical", "uniform", (8, 16, 32)),
        ("cooling_error", "spherical", "geometric", (8, 16, 32)),
        ("annulus_error", "cylindrical", "log", (16, 32, 64)),
        ("annulus_error", "spherical", "uniform", (32, 64, 128)),
        ("layer_error", "central", "geometric", (32, 64, 128)),
    ],
)
def test_second_order(problem, kind, axis, cells):
    row = VALIDATION["row"](problem, axis, 2, lambda n: VALIDATION[problem](kind, axis, n), cells)
    assert row.passed, row


@pytest.mark.slow
def test_the_well_over_four_decades_of_time():
    well = VALIDATION["theis"](260, 30)
    assert well.passed, well


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("name", "scheme"), [("cylinder", "van_leer"), ("sphere", "upwind"), ("stretched", "van_leer")]
)
def test_totals_stay_and_values_stay_positive(name, scheme):
    total = VALIDATION["conserved"](name, scheme, steps=200, n=32)
    assert total.passed, total


@pytest.mark.slow
def test_gradient_of_a_misfit_in_a_conductivity_field():
    walls = ((ipd.Robin(0.7, 0.2, 0.3), ipd.Dirichlet(0.0)), (ipd.Dirichlet(1.0), ipd.Neumann()))
    grid = ipd.Grid.from_edges(
        (geometric(0.1, 2.0, 8), tanh(0.0, 1.0, 6, 1.5)), walls, "cylindrical"
    )
    rng = np.random.default_rng(1)
    D = jnp.asarray(np.exp(0.5 * rng.normal(size=grid.shape)))
    places = np.asarray([[0.1, 0.2], [0.5, 0.9], [1.9, 0.5]])
    probes = ipd.observations.Probes.on(grid, places, walls)
    solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid(), rtol=1e-12)
    adjoint = ipd.ImplicitAdjoint(rtol=1e-12)

    @jax.jit
    def misfit(log_D):
        model = VALIDATION["Transport"](grid, jnp.exp(log_D), (0.0, 0.4))
        u = ipd.rollout(
            model, jnp.zeros(grid.shape), np.asarray([0.0, 0.2, 0.4]),
            stepper=ipd.CrankNicolson(solver=solver, adjoint=adjoint), dt=0.1,
        ).u  # fmt: skip
        return jnp.sum(probes(u) ** 2)

    direction = rng.normal(size=grid.shape)
    found = jnp.vdot(jax.jit(jax.grad(misfit))(jnp.log(D)), direction)
    assert central_difference_error(misfit, jnp.log(D), direction, found) < 1e-6
