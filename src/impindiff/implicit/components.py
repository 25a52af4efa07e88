"""Components of an unknown, which may differ in size by many orders of magnitude.

A component is a leaf of the unknown, or each entry of a small unknown. The magnitudes of a
Jacobian's blocks (one row and one column per component) give the size of the terms of each
equation, in its own units: its round-off, and the balancing of the linear system.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from impindiff.implicit.pytree import any_sample, result_dtype, rms_norm

# an unknown with at most so many entries is a system of scalars, each a component
_FEW = 16
# the round-off of a residual is below this many eps of the size of its terms: measured, 0.3 to 1.5
# for stencils with and without stiffness, in either precision
ROUND_OFF = 8.0
# passes along chains of couplings, in which one component drives the next
_PASSES = 2


class Components:
    """The components of pytrees that have the structure and shapes of `like`.

    - `number`: number of components.
    """

    def __init__(self, like: PyTree[Array]) -> None:
        leaves, self._structure = jax.tree.flatten(like)
        self._shapes = [leaf.shape for leaf in leaves]
        self._dtypes = [leaf.dtype for leaf in leaves]
        self._lengths = [leaf.size for leaf in leaves]
        self._dtype = result_dtype(leaves)
        self._by_entry = sum(self._lengths) <= _FEW
        self.number = sum(self._lengths) if self._by_entry else len(leaves)

    @property
    def eps(self) -> Float[np.ndarray, " components"]:
        """The round-off of each component's own precision."""
        each = [float(jnp.finfo(dtype).eps) for dtype in self._dtypes]
        return np.repeat(each, self._lengths) if self._by_entry else np.asarray(each)

    def sizes(
        self, tree: PyTree[Array], norm: Callable[[PyTree], Array] = rms_norm
    ) -> Float[Array, " components"]:
        """Each component's root mean square, or its absolute value if it is a number."""
        leaves = [leaf.astype(self._dtype) for leaf in jax.tree.leaves(tree)]
        if self._by_entry:
            return jnp.abs(jnp.concatenate([leaf.ravel() for leaf in leaves]))
        return jnp.stack([norm(leaf) for leaf in leaves])

    def leaf_of(self, component: Array) -> Array:
        """Index of the leaf that a component belongs to."""
        if not self._by_entry:
            return component.astype(jnp.int32)
        owners = np.repeat(np.arange(len(self._lengths)), self._lengths)
        return jnp.asarray(owners, jnp.int32)[component]

    def times(self, factors: Float[Array, " components"], tree: PyTree[Array]) -> PyTree[Array]:
        """Multiply each component of the tree by its factor."""
        leaves = jax.tree.leaves(tree)
        scaled = [
            jnp.broadcast_to(f.astype(x.dtype), x.shape) * x
            for f, x in zip(self._parts(factors), leaves, strict=True)
        ]
        return jax.tree.unflatten(self._structure, scaled)

    def where(
        self, chosen: Bool[Array, " components"], tree: PyTree[Array], other: PyTree[Array]
    ) -> PyTree[Array]:
        """Take the chosen components of `tree`, and the rest of `other`."""
        leaves = zip(
            self._parts(chosen), jax.tree.leaves(tree), jax.tree.leaves(other), strict=True
        )
        return jax.tree.unflatten(self._structure, [jnp.where(*leaf) for leaf in leaves])

    def weights(self) -> Float[np.ndarray, " components"]:
        """Factors that give each component equal weight in a root mean square of all entries.

        sqrt(entries / (components x entries of this one)).
        """
        if self._by_entry:
            return np.ones(self.number)
        return np.sqrt(sum(self._lengths) / (len(self._lengths) * np.asarray(self._lengths)))

    def magnitudes(
        self, linear_map: Callable[[PyTree], PyTree]
    ) -> Float[Array, "components components"]:
        """Block magnitudes P_ij: size of component i of A v, for v of size 1 in component j.

        v is 0 elsewhere and has random-like signs, so P_ij is the root of the sum of squares of a
        row of block (i, j), averaged over rows. Cost: one product with A per component.
        """
        signs = [
            _signs(shape, i).astype(dtype)
            for i, (shape, dtype) in enumerate(zip(self._shapes, self._dtypes, strict=True))
        ]
        return self._by_columns(linear_map, jax.tree.unflatten(self._structure, signs))

    def measured(
        self,
        reference: Float[Array, " components"],
        right: Float[Array, " components"],
        linear_map: Callable[[PyTree], PyTree],
        x: PyTree[Array],
        due: Bool[Array, ""],
    ) -> Float[Array, " components"]:
        """R of `balanced` for known x: size of the other components' terms in a row of A x = b.

        The estimate, from random-like signs, is many times too large where A takes derivatives of
        a smooth field.

        - `reference`: R as estimated; `right`: sizes of b; `due`: True where the result matters
          already.

        Cost: where due, and where R is not that of b for some row, one product with A per
        component.
        """
        if self.number == 1:
            return reference

        def measure() -> Float[Array, " components"]:
            found = self._by_columns(linear_map, lax.stop_gradient(x))
            driven = jnp.max(jnp.where(jnp.eye(self.number, dtype=bool), 0.0, found), 1)
            return jnp.minimum(reference, jnp.maximum(right, driven))

        estimated = jnp.any(reference > 2 * right)
        return lax.cond(any_sample(due & estimated), measure, lambda: reference)

    def _by_columns(
        self, linear_map: Callable[[PyTree], PyTree], x: PyTree[Array]
    ) -> Float[Array, "components components"]:
        """The size of component i of A applied to component j of x."""
        indices = jnp.arange(self.number, dtype=jnp.int32)

        def column(index: Array) -> Array:
            chosen = (indices == index).astype(self._dtype)
            return self.sizes(linear_map(self.times(chosen, x)))

        one = self.number == 1
        found = column(indices[0])[:, None] if one else lax.map(column, indices).T
        return lax.stop_gradient(found)

    def _parts(self, vector: Array) -> list[Array]:
        """A scalar per leaf, or an array with one scalar per entry."""
        if not self._by_entry:
            return [vector[i] for i in range(self.number)]
        ends = np.cumsum(self._lengths)[:-1]
        return [
            part.reshape(shape)
            for part, shape in zip(jnp.split(vector, ends), self._shapes, strict=True)
        ]


