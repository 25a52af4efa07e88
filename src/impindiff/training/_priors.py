"""Gaussian priors as residuals, with hyperparameters that the data choose."""

import abc
import itertools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.fields import ModalField
from impindiff.grid import Grid
from impindiff.operators import diffusion, gradient

# standard deviations of the logarithms of hyperparameters: within factors of e^2 and e of a guess
_WIDE, _NARROW = 2.0, 1.0
# the guesses of a Matern prior: of the length over the longest wave, and of the smoothness
_LENGTH, _SMOOTHNESS = 1 / 8, 3.0
# a variance this much below the largest is 0 to round-off
_LEAST_VARIANCE = 1e-24


class AbstractPrior(eqx.Module):
    r"""A Gaussian prior on features f of a model: residuals $w_i f_i$, with weights 1 / deviation.

    Passed to a loss as its `prior`, with measurements that are divided by their own errors. The
    weights depend on hyperparameters, each a guess times $e^\theta$; `EmpiricalBayes` chooses the
    $\theta$, which are independent normal numbers around 0 beforehand.

    - `theta`: the hyperparameters; None: 0, the guesses.
    - `are_parameters`: True if each feature is a parameter of the model, for cheaper algebra.
    """

    are_parameters: ClassVar[bool] = False
    theta: Float[Array, " k"] | None = eqx.field(default=None, kw_only=True)

    @abc.abstractmethod
    def features(self, model: Any) -> Float[Array, " features"]:
        """The features, of mean 0."""

    @abc.abstractmethod
    def log_weights(self, theta: Float[Array, " k"]) -> Float[Array, "..."]:
        """Logarithms of the weights; one number if all are equal."""

    @property
    @abc.abstractmethod
    def widths(self) -> Float[np.ndarray, " k"]:
        """Standard deviations of the hyperparameters beforehand; empty if none is chosen."""

    @abc.abstractmethod
    def described(self) -> dict[str, float]:
        """The chosen quantities by name, in their units."""

    def hyperparameters(self) -> Float[Array, " k"]:
        """The current hyperparameters."""
        return jnp.zeros(self.widths.size) if self.theta is None else self.theta

    def at(self, theta: Float[Array, " k"]) -> "AbstractPrior":
        """The same prior with other hyperparameters."""
        return eqx.tree_at(lambda p: p.theta, self, theta, is_leaf=lambda leaf: leaf is None)

    def __call__(self, model: Any) -> Float[Array, " features"]:
        """The features over their standard deviations."""
        return jnp.exp(self.log_weights(self.hyperparameters())) * self.features(model)


class GaussianPrior(AbstractPrior):
    r"""A Gaussian prior on parameters near 0: pseudo-measurements $p / \sigma$ of value 0.

    Combinations of parameters that the data do not determine stay near 0, with the error $\sigma$
    rather than an infinite one.

    - `where`: selects the parameters of a model, an array or a pytree of such; for example the log
      slopes of a closure, of which 0 is its prior law.
    - `standard_deviation`: of the prior.
    - `choose`: True if `standard_deviation` is a guess, right within a factor of $e^2$, and
      `EmpiricalBayes` chooses it.

    Source: Tarantola, "Inverse Problem Theory", SIAM 2005, section 1.5.
    """

    where: Callable[[Any], Any] = eqx.field(static=True)
    standard_deviation: float = eqx.field(static=True)
    choose: bool = eqx.field(static=True, default=False)

    def features(self, model: Any) -> Float[Array, " parameters"]:
        """The parameters."""
        return ravel_pytree(self.where(model))[0]

    def log_weights(self, theta: Float[Array, " k"]) -> Float[Array, ""]:
        """Minus the logarithm of the standard deviation."""
        return -np.log(self.standard_deviation) - jnp.sum(theta)

    @property
    def widths(self) -> Float[np.ndarray, " k"]:
        """The width of the standard deviation, if it is chosen."""
        return np.full(int(self.choose), _WIDE)

    def described(self) -> dict[str, float]:
        """The standard deviation."""
        return {"deviation": self.standard_deviation * float(jnp.exp(sum(self.hyperparameters())))}


