"""Vectors made of pytrees, and central differences, for checks of derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def normal_like(seed: int, tree: PyTree) -> PyTree:
    """A random vector of the structure of `tree`, unit variance."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), tree)


def flat(tree: PyTree) -> np.ndarray:
    """All entries in a row, in NumPy: nothing to compile."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def dot(a: PyTree, b: PyTree) -> float:
    """<a, b>, the sum over all leaves."""
    return float(np.vdot(flat(a), flat(b)))


def relative_difference(a: PyTree, b: PyTree) -> float:
    """||a - b|| / ||b||."""
    return float(np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b)))


def moved(x: PyTree, step: float, direction: PyTree) -> PyTree:
    """x + step direction."""
    return jax.tree.map(lambda a, d: jnp.asarray(np.asarray(a) + step * d), x, direction)


def central_difference_error(
    function: Callable[[Any], Any], x: PyTree, direction: PyTree, derivative: PyTree
) -> float:
    """Relative distance of `derivative` from the central difference along `direction`.

    The step is swept over decades: large steps are wrong by truncation, small ones by round-off,
    so the best of them is the measurement.
    """
    errors = []
    direction = jax.tree.map(np.asarray, direction)
    for step in 10.0 ** np.arange(-7, -1):
        up, down = function(moved(x, step, direction)), function(moved(x, -step, direction))
        difference = (flat(up) - flat(down)) / (2 * step)
        errors.append(relative_difference(derivative, difference))
    return min(errors)


def slopes(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Observed orders of convergence between successive refinements."""
    return np.diff(np.log(errors)) / np.diff(np.log(sizes))


class Counter:
    """`counter(x)` is x and counts how often it is really evaluated, derivatives left out.

    A callback without side effects, in XLA's eyes: an evaluation whose value nothing uses is
    removed by the compiler, as it would be without the counting.
    """

    def __init__(self):
        self.count = 0

        @jax.custom_jvp
        def counted(x):
            return jax.pure_callback(
                self._record, jax.eval_shape(lambda: x), x, vmap_method="sequential"
            )

        counted.defjvp(lambda primals, tangents: (counted(*primals), *tangents))
        self._counted = counted

    def _record(self, x):
        self.count += 1
        return x

    def __call__(self, x):
        return self._counted(x)

    def during(self, function: Callable[..., Any], *args: Any) -> int:
        """How many evaluations happen in `function(*args)`."""
        before = self.count
        jax.block_until_ready(function(*args))
        return self.count - before
