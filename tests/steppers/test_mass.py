"""Components with a mass, and algebraic ones, against an exact solution."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import impindiff as ipd

STEPPERS = [ipd.BackwardEuler, ipd.CrankNicolson, ipd.BDF2, ipd.SDIRK2, ipd.KenCarp3, ipd.KenCarp4]
TIGHT = ipd.NewtonKrylov(rtol=1e-12, atol=1e-14)
EXACT_GRADIENT = ipd.ImplicitAdjoint(rtol=1e-12)


class Constrained(ipd.HybridModel):
    """2 y' = -2 k y c / 4, 0 = y^2 - c^(1/2): c = y^4 and y' = -k y^5 / 4, y = (1 + k t)^(-1/4)."""

    k: Array
    heavy: float = 2.0

    def mass(self):
        return {"c": 0.0, "y": self.heavy}

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        root = jnp.sqrt(u["c"])
        return {"c": u["y"] ** 2 - root, "y": -self.heavy * self.k * u["y"] * u["c"] / 4}


def exact(k, t):
    y = (1 + k * t) ** -0.25
    return {"c": y**4, "y": y}


def run(model, times=(0.0, 1.0), stepper=None, c=0.5, **options):
    u0 = {"c": jnp.full((1,), c), "y": jnp.ones(1)}
    stepper = stepper or ipd.SDIRK2(TIGHT, EXACT_GRADIENT)
    return ipd.rollout(model, u0, np.asarray(times), stepper=stepper, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPPERS)
def test_order_in_the_differential_and_the_algebraic_component(kind):
    model = Constrained(jnp.asarray(2.0))
    coarse, errors = (12, 24), []
    for steps in coarse:
        result = run(model, stepper=kind(TIGHT), dt=1 / steps)
        truth = exact(2.0, 1.0)
        errors.append({name: abs(float(result.u[name][-1, 0]) - truth[name]) for name in truth})
    for name in ("y", "c"):
        order = np.log2(errors[0][name] / errors[1][name])
        assert order > kind.order - 0.2, (name, order)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPPERS)
def test_the_constraint_holds_at_every_output_and_at_the_start(kind):
    result = run(Constrained(jnp.asarray(2.0)), np.linspace(0, 1, 5), kind(TIGHT))
    np.testing.assert_allclose(result.u["c"], result.u["y"] ** 4, atol=1e-11)
    assert float(result.u["c"][0, 0]) == pytest.approx(1.0, abs=1e-11)
    assert float(result.u["y"][0, 0]) == 1.0


@pytest.mark.slow
def test_gradient_through_the_constraint():
    def value(k, stepper):
        return jnp.sum(run(Constrained(k), stepper=stepper, dt=0.25).u["c"][-1])

    k, h = jnp.asarray(2.0), 1e-4
    for kind in (ipd.CrankNicolson, ipd.SDIRK2, ipd.KenCarp3):
        of_k = jax.jit(partial(value, stepper=kind(TIGHT, EXACT_GRADIENT)))
        differences = (of_k(k + h) - of_k(k - h)) / (2 * h)
        assert float(jax.grad(of_k)(k)) == pytest.approx(float(differences), rel=1e-7)


@pytest.mark.slow
def test_gradient_of_the_consistent_initial_state():
    def first(y):
        u0 = {"c": jnp.full((1,), 0.5), "y": y[None]}
        stepper = ipd.SDIRK2(TIGHT, EXACT_GRADIENT)
        model = Constrained(jnp.asarray(2.0))
        return ipd.rollout(model, u0, np.array([0.0, 0.1]), stepper=stepper).u["c"][0, 0]

    assert float(jax.grad(first)(jnp.asarray(0.9))) == pytest.approx(4 * 0.9**3, rel=1e-8)


@pytest.mark.slow
def test_adaptive_steps():
    result = run(Constrained(jnp.asarray(2.0)), stepper=ipd.KenCarp3(TIGHT), dt=ipd.AdaptiveStep())
    assert float(result.u["c"][-1, 0]) == pytest.approx(1 / 3, rel=3e-4)


class Heavy(ipd.HybridModel):
    """2 u' = 1 - u."""

    def mass(self):
        return 2.0

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        return 1 - u


class Mixed(ipd.HybridModel):
    """Half of the cells relax, m u' = 1 - u; in the others, of mass 0, 0 = t - u."""

    masses: Array | np.ndarray

    def mass(self):
        return self.masses

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        return jnp.where(self.masses == 0, t, 1.0) - u


