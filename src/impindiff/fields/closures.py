"""Learned laws y(x) of the state, whose sign, monotonicity and threshold no parameter can break.

A solver evaluates a closure at states that no solution would visit, with any parameters that a
trial of the optimiser proposes. What keeps the equation well posed is therefore built in, not
penalised, and derivatives of any order are finite wherever the values are. Everything acts entry
by entry.
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
    """tanh layers on variables scaled to [-1, 1]; 0 at the start, by a last layer that is 0."""

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
    """y(x, ...) = prior(x, ...) exp(N(x, ...)): positive, and the prior law itself at the start.

    N is a network of tanh layers whose last layer starts as 0. It sees each variable scaled to
    [-1, 1] and is bounded outside, so that y never leaves the prior by more than a factor.

    - `prior`: a positive function of the variables, entry by entry, without learned parameters.
    - `lower`, `upper`: the range of each variable, a tuple, or a number for one variable. Calls may
      leave it.
    - `variables`: how many there are.
    - `width`, `depth`: neurons per hidden layer, and number of hidden layers.

    Calling it with arrays that broadcast, one a variable, gives y in their common shape. Raises
    `InputError` for arguments out of range, a prior that is not positive in the middle, at the ends
    and corners of the range, and a call with another number of variables.
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
        """The law at the given values of its variables."""
        _check_call("PositiveClosure", len(self.network.lower), 1 + len(others))
        variables = _floating(x, *others)
        return self.prior(*variables) * jnp.exp(self.network(*variables)[0])


class MonotoneClosure(eqx.Module):
    """y(x) = exp(h(log prior(x))), h strictly increasing: positive, rising or falling as the prior.

    h(l) = b + l_0 + int_{l_0}^l s, where the slope s runs linearly through exp(v_i) at the knots
    l_i and stays constant beyond them: h is an integrated spline, once continuously differentiable,
    and the identity at the start (v = 0, b = 0). Outside the range y is a power of the prior.

    The knots are evenly spaced in log prior between its values at `lower` and `upper`: an interval
    stands for the same ratio of y, wherever it is, and a law that is a power of the prior is met
    exactly. (Even in x, the steep end of a law over several decades falls into one interval.)

    With further variables z, v = v_0 + V(z) and b = b_0 + B(z), where (B, V) is a network that
    starts as 0: y is monotone in x for every z, and free in z.

    - `prior`: a positive function of all variables, entry by entry, without learned parameters;
      strictly monotone in x. (Below 5e-32 in double precision it counts as that.)
    - `lower`, `upper`: the range of each variable, x first: a tuple, or a number for x alone. Calls
      may leave it.
    - `knots`: how many.
    - `variables`: how many there are, x included.
    - `width`, `depth`, `key`: of the network's hidden layers, for more than one variable.

    Calling it with arrays that broadcast, one a variable, gives y in their common shape. Raises
    `InputError` for arguments out of range, a prior that is not positive and strictly monotone
    between `lower` and `upper` (other variables in the middle of theirs), and a call with another
    number of variables.

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
        """The law at the given values of its variables."""
        expected = 1 if self.network is None else 1 + len(self.network.lower)
        _check_call("MonotoneClosure", expected, 1 + len(others))
        variables = _floating(x, *others)
        prior = jnp.asarray(self.prior(*variables))
        # its square is the smallest that can stand under the third derivative of a logarithm
        prior = jnp.log(jnp.maximum(prior, jnp.finfo(prior.dtype).eps ** 2))
        shift, log_slopes = (p.astype(prior.dtype) for p in (self.shift, self.log_slopes))
        if self.network is not None:
            of_others = self.network(*variables[1:])
            shift = shift + of_others[0]
            log_slopes = log_slopes.reshape(-1, *[1] * shift.ndim) + of_others[1:]
        spline = _integrated_spline(prior, self.knots, jnp.exp(log_slopes))
        return jnp.exp(shift + self.knots[0] + spline)


class PercolatingClosure(eqx.Module):
    """y(x) = law(w(x)): increasing above a learned threshold x_p, and nothing but a floor below.

    law is `percolation_law` with the learned x_p and exponent a, and w a learned increasing map
    that leaves x_p where it is: w = x_p + (1 - x_p) S(z), z = (x - x_p) / (1 - x_p),
    S(z) = int_0^z s, where the slope s runs linearly through exp(v_i) at knots evenly spaced in z
    from x_p to `upper`, and stays constant beyond them. Every increasing y that vanishes at x_p
    like (x - x_p)^a can be written so. It starts as the law of the given threshold and exponent.

    Below the threshold y is the floor and has no derivative, not even to the threshold: x_p is
    learned from what lies above it.

    - `threshold`, `exponent`: x_p and a at the start; properties of these names tell what they are.
    - `largest_threshold`: x_p = largest_threshold / (1 + exp(-p)) stays between 0 and this, such as
      the smallest x that is known to be above it.
    - `upper`: the largest x of interest, where the knots end. Calls may leave it.
    - `floor`: the smallest y. For a < 1 it also keeps the slope at the threshold finite.
    - `knots`: how many.

    Calling it with an array gives y in its shape. Raises `InputError` for arguments out of range.

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
        """a, positive."""
        return jnp.exp(self.log_exponent)

    def __call__(self, x: Value) -> Float[Array, "..."]:
        """The law at x."""
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
    """max(floor, x z^a), z = (x - x_p) / (1 - x_p), and the floor below x_p.

    With a porosity for x, it is the diffusivity in a porous medium relative to that in the open
    gas: no path leads through pores below the threshold x_p. Random fibres in three dimensions
    have x_p = 0.037, a = 0.661; in planes, along them 0.11, 0.521 and across them 0.11, 0.785.

    - `x`: of any shape, any real number.
    - `threshold`, `exponent`, `floor`: x_p in (0, 1), a > 0, and the floor in (0, 1).

    No derivative is infinite or NaN, at the threshold or below it. Raises `InputError` for numbers
    out of range (arrays are not looked at).

    Source: Tomadakis and Sotirchos, AIChE J. 39, 1993.
    """
    _check_law("percolation_law", threshold, exponent, floor)
    z = jnp.asarray((x - threshold) / (1 - threshold))
    # a rounding error above 0 every derivative of the power is finite, also where it is not used
    power = jnp.exp(exponent * jnp.log(jnp.maximum(z, jnp.finfo(z.dtype).eps)))
    return jnp.where(z > 0, jnp.maximum(x * power, floor), floor)


def _floating(*variables: Value) -> list[Float[Array, "..."]]:
    """The variables in one precision, which is that of the answer, whatever the parameters' is."""
    dtype = jnp.result_type(*variables, 1.0)
    return [jnp.asarray(x, dtype) for x in variables]


def _integrated_spline(
    x: Float[Array, "..."], knots: tuple[float, ...], slopes: Float[Array, "knots ..."]
) -> Float[Array, "..."]:
    """int_{k_0}^x s: s is linear between the slopes at the knots and constant beyond them.

    Terms that all increase, so that rounding does not undo the monotonicity. At a knot, where the
    two neighbours of `clip` each give half a derivative, they add up to the slope there.

    One interval after the other, which XLA fuses into one pass over x: 5 to 10 times faster than
    an axis of intervals that is summed.
    """
    total = slopes[0] * jnp.minimum(x - knots[0], 0) + slopes[-1] * jnp.maximum(x - knots[-1], 0)
    for i, (left, right) in enumerate(itertools.pairwise(knots)):
        part = jnp.clip(x, left, right) - left  # of the interval, what lies below x
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
    # also while a program is traced that builds the closure
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
