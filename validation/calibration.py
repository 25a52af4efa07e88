"""Coverage of the posterior's bands and false alarms of the model check, over replications.

    python validation/calibration.py [--replications 100]      # some two minutes

Three problems with known truths: two numbers; a conductivity field of 24 values; a closure D(u) of
5 knots. Field and closure are drawn from their prior in each replication. Data are the exact model
with Gaussian errors; the fit is by Gauss-Newton, the bands by `impindiff.inference.laplace` at 90 %
around parameters, field or closure, and a forecast to twice the time. A band is right if 85 to 95 %
of the true values lie in it. The model check has to accept the fitted model (at a level of 1 %),
and to reject the first one with a wrong boundary condition. Prints a Markdown table; exits with 1
if a figure is outside these limits.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import impindiff as ipd
from impindiff.inference import check_residuals, flat_parameters, laplace
from impindiff.training import GaussianPrior, TrajectoryLoss, value_and_jacobian

ERROR, LEVEL, WITHIN = 0.02, 1.645, (85.0, 95.0)
TIMES = np.linspace(0.0, 0.5, 11)
LATER = np.array([0.0, 1.0])
DT, ITERATIONS = 0.05, 12
CELLS = 24
PRIOR = 0.5


class Rod(ipd.HybridModel):
    """du/dt = k d2u/dx2 - loss u."""

    grid: ipd.Grid
    log_k: Array
    log_loss: Array

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, jnp.exp(self.log_k), self.grid) - jnp.exp(self.log_loss) * u


class Layers(ipd.HybridModel):
    """du/dt = d/dx (k(x) du/dx), the logarithm of k a sum of cosines."""

    grid: ipd.Grid
    coefficients: Array

    def latent(self, t):
        x = self.grid.axis_centers(0)
        waves = np.cos(np.pi * np.outer(np.arange(self.coefficients.size), x))
        decay = 1.0 / (1.0 + np.arange(self.coefficients.size))
        return 0.05 * jnp.exp((decay * self.coefficients) @ waves)

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, latent, self.grid)


class Nonlinear(ipd.HybridModel):
    """du/dt = d/dx (D(u) du/dx), log D piecewise linear in u."""

    grid: ipd.Grid
    knots: Array

    def law(self, u):
        return 0.05 * jnp.exp(jnp.interp(u, jnp.linspace(0.0, 1.0, self.knots.size), self.knots))

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.law(u), self.grid)


class Case(NamedTuple):
    """A problem: its model at these parameters, what is judged, and its prior if it has one."""

    name: str
    model: Callable[[Array], Any]
    parameters: int
    judged: dict[str, Callable[[Any], Array]]
    prior: Callable[[Any], Array] | None


def initial(grid: ipd.Grid) -> Array:
    x = grid.axis_centers(0)
    return jnp.asarray(0.5 + 0.4 * np.cos(np.pi * x) - 0.1 * np.cos(3 * np.pi * x))


def forecast(model: Any) -> Array:
    return ipd.rollout(model, initial(model.grid), LATER, dt=DT).u[-1]


def grid_with(boundary: Any) -> ipd.Grid:
    return ipd.Grid((0.0,), (1.0,), (CELLS,), boundary=(boundary,))


SEALED = grid_with(ipd.Neumann())
CASES = (
    Case(
        "two numbers",
        lambda p: Rod(SEALED, p[0], p[1]),
        2,
        {"parameters": lambda m: jnp.stack([m.log_k, m.log_loss]), "forecast": forecast},
        None,
    ),
    Case(
        "a field",
        lambda p: Layers(SEALED, p),
        CELLS,
        {
            "parameters": lambda m: m.coefficients,
            "field": lambda m: jnp.log(m.latent(0.0)),
            "forecast": forecast,
        },
        GaussianPrior(lambda m: m.coefficients, PRIOR),
    ),
    Case(
        "a closure",
        lambda p: Nonlinear(SEALED, p),
        5,
        {
            "parameters": lambda m: m.knots,
            "closure": lambda m: jnp.log(m.law(jnp.linspace(0.05, 0.95, 19))),
            "forecast": forecast,
        },
        GaussianPrior(lambda m: m.knots, PRIOR),
    ),
)


def loss_of(model: Any, values: Array, prior: Any) -> TrajectoryLoss:
    return TrajectoryLoss(
        u0=initial(model.grid),
        times=tuple(TIMES.tolist()),
        values=values,
        observe=lambda u: u[1:],
        stepper=ipd.CrankNicolson(),
        dt=DT,
        prior=prior,
        weights=jnp.full(values.shape, 1 / ERROR),
    )


def measured(model: Any, key: Array) -> Array:
    exact = ipd.rollout(model, initial(model.grid), TIMES, dt=DT).u[1:]
    return exact + ERROR * jax.random.normal(key, exact.shape)


class Fit(NamedTuple):
    """The best fit, its loss, its misfit with the Jacobian, and its residuals over the errors."""

    model: Any
    loss: TrajectoryLoss
    linearization: tuple[Array, Array]
    residuals: Array


def fitted(case: Case, values: Array, start: Array) -> Fit:
    """The fit by Gauss-Newton."""
    loss = loss_of(case.model(start), values, case.prior)
    flat = flat_parameters(case.model(start))

    def linearized(p: Array) -> tuple[Array, Array]:
        return value_and_jacobian(lambda x: loss.misfit(flat.model(x), None), p)[:2]

    def improved(p: Array, _: None) -> tuple[Array, None]:
        r, jacobian = linearized(p)
        return p - jnp.clip(jnp.linalg.lstsq(jacobian, r)[0], -1.0, 1.0), None

    best = jax.lax.scan(improved, start, length=ITERATIONS)[0]
    found = linearized(best)
    return Fit(flat.model(best), loss, found, found[0][: values.size] * loss.size())


def replicate(case: Case, key: Array) -> tuple[dict[str, Array], Array]:
    """(which true values lie in their bands, by what is judged; the residuals)."""
    of_truth, of_noise = jax.random.split(key)
    start = jnp.zeros(case.parameters) if case.prior is not None else jnp.log(jnp.array([0.1, 0.5]))
    true = jnp.log(jnp.array([0.05, 0.3]))
    if case.prior is not None:
        true = PRIOR * jax.random.normal(of_truth, (case.parameters,))
    truth = case.model(true)
    fit = fitted(case, measured(truth, of_noise), start)
    posterior = laplace(fit.model, fit.loss, errors="given", linearization=fit.linearization)
    inside = {}
    for name, quantity in case.judged.items():
        off = jnp.abs(quantity(fit.model) - quantity(truth))
        inside[name] = off <= LEVEL * posterior.standard_deviation(quantity)
    return inside, fit.residuals


def wrong_boundary(key: Array) -> Array:
    """The residuals of two numbers fitted with an end held at 0, not sealed."""
    truth = CASES[0].model(jnp.log(jnp.array([0.05, 0.3])))
    held = grid_with((ipd.Neumann(), ipd.Dirichlet(0.0)))
    case = CASES[0]._replace(model=lambda p: Rod(held, p[0], p[1]))
    return fitted(case, measured(truth, key), jnp.log(jnp.array([0.1, 0.5]))).residuals


def share_accepted(residuals: Array, parameters: int) -> float:
    """Percentage of the replications whose residuals the model check accepts."""
    shape = (len(TIMES) - 1, CELLS)
    time = np.broadcast_to(TIMES[1:, None], shape).ravel()
    place = np.broadcast_to(SEALED.axis_centers(0), shape).reshape(-1, 1)
    series, stated = np.full(time.size, "u"), np.ones(time.size, bool)
    accepted = [
        check_residuals(row, time, place, series, parameters=parameters, stated=stated).explains
        is True
        for row in np.asarray(residuals)
    ]
    return 100 * float(np.mean(accepted))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=100)
    count = parser.parse_args().replications
    jax.config.update("jax_enable_x64", True)
    keys, right = jax.random.split(jax.random.key(0), count), True
    print("| problem | true values in the 90 % band of | percent | required |\n|---|---|---|---|")
    checks = []
    for case in CASES:
        run = jax.jit(lambda keys, case=case: jax.lax.map(partial(replicate, case), keys))
        inside, residuals = run(keys)
        for name, found in inside.items():
            percent = 100 * float(jnp.mean(found))
            right &= WITHIN[0] <= percent <= WITHIN[1]
            print(f"| {case.name} | {name} | {percent:.1f} | {WITHIN[0]:g} to {WITHIN[1]:g} |")
        checks.append(
            (case.name, share_accepted(residuals, 2 if case.prior is None else 0), ">= 95")
        )
    wrong = share_accepted(jax.jit(lambda keys: jax.lax.map(wrong_boundary, keys))(keys), 2)
    checks.append(("two numbers, a wrong boundary condition", wrong, "<= 5"))
    print("\n| fitted model | accepted by the model check, percent | required |\n|---|---|---|")
    for name, percent, required in checks:
        relation, bound = required.split()
        right &= percent >= float(bound) if relation == ">=" else percent <= float(bound)
        print(f"| {name} | {percent:.0f} | {required} |")
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
