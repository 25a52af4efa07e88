r"""Seeded periodic random fields, defined as functions so that every grid samples the same one.

Both families here are sums of plane waves on the box $[x_0, x_0 + L]$ in any number of dimensions,

$$f(x) = \sum_w A_w \sin\Big(2\pi \sum_d k_{wd} (x_d - x_{0d}) / L_d + \varphi_w\Big),$$

with integer wavenumbers $k$. They differ only in how the waves are drawn.

Drawing uses no grid. Rescaling to [0, 1] uses the extrema over the cell centres of one *base* grid:
there the values span [0, 1] exactly, and a grid refined by 2 or 4 samples the same function, which
may slightly exceed these bounds between the base grid's centres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from jaxtyping import Complex, Float, Int

from impindiff.errors import InputError

# relative to the largest variance; smaller modes are below round-off in the amplitude
_NEGLIGIBLE_VARIANCE = 1e-32


@dataclass(frozen=True)
class RandomWaves:
    r"""$s (f(x) - m)$, with $f$ the sum of plane waves above.

    **Arguments:**

    - `amplitudes`, `wavenumbers`, `phases`: $A$, $k$, $\varphi$.
    - `lower`, `upper`: the box.
    - `offset`, `scale`: $m$, $s$.
    """

    amplitudes: Float[np.ndarray, " wave"]
    wavenumbers: Int[np.ndarray, "wave dimension"]
    phases: Float[np.ndarray, " wave"]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    offset: float = 0.0
    scale: float = 1.0

    def __call__(self, *axes: Float[np.ndarray, " _"]) -> Float[np.ndarray, "..."]:
        """The values on the product of the given coordinates, one array per dimension."""
        if len(axes) > 2:
            return self.scale * (self._by_axis(axes) - self.offset)
        factors = self.factors(*axes)
        coefficients = self.amplitudes * np.exp(1j * self.phases)
        leading = reduce(_outer_per_wave, factors[:-1], coefficients[:, None])
        total = np.imag(leading.T @ factors[-1])
        return self.scale * (total.reshape([len(x) for x in axes]) - self.offset)

    def _by_axis(self, axes: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, "..."]:
        """Evaluate the sum axis by axis, from one coefficient per wavenumber vector.

        A row per wave and pair of axes would not fit into memory, while tens of thousands of waves
        share some tens of wavenumbers along each axis.
        """
        unique, inverse = zip(
            *(np.unique(k, return_inverse=True) for k in self.wavenumbers.T), strict=True
        )
        total = np.zeros([len(k) for k in unique], complex)
        np.add.at(total, inverse, self.amplitudes * np.exp(1j * self.phases))
        for k, x, x0, x1 in zip(unique, axes, self.lower, self.upper, strict=True):
            # moving the first axis to the end restores the order after all of them
            total = np.tensordot(total, _turns(k, x, x0, x1), axes=(0, 0))
        return np.imag(total)

    def factors(self, *axes: Float[np.ndarray, " _"]) -> list[Complex[np.ndarray, "wave _"]]:
        r"""$\exp(2\pi i k_d (x_d - x_{0d}) / L_d)$ on each axis, a row per wave.

        A wave is the imaginary part of their product, so that the sine is evaluated on axes rather
        than cells and the sum over waves is one matrix product.
        """
        return [
            _turns(k, x, x0, x1)
            for k, x, x0, x1 in zip(self.wavenumbers.T, axes, self.lower, self.upper, strict=True)
        ]

    def centers(self, cells: tuple[int, ...]) -> list[Float[np.ndarray, " _"]]:
        """The cell centres along each axis of the box divided into `cells`."""
        bounds = zip(self.lower, self.upper, cells, strict=True)
        return [x0 + (np.arange(n) + 0.5) * ((x1 - x0) / n) for x0, x1, n in bounds]

    def on_cells(self, cells: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        """The values at the cell centres of the box divided into `cells`."""
        return self(*self.centers(cells))

    def rescaled(self, cells: tuple[int, ...]) -> "RandomWaves":
        """The function mapped linearly so that its extrema over the centres of `cells` are 0 and 1.

        **Raises:** `InputError` if it is constant there.
        """
        values = self.on_cells(cells)
        low, high = float(values.min()), float(values.max())
        # cancellation leaves round-off in a field whose waves are all constant
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            raise InputError(
                "a random field came out constant and cannot be rescaled to [0, 1]; use another "
                "seed, more waves, a larger wavenumber or a shorter correlation length"
            )
        return replace(self, offset=self.offset + low / self.scale, scale=self.scale / (high - low))


def random_waves(
    number: int,
    max_wavenumber: int,
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    cells: tuple[int, ...],
    rng: np.random.Generator,
) -> RandomWaves:
    r"""A sum of `number` uniformly drawn waves, rescaled to [0, 1] on the base grid `cells`.

    $A \sim U[-2, 2]$, $k$ from 0 to `max_wavenumber` in each direction, $\varphi \sim U[0, 2\pi)$.

    **Raises:** `InputError` if the draw is constant.
    """
    return RandomWaves(
        amplitudes=rng.uniform(-2.0, 2.0, number),
        wavenumbers=rng.integers(0, max_wavenumber, (number, len(lower)), endpoint=True),
        phases=rng.uniform(0.0, 2.0 * np.pi, number),
        lower=lower,
        upper=upper,
    ).rescaled(cells)


def periodic_modes(correlation_length: float, length: float) -> float:
    """The largest wavenumber, in periods of `length`, kept by `gaussian_waves`."""
    return math.sqrt(-math.log(_NEGLIGIBLE_VARIANCE) / 2) * length / (math.pi * correlation_length)


def gaussian_waves(
    correlation_length: float,
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    rng: np.random.Generator,
) -> RandomWaves:
    r"""A draw of the periodic Gaussian random field of zero mean and covariance $C(r)$.

    $$C(r) = \sum_{n \in \mathbb{Z}^d} \exp\left(-\frac{|r + nL|^2}{2 l^2}\right)
           = \sum_{k \in \mathbb{Z}^d} w_k \cos(2\pi k \cdot r/L), \qquad
    w_k = \prod_d \frac{\sqrt{2\pi}\, l}{L_d} e^{-2 (\pi l k_d / L_d)^2},$$

    the squared exponential made periodic by summing its images; the second form, by Poisson
    summation, is the one drawn. The modes kept depend on $l / L$ only, never on a grid.

    **Raises:** `InputError` unless the correlation length is positive and finite.
    """
    if not (math.isfinite(correlation_length) and correlation_length > 0):
        raise InputError(f"a correlation length must be above 0, not {correlation_length}")
    ratios = [correlation_length / (x1 - x0) for x0, x1 in zip(lower, upper, strict=True)]
    last = [
        math.ceil(periodic_modes(correlation_length, x1 - x0))
        for x0, x1 in zip(lower, upper, strict=True)
    ]
    axes = [np.arange(-n, n + 1) for n in last]
    modes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    # f is real: of k and -k one suffices, carrying the variance of both. The modes stand in
    # lexicographic order with zero in the middle, so the second half has one of each pair.
    wavenumbers = modes[len(modes) // 2 :]
    per_axis = [
        math.sqrt(2 * math.pi) * r * np.exp(-2 * (math.pi * r * k) ** 2)
        for r, k in zip(ratios, wavenumbers.T, strict=True)
    ]
    variance = np.prod(per_axis, axis=0) * np.where(wavenumbers.any(axis=1), 2.0, 1.0)
    cosine, sine = rng.standard_normal((2, len(wavenumbers))) * np.sqrt(variance)
    # cosine * cos(theta) + sine * sin(theta) = hypot * sin(theta + phase)
    return RandomWaves(
        amplitudes=np.hypot(cosine, sine),
        wavenumbers=wavenumbers,
        phases=np.arctan2(cosine, sine),
        lower=lower,
        upper=upper,
    )


def gaussian_random_field(
    correlation_length: float,
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    cells: tuple[int, ...],
    rng: np.random.Generator,
) -> RandomWaves:
    """`gaussian_waves` rescaled to [0, 1] on the base grid `cells`.

    **Raises:** `InputError` for a correlation length that is not positive, or so long that the
    field is constant.
    """
    return gaussian_waves(correlation_length, lower, upper, rng).rescaled(cells)


def _turns(
    k: Int[np.ndarray, " wave"], x: Float[np.ndarray, " m"], x0: float, x1: float
) -> Complex[np.ndarray, "wave m"]:
    return np.exp(2j * np.pi * np.outer(k, (x - x0) / (x1 - x0)))


def _outer_per_wave(
    a: Complex[np.ndarray, "wave m"], b: Complex[np.ndarray, "wave n"]
) -> Complex[np.ndarray, "wave mn"]:
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
