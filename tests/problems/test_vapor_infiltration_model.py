"""The model of chemical vapor infiltration against what is known of it without solving it.

Orders on finer grids, and all combinations, are in validation/vapor_infiltration.py.
"""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import dot, normal_like, relative_difference
from impindiff.problems.vapor_infiltration import (
    RANDOM_3D,
    Heat,
    InfiltrationPreconditioner,
    LearnedConductivity,
    LearnedTransport,
    Mixture,
    OverlappingFibres,
    Percolation,
    PoreModel,
    VaporInfiltration,
    concentration,
    imbalance,
    imbalance_of_rates,
)
from impindiff.steppers._implicit import stage_residual

EPS0, EPS_P = 0.6, RANDOM_3D[0]
CLOSING = float(np.sqrt(np.log(EPS_P) / np.log(EPS0)) - 1)
GAMMA, HOT = 14.64, 1473 / 1273
PHI2 = (0.3, 1.0, 5.0)
TIMES = np.linspace(0.0, CLOSING, 32)


def part(cells: tuple[int, ...], phi2: Any, lower: float = 0.0, **options: Any):
    """Numbers as arrays, of which a compiled program takes any."""
    n = len(cells)
    grid = ipd.Grid((lower,) * n, (1.0,) * n, cells, boundary=(ipd.Neumann(),) * n)
    phi2 = phi2 if isinstance(phi2, ipd.PerSample) else jnp.asarray(phi2)
    parts = {"pores": OverlappingFibres(), "transport": Percolation(*RANDOM_3D)} | options
    return VaporInfiltration(grid=grid, phi2=phi2, initial_porosity=EPS0, **parts)


def heat(surface: float = 1.0) -> dict[str, Any]:
    heat = Heat(Mixture(), heater=jnp.asarray(HOT), surroundings=jnp.asarray(surface))
    return {"gamma": jnp.asarray(GAMMA), "heat": heat}


def stepper_of(kind, rtol=1e-9, preconditioner=InfiltrationPreconditioner(), **options):  # noqa: B008
    solver = ipd.NewtonKrylov(rtol, 1e-13, line_search=False, preconditioner=preconditioner)
    return kind(solver=solver, **options)


def densify(model, times, kind=ipd.SDIRK2, *, samples=None, u0=None, dt=None, **options):
    return ipd.rollout(
        model,
        model.initial_state(samples) if u0 is None else u0,
        times,
        stepper=stepper_of(kind, **options),
        dt=dt,
        batch_ndim=0 if samples is None else 1,
    )


# Gas in pores that do not change


def frozen_gas(model) -> np.ndarray:
    """c in the preform: the gas equation is linear in it."""
    eps, latent = jnp.full(model.grid.cells, EPS0), model.latent(jnp.zeros(()))

    def row(c):
        state = {"porosity": eps, "gas": EPS0 * c.reshape(eps.shape)}
        return model.tendency(jnp.zeros(()), state, latent)["gas"].ravel()

    nothing = jnp.zeros(eps.size)
    c = np.linalg.solve(np.asarray(jax.jit(jax.jacfwd(row))(nothing)), -np.asarray(row(nothing)))
    return c.reshape(eps.shape)


def moduli(model) -> tuple[float, float]:
    eps, latent = jnp.asarray(EPS0), model.latent(jnp.zeros(()))
    d = float(model.diffusivity(eps, latent))
    return float(np.sqrt(latent.phi2 * model.pores.surface(eps, eps) / d)), d


