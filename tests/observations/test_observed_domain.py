"""Places and data on a grid of which a domain is only a part."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import impindiff as ipd
from impindiff.observations import BlockAverages, PartAverage, PointTable, Probes, ScatteredPoints
from impindiff.problem.observations import initial_fields, measured
from impindiff.training import partition

WALLS = (ipd.Neumann(), ipd.Neumann())


def hole(x, y):
    return 0.3 - np.hypot(x - 0.5, y - 0.5)


GRID = ipd.Grid((0.0, 0.0), (1.0, 1.0), (10, 10), WALLS, domain=hole)


def scattered(places):
    n = len(places)
    table = PointTable(
        quantity=np.full(n, "u"), sample=np.zeros(n, int), time=np.full(n, 0.5),
        position=np.asarray(places, float), value=np.zeros(n), standard_deviation=np.ones(n),
    )  # fmt: skip
    operator = ScatteredPoints(table, GRID, np.asarray([0.0, 1.0]), lambda u: {"u": u})
    return lambda u: operator(jnp.broadcast_to(u, (2, 1, *u.shape)))


@pytest.mark.parametrize("read", [lambda places: Probes.on(GRID, places), scattered])
def test_places_outside_are_refused_and_cells_outside_not_read(read):
    with pytest.raises(ipd.InputError, match=r"\(0.5, 0.55\), outside the domain of the grid"):
        read(np.asarray([[0.1, 0.1], [0.5, 0.55]]))
    places = np.asarray([[0.5, 0.15], [0.27, 0.31], [0.95, 0.5], [0.81, 0.5]])
    u = jnp.where(GRID.inside, 3.0, 1e6)
    np.testing.assert_allclose(read(places)(u), 3.0, rtol=1e-12)
    far = read(np.asarray([[0.2, 0.1]]))(jnp.asarray(GRID.centers[0] + 2 * GRID.centers[1]))
    np.testing.assert_allclose(far, 0.4, rtol=1e-12)


def test_means_are_of_the_domain():
    u = np.where(GRID.inside, 2.0, 1e6)
    assert PartAverage(GRID.cells, GRID.volumes)(u) == pytest.approx(2.0)
    blocks = BlockAverages(GRID.cells, (2, 2), GRID.volumes)(u).reshape(5, 5)
    expected = np.full((5, 5), 2.0)
    expected[2, 2] = 0.0  # none of it is inside
    np.testing.assert_allclose(blocks, expected)


def dataset(outside=np.nan, where=None):
    where = np.asarray(GRID.inside) if where is None else where
    values = np.where(where, np.asarray(GRID.centers[0]), outside) + np.zeros((3, 10, 10))
    axes = {"x": GRID.axis_centers(0), "y": GRID.axis_centers(1)}
    return xr.Dataset({"u": (("time", "x", "y"), values)}, {"time": [0.0, 1.0, 2.0], **axes})


def test_nan_outside_is_the_mask_of_initial_fields():
    found = initial_fields(dataset(), GRID)["u"][0]
    inside = np.asarray(GRID.inside)
    np.testing.assert_allclose(found[inside], np.asarray(GRID.centers[0])[inside])
    assert np.isfinite(found).all()
    smaller = np.asarray(GRID.inside).copy()
    smaller[0, :2] = False
    with pytest.raises(ipd.InputError, match="2 gaps at the first time in cells inside"):
        initial_fields(dataset(where=smaller), GRID)


def test_sensors_are_drawn_where_there_are_values():
    chosen = SimpleNamespace(
        sensors=40, seed=0, times=None, noise=0.0, until=None, start=None, standard_deviation=1.0
    )
    settings = SimpleNamespace(observations=chosen, stepper=None)
    table = measured(dataset(), GRID, settings, first_is_state=True).training
    places = np.unique(table.position, axis=0)
    assert len(places) == 40
    with pytest.raises(ipd.InputError, match="outside the domain of the grid"):
        scattered(measured(dataset(0.0), GRID, settings, first_is_state=True).training.position)


@pytest.mark.slow
def test_fractions_are_not_trained():
    class Model(ipd.HybridModel):
        grid: ipd.Grid
        rate: ipd.Parameter

        def latent(self, t):
            return self.rate()

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, latent, self.grid, t=t)

    model = Model(GRID, ipd.Parameter(1.0, lower=0.0))
    trained = jax.tree.leaves(partition(model)[0])
    assert [leaf.shape for leaf in trained] == [()]
    page = str(ipd.explain(ipd.BackwardEuler(), model, jnp.ones(GRID.shape), dt=0.01))
    assert "cells inside" in page
    assert "Neumann on its boundary" in page
    assert "FastDiagonalization" not in page
    fast = ipd.NewtonKrylov(preconditioner=ipd.FastDiagonalization())
    with pytest.raises(ipd.InputError, match="part of the box has no modes along axes"):
        ipd.rollout(model, jnp.ones(GRID.shape), np.asarray([0.0, 0.1]),
                    stepper=ipd.BackwardEuler(solver=fast), dt=0.1)  # fmt: skip
