"""Standard deviations of two posteriors by the Laplace approximation and by the NUTS sampler.

    pip install 'impindiff[nuts]'
    python validation/nuts.py                       # about two minutes

A rod (diffusivity and loss from noisy profiles) and a decay of unknown rate and power. Prints a
Markdown table; exits with 1 if a deviation differs by more than 10 %, or if the chains have not
converged.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import impindiff as ipd
from impindiff.inference import laplace, nuts
from impindiff.training import FitOptions, LevenbergMarquardt, TrajectoryLoss, fit

jax.config.update("jax_enable_x64", True)
LIMIT = 0.1


class Rod(ipd.HybridModel):
    """du/dt = k d2u/dx2 - loss u."""

    grid: ipd.Grid
    k: ipd.Parameter
    loss: ipd.Parameter

    def tendency(self, t, u, latent):
        """Diffusion and a loss to the surroundings."""
        del t, latent
        return ipd.diffusion(u, self.k(), self.grid) - self.loss() * u


class PowerDecay(ipd.HybridModel):
    """du/dt = -rate u^power."""

    grid: ipd.Grid
    rate: ipd.Parameter
    power: ipd.Parameter

    def tendency(self, t, u, latent):
        """Decay."""
        del t, latent
        return -self.rate() * jnp.maximum(u, 0.0) ** self.power()


def rod(k: float, loss: float) -> Rod:
    """The rod."""
    grid = ipd.Grid((0.0,), (1.0,), (32,), boundary=(ipd.Dirichlet(0.0),))
    return Rod(grid, ipd.Parameter(k, lower=0.0), ipd.Parameter(loss, lower=0.0))


def decay(rate: float, power: float) -> PowerDecay:
    """The decay, in 8 cells without exchange."""
    grid = ipd.Grid((0.0,), (1.0,), (8,))
    return PowerDecay(grid, ipd.Parameter(rate, lower=0.0), ipd.Parameter(power, lower=0.0))


def start_of(model: ipd.HybridModel) -> jax.Array:
    """The initial state."""
    if isinstance(model, PowerDecay):
        return jnp.linspace(1.0, 3.0, 8)
    x = model.grid.axis_centers(0)  # pyright: ignore[reportAttributeAccessIssue]
    return jnp.sin(jnp.pi * x) + 0.5 * jnp.sin(3 * jnp.pi * x)


Numbers = Callable[[Any], dict[str, jax.Array]]
CASES: dict[str, tuple[Any, Any, float, Numbers]] = {
    "rod": (rod(0.05, 0.3), rod(0.02, 0.1), 0.02, lambda m: {"k": m.k(), "loss": m.loss()}),
    "decay": (
        decay(2.0, 1.5),
        decay(1.0, 1.0),
        0.05,
        lambda m: {"rate": m.rate(), "power": m.power()},
    ),
}


def main() -> int:
    """Print the table; 1 for a deviation that differs."""
    missed = False
    print("| problem | number | Laplace | NUTS | difference | r_hat | divergences |")
    print("|---|---|---|---|---|---|---|")
    for name, (truth, start, error, numbers) in CASES.items():
        times, u0 = np.linspace(0.0, 1.0, 11), start_of(truth)
        exact = ipd.rollout(truth, u0, times, dt=0.05).u[1:]
        values = exact + error * np.random.default_rng(0).normal(size=exact.shape)
        loss = TrajectoryLoss(
            u0=u0,
            times=tuple(times.tolist()),
            values=values,
            observe=lambda u: u[1:],
            stepper=ipd.CrankNicolson(),
            dt=0.05,
            weights=jnp.full(values.shape, 1 / error),
        )
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(start, loss, LevenbergMarquardt(), Path(folder), FitOptions(steps=30))
        gaussian = laplace(fitted.model, loss, errors="given").standard_deviation(numbers)
        sampled = nuts(fitted.model, loss, draws=2000)
        drawn = sampled.standard_deviation(numbers)
        missed |= not sampled.converged
        for key, one in gaussian.items():
            off = float(drawn[key] / one) - 1
            missed |= abs(off) > LIMIT
            print(
                f"| {name} | {key} | {float(one):.3g} | {float(drawn[key]):.3g} | {100 * off:+.1f} "
                f"% | {float(sampled.r_hat.max()):.4f} | {sampled.divergences} |",
                flush=True,
            )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