def square_series(Phi: float, x: np.ndarray, terms: int = 500) -> np.ndarray:
    m = 2 * np.arange(terms) + 1
    signed = (-1.0) ** ((m - 1) // 2) / m * np.cos(np.pi / 2 * np.outer(x, m))
    below = Phi**2 + np.pi**2 / 4 * (m[:, None] ** 2 + m**2)
    return 1 - 16 * Phi**2 / np.pi**2 * signed @ (1 / below) @ signed.T


@pytest.mark.slow
@pytest.mark.parametrize("biot", [None, 2.0])
def test_gas_in_a_slab_is_a_hyperbolic_cosine(biot):
    def error(cells):
        model = part((cells,), 4.0, biot=biot)
        Phi, d = moduli(model)
        film = 0.0 if biot is None else Phi * d / biot
        x = np.asarray(model.grid.axis_centers(0))
        exact = np.cosh(Phi * x) / (np.cosh(Phi) + film * np.sinh(Phi))
        return np.abs(frozen_gas(model) - exact).max()

    coarse, fine = error(32), error(64)
    assert fine < 3e-4
    np.testing.assert_allclose(np.log2(coarse / fine), 2, atol=0.1)


@pytest.mark.slow
def test_gas_in_a_square_is_the_double_series():
    def error(cells):
        sides = ((True, True), (True, True))
        model = part((cells, cells), 4.0, lower=-1.0, open_sides=sides)
        exact = square_series(moduli(model)[0], np.asarray(model.grid.axis_centers(0)))
        return np.abs(frozen_gas(model) - exact).max()

    coarse, fine = error(16), error(32)
    assert fine < 3e-3
    np.testing.assert_allclose(np.log2(coarse / fine), 2, atol=0.2)


# Growth and closure where gas is everywhere


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [ipd.BackwardEuler, ipd.CrankNicolson, ipd.SDIRK2, ipd.KenCarp3, ipd.KenCarp4]
)
def test_without_diffusion_limits_fibres_grow_evenly_at_the_steppers_order(kind):
    """In 10 steps, and twice 10 of half the length: one program."""
    model, end = part((4,), 0.0), 0.8

    def ten_steps(u0, length):
        u = densify(model, [0.0, length], kind, u0=u0, dt=length / 10, rtol=1e-12).u
        return jax.tree.map(lambda x: x[-1], u)

    start = model.initial_state()
    ends = ten_steps(start, end), ten_steps(ten_steps(start, end / 2), end / 2)
    coarse, fine = (
        np.abs(np.asarray(u["porosity"]) - EPS0 ** ((1 + end) ** 2)).max() for u in ends
    )
    if kind.order > 2:
        assert fine < 1e-6
    np.testing.assert_allclose(np.log2(coarse / fine), kind.order, atol=0.25)


@pytest.mark.slow
def test_pores_full_of_gas_close_when_the_fibres_touch():
    model = part((4,), 0.0)
    times = np.arange(0.0, 1.6, 0.01)
    eps = np.asarray(densify(model, times).u["porosity"])
    closed = np.argmax(eps[:, 0] < EPS_P + model.stop_width)
    assert abs(times[closed] - CLOSING) <= 0.01
    assert (eps[-1] > EPS_P - model.stop_width).all()


# Balance


@cache
def densified(kind, cells: tuple[int, ...], **options):
    model = part(cells, ipd.PerSample(jnp.asarray(PHI2)), track_inflow=True, **options)
    return model, densify(model, TIMES, kind, samples=len(PHI2))