class SmoothnessPrior(AbstractPrior):
    r"""A prior against steep or bent fields: the H1 or H2 seminorm, by the grid's operators.

    $$\|r\|^2 = \frac{1}{\sigma^2 |\Omega|} \int_\Omega |\nabla v|^2 dx \quad (\text{order 1}),
    \qquad \frac{1}{\sigma^2 |\Omega|} \int_\Omega (\Delta v)^2 dx \quad (\text{order 2}),$$
    with `gradient` and `diffusion` at the cells' centres. It works with every field that has values
    on a grid, networks included. Constants are left free.

    - `where`: selects values of a model on the cells, (*cells) or (components, *cells), such as
      `lambda model: model.latent(jnp.asarray(0.0))`.
    - `grid`: the grid, with the boundary conditions of the field.
    - `size`: $\sigma$, the root mean square of the gradient, or of the Laplacian.
    - `order`: 1 or 2.
    - `choose`: True if `size` is a guess, right within a factor of $e^2$, and `EmpiricalBayes`
      chooses it.

    Source: Wahba, "Spline models for observational data", SIAM 1990, chapter 1.
    """

    where: Callable[[Any], Any] = eqx.field(static=True)
    grid: Grid
    size: float = eqx.field(static=True)
    order: Literal[1, 2] = eqx.field(static=True, default=1)
    choose: bool = eqx.field(static=True, default=False)

    def features(self, model: Any) -> Float[Array, " features"]:
        """Derivatives at the cells, times the roots of the cells' shares of the volume."""
        values = self.where(model)
        first = self.order == 1
        found = gradient(values, self.grid) if first else diffusion(values, 1.0, self.grid)
        volumes = np.broadcast_to(np.asarray(self.grid.volumes), self.grid.shape)
        return jnp.ravel(jnp.asarray(np.sqrt(volumes / volumes.sum()), values.dtype) * found)

    def log_weights(self, theta: Float[Array, " k"]) -> Float[Array, ""]:
        """Minus the logarithm of the size."""
        return -np.log(self.size) - jnp.sum(theta)

    @property
    def widths(self) -> Float[np.ndarray, " k"]:
        """The width of the size, if it is chosen."""
        return np.full(int(self.choose), _WIDE)

    def described(self) -> dict[str, float]:
        """The size."""
        return {"size": self.size * float(jnp.exp(sum(self.hyperparameters())))}


class MaternPrior(AbstractPrior):
    r"""A Matern Gaussian process as the prior of a `ModalField`.

    Each component has independent normal coefficients of variance
    $$S_k = \sigma^2 s_k / \sum_j s_j, \qquad
    s_k = \Big(1 + \sum_i k_i^2 \ell_i^2 / 2 \nu\Big)^{-(\nu + d / 2)},$$
    for wavenumbers k in d dimensions, with its own standard deviation $\sigma$, lengths $\ell_i$
    along the axes and smoothness $\nu$ (draws have fewer than $\nu$ derivatives; a large $\nu$ is
    the squared exponential). In a field that changes, $s_k$ has a second factor of the same form
    (d = 1) for the wavenumber in time, with another length and smoothness. The constant, k = 0, is
    left free and does not count in the sum.

    `EmpiricalBayes` chooses all of them. Beforehand $\sigma$ and $\nu$ are within a factor of $e^2$
    of `deviation` and of 3, and the lengths within $e$ of an eighth of the longest wave along their
    axis, or in time: wide enough that data which see the field decide.

    - `where`: selects the `ModalField` of a model.
    - `field`: one with the same box and modes.
    - `deviation`: a guess of the size of the field's variation, in its unit.

    **Raises:** `InputError` for another kind of field, or one of the constant alone.

    Source: Rasmussen and Williams, "Gaussian processes for machine learning", 2006, section 4.2;
    Whittle, Biometrika 41 (1954).
    """

    are_parameters: ClassVar[bool] = True
    where: Callable[[Any], Any] = eqx.field(static=True)
    deviation: float = eqx.field(static=True)
    wavenumbers: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    axes: tuple[str, ...] = eqx.field(static=True)
    components: int = eqx.field(static=True)

    def __init__(self, where: Callable[[Any], Any], field: ModalField, *, deviation: float = 1.0):
        if not isinstance(field, ModalField) or field.coefficients.shape[1] < 2:
            raise InputError(
                f"MaternPrior: the field is a {type(field).__name__}; expected an ipd.ModalField "
                "of 2 or more modes"
            )
        self.where, self.deviation = where, deviation
        found = field.wavenumbers[1:]
        # an axis may have no wave of its own among few modes
        has_waves = [bool(k.any()) for k in found.T]
        self.wavenumbers = tuple(map(tuple, found[:, has_waves].tolist()))
        names = (*"xyz"[: len(field.lower)], "t")
        self.axes = tuple(itertools.compress(names, has_waves))
        self.components = len(field.coefficients)
        self.theta = None

    def features(self, model: Any) -> Float[Array, " features"]:
        """The coefficients without those of the constant, component by component."""
        return jnp.ravel(self.where(model).coefficients[:, 1:])

    def log_weights(self, theta: Float[Array, " k"]) -> Float[Array, " features"]:
        """Minus half the logarithms of the variances."""
        rows, squares = self._logarithms(theta), jnp.asarray(self.wavenumbers).T ** 2
        size, lengths = rows[0][:, None], rows[1 : len(self.axes) + 1]
        log_variance = jnp.zeros(())
        for axes, smoothness in zip(self._factors, rows[len(self.axes) + 1 :], strict=True):
            log_variance += _log_spectrum(squares[axes], lengths[axes], smoothness)
        log_variance -= jax.nn.logsumexp(log_variance, axis=1, keepdims=True)
        # relative to their sum
        least = np.log(_LEAST_VARIANCE)
        return jnp.ravel(-size - jnp.where(log_variance > least, log_variance, least) / 2)

    @property
    def widths(self) -> Float[np.ndarray, " k"]:
        """Widths of all standard deviations, then lengths by axis, then smoothnesses."""
        rows = [_WIDE, *[_NARROW] * len(self.axes), *[_WIDE] * len(self._factors)]
        return np.repeat(rows, self.components)

    def described(self) -> dict[str, float]:
        """Standard deviation, lengths and smoothness of each component."""
        values = np.exp(np.asarray(self._logarithms(self.hyperparameters())))
        lengths = [f"length_{axis}" for axis in self.axes] if len(self.axes) > 1 else ["length"]
        in_time = [self.axes[axes.start] == "t" and len(self.axes) > 1 for axes in self._factors]
        names = ("deviation", *lengths, *("smoothness_t" if t else "smoothness" for t in in_time))
        return {
            f"{name}_{component}" if self.components > 1 else name: float(values[row, component])
            for component in range(self.components)
            for row, name in enumerate(names)
        }

    @property
    def _factors(self) -> list[slice]:
        """The axes of each factor of the spectrum: those of space, and time."""
        in_space = len(self.axes) - ("t" in self.axes)
        found = (slice(0, in_space), slice(in_space, len(self.axes)))
        return [axes for axes in found if axes.start < axes.stop]

    def _logarithms(self, theta: Float[Array, " k"]) -> Float[Array, "rows components"]:
        smallest = [np.min(k[k > 0]) for k in np.asarray(self.wavenumbers).T]
        lengths = _LENGTH * 2 * np.pi / np.asarray(smallest)
        guess = np.log([self.deviation, *lengths, *[_SMOOTHNESS] * len(self._factors)])
        return jnp.asarray(guess)[:, None] + theta.reshape(len(guess), self.components)


