"""Closures y(x): learned laws of the state with built-in sign, monotonicity or threshold.

A solver evaluates a closure at states that no solution would visit, with any parameters that the
optimiser tries. Constraints that keep the equation well posed are therefore built in, not
penalised, and derivatives of any order are finite wherever the values are. Everything acts
entrywise.
"""

import itertools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.errors import InputError

Law = Callable[..., Float[Array, "..."]]
Value = Float[Array, "..."] | float
Box = tuple[tuple[float, ...], tuple[float, ...]]


class _Network(eqx.Module):
    """tanh layers on variables scaled to [-1, 1]; initially 0, by a last layer of zeros."""

    weights: tuple[Float[Array, "outputs inputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]
    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self, name: str, box: Box, outputs: int, width: int, depth: int, key: PRNGKeyArray
    ):
        if width < 1 or depth < 1:
            raise InputError(
                f"{name}: width = {width}, depth = {depth}; expected 1 or more, such as 8 and 2"
            )
        self.lower, self.upper = box
        sizes = itertools.pairwise([len(self.lower), *[width] * depth])
        weights, biases = [], []
        for (fan_in, fan_out), layer_key in zip(sizes, jax.random.split(key, depth), strict=True):
            bound = 1 / math.sqrt(fan_in)
            both = jax.random.uniform(layer_key, (fan_out, fan_in + 1), minval=-bound, maxval=bound)
            weights.append(both[:, :-1])
            biases.append(both[:, -1])
        self.weights = (*weights, jnp.zeros((outputs, width)))
        self.biases = (*biases, jnp.zeros(outputs))

    def __call__(self, *variables: Value) -> Float[Array, "outputs ..."]:
        scaled = [
            2 * (x - a) / (b - a) - 1
            for x, a, b in zip(_floating(*variables), self.lower, self.upper, strict=True)
        ]
        points = jnp.stack(jnp.broadcast_arrays(*scaled))
        h = points.reshape(len(variables), -1)
        weights, biases = jax.tree.map(
            lambda x: x.astype(points.dtype), (self.weights, self.biases)
        )
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            h = jnp.tanh(weight @ h + bias[:, None])
        h = weights[-1] @ h + biases[-1][:, None]
        return h.reshape(-1, *points.shape[1:])


class PositiveClosure(eqx.Module):
    """Positive closure y(x, ...) = prior(x, ...) exp(N(x, ...)), initially the prior law.

    N is a network of tanh layers whose last layer starts as 0. It takes each variable scaled to
    [-1, 1] and is bounded outside, so that y stays within a factor of the prior.

    **Arguments:**

    - `prior`: a positive function of the variables, entrywise, without learned parameters.
    - `lower`, `upper`: the range of each variable, a tuple, or a number for one variable. Calls may
      leave it.
    - `variables`: their number.
    - `width`, `depth`: neurons per hidden layer, and number of hidden layers.

    **Raises:** `InputError` for arguments out of range, a prior that is not positive in the middle,
    at the ends and corners of the range, and a call with another number of variables.

    Calling it with arrays that broadcast, one per variable, gives y in their common shape.
    """

    network: _Network
    prior: Law = eqx.field(static=True)

    def __init__(
        self,
        prior: Law,
        *,
        lower: float | tuple[float, ...],
        upper: float | tuple[float, ...],
        variables: int = 1,
        width: int = 8,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        box = _box("PositiveClosure", lower, upper, variables)
        corners = np.array([*itertools.product(*zip(*box, strict=True)), np.mean(box, axis=0)])
        _prior_at("PositiveClosure", prior, *corners.T)
        self.prior = prior
        self.network = _Network("PositiveClosure", box, 1, width, depth, key)

    def __call__(self, x: Value, *others: Value) -> Float[Array, "..."]:
        """Evaluate the law."""
        _check_call("PositiveClosure", len(self.network.lower), 1 + len(others))
        variables = _floating(x, *others)
        return self.prior(*variables) * jnp.exp(self.network(*variables)[0])


class MonotoneClosure(eqx.Module):
    """Monotone closure y(x) = exp(h(log prior(x))): positive, and monotone like the prior.

    h(l) = b + l_0 + int_{l_0}^l s, where the slope s runs linearly through exp(v_i) at the knots
    l_i and stays constant beyond them: h is an integrated spline, once continuously differentiable,
    and the identity at the start (v = 0, b = 0). Outside the range y is a power of the prior.

    The knots are evenly spaced in log prior between its values at `lower` and `upper`, so each
    interval covers the same ratio of y, and a power of the prior is represented exactly. (With even
    spacing in x, the steep end of a law over several decades would fall into one interval.)

    With further variables z, v = v_0 + V(z) and b = b_0 + B(z), where (B, V) is a network that
    starts as 0: y is monotone in x for every z, and free in z.

    **Arguments:**

    - `prior`: a positive function of all variables, entrywise, without learned parameters; strictly
      monotone in x. (In double precision values below 5e-32 count as 5e-32.)
    - `lower`, `upper`: the range of each variable, x first: a tuple, or a number for x alone. Calls
      may leave it.
    - `knots`: their number.
    - `variables`: number of variables, x included.
    - `width`, `depth`, `key`: of the network's hidden layers, for more than one variable.

    **Raises:** `InputError` for arguments out of range, a missing `key` for more than one variable,
    a prior that is not positive and strictly monotone between `lower` and `upper` (other variables
    at mid-range), and a call with another number of variables.

    Calling it with arrays that broadcast, one per variable, gives y in their common shape.

    Source: Ramsay, "Monotone regression splines in action", Statistical Science 3, 1988.
    """

    shift: Float[Array, ""]
    log_slopes: Float[Array, " knots"]
    network: _Network | None
    prior: Law = eqx.field(static=True)
    knots: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        prior: Law,
        *,
        lower: float | tuple[float, ...],
        upper: float | tuple[float, ...],
        knots: int = 8,
        variables: int = 1,
        width: int = 8,
        depth: int = 2,
        key: PRNGKeyArray | None = None,
    ):
        name = "MonotoneClosure"
        (lowest, *z_lower), (highest, *z_upper) = _box(name, lower, upper, variables)
        _check_knots(name, knots)
        middle = [(a + b) / 2 for a, b in zip(z_lower, z_upper, strict=True)]
        values = _prior_at(name, prior, np.linspace(lowest, highest, 65), *middle)
        rises = np.diff(values) > 0
        if not (rises.all() or (np.diff(values) < 0).all()):
            raise InputError(
                f"{name}: the prior is not strictly monotone in x between {lowest:g} and "
                f"{highest:g}; where it is flat, h has nothing to change: choose a range that "
                "leaves out a floor, or another prior"
            )
        first, last = sorted((math.log(values[0]), math.log(values[-1])))
        self.prior = prior
        self.knots = tuple(np.linspace(first, last, knots).tolist())
        self.shift = jnp.zeros(())
        self.log_slopes = jnp.zeros(knots)
        if variables == 1:
            self.network = None
        elif key is None:
            raise InputError(
                f"{name}: variables = {variables} without a key; the network of the further "
                "variables needs one, such as jax.random.key(0)"
            )
        else:
            box = (tuple(z_lower), tuple(z_upper))
            self.network = _Network(name, box, 1 + knots, width, depth, key)

    def __call__(self, x: Value, *others: Value) -> Float[Array, "..."]:
        """Evaluate the law."""
        expected = 1 if self.network is None else 1 + len(self.network.lower)
        _check_call("MonotoneClosure", expected, 1 + len(others))
        variables = _floating(x, *others)
        prior = jnp.asarray(self.prior(*variables))
        # its square is the smallest number allowed in the third derivative of a logarithm
        prior = jnp.log(jnp.maximum(prior, jnp.finfo(prior.dtype).eps ** 2))
        shift, log_slopes = (p.astype(prior.dtype) for p in (self.shift, self.log_slopes))
        if self.network is not None:
            of_others = self.network(*variables[1:])
            shift = shift + of_others[0]
            log_slopes = log_slopes.reshape(-1, *[1] * shift.ndim) + of_others[1:]
        spline = _integrated_spline(prior, self.knots, jnp.exp(log_slopes))
        return jnp.exp(shift + self.knots[0] + spline)


class PercolatingClosure(eqx.Module):
    """Percolating closure y(x) = law(w(x)): increasing above a learned threshold, constant below.

    law is `percolation_law` with the learned x_p and exponent a, and w a learned increasing map
    that fixes x_p: w = x_p + (1 - x_p) S(z), z = (x - x_p) / (1 - x_p), S(z) = int_0^z s, where the
    slope s runs linearly through exp(v_i) at knots evenly spaced in z from x_p to `upper`, and is
    constant beyond them. Every increasing y that vanishes at x_p like (x - x_p)^a has this form.
    Initially it is the law of the given threshold and exponent.

    Below the threshold y is the floor, and all its derivatives vanish, also with respect to x_p,
    which is learned from values above it.

    **Arguments:**

    - `threshold`, `exponent`: initial x_p and a; properties of these names give the current ones.
    - `largest_threshold`: x_p = largest_threshold / (1 + exp(-p)) stays between 0 and this, for
      example the smallest x known to be above it.
    - `upper`: the largest x of interest, where the knots end. Calls may leave it.
    - `floor`: the smallest y. For a < 1 it also keeps the slope at the threshold finite.
    - `knots`: their number.

    **Raises:** `InputError` for arguments out of range.

    Calling it with an array gives y in its shape.

    Source: Tomadakis and Sotirchos, "Ordinary and transition regime diffusion in random fiber
    structures", AIChE J. 39, 1993 (the law); Ramsay (1988), see `MonotoneClosure`.
    """

    log_odds: Float[Array, ""]
    log_exponent: Float[Array, ""]
    log_slopes: Float[Array, " knots"]
    largest_threshold: float = eqx.field(static=True)
    floor: float = eqx.field(static=True)
    knots: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        threshold: float,
        exponent: float,
        *,
        largest_threshold: float,
        upper: float = 1.0,
        floor: float = 1e-4,
        knots: int = 6,
    ):
        name = "PercolatingClosure"
        _check_law(name, threshold, exponent, floor)
        _check_knots(name, knots)
        if not threshold < largest_threshold < upper <= 1:
            raise InputError(
                f"{name}: threshold = {threshold}, largest_threshold = {largest_threshold}, "
                f"upper = {upper}; expected them in this order, increasing, and upper at most 1"
            )
        self.log_odds = jnp.asarray(math.log(threshold / (largest_threshold - threshold)))
        self.log_exponent = jnp.asarray(math.log(exponent))
        self.log_slopes = jnp.zeros(knots)
        self.largest_threshold, self.floor = largest_threshold, floor
        end = (upper - threshold) / (1 - threshold)
        self.knots = tuple(np.linspace(0.0, end, knots).tolist())

    @property
    def threshold(self) -> Float[Array, ""]:
        """x_p, where y reaches the floor."""
        return self.largest_threshold * jax.nn.sigmoid(self.log_odds)

    @property
    def exponent(self) -> Float[Array, ""]:
        """The exponent a, positive."""
        return jnp.exp(self.log_exponent)

    def __call__(self, x: Value) -> Float[Array, "..."]:
        """Evaluate the law."""
        (x,) = _floating(x)
        threshold, exponent, log_slopes = (
            p.astype(x.dtype) for p in (self.threshold, self.exponent, self.log_slopes)
        )
        z = (x - threshold) / (1 - threshold)
        moved = _integrated_spline(z, self.knots, jnp.exp(log_slopes))
        return percolation_law(threshold + (1 - threshold) * moved, threshold, exponent, self.floor)


