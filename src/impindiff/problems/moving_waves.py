r"""Moving random fields: sums of plane waves whose phases rotate, each at its own rate."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from impindiff.problems.random_fields import RandomWaves


class MovingWaves(eqx.Module):
    r"""Plane waves in two or three dimensions, travelling, rescaled to [0, 1] at each time.

    $$f(x, t) = \sum_w A_w \sin\Big(2\pi \big(k_w \cdot (x - x_0) / L + \omega_w t\big)
    + \varphi_w\Big)$$

    The value is (f - min f) / (max f - min f), with the extrema over the cells of the base grid.

    - `amplitudes`: A exp(i phi); `rates`: omega, turns per unit of time.
    - `factors`, `base`: the waves along each axis of the grid, and of the base grid (see
      `RandomWaves.factors`).
    """

    amplitudes: Complex[Array, " wave"]
    rates: Float[Array, " wave"]
    factors: tuple[Complex[Array, "wave _"], ...]
    base: tuple[Complex[Array, "wave _"], ...]

    def __call__(self, t: Float[Array, ""]) -> Float[Array, "*cells"]:
        """The field at the grid's cell centres."""
        turned = self.amplitudes * jnp.exp(2j * jnp.pi * self.rates * t)

        def total(factors):
            leading = turned[:, None] * factors[0]
            for factor in factors[1:-1]:
                leading = (leading[:, :, None] * factor[:, None, :]).reshape(len(turned), -1)
            values = jnp.imag(leading.T @ factors[-1])
            return values.reshape([factor.shape[1] for factor in factors])

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
        """Set waves in motion on their box divided into `cells`; `base` is the base grid."""
        fine, coarse = (waves.factors(*waves.centers(n)) for n in (cells, base))
        return cls(
            amplitudes=jnp.asarray(waves.amplitudes * np.exp(1j * waves.phases)),
            rates=jnp.asarray(rates),
            factors=tuple(jnp.asarray(factor) for factor in fine),
            base=tuple(jnp.asarray(factor) for factor in coarse),
        )
