"""Differentiation rules for the root of an implicit layer.

With F(z, args) = 0, the implicit function theorem gives dz = -(dF/dz)^{-1} (dF/dargs) dargs.
`ImplicitAdjoint` applies it, `JacobianFree` with a truncated series in place of the inverse;
`Unrolled` differentiates the solver's iterations instead.
"""

import abc
import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit._bicgstab import BiCGStab
from impindiff.implicit._closures import HoistedPreconditioner, holds_closure_over_tracer
from impindiff.implicit._general import require_general
from impindiff.implicit._linear_solution import linear_solution
from impindiff.implicit._own_derivative import with_derivative
from impindiff.implicit._status import Status
from impindiff.implicit.linear import LinearMap, LowerPrecision, Preconditioner, refined_solve
from impindiff.implicit.precision import InPrecisions, linearised, lowered
from impindiff.implicit.pytree import (
    result_dtype,
    rms_norm,
    tree_add,
    tree_subtract,
    tree_where,
    without_tangents,
)
from impindiff.implicit.solver import AbstractRootSolver, Residual


class AbstractAdjoint(eqx.Module):
    """An adjoint rule: solves forward, and defines the derivative of the result."""

    @abc.abstractmethod
    def solve(
        self,
        solver: AbstractRootSolver,
        residual: Residual,
        z0: PyTree,
        args: PyTree,
        probe: Float[Array, ""] | None,
        guess: PyTree | None = None,
    ) -> tuple[PyTree, Status]:
        """The root of `residual(., args)`, differentiable in `args`; `guess`: see the solvers."""


class Unrolled(AbstractAdjoint):
    """Reverse-mode differentiation through every Newton and Krylov iteration, as a baseline.

    Memory grows linearly with `solver.max_iterations` times the linear solver's `max_steps`, since
    loops get a fixed length and every iterate is stored. The gradient is that of the iteration, not
    of the root: it is exact only as far as the iteration has converged. Under `NewtonKrylov` the
    Krylov method is always BiCGStab, since library solvers cannot be differentiated through, and
    there is no line search; `Picard` and `Anderson` run unchanged.
    """

    def solve(
        self,
        solver: AbstractRootSolver,
        residual: Residual,
        z0: PyTree,
        args: PyTree,
        probe: Float[Array, ""] | None,
        guess: PyTree | None = None,
    ) -> tuple[PyTree, Status]:
        """Solve with unrolled loops; there is no adjoint solve, so `probe` gets no residual."""
        del probe
        z, status = solver.solve(residual, z0, args, guess=guess, unrolled=True)
        return z, jax.lax.stop_gradient(status)


class _AtTheRoot(AbstractAdjoint):
    """A rule that needs the root only, not the iterations: dz = -B (dF/dargs) dargs.

    B approximates (dF/dz)^{-1} and distinguishes the rules. Stored are z and those entries of
    `args` that the derivatives of F need, but no solver iterates, and the forward solve is not
    repeated. Forward mode, reverse mode, their compositions to any order, `vmap` and `jit` all
    work.
    """

    def solve(
        self,
        solver: AbstractRootSolver,
        residual: Residual,
        z0: PyTree,
        args: PyTree,
        probe: Float[Array, ""] | None,
        guess: PyTree | None = None,
    ) -> tuple[PyTree, Status]:
        """Solve, and attach the rule's derivative to the root."""
        fixed_solver, fixed_residual, fixed_z0, fixed_args, fixed_guess = without_tangents(
            (solver, residual, z0, args, guess)
        )
        z, status = fixed_solver.solve(fixed_residual, fixed_z0, fixed_args, guess=fixed_guess)
        rule = self.completed(solver)
        inverse = rule.preconditioner
        if inverse is not None and holds_closure_over_tracer((inverse, args)):
            inverse = HoistedPreconditioner.of(inverse, z0, args)
            rule = dataclasses.replace(rule, preconditioner=inverse)
        operands = (residual, args, probe, rule)
        return with_derivative(z, operands, _tangent_of_root), status

    @abc.abstractmethod
    def completed(self, solver: AbstractRootSolver) -> "ImplicitAdjoint | JacobianFree":
        """A copy with unset options taken from the forward solver."""

    @abc.abstractmethod
    def tangent(
        self,
        residual: Residual,
        z: PyTree,
        args: PyTree,
        residual_dot: PyTree,
        args_dot: PyTree,
        probe_dot: Float[Array, ""] | None,
    ) -> PyTree:
        """The tangent -B (dF/dargs) dargs at the root z.

        Its transpose returns in `probe_dot` the relative residual that B leaves of the cotangent.
        """


