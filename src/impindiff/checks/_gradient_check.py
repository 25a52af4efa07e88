"""The Taylor test of a gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError
from impindiff.support.html_tables import html_table

Outcome = Literal["right", "zero", "wrong", "undecided", "not finite"]

_MEANING: dict[Outcome, str] = {
    "right": "the gradient is right",
    "zero": "the gradient is zero, and the loss does not change with these parameters",
    "wrong": "THE GRADIENT IS WRONG",
    "undecided": "undecided: the loss is too rough to measure its slope; use float64, or give the "
    "solver a smaller rtol",
    "not finite": "the loss or its gradient is NaN or infinite at these parameters",
}
# relative error allowed: well above the effect of default solver tolerances, and below any mistake
_ALLOWED = {"float64": 1e-5, "float32": 3e-4}
# a slope with a larger uncertainty decides nothing
_ROUGH = 1e-2


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradient`, printed as a table with the verdict.

    - `outcome`: "right"; "zero" if the gradient and the loss's changes both vanish; "wrong";
      "undecided" for a loss that is too noisy; "not finite".
    - `loss`, `gradient_norm`: at the parameters.
    - `steps`: h, decreasing.
    - `remainders`: |L(p + h d) - L(p) - h <dL, d>| for each direction d and h.
    - `orders`: of the remainder in h, for each direction, from those above round-off: 2 for a right
      gradient, 1 for a wrong one. NaN where all is round-off, as in a linear loss.
    - `errors`: for each direction, the distance of <dL, d> from the slope by central differences,
      relative to its size; `uncertainties`: of that slope.
    - `allowed`: the largest error of a right gradient.
    """

    outcome: Outcome
    loss: float
    gradient_norm: float
    steps: Float[np.ndarray, " steps"]
    remainders: Float[np.ndarray, "directions steps"]
    orders: Float[np.ndarray, " directions"]
    errors: Float[np.ndarray, " directions"]
    uncertainties: Float[np.ndarray, " directions"]
    allowed: float

    @property
    def passed(self) -> bool:
        """True if the gradient is right, or zero like the loss's changes."""
        return self.outcome in ("right", "zero")

    def __str__(self) -> str:
        head = ["step h", *(f"remainder {i + 1}" for i in range(len(self.errors)))]
        lines = ["  ".join(f"{word:>12}" for word in head)]
        for h, row in zip(self.steps, self.remainders.T, strict=True):
            lines.append("  ".join([f"{h:>12.1e}", *(f"{r:>12.3e}" for r in row)]))
        for name, values, form in (
            ("order", self.orders, "12.2f"),
            ("error", self.errors, "12.1e"),
            ("known to", self.uncertainties, "12.1e"),
        ):
            lines.append("  ".join([f"{name:>12}", *(format(v, form) for v in values)]))
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        worst = f" (error {np.max(self.errors):.1e}, allowed {self.allowed:.0e})"
        return _MEANING[self.outcome] + (worst if self.outcome in ("right", "wrong") else "")

    def _repr_html_(self) -> str:
        def of_each(values: Float[np.ndarray, " directions"], form: str) -> str:
            return ", ".join(format(v, form) for v in values)

        rows = [
            ("verdict", self._verdict()),
            ("loss", f"{self.loss:.6g}"),
            ("norm of the gradient", f"{self.gradient_norm:.6g}"),
            ("order of the remainder, by direction", of_each(self.orders, ".2f")),
            ("relative error, by direction", of_each(self.errors, ".1e")),
        ]
        return html_table("Taylor test", rows)


