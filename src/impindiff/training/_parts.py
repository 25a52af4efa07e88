"""Parts of a model by path: freezing, and learning rates."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.grid.domain import Domain

M = TypeVar("M")
_NAMED = 12


def partition(model: M, freeze: Sequence[str] = ()) -> tuple[M, M]:
    """Split a model into (trained parts, rest), to be merged by `equinox.combine`.

    Trained parts are the floating-point JAX arrays, except those in `freeze` and the fractions of a
    grid's domain, which are geometry; NumPy arrays are known numbers. A part is named by its path,
    such as "velocity" or "velocity.network.layers[0]", and includes everything below it.

    **Raises:** `InputError` for a path at which the model has no floating-point array, if nothing
    is left to train, and for a complex array, which has no gradient for descent.
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(model)[0]:
        if eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise InputError(
                f"training: {path_text(path)} is {leaf.dtype}; expected real numbers: split it "
                "into its real and imaginary parts, two arrays"
            )
    if not _paths(model):
        raise InputError(
            "training: the model has no floating-point array to train; an unknown number is an "
            "ipd.Parameter or an array such as jnp.asarray(1.0)"
        )
    if not freeze:
        return eqx.partition(model, _trained(model))
    require_parts("training.freeze", model, freeze)

    def is_trained(path, leaf):
        frozen = any(belongs(path_text(path), part) for part in freeze)
        return _is_trained(leaf) and not frozen

    chosen = jax.tree_util.tree_map_with_path(is_trained, model, is_leaf=_is_domain)
    parameters, static = eqx.partition(model, chosen)
    if not jax.tree.leaves(parameters):
        raise InputError(
            f"training.freeze: {', '.join(freeze)} leaves nothing to train; {_has(model)}"
        )
    return parameters, static


def at_rates(
    optimizer: optax.GradientTransformation, rates: Mapping[str, float]
) -> optax.GradientTransformationExtraArgs:
    """Multiply the updates of some parts of the model by factors, by path (see `partition`).

    For optimisers whose updates are proportional to their learning rate, such as Adam's. The
    longest matching path applies. A path without trained parts raises `InputError` once the
    optimiser receives the parameters.
    """
    scales: dict[Hashable, optax.GradientTransformation] = {"": optax.identity()}
    scales |= {path: optax.scale(factor) for path, factor in rates.items()}

    def labels(parameters: PyTree[Any]) -> PyTree[str]:
        require_parts("training.rates", parameters, list(rates))

        def label(path, leaf):
            del leaf
            matching = [part for part in rates if belongs(path_text(path), part)]
            return max(matching, key=len, default="")

        return jax.tree_util.tree_map_with_path(label, parameters)

    return optax.chain(optimizer, optax.partition(scales, labels))


def require_parts(key: str, model: Any, paths: Sequence[str]) -> None:
    """Raise `InputError`, naming `key`, for a path at which there is no floating-point array."""
    present = _paths(model)
    for path in paths:
        if not any(belongs(one, path) for one in present):
            raise InputError(f"{key}: the model has no trained part '{path}'; {_has(model)}")


def path_text(path: Sequence[Any]) -> str:
    """A JAX path in Python notation: "velocity.network.layers[0].weight"."""
    return jax.tree_util.keystr(tuple(path)).lstrip(".")


def belongs(path: str, part: str) -> bool:
    """True if `path` is `part` or below it."""
    return path == part or path.startswith((f"{part}.", f"{part}["))


def _is_domain(part: Any) -> bool:
    return isinstance(part, Domain)


def _is_trained(leaf: Any) -> bool:
    # `eqx.is_inexact_array` takes NumPy arrays too, which are known numbers of the model
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _trained(model: Any) -> PyTree[bool]:
    return jax.tree.map(_is_trained, model, is_leaf=_is_domain)


def _paths(model: Any) -> list[str]:
    leaves = jax.tree_util.tree_flatten_with_path(eqx.filter(model, _trained(model)))[0]
    return [path_text(path) for path, _ in leaves]


def _has(model: Any) -> str:
    paths = _paths(model)
    more = f", and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"it has {', '.join(paths[:_NAMED])}{more}"