class ImplicitAdjoint(_AtTheRoot):
    """The exact gradient of the root by one preconditioned, matrix-free, transposed solve.

    Backward: solve (dF/dz)^T w = dL/dz, then dL/dargs = -(dF/dargs)^T w. No bias but the adjoint
    solve's tolerance. Memory: z and the entries of `args` that the derivatives of F need; no solver
    iterate, and the forward solve is not run again. Time: about one linear solve a root. Forward
    mode, reverse mode, their compositions to any order, `vmap` and `jit` all work.

    - `rtol`: relative true residual of the adjoint solve, independent of the forward tolerance
      (default 1e-8 in float64, 6e-6 in float32). The right-hand side is normalised, so
      gradients of any size are equally exact.
    - `max_iterations`: of the Krylov method.
    - `linear_solver`: a Lineax solver for the adjoint; default the same kind as the forward one.
    - `preconditioner`: as in `NewtonKrylov`, approximating the inverse of dF/dz; its transpose is
      taken here. Default: the solver's own.
    - `first_guess`: "zero", or "cotangent", dL/dz itself, which is taken where it leaves a smaller
      residual. Of a short time step it is near the solution, and near the last step's adjoint.

    The Krylov method works in the forward solver's `krylov_precision`. An adjoint solve that does
    not reach `rtol` gives NaN, never a silently wrong gradient. Pass a scalar `probe` to `root` to
    obtain the relative residual: it is returned as the "gradient" with respect to the probe.

    Source: Blondel et al., "Efficient and modular implicit differentiation" (2022); the setting is
    Akhare et al. (2025), section 2.
    """

    rtol: float | None = None
    max_iterations: int = 200
    linear_solver: lx.AbstractLinearSolver | None = None
    preconditioner: Preconditioner | None = None
    first_guess: Literal["zero", "cotangent"] = "zero"

    def __check_init__(self) -> None:
        if self.linear_solver is not None:
            require_general(self.linear_solver, "ImplicitAdjoint")
        _require_map("ImplicitAdjoint", self.preconditioner)

    def completed(self, solver: AbstractRootSolver) -> "ImplicitAdjoint":
        """A copy with unset options taken from the forward solver."""
        linear_solver = self.linear_solver
        if linear_solver is None:
            linear_solver = getattr(solver, "linear_solver", None) or BiCGStab()
            if hasattr(linear_solver, "max_steps"):
                linear_solver = eqx.tree_at(
                    lambda s: s.max_steps,
                    linear_solver,
                    self.max_iterations,
                    is_leaf=lambda leaf: leaf is None,
                )
        preconditioner = self.preconditioner or getattr(solver, "preconditioner", None)
        return ImplicitAdjoint(
            rtol=self.rtol,
            max_iterations=self.max_iterations,
            linear_solver=linear_solver,
            preconditioner=preconditioner,
            first_guess=self.first_guess,
        )

    def tangent(
        self,
        residual: Residual,
        z: PyTree,
        args: PyTree,
        residual_dot: PyTree,
        args_dot: PyTree,
        probe_dot: Float[Array, ""] | None,
    ) -> PyTree:
        """The tangent by a linear solve; NaN where the solve fails."""
        # Unknown and right-hand side carry one additional scalar, which the system leaves alone.
        # The transposed solve uses it to return the relative residual, as the cotangent of `probe`.
        scalar = jnp.zeros((), result_dtype(z))
        source = _minus_source(z, (residual, args), (residual_dot, args_dot))
        b = source, scalar if probe_dot is None else probe_dot
        return linear_solution((self, residual, z, args), b, _product, _solve)[0]

    def _solved(
        self,
        linear_map: LinearMap,
        b: PyTree,
        preconditioner: LinearMap | None,
        lower: LowerPrecision | None,
    ) -> tuple[PyTree, Float[Array, ""]]:
        """(A^{-1} b, ||b - A x|| / ||b||), NaN where the solve fails.

        With `lower`, A in a lower precision, the preconditioner is in that precision too.
        """
        eps = float(jnp.finfo(result_dtype(b)).eps)
        rtol = max(1e-8, 50 * eps) if self.rtol is None else self.rtol
        linear_solver = self.linear_solver or BiCGStab()
        start = b if self.first_guess == "cotangent" else None
        solution = refined_solve(
            linear_map, b, linear_solver, rtol, preconditioner, lower=lower, start=start
        )
        nan = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), solution.value)
        return tree_where(solution.converged, solution.value, nan), solution.residual


