"""Summary of a state component's matrix in a step's equation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from impindiff.preconditioners.components import component_matrix, grid_of, of_content
from impindiff.steppers import StageEquation, stage_residual
from impindiff.steppers.mass import rate

_NOTHING = 1e-6
_WORTH_SAYING = 1e-3


@dataclasses.dataclass(frozen=True)
class Component:
    """Size of the terms that couple one component of the state in a step.

    - `name`: its path in the state; `cells`, `dtype`: of its field.
    - `exchange`: the largest fraction of a cell's content that a neighbour takes in a step, without
      what flows back: D dt / dx^2 for diffusion, numerical diffusion included.
    - `drift`: the largest fraction carried one way, |v| dt / (2 dx).
    - `variation`: the largest exchange between two cells over the mean.
    - `beyond`: coupling to cells beyond the nearest neighbours, relative to the whole matrix.
    - `others`: coupling to other components, relative.
    """

    name: str
    cells: tuple[int, ...]
    dtype: str
    exchange: float
    drift: float
    variation: float
    beyond: float
    others: float

    def lines(self) -> list[str]:
        """Lines of the printed page."""
        size = " x ".join(map(str, self.cells))
        kind = "symmetric" if self.drift < _NOTHING * max(self.exchange, 1.0) else "drifting"
        lines = [
            f"{self.name}: {size} cells, {self.dtype}; a neighbour takes up to {self.exchange:.3g} "
            f"(D dt/dx^2), {self.variation:.2g} times the mean; {kind}"
            + (f", |v| dt/(2 dx) up to {self.drift:.3g}" if kind == "drifting" else "")
        ]
        if self.beyond > _WORTH_SAYING:
            lines.append(
                f"  {self.beyond:.1%} of its matrix couples cells that are not neighbours: the "
                "preconditioners see something else (`simplify`)"
            )
        if self.others > _WORTH_SAYING:
            lines.append(f"  {self.others:.1%} of its equation comes from other components")
        return lines


def largest_explicit_step(u: PyTree, stage: StageEquation) -> float:
    """1 / max |A_ii|, A the matrix of du/dt at u: an estimate of forward Euler's limit."""
    grid = grid_of(stage, "explain")

    def rates(z: PyTree) -> PyTree:
        return rate(stage.model, stage.t, z, stage.latent)

    fastest = 0.0
    for i, leaf in enumerate(jax.tree.leaves(u)):
        if leaf.shape == grid.cells:
            diagonal = component_matrix(rates, u, i, grid).main_diagonal()
            fastest = max(fastest, float(jnp.max(jnp.abs(diagonal))))
    return 1.0 / fastest if fastest > 0 else 1.0


def describe(u: PyTree, stage: StageEquation) -> tuple[Component, ...]:
    """Summarise each component that is a field on the model's grid."""
    grid = grid_of(stage, "explain")
    paths = jax.tree_util.tree_flatten_with_path(u)[0]
    leaves = [leaf for _, leaf in paths]

    def residual(z: PyTree) -> PyTree:
        return stage_residual(z, stage)

    _, jacobian = jax.linearize(residual, u)
    rng = np.random.default_rng(0)
    vectors = [jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype) for leaf in leaves]
    structure = jax.tree.structure(u)
    whole = jax.tree.leaves(jacobian(jax.tree.unflatten(structure, vectors)))
    found = []
    for i, (path, leaf) in enumerate(paths):
        if leaf.shape != grid.cells:
            continue
        alone = [v if j == i else jnp.zeros_like(v) for j, v in enumerate(vectors)]
        own = jax.tree.leaves(jacobian(jax.tree.unflatten(structure, alone)))[i]
        matrix = component_matrix(residual, u, i, grid)
        size = max(float(jnp.linalg.norm(own)), 1e-300)
        faces = [of_content(k.inner, matrix, axis) for axis, k in enumerate(matrix.faces)]
        drifts = [of_content(w.inner, matrix, axis) for axis, w in enumerate(matrix.drift or ())]
        largest = max(float(k.max()) for k in faces)
        mean = float(np.mean([k.mean() for k in faces]))
        found.append(
            Component(
                name="u" + jax.tree_util.keystr(path),
                cells=grid.cells,
                dtype=leaf.dtype.name,
                exchange=largest,
                drift=max((float(w.max()) for w in drifts), default=0.0),
                variation=largest / mean if mean > 0 else 1.0,
                beyond=float(jnp.linalg.norm(own - matrix(vectors[i]))) / size,
                others=float(jnp.linalg.norm(whole[i] - own)) / size,
            )
        )
    return tuple(found)