BALANCED = {
    "quasi-steady": (ipd.SDIRK2, (16,), {}),
    "behind a film": (ipd.KenCarp3, (8,), {"biot": 2.0}),
    "transient": (ipd.BackwardEuler, (8,), {"storage": 1e-3}),
    "two dimensions": (ipd.CrankNicolson, (6, 6), {}),
    "three dimensions": (ipd.BackwardEuler, (4, 4, 4), {}),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("name", BALANCED)
def test_gas_in_is_solid_deposited_in_every_step(name):
    kind, cells, options = BALANCED[name]
    model, result = densified(kind, cells, **options)
    balance = imbalance(model, result.u)
    assert balance.shape == (len(TIMES) - 1, len(PHI2))
    assert float(balance.max()) < 1e-8
    gain = EPS0 - np.asarray(result.u["porosity"][-1]).reshape(len(PHI2), -1).mean(1)
    assert (gain > 0.03).all()
    assert (np.diff(gain) < 0).all()


def test_imbalance_sees_gas_that_is_lost():
    model, result = densified(*BALANCED["quasi-steady"][:2])
    u = result.u | {"porosity": result.u["porosity"].at[-1].mul(1 + 1e-6)}
    lost = 1e-6 * np.asarray(PHI2) * np.asarray(result.u["porosity"][-1]).sum(-1)
    entered = np.diff(np.asarray(result.u["inflow"]), axis=0)[-1].sum(-1)
    np.testing.assert_allclose(imbalance(model, u)[-1], lost / entered, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quasi-steady", "behind a film", "two dimensions"])
def test_rates_of_quasi_steady_gas_and_deposition_agree_at_every_time(name):
    kind, cells, options = BALANCED[name]
    model, result = densified(kind, cells, **options)
    balance = imbalance_of_rates(model, result.u)
    assert balance.shape == (len(TIMES), len(PHI2))
    assert float(balance.max()) < 1e-8
    # gas that is not at rest with the reaction: 1 % more of it deposits 1 % more
    more = result.u | {"gas": result.u["gas"].at[3].mul(1.01)}
    assert float(imbalance_of_rates(model, more)[3].min()) > 5e-3
    np.testing.assert_array_equal(imbalance_of_rates(model, more)[4:], balance[4:])


@pytest.mark.slow
def test_a_batch_is_its_samples():
    model, batch = densified(*BALANCED["quasi-steady"][:2])
    for i in (0, 2):
        alone = part((16,), PHI2[i], track_inflow=True)
        u = densify(alone, TIMES).u
        for name, of_batch in batch.u.items():
            np.testing.assert_allclose(of_batch[:, i], u[name], rtol=1e-7, atol=1e-9)
    assert model.initial_state(3)["porosity"].shape == (3, 16)


@pytest.mark.slow
def test_the_initial_gas_is_in_equilibrium():
    _, result = densified(*BALANCED["quasi-steady"][:2])
    first = jax.tree.map(lambda x: x[0, 1], result.u)
    np.testing.assert_allclose(concentration(first), frozen_gas(part((16,), 1.0)), rtol=1e-8)


# From within, from outside


@pytest.mark.slow
def test_a_hot_core_fills_from_within_and_a_hot_part_from_outside_which_traps_pores():
    trapped = []
    for surface in (1.0, HOT):
        model = part((16,), 0.1, track_inflow=True, **heat(surface))
        end = CLOSING / np.exp(GAMMA * (1 - 1 / surface))
        u = densify(model, np.linspace(0.0, end, 61)).u
        assert float(imbalance(model, u).max()) < 1e-8
        eps = np.asarray(u["porosity"])
        filled = eps < 0.5 * (EPS0 + EPS_P)
        inwards = np.diff(filled.astype(int), axis=1)
        assert not (inwards > 0 if surface == 1 else inwards < 0).any()
        assert len(set(filled.sum(1))) > 5  # a front that moves
        trapped.append(eps[-1].mean())
    assert trapped[0] < 0.5 * trapped[1]


# Preconditioner


@pytest.mark.slow
def test_preconditioned_solves_find_the_same_in_few_iterations():
    model = part((8, 8), 1.0, track_inflow=True, **heat())
    times = np.linspace(0.0, 0.3, 4)
    good = densify(model, times, rtol=1e-11)
    plain = densify(model, times, preconditioner=None, rtol=1e-11)
    assert relative_difference(good.u, plain.u) < 1e-9
    per_solve = [
        int(r.stats.linear_iterations.sum()) / int(r.stats.iterations.sum()) for r in (good, plain)
    ]
    assert per_solve[0] < 6
    assert per_solve[1] > 3 * per_solve[0]


@pytest.mark.slow
@pytest.mark.parametrize("storage", [0.0, 1e-2])
def test_the_preconditioner_is_transposed_by_jax_and_near_the_inverse(storage):
    model = part((6, 5), 1.0, track_inflow=True, storage=storage, **heat())
    z = jax.tree.map(lambda x, y: x * (0.9 + 0.02 * y), *2 * [model.initial_state()])
    latent = model.latent(jnp.zeros(()))
    stage = ipd.StageEquation(model, jnp.zeros(()), jnp.asarray(0.02), latent, z)

    @jax.jit
    def maps(v, w):
        inverse = InfiltrationPreconditioner()(z, stage)
        _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)
        return inverse(v), jax.linear_transpose(inverse, z)(w)[0], inverse(jacobian(v))

    v, w = normal_like(0, z), normal_like(1, z)
    forward, transposed, near_v = maps(v, w)
    np.testing.assert_allclose(dot(forward, w), dot(v, transposed), rtol=1e-10)
    assert relative_difference(near_v, v) < 0.3


# Gradient


class LearnedPores(PoreModel):
    """A pore model as a user would write it."""

    closure: ipd.PositiveClosure

    def surface(self, porosity, initial):
        eps = jnp.clip(porosity, 1e-6, 1 - 1e-9)
        return self.closure(eps, jnp.broadcast_to(initial, eps.shape))


def learned_part() -> VaporInfiltration:
    """Learned everything, its parameters moved from the priors, where some have no influence."""
    fibres = OverlappingFibres()
    surface = ipd.PositiveClosure(
        fibres.surface, lower=(0.05, 0.4), upper=(0.6, 0.7), variables=2, width=3, depth=1,
        key=jax.random.key(0),
    )  # fmt: skip
    conductivity = ipd.MonotoneClosure(lambda eps: 2 - eps, lower=0.0, upper=0.7, knots=3)
    learned = (
        LearnedTransport(ipd.PercolatingClosure(0.08, 0.7, largest_threshold=0.2, knots=3)),
        LearnedPores(surface),
        LearnedConductivity(conductivity),
    )
    arrays, static = eqx.partition(learned, eqx.is_array)
    arrays = jax.tree.map(lambda x, n: x + 0.2 * n, arrays, normal_like(2, arrays))
    transport, pores, conductivity = eqx.combine(arrays, static)
    heat = Heat(conductivity, heater=1.1, surroundings=1.0, biot=2.0)
    return part((16,), 1.0, transport=transport, pores=pores, gamma=jnp.asarray(8.0), heat=heat)


@pytest.mark.slow
def test_gradient_of_the_parts_mass_in_every_parameter_of_every_closure():
    model = learned_part()
    learned = lambda m: (m.transport, m.pores, m.heat.conductivity, m.gamma)  # noqa: E731
    parameters, static = eqx.partition(learned(model), eqx.is_array)
    exact = ipd.ImplicitAdjoint(rtol=1e-12)

    @jax.jit
    def mass(parameters):
        changed = eqx.tree_at(learned, model, eqx.combine(parameters, static))
        times = np.linspace(0.0, 0.6, 5)
        eps = densify(changed, times, rtol=1e-12, adjoint=exact).u["porosity"]
        return jnp.mean(eps[0] - eps[-1])

    flat, unravel = jax.flatten_util.ravel_pytree(parameters)
    gradient, _ = jax.flatten_util.ravel_pytree(jax.jit(jax.grad(mass))(parameters))
    assert flat.size == 5 + 13 + 4 + 1
    start = np.asarray(flat)

    def difference(i: int, h: float) -> float:
        up, down = (mass(unravel(jnp.asarray(start + s * np.eye(len(start))[i]))) for s in (h, -h))
        return float(up - down) / (2 * h)

    for i, wanted in enumerate(np.asarray(gradient)):
        assert wanted != 0
        errors = [abs(difference(i, h) / wanted - 1) for h in (1e-2, 1e-3, 1e-4, 1e-5)]
        assert min(errors) < 1e-6, (i, wanted, errors)