class JacobianFree(_AtTheRoot):
    """A biased, cheap gradient: the Neumann series of the inverse, truncated after `terms`.

    With A = dF/dz and a preconditioner M (the identity if there is none),
    A^{-1} is replaced by sum_{i=0}^{terms} (I - M A)^i M: for a fixed point z = g(z),
    sum_i (dg/dz)^i, and for `terms=0` the identity: the Jacobian-free gradient.

    Bias: the gradient's error is (I - M A)^{terms + 1} applied to the exact one; it falls with each
    term where the spectral radius of I - M A is below 1, and *grows* where it is not (a time step
    that is stiff, without a preconditioner). With `terms=0` it is a descent direction where
    ||I - M A|| is small enough. Cost: `terms` + 1 products with A^T, no solve and no tolerance;
    memory as `ImplicitAdjoint`. The `probe` of `root` gets the relative residual: how far the
    result is from a solution of the adjoint system. Second derivatives are those of this gradient,
    bias and all, not of the root.

    - `terms`: terms of the series beyond the first.
    - `preconditioner`: as in `NewtonKrylov`; default the solver's own.

    Source: Fung et al., "JFB: Jacobian-free backpropagation for implicit networks", AAAI 2022;
    Geng et al., "On training implicit models", NeurIPS 2021 (the truncated series).
    """

    terms: int = 0
    preconditioner: Preconditioner | None = None

    def __check_init__(self) -> None:
        _require_map("JacobianFree", self.preconditioner)

    def completed(self, solver: AbstractRootSolver) -> "JacobianFree":
        """A copy with unset options taken from the forward solver."""
        preconditioner = self.preconditioner or getattr(solver, "preconditioner", None)
        return JacobianFree(terms=self.terms, preconditioner=preconditioner)

    def tangent(
        self,
        residual: Residual,
        z: PyTree,
        args: PyTree,
        residual_dot: PyTree,
        args_dot: PyTree,
        probe_dot: Float[Array, ""] | None,
    ) -> PyTree:
        """The tangent by the truncated series; no solve is done, in either precision.

        The series is written out, unlike a solve, whose derivative JAX takes implicitly: second
        derivatives are those of this rule, not of the root.
        """

        # the checkpoint avoids storing the intermediate values of F's derivative
        @eqx.filter_checkpoint
        def series(z, primal, tangent, rule):
            source = _minus_source(z, primal, tangent)
            linear_map, inverse = linearised(primal[0], z, primal[1], rule.preconditioner)
            return rule._summed(linear_map, source, inverse)

        primal = (residual, args)
        x = series(z, primal, (residual_dot, args_dot), self)
        if probe_dot is None:
            return x

        operands = self, residual, z, args
        return linear_solution(operands, (x, probe_dot), _unchanged, _residual_of_series)[0]

    def _summed(self, linear_map: LinearMap, b: PyTree, preconditioner: LinearMap | None) -> PyTree:
        """Apply B to b, with A = `linear_map`."""
        precondition = preconditioner or (lambda v: v)

        def add_term(x, _):
            return tree_add(x, precondition(tree_subtract(b, linear_map(x)))), None

        return jax.lax.scan(add_term, precondition(b), length=self.terms)[0]


def _product(operands: Any, augmented: PyTree) -> PyTree:
    """The product with dF/dz, of a system with one more scalar."""
    _, residual, z, args = operands
    v, extra = augmented
    return jax.jvp(lambda z: residual(z, args), (z,), (v,))[1], extra


def _solve(operands: Any, augmented: PyTree, *, transpose: bool) -> PyTree:
    """The solution with dF/dz, or its transpose, which returns its relative residual too.

    It linearises F once and iterates on that; `_product` evaluates F's nonlinear parts anew in
    every product.
    """
    rule, residual, z, args = operands
    b, extra = augmented
    if isinstance(residual, InPrecisions):
        linear_map, _ = linearised(residual, z, args, None, transpose=transpose)
        lower, inverse = lowered(residual, z, args, rule.preconditioner, transpose=transpose)
    else:
        linear_map, inverse = linearised(
            residual, z, args, rule.preconditioner, transpose=transpose
        )
        lower = None
    x, left = rule._solved(linear_map, b, inverse, lower)
    return x, left if transpose else extra


def _unchanged(operands: Any, augmented: PyTree) -> PyTree:
    del operands
    return augmented


def _residual_of_series(operands: Any, augmented: PyTree, *, transpose: bool) -> PyTree:
    """The identity; transposed it also returns the relative residual of the cotangent."""
    if not transpose:
        return augmented
    rule, residual, z, args = operands
    linear_map, inverse = linearised(residual, z, args, rule.preconditioner, transpose=True)
    b = augmented[0]
    left = tree_subtract(b, linear_map(rule._summed(linear_map, b, inverse)))
    size = rms_norm(b)
    return b, rms_norm(left) / jnp.where(size > 0, size, 1.0)


def _require_map(rule: str, preconditioner: Any) -> None:
    if isinstance(preconditioner, str):
        raise InputError(
            f"{rule}: preconditioner is {preconditioner!r}; expected a preconditioner such as "
            "Multigrid(), or none: the adjoint then takes the solver's, for which 'auto' is chosen"
        )


# the checkpoint avoids storing F's intermediate values: only z and args are kept
@eqx.filter_checkpoint
def _minus_source(
    z: PyTree, primal: tuple[Any, ...], tangent: tuple[Any, ...]
) -> PyTree[Float[Array, "..."]]:
    """-(dF/dargs) dargs, where the parameters are the residual's own and its `args`."""

    def of_parameters(parameters):
        residual, args = parameters
        return residual(z, args)

    _, out = eqx.filter_jvp(of_parameters, (primal,), (tangent,))
    return jax.tree.map(lambda leaf, dot: jnp.zeros_like(leaf) if dot is None else -dot, z, out)


def _tangent_of_root(z: PyTree, operands: Any, tangents: Any) -> PyTree:
    """The tangent of z with `residual(z, args) = 0`, by the rule."""
    residual, args, _, rule = operands
    residual_dot, args_dot, probe_dot, _ = tangents
    return rule.tangent(residual, z, args, residual_dot, args_dot, probe_dot)