def _log_spectrum(
    squares: Float[np.ndarray, "axes modes"] | Array,
    log_lengths: Float[Array, "axes components"],
    log_smoothness: Float[Array, " components"],
) -> Float[Array, "components modes"]:
    """Logarithms of the spectral density of a Matern process, that of the constant being 0."""
    nu = jnp.exp(log_smoothness)[:, None]
    stretched = jnp.exp(2 * log_lengths).T @ squares / (2 * nu)
    return -(nu + len(squares) / 2) * jnp.log1p(stretched)


class Priors(eqx.Module):
    """Several independent priors, of different parts of a model, as one.

    - `parts`: by name.
    """

    parts: dict[str, AbstractPrior]

    def __init__(self, parts: Mapping[str, AbstractPrior]):
        # the order that JAX gives a dictionary
        self.parts = {name: parts[name] for name in sorted(parts)}

    def __call__(self, model: Any) -> Float[Array, " features"]:
        """The residuals of all parts."""
        return jnp.concatenate([part(model) for part in self.parts.values()])

    def hyperparameters(self) -> Float[Array, " k"]:
        """All parts, one after the other."""
        return jnp.concatenate([part.hyperparameters() for part in self.parts.values()])

    @property
    def widths(self) -> Float[np.ndarray, " k"]:
        """All parts, one after the other."""
        return np.concatenate([part.widths for part in self.parts.values()])

    def each(self, theta: Float[Array, " k"]) -> list[tuple[AbstractPrior, Float[Array, " k"]]]:
        """Pairs of a part and its hyperparameters."""
        ends = np.cumsum([part.widths.size for part in self.parts.values()])
        return list(zip(self.parts.values(), jnp.split(theta, ends[:-1]), strict=True))

    def at(self, theta: Float[Array, " k"]) -> "Priors":
        """The same priors with other hyperparameters."""
        found = [part.at(own) for part, own in self.each(theta)]
        return Priors(dict(zip(self.parts, found, strict=True)))

    def described(self) -> dict[str, float]:
        """The chosen quantities of each part, as `part.name`."""
        return {
            f"{name}.{key}": value
            for name, part in self.parts.items()
            for key, value in part.described().items()
        }


def as_priors(prior: Any) -> Priors:
    """A loss's prior in the form whose hyperparameters can be chosen.

    **Raises:** `InputError` for none, and for another callable.
    """
    if isinstance(prior, Priors):
        return prior
    if not isinstance(prior, AbstractPrior):
        given = "no prior" if prior is None else f"a prior of type {type(prior).__name__}"
        raise InputError(
            f"training.optimizer: empirical_bayes chooses the weights of a prior, and the loss has "
            f"{given}; give it one of impindiff.training, such as MaternPrior or GaussianPrior"
        )
    return Priors({"": prior})
