"""Mass matrix of a semi-explicit DAE: M du/dt = f, with zero mass for algebraic components.

M is diagonal. A component of zero mass is an algebraic variable (index 1): it has no history, and
every stage of every step solves its equation 0 = f. The steppers use rates, du/dt = M^{-1} f; that
of an algebraic component counts as zero.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from impindiff.errors import InputError
from impindiff.grid.given import real_array
from impindiff.steppers.model import HybridModel, declared, total_tendency


def masses(model: HybridModel, u: PyTree[Array]) -> PyTree[float | Array]:
    """Masses `model.mass()`: for each leaf of u a number, or an array that broadcasts to it.

    **Raises:** `InputError` for a structure or shape that does not fit u, and for concrete entries
    below zero or not finite.
    """
    return _of_leaves(model, "mass", u, lambda m: m >= 0, "0 or more")


def scales(model: HybridModel, u: PyTree[Array]) -> PyTree[float | Array]:
    """Scales `model.scale()`, in the same form. Raises as `masses`, and for entries of zero."""
    return _of_leaves(model, "scale", u, lambda s: s > 0, "above 0")


def has_algebraic(model: HybridModel, u: PyTree[Array]) -> bool:
    """True if some component has mass zero, or may have: entries of arrays are not inspected."""
    return any(not isinstance(m, float) or m == 0 for m in jax.tree.leaves(masses(model, u)))


def all_algebraic(model: HybridModel, u: PyTree[Array]) -> bool:
    """True if every component has mass zero for certain."""
    return all(isinstance(m, float) and m == 0 for m in jax.tree.leaves(masses(model, u)))


def require_masses(model: HybridModel, u: PyTree[Array], explicit: str | None) -> None:
    """Raise as `masses` and `scales` do, and for a mass of 0 under the `explicit` stepper named.

    Call it where the model's arrays are still concrete. A learned mass is traced even then.
    """
    scales(model, u)
    for entry in jax.tree.leaves(masses(model, u)):
        zero = not isinstance(entry, jax.core.Tracer) and np.any(np.asarray(entry) == 0)
        if zero and explicit is not None:
            raise InputError(
                f"{explicit}: some component of {type(model).__name__} has mass 0, which takes an "
                "implicit stepper, such as SDIRK2"
            )


def lost_where_algebraic(model: HybridModel, u: PyTree[Array]) -> PyTree[Array]:
    """Replace u by NaN where a traced mass is 0, which explicit steppers refuse."""
    return jax.tree.map(
        lambda m, x: x if isinstance(m, float) else jnp.where(m == 0, jnp.nan, x),
        masses(model, u),
        u,
    )


def negative(model: HybridModel, u: PyTree[Array]) -> list[Array]:
    """For each traced mass a flag, true where it has a negative entry."""
    traced = [m for m in jax.tree.leaves(masses(model, u)) if isinstance(m, jax.core.Tracer)]
    return [jnp.any(m < 0) for m in traced]


def rate(model: HybridModel, t: Array, u: PyTree[Array], latent: PyTree[Any]) -> PyTree[Array]:
    """The rate du/dt = M^{-1} f(t, u, latent), and 0 where M is."""
    return over_mass(model, total_tendency(model, t, u, latent))


def over_mass(model: HybridModel, f: PyTree[Array]) -> PyTree[Array]:
    """Divide by the mass, M^{-1} f, and 0 where M is."""
    return _by_mass(masses(model, f), jnp.zeros_like, lambda m, f: f if m is None else f / m, f)


def without_algebraic(model: HybridModel, rates: PyTree[Array]) -> PyTree[Array]:
    """The rates, with 0 for algebraic components."""
    return _by_mass(masses(model, rates), jnp.zeros_like, lambda _, k: k, rates)


def rows(
    model: HybridModel, increment: PyTree[Array], weight: Array, f: PyTree[Array]
) -> PyTree[Array]:
    """Rows M increment - weight f, and -f where M is 0, each over its scale."""

    def differential(m, increment, f):
        moved = increment if m is None else m * increment
        return moved - jnp.asarray(weight, f.dtype) * f

    unscaled = _by_mass(masses(model, f), lambda _, f: -f, differential, increment, f)
    return _over_scale(model, unscaled)


def steady_rows(model: HybridModel, f: PyTree[Array]) -> PyTree[Array]:
    """Rows -f over their scales: those of `rows` if every mass were 0."""
    return _over_scale(model, jax.tree.map(jnp.negative, f))


def rows_of_steady(
    model: HybridModel, increment: PyTree[Array], weight: Array, steady: PyTree[Array]
) -> PyTree[Array]:
    """The same as `rows`, from `steady`, the result of `steady_rows`."""

    def differential(m, increment, row):
        moved = increment if m is None else m * increment
        return moved + jnp.asarray(weight, row.dtype) * row

    by_scale = _over_scale(model, increment)
    return _by_mass(masses(model, steady), lambda _, row: row, differential, by_scale, steady)


def _over_scale(model: HybridModel, unscaled: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(
        lambda s, row: row if _is_one(s) else row / jnp.asarray(s, row.dtype),
        scales(model, unscaled),
        unscaled,
    )


def _by_mass(
    mass: PyTree[float | Array],
    algebraic: Callable[..., Array],
    differential: Callable[..., Array],
    *trees: PyTree[Array],
) -> PyTree[Array]:
    """`algebraic(*x)` where the mass is zero, `differential(m, *x)` elsewhere.

    The mass m is None where it is 1 for certain.
    """

    def of_leaf(m, *x):
        if _is_one(m):
            return differential(None, *x)
        if isinstance(m, float):
            return algebraic(*x) if m == 0 else differential(m, *x)
        # the inner `where` keeps a division by zero, and its NaN, out of derivatives
        safe = jnp.where(m == 0, 1.0, m).astype(x[0].dtype)
        return jnp.where(m == 0, algebraic(*x), differential(safe, *x))

    return jax.tree.map(of_leaf, mass, *trees)


def _is_one(entry: float | Array) -> bool:
    return isinstance(entry, float) and entry == 1


def _of_leaves(
    model: HybridModel,
    name: str,
    u: PyTree[Array],
    allowed: Callable[[Any], Any],
    expected: str,
) -> PyTree[float | Array]:
    """Values of the model's `name`, a method or a plain attribute, for each leaf of u."""
    given = declared(model, name)
    if given is None:
        return jax.tree.map(lambda _: 1.0, u)
    what = f"{type(model).__name__}.{name}"
    try:
        spread = jax.tree.broadcast(given, u)
    except ValueError:
        hint = "; call it for its value" if callable(given) else ""
        raise InputError(
            f"{what} has structure {jax.tree.structure(given)}; expected a number, or an entry for "
            f"each part of the state, {jax.tree.structure(u)}{hint}"
        ) from None

    def checked(path, entry, leaf):
        place = what + jax.tree_util.keystr(path)
        shape = real_array(entry, None, place).shape
        fits = zip(reversed(shape), reversed(leaf.shape), strict=False)
        if len(shape) > leaf.ndim or any(n not in (1, m) for n, m in fits):
            raise InputError(f"{place} has shape {shape}; expected a number or {leaf.shape}")
        if not isinstance(entry, jax.core.Tracer):
            known = np.asarray(entry, np.float64)
            if not np.all(np.isfinite(known) & allowed(known)):
                raise InputError(f"{place} is {known.min():g}; expected {expected}")
            if not isinstance(entry, jax.Array) and not shape:
                return float(known)
        return jnp.asarray(entry)

    return jax.tree_util.tree_map_with_path(checked, spread, u)
