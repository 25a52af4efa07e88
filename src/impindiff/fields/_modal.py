"""Fields as sums of eigenfunctions of the Laplacian, for Gaussian priors on them."""

import itertools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.fields._conditional import HasCenters

# of an axis that is not periodic, added at each end, relative to its length
_MARGIN = 0.25


class ModalField(eqx.Module):
    r"""Field v(x) = sum_k a_k phi_k(x), with eigenfunctions of -laplace phi_k = lambda_k phi_k.

    The eigenfunctions are products of 1, sqrt(2) cos and sqrt(2) sin of 2 pi n x / L along periodic
    axes, and of 1 and sqrt(2) cos(pi n x / L) along the others. The latter are those of an axis
    longer by a quarter at each end, so that no condition holds at the ends of the box. The n of the
    smallest lambda are kept: all wavelengths above a limit, in all directions alike.

    It is called like `ConditionalField`, and replaces it where the unknown is smooth and the data
    are few or noisy: with independent normal coefficients whose variance falls with lambda it is a
    Gaussian process (`training.MaternPrior`), and `training.EmpiricalBayes` finds it in a few
    steps.

    - `coefficients`: a, one row per component; initially 0.
    - `lower`, `upper`, `periodic`: see `ConditionalField`.
    - `waves`: of each eigenfunction, the index of its factor along each axis.

    **Arguments:**

    - `components`: number of outputs.
    - `modes`: number of eigenfunctions of each component, rounded up to whole sets of equal lambda.

    **Raises:** `InputError` for numbers below 1, and a box or grid of the wrong dimension.

    Calling it with a grid gives (components, *grid.shape).

    Source: Solin and Särkkä, "Hilbert space methods for reduced-rank Gaussian process regression",
    Statistics and Computing 30 (2020).
    """

    coefficients: Float[Array, "components modes"]
    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    waves: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __init__(
        self,
        components: int,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        *,
        periodic: tuple[bool, ...] | None = None,
        modes: int = 100,
    ):
        if components < 1 or modes < 1:
            raise InputError(
                f"ModalField: components = {components}, modes = {modes}; expected 1 or more of "
                f"each, such as 2 and 100"
            )
        self.lower, self.upper = tuple(map(float, lower)), tuple(map(float, upper))
        self.periodic = (False,) * len(lower) if periodic is None else tuple(periodic)
        if not len(self.lower) == len(self.upper) == len(self.periodic):
            raise InputError(
                f"ModalField: lower, upper and periodic have {len(lower)}, {len(upper)} and "
                f"{len(self.periodic)} entries; expected one per axis in each"
            )
        self.waves = self._smallest(modes)
        self.coefficients = jnp.zeros((components, len(self.waves)), jnp.result_type(float))

    def __call__(
        self,
        grid: HasCenters,
        t: Float[Array, "..."] | float | None = None,
        code: Float[Array, "..."] | None = None,
    ) -> Float[Array, "components *cells"]:
        """Evaluate at the grid's points; the field is steady, and the time ignored."""
        del t
        if code is not None:
            raise InputError(
                f"ModalField: a code of shape {code.shape} is given; the field takes none: leave "
                "it out, or use an ipd.ConditionalField"
            )
        return jnp.tensordot(self.coefficients, self.eigenfunctions(grid), 1)

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
    def wavenumbers(self) -> Float[np.ndarray, "modes ndim"]:
        """Wavenumbers of each eigenfunction along each axis, 2 pi over the wavelength."""
        of_axes = np.asarray(self.waves).T
        return np.stack(
            [self._wavenumbers(d, int(i.max()))[i] for d, i in enumerate(of_axes)], axis=1
        )

    @property
    def eigenvalues(self) -> Float[np.ndarray, " modes"]:
        """The lambda_k, increasing; the first is 0, of the constant."""
        return np.sum(self.wavenumbers**2, axis=1)

    def _period(self, axis: int) -> float:
        length = self.upper[axis] - self.lower[axis]
        return length if self.periodic[axis] else 2 * length * (1 + 2 * _MARGIN)

    def _wavenumbers(self, axis: int, last: int) -> Float[np.ndarray, " index"]:
        """Wavenumbers of an axis's factors up to `last`, those of a cosine and its sine equal."""
        index = np.arange(last + 1)
        turns = (index + 1) // 2 if self.periodic[axis] else index
        return 2 * np.pi * turns / self._period(axis)

    def _factors(
        self, axis: int, last: int, x: Float[Array, "*cells"]
    ) -> Float[Array, "index *cells"]:
        lower, upper = self.lower[axis], self.upper[axis]
        start = lower if self.periodic[axis] else lower - _MARGIN * (upper - lower)
        rows = [jnp.ones_like(x)]
        for index, k in enumerate(self._wavenumbers(axis, last)):
            if index == 0:
                continue
            is_sine = self.periodic[axis] and index % 2 == 0
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