@pytest.mark.slow
def test_a_field_of_masses_zero_in_some_cells():
    masses = np.array([1.0, 0.0, 2.0, 0.0])
    result = ipd.rollout(
        Mixed(masses), jnp.zeros(4), np.array([0.0, 1.0]), stepper=ipd.KenCarp4(TIGHT), dt=0.1
    )
    expected = [1 - np.exp(-1), 1.0, 1 - np.exp(-0.5), 1.0]
    np.testing.assert_allclose(result.u[-1], expected, atol=1e-6)


def test_an_explicit_stepper_divides_by_the_mass():
    result = ipd.rollout(Heavy(), jnp.zeros(4), np.array([0.0, 1.0]), stepper=ipd.RK4(), dt=0.05)
    np.testing.assert_allclose(result.u[-1], 1 - np.exp(-0.5), atol=1e-7)


def test_an_explicit_stepper_refuses_algebraic_components():
    with pytest.raises(ipd.InputError, match=r"RK4: some component of Constrained has mass 0"):
        run(Constrained(jnp.asarray(2.0)), stepper=ipd.RK4())


class Divided(Constrained):
    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        f = super().tendency(t, u, latent)
        half = jax.tree.map(lambda x: 0.5 * x, f)
        return ipd.IMEX(half, half)


def test_an_imex_pair_refuses_algebraic_components():
    with pytest.raises(ipd.InputError, match=r"KenCarp3: .* IMEX .* mass 0"):
        run(Divided(jnp.asarray(2.0)), stepper=ipd.KenCarp3())


class Rotating(ipd.HybridModel):
    """3 u' = i u - u / 10 as an IMEX, of the same mass everywhere."""

    def mass(self):
        return 3.0

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        turned = jnp.stack([-u[1], u[0]])
        return ipd.IMEX(-0.1 * u, turned)


@pytest.mark.slow
def test_an_imex_pair_divides_both_parts_by_the_mass():
    times = np.array([0.0, 1.0])
    stepper = ipd.KenCarp4(TIGHT)
    found = ipd.rollout(Rotating(), jnp.array([1.0, 0.0]), times, stepper=stepper, dt=0.1).u[-1]
    truth = np.exp((1j - 0.1) / 3)
    np.testing.assert_allclose(found, [truth.real, truth.imag], atol=1e-7)


class Sized(ipd.HybridModel):
    """A large, slow component and a small one that decays fast: equally exact only if scaled."""

    small: float | None

    def scale(self):
        return None if self.small is None else {"large": 1.0, "small": self.small}

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        small = u["small"] * 1e6
        return {"large": -0.1 * u["large"], "small": -20 * small**2 * 1e-6}


@pytest.mark.slow
def test_scaled_components_are_equally_exact():
    u0 = {"large": jnp.ones(1), "small": jnp.full((1,), 2e-6)}
    loose = ipd.NewtonKrylov(rtol=1e-5, atol=1e-5)
    tight = ipd.BackwardEuler(TIGHT)

    def relative_error(small):
        times = np.array([0.0, 1.0])
        found = ipd.rollout(Sized(small), u0, times, stepper=ipd.BackwardEuler(loose)).u["small"]
        scaled = Sized(1e-6)
        truth = ipd.rollout(scaled, u0, times, stepper=tight).u["small"]
        return float(jnp.abs(found / truth - 1)[-1, 0])

    assert relative_error(1e-6) < 1e-3
    assert relative_error(None) > 1e-2


@pytest.mark.parametrize(
    ("mass", "message"),
    [
        ({"y": 1.0}, r"Constrained.mass has structure .*; expected a number, or an entry for each"),
        ({"c": -1.0, "y": 1.0}, r"Constrained.mass\['c'\] is -1; expected 0 or more"),
        ({"c": np.ones(3), "y": 1.0}, r"Constrained.mass\['c'\] has shape \(3,\); expected a num"),
        (float("nan"), r"Constrained.mass.* is nan; expected 0 or more"),
    ],
)
def test_masses_that_cannot_be(mass, message):
    class Wrong(Constrained):
        def mass(self):
            return mass

    Wrong.__name__ = "Constrained"
    with pytest.raises(ipd.InputError, match=message):
        run(Wrong(jnp.asarray(2.0)))