def percolation_law(
    x: Value, threshold: Value, exponent: Value, floor: Value
) -> Float[Array, "..."]:
    """Percolation law max(floor, x z^a), z = (x - x_p) / (1 - x_p), and the floor below x_p.

    For a porosity x, it is the diffusivity in a porous medium relative to that in the open gas:
    pores below the threshold x_p form no connected path. Random fibres in three dimensions have x_p
    = 0.037, a = 0.661; in planes, along them 0.11, 0.521 and across them 0.11, 0.785.

    **Arguments:**

    - `x`: an array of real numbers.
    - `threshold`, `exponent`, `floor`: x_p in (0, 1), a > 0, and the floor in (0, 1).

    **Raises:** `InputError` for numbers out of range (arrays are not checked).

    No derivative is infinite or NaN, at the threshold or below it.

    Source: Tomadakis and Sotirchos, AIChE J. 39, 1993.
    """
    _check_law("percolation_law", threshold, exponent, floor)
    z = jnp.asarray((x - threshold) / (1 - threshold))
    # slightly above 0 every derivative of the power is finite, even where it is not used
    power = jnp.exp(exponent * jnp.log(jnp.maximum(z, jnp.finfo(z.dtype).eps)))
    return jnp.where(z > 0, jnp.maximum(x * power, floor), floor)