def balanced(
    magnitudes: Float[Array, "components components"], right: Float[Array, " components"]
) -> tuple[Float[Array, " components"], Float[Array, " components"]]:
    """(R, U): sizes of the rows of A x = b, and of a row's diagonal terms for a unit unknown.

    From P and the sizes of b. A row is as large as its b or as the other components' terms; with
    C = R / U, the corresponding size of x, the balanced system R^{-1} A C y = R^{-1} b has terms of
    about 1 in any units, and is invariant to scaling b. R is 0 for an equation without driving
    terms.
    """
    diagonal = jnp.diagonal(magnitudes)
    # an equation without its own unknown (a constraint) takes the scale of the largest in its row
    own = jnp.where(diagonal > 0, diagonal, jnp.max(magnitudes, 1))
    own = jnp.where(own > 0, own, 1.0)
    coupling = (magnitudes - jnp.diag(diagonal)) / own[None, :]
    rows = right
    for _ in range(_PASSES if len(diagonal) > 1 else 0):
        rows = jnp.maximum(rows, jnp.max(coupling * rows[None, :], 1))
    return rows, own


def as_divisors(rows: Float[Array, " components"]) -> Float[Array, " components"]:
    """The sizes as divisors: zeros and non-finite values become the largest of the others."""
    fine = (rows > 0) & jnp.isfinite(rows)
    largest = jnp.max(jnp.where(fine, rows, 0.0))
    return jnp.where(fine, rows, jnp.where(largest > 0, largest, 1.0))


def size_of_terms(
    magnitudes: Float[Array, "components components"], sizes: Float[Array, " components"]
) -> Float[Array, " components"]:
    """Sizes P s of the terms of each row of A x, for an x with component sizes s."""
    return jnp.sum(magnitudes * sizes[None, :], 1)


def ratio_to(
    sizes: Float[Array, " components"], targets: Float[Array, " components"]
) -> Float[Array, " components"]:
    """Sizes over targets: 0/0 is 0, all else over 0 is infinite, NaN stays NaN."""
    ratio = sizes / jnp.where(targets > 0, targets, 1.0)
    return jnp.where((targets > 0) | (sizes == 0), ratio, jnp.inf)


def _signs(shape: tuple[int, ...], salt: int) -> Array:
    """Random-like signs, equal at every call: the top bit of a hash of the index."""
    mixed = jnp.full(shape, 0x9E3779B9 * (salt + 1) % 2**32, jnp.uint32)
    for axis in range(len(shape)):
        mixed = (mixed ^ lax.broadcasted_iota(jnp.uint32, shape, axis)) * jnp.uint32(0x85EBCA6B)
        mixed = mixed ^ (mixed >> jnp.uint32(15))
    mixed = mixed * jnp.uint32(0xC2B2AE35)
    return jnp.where((mixed >> jnp.uint32(31)) == 1, -1.0, 1.0)
