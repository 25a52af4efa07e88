"""Fields as sums of eigenfunctions of the Laplacian, for Gaussian priors on them."""

import itertools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.fields._conditional import HasCenters

# of an axis that is not periodic, and of time, added at each end, relative to its length
_MARGIN = 0.25


class ModalField(eqx.Module):
    r"""Field v(x) = sum_k a_k phi_k(x), with eigenfunctions of -laplace phi_k = lambda_k phi_k.

    The eigenfunctions are products of 1, sqrt(2) cos and sqrt(2) sin of 2 pi n x / L along periodic
    axes, and of 1 and sqrt(2) cos(pi n x / L) along the others. The latter are those of an axis
    longer by a quarter at each end, so that no condition holds at the ends of the box. The n of the
    smallest lambda are kept: all wavelengths above a limit, in all directions alike.

    A field that changes in time, v(x, t) = sum_kj a_kj phi_k(x) psi_j(t), has functions psi_j of
    time as along an axis that is not periodic, so that nothing is assumed at the ends of the
    interval either; let it cover the forecast.

    It is called like `ConditionalField`, and replaces it where the unknown is smooth and the data
    are few or noisy: with independent normal coefficients whose variance falls with lambda it is a
    Gaussian process (`training.MaternPrior`), and `training.EmpiricalBayes` finds it in a few
    steps.

    - `coefficients`: a, one row per component, j before k in a field that changes; initially 0.
    - `lower`, `upper`, `periodic`: see `ConditionalField`.
    - `waves`: of each eigenfunction, the index of its factor along each axis.
    - `time`, `time_modes`: the interval, None for a steady field, and the number of psi_j.

    **Arguments:**

    - `components`: number of outputs.
    - `modes`: number of eigenfunctions of each component, rounded up to whole sets of equal lambda.
    - `time`: start and end of the interval in which the field changes; None: it is steady.
    - `time_modes`: number of functions of time.

    **Raises:** `InputError` for numbers below 1, a box or grid of the wrong dimension, an interval
    without length, and a call without the time where the field changes.

    Calling it with a grid gives (components, *grid.shape).

    Source: Solin and Särkkä, "Hilbert space methods for reduced-rank Gaussian process regression",
    Statistics and Computing 30 (2020).
    """

    coefficients: Float[Array, "components modes"]
    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    waves: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    time: tuple[float, float] | None = eqx.field(static=True)
    time_modes: int = eqx.field(static=True)

    def __init__(
        self,
        components: int,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        *,
        periodic: tuple[bool, ...] | None = None,
        modes: int = 100,
        time: tuple[float, float] | None = None,
        time_modes: int = 6,
    ):
        if components < 1 or modes < 1 or time_modes < 1:
            raise InputError(
                f"ModalField: components = {components}, modes = {modes}, time_modes = "
                f"{time_modes}; expected 1 or more of each, such as 2, 100 and 6"
            )
        if time is not None and not (np.all(np.isfinite(time)) and time[0] < time[1]):
            raise InputError(
                f"ModalField: time = {time}; expected finite times (start, end) with start < end, "
                "such as those of the first observation and of the end of the forecast"
            )
        self.lower, self.upper = tuple(map(float, lower)), tuple(map(float, upper))
        self.periodic = (False,) * len(lower) if periodic is None else tuple(periodic)
        if not len(self.lower) == len(self.upper) == len(self.periodic):
            raise InputError(
                f"ModalField: lower, upper and periodic have {len(lower)}, {len(upper)} and "
                f"{len(self.periodic)} entries; expected one per axis in each"
            )
        self.waves = self._smallest(modes)
        self.time = None if time is None else (float(time[0]), float(time[1]))
        self.time_modes = 1 if time is None else time_modes
        number = len(self.waves) * self.time_modes
        self.coefficients = jnp.zeros((components, number), jnp.result_type(float))

    def __call__(
        self,
        grid: HasCenters,
        t: Float[Array, "..."] | float | None = None,
        code: Float[Array, "..."] | None = None,
    ) -> Float[Array, "components *cells"]:
        """Evaluate at the grid's points, at one time; a steady field ignores it."""
        if code is not None:
            raise InputError(
                f"ModalField: a code of shape {code.shape} is given; the field takes none: leave "
                "it out, or use an ipd.ConditionalField"
            )
        coefficients = self.coefficients
        if self.time is not None:
            if t is None or jnp.ndim(t) > 0:
                raise InputError(
                    f"ModalField: t = {t}; the field changes between {self.time[0]:g} and "
                    f"{self.time[1]:g}: give one time, as in field(grid, t)"
                )
            at = jnp.asarray(t, coefficients.dtype)
            psi = self._factors(len(self.lower), self.time_modes - 1, at)
            coefficients = coefficients.reshape(len(coefficients), -1, self.time_modes) @ psi
        return jnp.tensordot(coefficients, self.eigenfunctions(grid), 1)

    def eigenfunctions(self, grid: HasCenters) -> Float[Array, "modes *cells"]:
        """The phi_k at the grid's points, each of mean square 1 over the (extended) box."""
        x = grid.centers
        if x.shape[0] != len(self.lower):
            raise InputError(
                f"ModalField: the grid has {x.shape[0]} axes, the field's box has {len(self.lower)}"
            )
        found = jnp.ones((1, *x.shape[1:]), self.coefficients.dtype)
        for axis, index in enumerate(np.asarray(self.waves).T):
            factors = self._factors(axis, int(index.max()), x[axis].astype(found.dtype))
            found = found * factors[index]
        return found

    @property
    def wavenumbers(self) -> Float[np.ndarray, "coefficients axes"]:
        """Wavenumbers, 2 pi over the wavelength, of each function along each axis, then in time.

        All are 0 for the first coefficient, the constant's.
        """
        of_axes = np.asarray(self.waves).T
        found = np.stack(
            [self._wavenumbers(d, int(i.max()))[i] for d, i in enumerate(of_axes)], axis=1
        )
        if self.time is None:
            return found
        in_time = self._wavenumbers(len(self.lower), self.time_modes - 1)
        each = np.repeat(found, self.time_modes, axis=0)
        return np.column_stack([each, np.tile(in_time, len(found))])

    @property
    def eigenvalues(self) -> Float[np.ndarray, " modes"]:
        """The lambda_k, increasing; the first is 0, of the constant."""
        wavenumbers = self.wavenumbers[:: self.time_modes, : len(self.lower)]
        return np.sum(wavenumbers**2, axis=1)

    def _ends(self, axis: int) -> tuple[float, float, bool]:
        """Start and end of an axis, or of the time after the last one, and whether it repeats."""
        if axis < len(self.lower):
            return self.lower[axis], self.upper[axis], self.periodic[axis]
        assert self.time is not None
        return (*self.time, False)

    def _period(self, axis: int) -> float:
        lower, upper, periodic = self._ends(axis)
        return upper - lower if periodic else 2 * (upper - lower) * (1 + 2 * _MARGIN)

    def _wavenumbers(self, axis: int, last: int) -> Float[np.ndarray, " index"]:
        """Wavenumbers of an axis's factors up to `last`, those of a cosine and its sine equal."""
        index = np.arange(last + 1)
        turns = (index + 1) // 2 if self._ends(axis)[2] else index
        return 2 * np.pi * turns / self._period(axis)

    def _factors(
        self, axis: int, last: int, x: Float[Array, "*cells"]
    ) -> Float[Array, "index *cells"]:
        lower, upper, periodic = self._ends(axis)
        start = lower if periodic else lower - _MARGIN * (upper - lower)
        rows = [jnp.ones_like(x)]
        for index, k in enumerate(self._wavenumbers(axis, last)):
            if index == 0:
                continue
            is_sine = periodic and index % 2 == 0
            wave = jnp.sin if is_sine else jnp.cos
            rows.append(math.sqrt(2) * wave(float(k) * (x - start)))
        return jnp.stack(rows)

    def _smallest(self, modes: int) -> tuple[tuple[int, ...], ...]:
        """Indices of the eigenfunctions of smallest lambda, whole sets of equal lambda."""
        # along one axis alone, as many as there are in all: the square of the last bounds lambda
        periods = [self._period(axis) for axis in range(len(self.lower))]
        volume = math.prod(periods)
        limit = (modes / volume) ** (1 / len(periods)) + 1 / min(periods)
        while True:
            last = [
                (2 if periodic else 1) * math.ceil(limit * period)
                for period, periodic in zip(periods, self.periodic, strict=True)
            ]
            axes = [self._wavenumbers(axis, n) ** 2 for axis, n in enumerate(last)]
            found = sorted(
                (sum(k[i] for k, i in zip(axes, index, strict=True)), index)
                for index in itertools.product(*(range(n + 1) for n in last))
            )
            found = [one for one in found if one[0] <= (2 * np.pi * limit) ** 2 * (1 + 1e-9)]
            if len(found) > modes:
                break
            limit *= 1.5
        largest = found[modes - 1][0] * (1 + 1e-9)
        return tuple(index for value, index in found if value <= largest)