def _floating(*variables: Value) -> list[Float[Array, "..."]]:
    """Convert the variables to their common precision, regardless of the parameters'."""
    dtype = jnp.result_type(*variables, 1.0)
    return [jnp.asarray(x, dtype) for x in variables]


def _integrated_spline(
    x: Float[Array, "..."], knots: tuple[float, ...], slopes: Float[Array, "knots ..."]
) -> Float[Array, "..."]:
    """Integral int_{k_0}^x s of a slope s, linear between knots and constant beyond.

    All terms increase, so round-off keeps the monotonicity. At a knot, the half derivatives of the
    two adjacent `clip`s add up to the slope there.

    Written interval by interval, which XLA fuses into one pass over x: 5 to 10 times faster than a
    sum over an axis of intervals.
    """
    total = slopes[0] * jnp.minimum(x - knots[0], 0) + slopes[-1] * jnp.maximum(x - knots[-1], 0)
    for i, (left, right) in enumerate(itertools.pairwise(knots)):
        part = jnp.clip(x, left, right) - left  # the part of the interval below x
        bend = part * part / (2 * (right - left))
        total += slopes[i] * (part - bend) + slopes[i + 1] * bend
    return total


def _box(
    name: str, lower: float | tuple[float, ...], upper: float | tuple[float, ...], variables: int
) -> Box:
    low = tuple(float(a) for a in np.atleast_1d(lower))
    high = tuple(float(a) for a in np.atleast_1d(upper))
    if variables < 1 or not len(low) == len(high) == variables:
        raise InputError(
            f"{name}: lower and upper have {len(low)} and {len(high)} entries for variables = "
            f"{variables}; expected one a variable in each"
        )
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if not (math.isfinite(a) and math.isfinite(b) and a < b):
            raise InputError(
                f"{name}: the range of variable {i} is from {a:g} to {b:g}; expected finite "
                "numbers, lower < upper"
            )
    return low, high


