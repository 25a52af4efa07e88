"""Multiple shooting: a long record cut into segments with free initial states."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.observations.walls import of_model
from impindiff.preconditioners import AutomaticChoice
from impindiff.rollout import Rollout, declared_jumps, number_of_steps, rollout
from impindiff.training._loss import TrajectoryLoss


class WithNodes(eqx.Module):
    """A model and the initial states of a record's segments, all of them trained.

    - `nodes`: of each segment but the first, like u0: (samples, *cells) or a pytree of such.
    """

    model: Any
    nodes: tuple[PyTree[Float[Array, "samples ..."]], ...]


class MultipleShooting(TrajectoryLoss):
    r"""Loss of a `WithNodes`, over segments of the record.

    $L + c \, \mathrm{mean}_{s} ((u(t_s^-) - n_s) / \sigma)^2$: L is the `TrajectoryLoss`, with each
    segment rolled out from its own node $n_s$; the second part is the defect at the nodes, relative
    to the initial size $\sigma$ of the nodes. Over a long record of an oscillating or chaotic
    process the loss of one rollout has many local minima, since an early error grows; over a short
    segment it has few. Where the defects vanish both losses are the same. A value measured at the
    time of a node refers to the end of the segment before.

    The cost is that of one rollout; the program grows with the number of segments.

    - `starts`: indices in `times` of the nodes, increasing.
    - `continuity`: c.
    - `scale`: $\sigma$, a number for each array of the state.

    Source: Bock, "Recent advances in parameter identification techniques for ordinary differential
    equations" (1983), with a penalty in place of the constraint.
    """

    starts: tuple[int, ...] = eqx.field(static=True, kw_only=True)
    continuity: float = eqx.field(static=True, kw_only=True)
    scale: tuple[Float[Array, ""], ...] = eqx.field(kw_only=True)

    def misfit(
        self, model: WithNodes, probe: Float[Array, "steps samples"] | None
    ) -> tuple[Float[Array, " residuals"], Rollout]:
        """The misfit with the defects appended; see `TrajectoryLoss.misfit`."""
        residuals, result = super().misfit(model, probe)
        defects = []
        for start, node in zip(self.starts, model.nodes, strict=True):
            of_states = jax.tree.leaves(jax.tree.map(lambda x: x[start], result.u))  # noqa: B023
            pairs = zip(of_states, jax.tree.leaves(node), self.scale, strict=True)
            defects += [jnp.ravel((end - begin) / size) for end, begin, size in pairs]
        if not defects:
            return residuals, result
        row = jnp.concatenate(defects)
        return jnp.append(residuals, row * jnp.sqrt(self.continuity / row.size)), result

    def number_of_residuals(self, model: WithNodes) -> int:
        """The length of the misfit, with the defects."""
        defects = sum(leaf.size for leaf in jax.tree.leaves(model.nodes))
        return super().number_of_residuals(model) + defects

    def prepared(self, model: WithNodes) -> Any:
        """The prepared model, without nodes."""
        return super().prepared(model.model)

    def with_automatic_choice(
        self, model: WithNodes
    ) -> tuple[TrajectoryLoss, AutomaticChoice | None]:
        """The choice for one rollout of the model; see `TrajectoryLoss.with_automatic_choice`."""
        return super().with_automatic_choice(model.model)

    def trajectory(self, model: WithNodes, probe: Float[Array, "steps samples"] | None) -> Rollout:
        """The trajectories of all segments, joined."""
        prepared, u0 = model.model, self.u0
        if self.prepare is not None:
            prepared, u0 = self.prepare(prepared)
        jumps = declared_jumps(prepared, self.jump_times)
        parts, done = [], 0
        for times, start in zip(self._segments(), (u0, *model.nodes), strict=True):
            steps = number_of_steps(np.asarray(times), self.dt, jumps)
            part = rollout(
                prepared,
                start,
                np.asarray(times),
                stepper=self.stepper,
                dt=self.dt,
                checkpointing=self.checkpointing,
                throw=False,
                probe=None if probe is None else probe[done : done + steps],
                halving=self.halving,
                jump_times=jumps,
            )
            parts.append(part)
            done += steps
        return _joined(parts)

    def probe(self, model: WithNodes | None = None) -> Float[Array, "steps *batch"]:
        """Zeros for the probe of all segments."""
        return super().probe(None if model is None else model.model)

    def _steps(self, jumps: Sequence[float] | None) -> int:
        return sum(number_of_steps(np.asarray(times), self.dt, jumps) for times in self._segments())

    def _segments(self) -> list[tuple[float, ...]]:
        bounds = (0, *self.starts, len(self.times) - 1)
        return [self.times[a : b + 1] for a, b in pairwise(bounds)]


def multiple_shooting(
    loss: TrajectoryLoss,
    model: Any,
    segments: int,
    *,
    continuity: float = 1.0,
    nodes: Sequence[PyTree] | None = None,
) -> tuple[MultipleShooting, WithNodes]:
    """(the loss over segments, the model with its initial nodes).

    **Arguments:**

    - `loss`: of one rollout. Its `trajectory` must be that of `TrajectoryLoss`.
    - `segments`: number of segments, of equal numbers of observed times, as far as possible.
    - `continuity`: weight of the defects at the nodes. Larger values approach one rollout; smaller
      ones allow a start further from the truth.
    - `nodes`: initial values, one for each segment but the first; by default `states_near` the
      observations, which suits whole fields, not a few sensors.

    **Raises:** `InputError` for more segments than observed times, and, without `nodes`, where less
    than half of the state is measured.
    """
    count = len(loss.times) - 1
    if segments > count:
        raise InputError(
            f"training.shooting.segments: {segments} segments of {count} observed times; "
            "choose fewer"
        )
    starts = tuple(int(i) for i in np.round(np.linspace(0, count, segments + 1))[1:-1])
    if nodes is None:
        states = states_near(loss, model)
        numbers = sum(leaf[1:].size for leaf in jax.tree.leaves(states))
        seen = loss.number_of_observations()
        if starts and 2 * seen < numbers:
            raise InputError(
                f"training.shooting: {seen} values are seen of {numbers} numbers in the states; "
                "segments start from what was measured, so it is for records of whole fields; give "
                "their first states (nodes) or try training.horizon"
            )
        nodes = [jax.tree.map(lambda x: x[start], states) for start in starts]  # noqa: B023
    example = jax.tree.leaves(nodes[0]) if nodes else []
    sizes = [np.sqrt(np.mean(np.asarray(leaf) ** 2)) for leaf in example]
    fields = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    shooting = MultipleShooting(
        **fields,
        starts=starts,
        continuity=continuity,
        scale=tuple(
            jnp.asarray(size if size > 0 else 1.0, leaf.dtype)
            for size, leaf in zip(sizes, example, strict=True)
        ),
    )
    return shooting, WithNodes(model, tuple(nodes))


def states_near(loss: TrajectoryLoss, model: Any) -> PyTree[Float[Array, "times samples ..."]]:
    """The states at all of the loss's times closest to u0 that fit the observations.

    u0 + H^T (H H^T)^{-1} (y - H u0), with H linear at u0; by conjugate gradients. Where the whole
    state is measured these are the measurements; unmeasured parts stay at u0.
    """
    u0 = loss.u0 if loss.prepare is None else loss.prepare(model)[1]
    observe = of_model(loss.observe, loss.prepared(model))
    count = len(loss.times)
    base = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), u0)
    seen = 1.0 if loss.weights is None else jnp.where(loss.weights == 0, 0.0, 1.0)
    found, pull_back = jax.vjp(observe, base)

    def normal(y):
        _, moved = jax.jvp(observe, (base,), (pull_back(seen * y)[0],))
        return seen * moved

    target = jnp.where(seen == 0, 0.0, loss.values - found)
    multipliers, _ = jax.scipy.sparse.linalg.cg(normal, target, maxiter=100)
    (change,) = pull_back(seen * multipliers)
    return jax.tree.map(jnp.add, base, change)


def _joined(parts: Sequence[Rollout]) -> Rollout:
    first, *rest = parts

    def join(take):
        pieces = [take(first), *(jax.tree.map(lambda x: x[1:], take(part)) for part in rest)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pieces)

    rejected = [part.rejected_steps for part in parts if part.rejected_steps is not None]
    return Rollout(
        u=join(lambda part: part.u),
        times=join(lambda part: part.times),
        stats=jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves), *(part.stats for part in parts)
        ),
        step_times=join(lambda part: part.step_times),
        checkpointing=first.checkpointing,
        rejected_steps=jnp.sum(jnp.stack(rejected)) if rejected else None,
        method=first.method,
    )
