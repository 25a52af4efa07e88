"""The constant-coefficient part of a step's matrix, inverted mode by mode."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PyTree

from impindiff.implicit import LinearMap
from impindiff.preconditioners.components import Simplify, by_component, grid_of, simplified
from impindiff.spectral._modes import Modes
from impindiff.steppers import StageEquation, stage_residual

Field = Float[Array, "*cells"]


class FourierInverse(eqx.Module):
    r"""Exact inverse of $r - \sum_i D_i\, \partial_i^2 + \sum_i a_i\, \partial_i$, mode by mode.

        ipd.CrankNicolson(solver=ipd.NewtonKrylov(preconditioner=ipd.spectral.FourierInverse()))

    r, D_i and a_i are the means of the step's matrix. One Krylov iteration per solve where its
    coefficients are constant, as in the implicit part of an `IMEX` tendency, few where they vary by
    a small factor or the transport by the fluctuation of a velocity u' is slow, |u'| dt / h of
    about 1; many beyond. The means are read off one product with the Jacobian per component: of a
    constant and two waves along each axis, one that `convection` resolves and one that it removes.
    Terms of other orders, and those between components, are left to the Krylov method.

    - `simplify`: maps the model to the one to precondition.

    The adjoint solve uses the transpose. Raises `InputError` for a model without `grid`, and as
    `gradient` for its grid. Components that are not fields on it are unchanged.

    Cost: 2 transforms.

    Source: Chan, An optimal circulant preconditioner for Toeplitz systems, SIAM J. Sci. Stat.
    Comput. 9 (1988), restricted to these terms.
    """

    simplify: Simplify | None = None

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """Build the linear map v -> (dF/dz)^{-1} v at z, approximately; see `NewtonKrylov`."""
        stage = simplified(stage, self.simplify)
        grid = grid_of(stage, "FourierInverse")
        modes = Modes(grid, "FourierInverse")
        leaves, structure = jax.tree.flatten(z)
        _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)

        def inverse_of(i: int) -> LinearMap | None:
            if leaves[i].shape != grid.cells:
                return None

            def own_rows(v: Field) -> Field:
                alone = [v if j == i else jnp.zeros_like(x) for j, x in enumerate(leaves)]
                return jax.tree.leaves(jacobian(jax.tree.unflatten(structure, alone)))[i]

            return _inverse(_spectrum(own_rows, modes, leaves[i]), modes)

        return by_component(z, [inverse_of(i) for i in range(len(leaves))])


def _spectrum(matvec: LinearMap, modes: Modes, like: Field) -> Complex[Array, "*modes"]:
    """Eigenvalues of the mean operator, of a few that are measured."""
    dtype = like.dtype
    probe = jnp.ones_like(like)
    waves = [(max(1, n // 4), (n - 1) // 2) for n in modes.cells]
    for axis, (n, pair) in enumerate(zip(modes.cells, waves, strict=True)):
        along = [1] * len(modes.cells)
        along[axis] = -1
        x = 2 * jnp.pi * jnp.arange(n, dtype=dtype).reshape(along) / n
        probe = probe + sum(jnp.cos(m * x) for m in pair)
    sent, found = modes.forward(probe), modes.forward(matvec(probe))

    def measured(axis: int, m: int) -> Complex[Array, ""]:
        index = tuple(m if i == axis else 0 for i in range(len(modes.cells)))
        return found[index] / sent[index]

    reaction = jnp.real(measured(0, 0))
    kept = modes.resolved(dtype)
    total = jnp.asarray(reaction, found.dtype)
    for axis, (low, high) in enumerate(waves):
        k, unit = modes.odd_wave_numbers(axis, dtype), modes.units[axis]
        at_low, at_high = measured(axis, low), measured(axis, high)
        # of the mode n / 2, and of the mean, a drift makes nothing
        drift = jnp.imag(at_low) / (low * unit) if 2 * low < modes.cells[axis] else 0.0
        removed = jnp.imag(at_high) / (high * unit) if high else 0.0
        diffusivity = (jnp.real(at_low) - reaction) / (low * unit) ** 2
        total = total + diffusivity * modes.wave_numbers(axis, dtype) ** 2
        total = total + 1j * k * (removed + (drift - removed) * kept)
    return jnp.where(total == 0, 1.0, total)


def _inverse(spectrum: Complex[Array, "*modes"], modes: Modes) -> LinearMap:
    return lambda v: modes.backward(modes.forward(v) / spectrum, v.dtype)