def _prior_at(name: str, prior: Law, *variables: np.ndarray | float) -> np.ndarray:
    # concrete values, also where a closure is built in a program that is being traced
    with jax.ensure_compile_time_eval():
        values = np.asarray(prior(*[jnp.asarray(x) for x in variables]))
    wrong = values[~(np.isfinite(values) & (values > 0))]
    if wrong.size:
        raise InputError(
            f"{name}: the prior has the value {wrong[0]:g} between lower and upper; expected "
            "a finite positive one everywhere: change the range or the prior"
        )
    return values


def _check_knots(name: str, knots: int) -> None:
    if knots < 2:
        raise InputError(f"{name}: knots = {knots}; expected 2 or more, such as 8")


def _check_call(name: str, expected: int, given: int) -> None:
    if given != expected:
        raise InputError(
            f"{name}: called with {given} variables, made for {expected}; pass one array a "
            "variable, in the order of lower and upper"
        )


def _check_law(name: str, threshold: Value, exponent: Value, floor: Value) -> None:
    for what, value, end in (
        ("threshold", threshold, 1.0),
        ("exponent", exponent, math.inf),
        ("floor", floor, 1.0),
    ):
        if not isinstance(value, Array) and not 0 < value < end:
            raise InputError(
                f"{name}: {what} = {value}; expected a number above 0 and below {end:g}, such as "
                "those of random fibres (threshold 0.037, exponent 0.661, floor 1e-4)"
            )
