r"""Exact solutions of Burgers' equation by the Cole-Hopf transform, in NumPy and float64.

With $u = -(2\nu/s)\, \theta_x/\theta$, the equation $u_t + s u u_x = \nu u_{xx}$ becomes the heat
equation $\theta_t = \nu \theta_{xx}$, whose solution is a Gaussian average of its initial values.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from impindiff.errors import InputError
from impindiff.support.memory import require_memory

# exp(-40) is below float64's round-off: integrands are cut off there
_NEGLIGIBLE_EXPONENT = 40.0
# (points, nodes) at one time
_ARRAYS = 5


def cole_hopf_sine(
    x: Float[np.ndarray, " points"] | Sequence[float],
    t: Float[np.ndarray, " times"] | Sequence[float],
    viscosity: float,
    speed: float = 1.0,
    *,
    refinement: int = 1,
) -> Float[np.ndarray, "times points"]:
    r"""Solution of $u_t + s u u_x = \nu u_{xx}$, u(0, x) = -sin(pi x), u(t, ±1) = 0 on [-1, 1].

    $$u(t, x) = -\frac{\int \sin(\pi (x - \eta))\, w\, d\eta}{\int w\, d\eta}, \qquad
    w = \exp\left(-\frac{\eta^2}{4 \nu t} - \frac{s \cos(\pi (x - \eta))}{2 \pi \nu}\right).$$

    The integrals are trapezoidal sums, which converge exponentially for such integrands; their
    largest exponent is subtracted, so that nothing overflows. For viscosity / speed from 1e-4 to
    10 and speed t up to 250, twice the nodes change the result by less than 1e-13, in the shock
    (from t = 1 / (pi s) on, a few viscosity / speed wide) as elsewhere. The points need not lie on
    [-1, 1]: the solution is odd and has the period 2.

    **Arguments:**

    - `x`: points; `t`: times, from 0.
    - `viscosity`: nu > 0; `speed`: s > 0, which only rescales: u(t, x; nu, s) is
      u(s t, x; nu / s, 1).
    - `refinement`: multiplies the number of nodes; accurate results do not depend on it.

    **Returns:** (times, points), float64.

    **Raises:** `InputError` unless viscosity and speed are positive and finite, x and t are
    one-dimensional, and times are finite and non-negative.

    Source: Cole, On a quasi-linear parabolic equation occurring in aerodynamics, Quart. Appl. Math.
    9 (1951); Hopf, The partial differential equation u_t + u u_x = mu u_xx, Comm. Pure Appl. Math.
    3 (1950); problem and formula of Basdevant et al., Spectral and finite difference solutions of
    the Burgers equation, Computers & Fluids 14 (1986).
    """
    points = np.asarray(x, np.float64)
    times = np.asarray(t, np.float64)
    for name, value in (("viscosity", viscosity), ("speed", speed)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"cole_hopf_sine: {name} must be above 0 and finite, got {value}")
    if points.ndim != 1 or times.ndim != 1:
        raise InputError(
            "cole_hopf_sine: x and t must be one-dimensional, "
            f"got shapes {points.shape} and {times.shape}"
        )
    if not np.all(np.isfinite(times) & (times >= 0)):
        raise InputError(f"cole_hopf_sine: times must be finite and from 0, got {times}")
    out = np.empty((len(times), len(points)))
    for row, time in zip(out, speed * times, strict=True):
        row[:] = _sine_at(points, time, viscosity / speed, refinement)
    return out


def _sine_at(
    x: Float[np.ndarray, " points"], t: float, viscosity: float, refinement: int
) -> Float[np.ndarray, " points"]:
    spread = 4 * viscosity * t
    if spread < np.finfo(np.float64).tiny:
        return -np.sin(np.pi * x)
    # the cosine's exponent ranges over 1 / (pi nu), which can lift the Gaussian's tail to the top
    reach = math.sqrt(spread * (1 / (math.pi * viscosity) + _NEGLIGIBLE_EXPONENT))
    # A bound on the curvature of the exponent, hence on the integrand's narrowest width; the sum's
    # error is some exp(-2 (pi width / step)^2). Wide Gaussians leave the sine and the cosine's
    # harmonics to resolve, which steps of 0.1 do up to the 20th.
    width = 1 / math.sqrt(2 / spread + math.pi / (2 * viscosity))
    step = min(0.5 * width, 0.1) / refinement
    nodes = reach / step
    require_memory(
        f"the exact solution at a viscosity of {viscosity:g} until t = {t:g} takes",
        8 * _ARRAYS * 2 * nodes * len(x),
        "raise the viscosity, or end earlier",
    )
    half = math.ceil(nodes)
    eta = step * np.arange(-half, half + 1)
    angle = np.pi * (x[:, None] - eta)
    exponent = -(eta**2) / spread - np.cos(angle) / (2 * np.pi * viscosity)
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(np.sin(angle) * weight).sum(axis=1) / weight.sum(axis=1)
