"""The matrix of a component in a step's equation, in a few numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from impindiff.preconditioners.components import component_matrix, grid_of
from impindiff.steppers import StageEquation, stage_residual

_NOTHING = 1e-6
_WORTH_SAYING = 1e-3


@dataclasses.dataclass(frozen=True)
class Component:
    """Of one component of the state, in a step.

    - `name`: its place in the state; `cells`, `dtype`: of its field.
    - `exchange`: the largest part of a cell's content that a neighbour takes in a step, were it not
      for what comes back: D dt / dx^2 of diffusion, upwind differences' own included.
    - `drift`: the largest part that is carried one way, |v| dt / (2 dx).
    - `variation`: the largest exchange between two cells over the mean.
    - `beyond`: what couples cells further apart than neighbours, in the whole matrix, relative.
    - `others`: what couples it with other components, relative.
    - `largest_rate`: of the diagonal, what a step changes.
    """

    name: str
    cells: tuple[int, ...]
    dtype: str
    exchange: float
    drift: float
    variation: float
    beyond: float
    others: float
    largest_rate: float

    def lines(self) -> list[str]:
        """For a page."""
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


def describe(u: PyTree, stage: StageEquation) -> tuple[Component, ...]:
    """Each component that is a field on the model's grid."""
    grid = grid_of(stage, "explain")
    paths = jax.tree_util.tree_flatten_with_path(u)[0]
    leaves = [leaf for _, leaf in paths]
    _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), u)
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
        matrix = component_matrix(u, stage, i, grid)
        size = max(float(jnp.linalg.norm(own)), 1e-300)
        faces = [np.abs(np.asarray(k.inner)) for k in matrix.faces]
        drifts = [np.abs(np.asarray(w.inner)) for w in matrix.drift or ()]
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
                largest_rate=float(jnp.max(jnp.abs(matrix.main_diagonal() - 1.0))),
            )
        )
    return tuple(found)