def check_gradient(
    loss: Callable[[Any], Float[Array, ""]],
    params: PyTree[Any],
    *,
    key: PRNGKeyArray | None = None,
    directions: int = 3,
) -> GradientCheck:
    """Check `jax.grad(loss)` at `params` by a Taylor test in random directions.

    L(p + h d) - L(p) - h <dL, d> is O(h^2) for the right gradient and O(h) for any other. Here h
    covers several decades; a direction d has normal entries scaled to each array. The verdict uses
    central differences with Richardson extrapolation, at the h where they agree best, which also
    bounds the round-off that hides the order of the remainder.

    ```python
    print(ipd.check_gradient(lambda m: loss(m, loss.probe(m))[0], model))
    ```

    **Arguments:**

    - `loss`: of one argument, a scalar; in the example, that of a `TrajectoryLoss`.
    - `params`: a pytree; its floating-point JAX arrays are the parameters, all else is constant.
    - `key`: for the directions; default `jax.random.key(0)`.
    - `directions`: their number. A mistake in one parameter of many shows in most of them.

    **Raises:** `InputError` where there is nothing to differentiate.

    In float64 an error of 1e-5 of the gradient's size is allowed, in float32 of 3e-4. A gradient
    that is biased on purpose (`JacobianFree`) counts as wrong. Cost: the gradient, and the loss at
    a dozen points per direction.

    Source: Farrell, Ham, Funke and Rognes, "Automated derivation of the adjoint of high-level
    transient finite element programs", SIAM J. Sci. Comput. 35 (2013), section 5.
    """
    moving, fixed = eqx.partition(params, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(moving)
    if not leaves:
        raise InputError(
            "check_gradient: params has no floating-point JAX array; expected a pytree with some, "
            "such as a model, or jnp.asarray(0.1) for a number"
        )
    if directions < 1:
        raise InputError(f"check_gradient: directions = {directions}; expected at least 1")

    def of_parameters(moving):
        return loss(eqx.combine(moving, fixed))

    shape = eqx.filter_eval_shape(of_parameters, moving)
    if not isinstance(shape, jax.ShapeDtypeStruct) or shape.shape != ():
        raise InputError(
            f"check_gradient: the loss returns {shape}; expected one number (of a TrajectoryLoss, "
            "lambda m: loss(m, loss.probe(m))[0])"
        )
    value, gradient = eqx.filter_jit(jax.value_and_grad(of_parameters))(moving)
    evaluate = eqx.filter_jit(of_parameters)
    single = jnp.result_type(shape.dtype, *leaves) == jnp.float32 or any(
        jnp.finfo(leaf.dtype).bits < 64 for leaf in leaves
    )
    precision = "float32" if single else "float64"
    steps = np.logspace(-1, -4, 7) if single else np.logspace(-1, -7, 7)
    value = float(value)
    flat = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    keys = jax.random.split(jax.random.key(0) if key is None else key, directions)
    found = []
    for of_direction in keys:
        d = _direction(of_direction, leaves)
        products = [g * np.asarray(x, np.float64) for g, x in zip(flat, d, strict=True)]
        slope = sum(float(np.sum(p)) for p in products)
        size = abs(slope) + float(np.sqrt(sum(np.sum(p**2) for p in products)))

        def at(h, d=d):
            moved = [x + jnp.asarray(h, x.dtype) * dx for x, dx in zip(leaves, d, strict=True)]
            return float(evaluate(jax.tree.unflatten(structure, moved)))

        up, down = (np.asarray([at(s * h) for h in steps]) for s in (1, -1))
        found.append(_measured(value, slope, size, steps, up, down, precision))
    remainders, orders, errors, uncertainties, verdicts = zip(*found, strict=True)
    finite = np.isfinite(value) and all(np.isfinite(g).all() for g in flat)
    return GradientCheck(
        outcome=_worst(verdicts) if finite else "not finite",
        loss=value,
        gradient_norm=float(np.sqrt(sum(np.sum(g**2) for g in flat))),
        steps=steps,
        remainders=np.stack(remainders),
        orders=np.asarray(orders),
        errors=np.asarray(errors),
        uncertainties=np.asarray(uncertainties),
        allowed=_ALLOWED[precision],
    )


def _direction(key: PRNGKeyArray, leaves: list[Array]) -> list[Array]:
    """Normal entries scaled to each array's root mean square, or to 1 for a zero array."""

    def of_leaf(key, leaf):
        size = np.sqrt(np.mean(np.asarray(leaf, np.float64) ** 2)) if leaf.size else 0.0
        return jax.random.normal(key, leaf.shape, leaf.dtype) * (size if size > 0 else 1.0)

    keys = jax.random.split(key, len(leaves))
    return [of_leaf(k, leaf).astype(leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]


def _measured(
    value: float,
    slope: float,
    size: float,
    steps: Float[np.ndarray, " steps"],
    up: Float[np.ndarray, " steps"],
    down: Float[np.ndarray, " steps"],
    precision: str,
) -> tuple[Float[np.ndarray, " steps"], float, float, float, Outcome]:
    """(remainders, their order, error, uncertainty, outcome) of one direction."""
    remainders = np.abs(up - value - steps * slope)
    if not np.isfinite([value, slope]).all():
        return remainders, np.nan, np.nan, np.nan, "not finite"
    if not (up != value).any() and not (down != value).any() and slope == 0:
        return remainders, np.nan, 0.0, 0.0, "zero"
    with np.errstate(all="ignore"):
        central = (up - down) / (2 * steps)
        square = (steps[0] / steps[1]) ** 2
        better = (square * central[1:] - central[:-1]) / (square - 1)
        apart = np.abs(np.diff(better))
        best = int(np.argmin(np.where(np.isfinite(apart), apart, np.inf)))
        measured, uncertain = better[best + 1], apart[best]
        # where the slope vanishes (at a minimum) the loss's curvature sets the scale
        changes = np.abs(np.concatenate([up - value, down - value])) / np.tile(steps, 2)
        size = max(size, 0.1 * float(np.max(changes[np.isfinite(changes)], initial=0.0)))
        # effect of the loss's round-off on a difference at that step
        round_off = np.finfo(precision).eps * abs(value) / steps[best + 2]
        uncertain = (uncertain + round_off) / size
        error = abs(measured - slope) / size
    noise = max(uncertain * size * steps[best + 2], np.finfo(precision).eps * abs(value))
    above = np.isfinite(remainders) & (remainders > 20 * noise)
    order = np.nan
    if above.sum() >= 2:
        order = float(np.polyfit(np.log(steps[above]), np.log(remainders[above]), 1)[0])
    if not np.isfinite(error):
        return remainders, order, np.nan, np.nan, "undecided"
    allowed = _ALLOWED[precision]
    if error > max(allowed, 4 * uncertain):
        outcome: Outcome = "wrong"
    else:
        outcome = "right" if 4 * uncertain < _ROUGH else "undecided"
    return remainders, order, float(error), float(uncertain), outcome


def _worst(outcomes: tuple[Outcome, ...]) -> Outcome:
    order: tuple[Outcome, ...] = ("not finite", "wrong", "undecided", "right", "zero")
    return min(outcomes, key=order.index)
