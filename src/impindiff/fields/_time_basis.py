"""Smooth functions of time that condition a field."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.errors import InputError

_KINDS = ("chebyshev", "fourier")


class TimeBasis(eqx.Module):
    """Basis e(t) of smooth functions of tau = 2 (t - start) / (end - start) - 1.

    The interval from `start` to `end`, where the field is observed, becomes [-1, 1]:

    - chebyshev: e_j = d^j T_j(tau), j = 0 ... order, the Chebyshev polynomials of the first kind by
      T_{j+1} = 2 tau T_j - T_{j-1}, which holds inside the interval and outside, where a forecast
      extrapolates (and T_j grows like |2 tau|^j / 2: few orders extrapolate best).
    - fourier: 1, then d^j cos(2 pi j s), d^j sin(2 pi j s), j = 1 ... order, where
      s = (t - (start + end) / 2) / period; bounded for all times.

    **Arguments:**

    - `start`, `end`: the interval, in units of time.
    - `order`: the highest polynomial degree, or harmonic.
    - `kind`: "chebyshev" or "fourier".
    - `damping`: d, at most 1. Below 1 it is a prior for slow change: a coefficient must be d^-j
      times larger to give order j the same weight.
    - `period`: of the fourier kind only, in units of time; default twice the interval. A longer
      period than the interval does not force equal values at its ends (Fourier extension).

    **Raises:** `InputError` for arguments out of range and for a time that is not a scalar.

    `size` is the number of features and the first of them is the constant 1. Calling it with one
    time gives (size,); use `jax.vmap` for many times.

    Source: Trefethen, "Approximation theory and approximation practice", SIAM 2013, chapter 3;
    Huybrechs, "On the Fourier extension of nonperiodic functions", SIAM J. Numer. Anal. 47, 2010.
    """

    start: float = eqx.field(static=True, converter=float)
    end: float = eqx.field(static=True, converter=float)
    order: int = eqx.field(static=True, default=6)
    kind: str = eqx.field(static=True, default="chebyshev")
    damping: float = eqx.field(static=True, default=0.5, converter=float)
    period: float | int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.end > self.start):
            raise InputError(
                f"TimeBasis: start = {self.start}, end = {self.end}; expected finite times with "
                "start < end, such as those of the first and last observation"
            )
        if self.order < 0:
            raise InputError(f"TimeBasis: order = {self.order}; expected 0 or more, such as 6")
        if self.kind not in _KINDS:
            raise InputError(f"TimeBasis: kind = '{self.kind}'; expected one of {_KINDS}")
        if not 0 < self.damping <= 1:
            raise InputError(
                f"TimeBasis: damping = {self.damping}; expected a factor above 0 and at most 1 "
                "(1 does not damp)"
            )
        if self.period is not None and self.kind != "fourier":
            raise InputError(
                f"TimeBasis: period = {self.period} with kind '{self.kind}'; only 'fourier' has a "
                "period: leave it out"
            )
        if self.period is not None and not 0 < self.period < math.inf:
            raise InputError(
                f"TimeBasis: period = {self.period}; expected a finite time above 0, such as "
                f"{2 * (self.end - self.start)}, twice the interval"
            )

    @property
    def size(self) -> int:
        """The number of features."""
        return (self.order if self.kind == "chebyshev" else 2 * self.order) + 1

    @property
    def mean_square(self) -> float:
        """Mean of |e|^2; for chebyshev with the weight 1 / sqrt(1 - tau^2) of the interval."""
        orders = sum(self.damping ** (2 * j) for j in range(1, self.order + 1))
        return 1.0 + (orders / 2 if self.kind == "chebyshev" else orders)

    def __call__(self, t: Float[Array, "..."] | float) -> Float[Array, " size"]:
        """Evaluate the features at time t."""
        if jnp.ndim(t) != 0:
            raise InputError(
                f"TimeBasis: t has shape {jnp.shape(t)}; expected one time, a scalar: for many "
                "times use jax.vmap"
            )
        interval = self.end - self.start
        tau = jnp.asarray(2 * (t - self.start) / interval - 1)
        if self.kind == "chebyshev":
            features = [jnp.ones_like(tau), tau]
            for _ in range(self.order - 1):
                features.append(2 * tau * features[-1] - features[-2])
            orders = np.arange(self.size)
        else:
            period = 2 * interval if self.period is None else self.period
            phase = np.pi * interval / period * tau
            features = [jnp.ones_like(tau)]
            for j in range(1, self.order + 1):
                features += [jnp.cos(j * phase), jnp.sin(j * phase)]
            orders = (np.arange(self.size) + 1) // 2
        return jnp.stack(features[: self.size]) * jnp.asarray(self.damping**orders, tau.dtype)
