r"""Random fields that move: sums of plane waves whose phases turn, each at its own rate."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from impindiff.cases.random_fields import RandomWaves


class MovingWaves(eqx.Module):
    r"""Plane waves in two dimensions, travelling, rescaled to [0, 1] at each time.

    $$f(x, t) = \sum_w A_w \sin\Big(2\pi \big(k_w \cdot (x - x_0) / L + \omega_w t\big)
    + \varphi_w\Big)$$

    The value is (f - min f) / (max f - min f), with the extrema over the cells of the base grid.

    - `amplitudes`: A exp(i phi); `rates`: omega, turns per unit of time.
    - `factors`, `base`: the waves along each axis of the grid, and of the base grid (see
      `RandomWaves.factors`).
    """

    amplitudes: Complex[Array, " wave"]
    rates: Float[Array, " wave"]
    factors: tuple[Complex[Array, "wave x"], Complex[Array, "wave y"]]
    base: tuple[Complex[Array, "wave base_x"], Complex[Array, "wave base_y"]]

    def __call__(self, t: Float[Array, ""]) -> Float[Array, "x y"]:
        """The field at the grid's cell centres."""
        turned = self.amplitudes * jnp.exp(2j * jnp.pi * self.rates * t)

        def total(factors):
            return jnp.imag((turned[:, None] * factors[0]).T @ factors[1])

        over = total(self.base)
        low, high = jnp.min(over), jnp.max(over)
        return (total(self.factors) - low) / (high - low)

    @classmethod
    def on_grid(
        cls,
        waves: RandomWaves,
        rates: Float[np.ndarray, " wave"],
        cells: tuple[int, ...],
        base: tuple[int, ...],
    ) -> "MovingWaves":
        """The waves, set in motion, on their box divided into `cells`; `base` is the base grid."""
        (x, y), (base_x, base_y) = (waves.factors(*waves.centers(n)) for n in (cells, base))
        return cls(
            amplitudes=jnp.asarray(waves.amplitudes * np.exp(1j * waves.phases)),
            rates=jnp.asarray(rates),
            factors=(jnp.asarray(x), jnp.asarray(y)),
            base=(jnp.asarray(base_x), jnp.asarray(base_y)),
        )