def test_a_scale_of_zero_is_refused():
    u0 = {"large": jnp.ones(1), "small": jnp.ones(1)}
    with pytest.raises(ipd.InputError, match=r"Sized.scale\['small'\] is 0; expected above 0"):
        ipd.rollout(Sized(0.0), u0, np.array([0.0, 1.0]))


class Inconsistent(ipd.HybridModel):
    """An algebraic equation without a root."""

    def mass(self):
        return 0.0

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        return -(u**2) - 1.0


@pytest.mark.slow
def test_an_initial_state_that_cannot_be_made_consistent_is_reported():
    with pytest.raises(ipd.SolverError, match=r"step 1 of 1 .*field u, residual"):
        ipd.rollout(Inconsistent(), jnp.ones(2), np.array([0.0, 1.0]), stepper=ipd.SDIRK2())


def test_a_plain_attribute_serves_as_mass():
    class Attribute(ipd.HybridModel):
        mass: float = 2.0  # pyright: ignore[reportIncompatibleMethodOverride]

        def tendency(self, t: Array, u: Any, latent: Any) -> Any:
            return -u

    found = ipd.rollout(
        Attribute(), jnp.ones(1), np.array([0.0, 1.0]), stepper=ipd.KenCarp4(TIGHT), dt=0.2
    )
    assert float(found.u[-1, 0]) == pytest.approx(np.exp(-0.5), abs=1e-6)


class Weighed(ipd.HybridModel):
    """m u' = -u, with 1 / s of it solved."""

    m: Any
    s: Any = 1

    def tendency(self, t: Array, u: Any, latent: Any) -> Any:
        return -u

    def mass(self):
        return self.m

    def scale(self):
        return self.s


UNFIT = {
    "negative": (jnp.asarray(-1.0), "is -1; expected"),
    "negative somewhere": (np.array([1.0, -1.0, 1.0]), "is -1; expected"),
    "NaN": (float("nan"), "is nan; expected"),
    "a NaN": (np.array([1.0, np.nan, 1.0]), "is nan; expected"),
    "text": ("1", "expected real numbers, got str"),
    "complex": (1j, "expected real numbers, got complex"),
    "too long": (np.ones(4), r"has shape \(4,\); expected a number or \(3,\)"),
    "too many axes": (np.ones((2, 3)), r"has shape \(2, 3\)"),
    "a parameter": (ipd.Parameter(2.0), "call it for its value"),
}


@pytest.mark.parametrize("stepper", [ipd.BackwardEuler(), ipd.RK4()], ids=["implicit", "explicit"])
@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=[pytest.mark.wrong_types] * (name == "text")) for name in UNFIT],
)
def test_a_mass_or_scale_that_cannot_be(case, stepper):
    """Also where it is an array of the model, which inside the rollout's program is not known."""
    given, message = UNFIT[case]
    for name, model in (("mass", Weighed(given)), ("scale", Weighed(1.0, given))):
        with pytest.raises(ipd.InputError, match=rf"Weighed\.{name}.* ?{message}"):
            ipd.rollout(model, jnp.ones(3), [0.0, 0.1], stepper=stepper)


@pytest.mark.few(2)
@pytest.mark.parametrize("stepper", [ipd.BackwardEuler(), ipd.RK4()], ids=["implicit", "explicit"])
@pytest.mark.parametrize("two", [2, np.int64(2), jnp.asarray(2), np.full(3, 2), jnp.full(3, 2.0)])
def test_a_mass_of_two_in_any_form(two, stepper):
    rate = 1 / 1.05 if isinstance(stepper, ipd.BackwardEuler) else np.exp(-0.05)
    found = ipd.rollout(Weighed(two, two), jnp.ones(3), [0.0, 0.1], stepper=stepper).u[-1]
    np.testing.assert_allclose(found, rate, rtol=1e-6)


@pytest.mark.parametrize(
    ("stepper", "mass", "fine"),
    [
        (ipd.BackwardEuler(), 0.0, True),
        (ipd.BackwardEuler(), -1.0, False),
        (ipd.RK4(), 2.0, True),
        (ipd.RK4(), 0.0, False),
        (ipd.RK4(), -1.0, False),
    ],
)
def test_a_learned_mass_that_cannot_be_is_a_status(stepper, mass, fine):
    def converged(mass):
        model = Weighed(mass)
        return ipd.rollout(model, jnp.ones(3), [0.0, 0.1], stepper=stepper, throw=False).stats

    assert bool(jax.jit(lambda m: jnp.all(converged(m).converged))(mass)) == fine
