"""Multigrid cycles as the preconditioner of a step."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from impindiff.errors import InputError
from impindiff.implicit.linear import LinearMap
from impindiff.operators import Elliptic, multigrid_cycle
from impindiff.preconditioners.components import (
    Simplify,
    by_component,
    component_inverses,
    simplified,
)
from impindiff.steppers import StageEquation, stage_residual


class Multigrid(eqx.Module):
    """Multigrid cycles for each component of the state.

        ipd.CrankNicolson(solver=ipd.NewtonKrylov(preconditioner=ipd.Multigrid()))

    Krylov iterations hardly grow with the number of cells, for any boundary conditions and any
    diffusivity that coarse grids represent (see `multigrid_cycle`); if advection dominates they
    grow slowly. In one dimension between walls it is the exact inverse, and a linear solve takes
    one iteration. The matrix is extracted from the Jacobian (`star_of`: 2 ndim + 1 products with it
    per component, or some more on periodic axes), so nonlinear and learned terms are included;
    cells whose central differences would destroy its diagonal dominance use upwind ones. The
    adjoint solve uses the transposed cycles.

    **Arguments:**

    - `operator`: alternatively, `operator(z, stage)` gives, for one sample, a pytree like the state
      z with an `Elliptic` for each array, close to that component's part of dF/dz, or None for an
      unchanged component; `stage` is a `StageEquation`.
    - `coupling`: "diagonal" treats each component alone; "lower" treats them in the order of
      `jax.tree.leaves`, each with the updates of those before it, at the price of a product with
      the Jacobian per component: where the first drives the second, and so on.
    - `cycles`, `smoothing`, `shape`: of `multigrid_cycle`.
    - `precision`: "float32" runs the cycles in float32 for any state precision: the same number of
      iterations, and in float64 half of the cycles' memory traffic. Residuals of the solve keep
      their precision, and one-dimensional inverses stay exact.
    - `symmetric`: declare the matrices symmetric; drift is left out. Required for conjugate
      gradients.
    - `simplify`: maps the model to the one to precondition: e.g. upwind in place of "van_leer",
      `lambda model: eqx.tree_at(lambda m: m.scheme, model, "upwind")`.

    **Raises:** `InputError` for a model without `grid`, another `coupling`, `shape` or `precision`,
    and where an `Elliptic` and its component differ in shape.

    Components that are not fields on the model's grid are unchanged.
    """

    operator: Callable[[PyTree, Any], PyTree] | None = None
    coupling: Literal["diagonal", "lower"] = "diagonal"
    cycles: int = 1
    smoothing: int = 4
    shape: Literal["V", "W"] = "V"
    precision: Literal["float32"] | None = None
    symmetric: bool = False
    simplify: Simplify | None = None

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """Build the linear map v -> (dF/dz)^{-1} v at z, approximately; see `NewtonKrylov`."""
        if self.coupling not in ("diagonal", "lower"):
            raise InputError(
                f"Multigrid: coupling is {self.coupling!r}; expected 'diagonal' or 'lower'"
            )
        if self.precision not in (None, "float32"):
            raise InputError(
                f"Multigrid: precision is {self.precision!r}; expected 'float32' or None"
            )
        leaves, structure = jax.tree.flatten(z)
        stage = simplified(stage, self.simplify)
        if self.operator is not None:
            operators = structure.flatten_up_to(self.operator(z, stage))
            given = zip(operators, leaves, strict=True)
            inverses = [self._inverse_of_given(A, leaf) for A, leaf in given]
        else:
            inverses = component_inverses(z, stage, "Multigrid", self._inverse)
        if self.coupling == "diagonal" or len(leaves) == 1:
            return by_component(z, inverses)
        return _in_order(z, stage, inverses)

    def _inverse(self, matrix: Elliptic) -> LinearMap:
        # an equation with the opposite sign is negated, and so is its inverse
        sign = jnp.where(jnp.sum(matrix.main_diagonal()) < 0, -1.0, 1.0)
        volumes = matrix.volumes
        matrix = jax.tree.map(lambda x: jnp.asarray(sign, x.dtype) * x, matrix.per_cell())
        matrix = dataclasses.replace(matrix, volumes=volumes)
        if self.symmetric and volumes is not None:
            raise InputError(
                "Multigrid: symmetric=True on a stretched or radial grid or one with a domain, "
                "whose matrices are symmetric only after multiplication by cell volumes; leave it "
                "out, and solve with BiCGStab, not conjugate gradients"
            )
        if self.symmetric:
            matrix = dataclasses.replace(matrix, drift=None)
        exact = _is_line_between_walls(matrix)
        solve = self._cycles(regular(matrix) if exact else m_matrix(matrix))
        return lambda v: jnp.asarray(sign, v.dtype) * solve(v)

    def _inverse_of_given(self, operator: Elliptic | None, like: Array) -> LinearMap | None:
        if operator is None:
            return None
        if operator.shape != like.shape:
            raise InputError(
                f"Multigrid: an Elliptic of shape {operator.shape} is given for a component of the "
                f"state of shape {like.shape}; one sample's are to be equal"
            )
        return self._cycles(jax.tree.map(lambda x: jnp.asarray(x, like.dtype), operator))

    def _cycles(self, operator: Elliptic) -> LinearMap:
        if self.precision is not None and not _is_line_between_walls(operator):
            operator = jax.tree.map(lambda x: x.astype(self.precision), operator)
        solve = multigrid_cycle(
            operator, cycles=self.cycles, smoothing=self.smoothing, shape=self.shape
        )
        return lambda v: solve(v.astype(operator.reaction.dtype)).astype(v.dtype)


def _is_line_between_walls(operator: Elliptic) -> bool:
    """True if the cycles are the exact inverse."""
    return len(operator.shape) == 1 and not operator.periodic[0]


def regular(operator: Elliptic) -> Elliptic:
    """Regularise the operator by a reaction of the size of round-off if it is singular.

    An example is the pressure between impermeable walls. Its equation has solutions if sources and
    sinks balance, and a Krylov method finds one.
    """
    held = jnp.sum(operator.reaction)
    for k in operator.faces:
        held += jnp.sum(k.lower) + jnp.sum(k.upper)
    eps = 10 * jnp.finfo(operator.reaction.dtype).eps
    least = eps * jnp.max(jnp.abs(operator.per_cell().main_diagonal()))
    shift = jnp.where(jnp.abs(held) < least * operator.reaction.size, least, 0.0)
    return dataclasses.replace(operator, reaction=operator.reaction + shift)


def m_matrix(operator: Elliptic) -> Elliptic:
    """The operator with its conductances at least as large as its drift, and r >= 0.

    An M-matrix is unchanged. Others become their upwind form, for which a smoother converges.
    """
    faces = operator.faces
    if operator.drift is not None:
        faces = tuple(
            jax.tree.map(lambda k, w: jnp.maximum(k, jnp.abs(w)), *pair)
            for pair in zip(faces, operator.drift, strict=True)
        )
    else:
        faces = jax.tree.map(lambda k: jnp.maximum(k, 0.0), faces)
    # A negative reaction can make the operator indefinite. Clip it at a tiny positive value so that
    # the smoother never divides by zero.
    largest = jnp.max(jnp.abs(operator.per_cell().main_diagonal()))
    least = jnp.finfo(operator.reaction.dtype).eps * largest
    return dataclasses.replace(
        operator, faces=faces, reaction=jnp.maximum(operator.reaction, least)
    )


def _in_order(z: PyTree, stage: StageEquation, inverses: list[LinearMap | None]) -> LinearMap:
    """The block lower triangle, by forward substitution."""
    structure = jax.tree.structure(z)
    _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)

    def inverse(v: PyTree) -> PyTree:
        left = jax.tree.leaves(v)
        zeros = [jnp.zeros_like(x) for x in left]
        found = []
        for i, solve in enumerate(inverses):
            found.append(left[i] if solve is None else solve(left[i]))
            if i + 1 < len(left):
                alone = [*zeros[:i], found[i], *zeros[i + 1 :]]
                product = jax.tree.leaves(jacobian(jax.tree.unflatten(structure, alone)))
                behind = zip(left[i + 1 :], product[i + 1 :], strict=True)
                left = [*left[: i + 1], *(x - p for x, p in behind)]
        return jax.tree.unflatten(structure, found)

    return inverse
