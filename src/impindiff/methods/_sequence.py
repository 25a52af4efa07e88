"""A black box in time: a network applied recursively from one observation to the next."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.methods._layers import per_channel

# tolerance for equal times, relative to an interval
_SAME_TIME = 1e-9


class SequenceNetwork(eqx.Module):
    """The network of a `SequenceModel`: one sample, one step, with a memory of earlier steps.

    - `channels`: number of input features, see `number_of_channels`.
    - `fields`: number of fields whose increments it returns.
    """

    channels: eqx.AbstractVar[int]
    fields: eqx.AbstractVar[int]

    @abc.abstractmethod
    def start(self, u: Float[Array, "fields *cells"]) -> PyTree:
        """The initial memory, given fields u; () if there is none."""

    @abc.abstractmethod
    def __call__(
        self, features: Float[Array, "channels *cells"], memory: PyTree
    ) -> tuple[Float[Array, "fields *cells"], PyTree]:
        """The fields' increments over one typical interval, and the memory after the step."""


def number_of_channels(
    periodic: tuple[bool, ...], *, fields: int = 1, with_time: bool = False, conditions: int = 0
) -> int:
    """Number of input features that a `SequenceModel` passes to its network."""
    return fields + 1 + sum(2 if flag else 1 for flag in periodic) + with_time + conditions


class SequenceModel(eqx.Module):
    """u_{n+1} = u_n + (dt_n / interval) N(features(u_n, dt_n, t_n, x, conditions), memory).

    u is one field or several: an array of (samples, *cells) or a pytree of such, like a hybrid
    model's state, and results have the same structure. A step leads from one observation to the
    next; past the last one, steps of the median interval follow. In between, a forecast is
    interpolated linearly. The features, as channels on the grid, are

    - each field over its scale, in the order of `jax.tree.leaves`;
    - dt / interval, the length of the step;
    - the position, since the unknowns may depend on it: sin and cos of 2 pi xi along each periodic
      axis, 2 xi - 1 along others, xi in [0, 1] across the domain;
    - with `with_time`, (t - knots[0]) / (knots[-1] - knots[0]), past 1 in a forecast;
    - each condition over its scale.

    Where only one interval is observed, every step starts with a fresh memory, since such data do
    not train the use of an old one.

    **Arguments:**

    - `network`: N.
    - `knots`: the initial time, then the times of the training observations.
    - `periodic`, `cells`: one entry per spatial axis, 1 to 3 of them.
    - `with_time`: include time as a feature.
    - `condition_scales`: typical sizes of the sample-specific numbers, one for each.
    - `scale`: typical size of u, a number or one for each field. The network's increments are in
      this unit.
    - `conditions`: those numbers, for the current samples. `with_conditions` sets them on a copy;
      in a trained model they would be trained too.

    **Raises:** `InputError` for knots that do not increase, axes that do not agree, a scale that is
    not positive or not one for each field, or a network of another number of channels; when called,
    for times that do not increase from knots[0] on, for another number of fields than the network's
    and for fields or conditions of the wrong shape.

    Results have u0's precision. The model is a function of arrays and differentiable; under jit,
    times must be a tuple of numbers, since they determine the number of steps.
    """

    network: SequenceNetwork
    knots: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    cells: tuple[int, ...] = eqx.field(static=True)
    with_time: bool = eqx.field(static=True, default=False)
    condition_scales: tuple[float, ...] = eqx.field(static=True, default=())
    scale: float | tuple[float, ...] = eqx.field(static=True, default=1.0)
    conditions: Float[Array, "samples conditions"] | None = None

    def __check_init__(self) -> None:
        if len(self.knots) < 2 or not _increase(self.knots):
            raise InputError(
                f"SequenceModel: knots = {list(self.knots)}; expected the initial time and at "
                "least one later observation, increasing"
            )
        if not len(self.periodic) == len(self.cells) or len(self.cells) not in (1, 2, 3):
            raise InputError(
                f"SequenceModel: periodic and cells have {len(self.periodic)} and "
                f"{len(self.cells)} entries; expected one per axis in each, 1 to 3 axes"
            )
        fields = self.network.fields
        if len(self._scales) != fields:
            raise InputError(
                f"SequenceModel: scale = {self.scale}; expected a number, or one for each field of "
                f"the network, {fields}"
            )
        if not all(np.isfinite(s) and s > 0 for s in (*self._scales, *self.condition_scales)):
            raise InputError(
                f"SequenceModel: scale = {self.scale} and condition_scales = "
                f"{list(self.condition_scales)}; expected positive numbers"
            )
        expected = number_of_channels(
            self.periodic,
            fields=fields,
            with_time=self.with_time,
            conditions=len(self.condition_scales),
        )
        if self.network.channels != expected:
            raise InputError(
                f"SequenceModel: the network takes {self.network.channels} channels and there are "
                f"{expected} features; build it with number_of_channels(...)"
            )

    @property
    def interval(self) -> float:
        """The typical interval: the median of those between knots."""
        return float(np.median(np.diff(self.knots)))

    def with_conditions(
        self, conditions: Float[Array, "samples conditions"] | None
    ) -> "SequenceModel":
        """A copy with the conditions of other samples, one row each."""
        return dataclasses.replace(self, conditions=conditions)

    def __call__(
        self,
        u0: PyTree[Float[Array, "samples *cells"]],
        times: Sequence[float] | Float[np.ndarray, " times"],
    ) -> PyTree[Float[Array, "times samples *cells"]]:
        """The fields of each sample at the given times, which increase and start at knots[0]."""
        first = self._stacked(u0, "u0", 1)
        steps = self._steps(np.asarray(times, np.float64))

        def advance(carry, step):
            u, memory = carry
            if len(self.knots) == 2:
                memory = jax.vmap(self.network.start)(u)
            following, memory = self._advance(u, memory, step)
            return (following, memory), following

        start = (first, jax.vmap(self.network.start)(first))
        _, states = jax.lax.scan(advance, start, self._inputs(steps.levels, first))
        states = jnp.concatenate([first[None], states])
        weight = jnp.asarray(steps.weight, first.dtype).reshape(-1, *[1] * first.ndim)
        between = (1 - weight) * states[steps.before] + weight * states[steps.before + 1]
        # zero times a non-finite step is not finite, so the first state would be lost
        return self._apart(jnp.where(weight > 0, between, states[steps.before]), u0)

    def next_observations(
        self, observed: PyTree[Float[Array, "knots samples *cells"]]
    ) -> PyTree[Float[Array, "knots-1 samples *cells"]]:
        """Predict the fields at all knots but the first, each from the observation one knot before.

        The memory is carried along (teacher forcing), so the loss excludes accumulated errors.
        """
        given = self._stacked(observed, "observed", 2)
        if len(given) != len(self.knots):
            raise InputError(
                f"SequenceModel: observed has {len(given)} times; expected one per knot, "
                f"{len(self.knots)} with the initial state"
            )

        def advance(memory, before):
            u, step = before
            following, memory = self._advance(u, memory, step)
            return memory, following

        inputs = (given[:-1], self._inputs(np.asarray(self.knots), given))
        _, found = jax.lax.scan(advance, jax.vmap(self.network.start)(given[0]), inputs)
        return self._apart(found, observed)

    @property
    def _scales(self) -> tuple[float, ...]:
        """The scale of each field."""
        scale = self.scale
        return scale if isinstance(scale, tuple) else (scale,) * self.network.fields

    def _advance(
        self,
        u: Float[Array, "samples fields *cells"],
        memory: PyTree,
        step: tuple[Float[Array, ""], Float[Array, ""]],
    ) -> tuple[Float[Array, "samples fields *cells"], PyTree]:
        """Advance all samples by one step of the given relative length and start."""
        length, time = step
        scale = per_channel(jnp.asarray(self._scales, u.dtype), len(self.cells))

        def one(u, memory, conditions):
            features = self._features(u, length, time, conditions)
            increment, memory = self.network(features, memory)
            return u + (length * scale) * increment.astype(u.dtype), memory

        return jax.vmap(one)(u, memory, self._conditions(u))

    def _features(
        self,
        u: Float[Array, "fields *cells"],
        length: Float[Array, ""],
        time: Float[Array, ""],
        conditions: Float[Array, " conditions"],
    ) -> Float[Array, "channels *cells"]:
        channels = [x / s for x, s in zip(u, self._scales, strict=True)]
        channels += [length, *self._positions()]
        channels += [time] if self.with_time else []
        channels += [value / s for value, s in zip(conditions, self.condition_scales, strict=True)]
        return jnp.stack([jnp.broadcast_to(jnp.asarray(c, u.dtype), self.cells) for c in channels])

    def _positions(self) -> list[Float[np.ndarray, "*cells"]]:
        channels = []
        for axis, (n, periodic) in enumerate(zip(self.cells, self.periodic, strict=True)):
            xi = (np.arange(n) + 0.5) / n
            along = [-1 if i == axis else 1 for i in range(len(self.cells))]
            of_axis = [np.sin(2 * np.pi * xi), np.cos(2 * np.pi * xi)] if periodic else [2 * xi - 1]
            channels += [np.broadcast_to(f.reshape(along), self.cells) for f in of_axis]
        return channels

    def _inputs(
        self, levels: Float[np.ndarray, " levels"], like: Array
    ) -> tuple[Float[Array, " steps"], Float[Array, " steps"]]:
        """Length of each step in intervals, and its start in spans of the observations."""
        start, end = self.knots[0], self.knots[-1]
        lengths = np.diff(levels) / self.interval
        return (
            jnp.asarray(lengths, like.dtype),
            jnp.asarray((levels[:-1] - start) / (end - start), like.dtype),
        )

    def _steps(self, times: Float[np.ndarray, " times"]) -> "_Steps":
        tolerance = _SAME_TIME * self.interval
        if times.size == 0 or not _increase(times) or abs(times[0] - self.knots[0]) > tolerance:
            raise InputError(
                f"SequenceModel: times = {times.tolist()}; expected increasing times that start at "
                f"{self.knots[0]:g}, the first knot"
            )
        last = times[-1] - tolerance
        beyond = max(0, int(np.ceil((last - self.knots[-1]) / self.interval)))
        levels = np.append(
            np.asarray(self.knots), self.knots[-1] + self.interval * np.arange(1, beyond + 1)
        )
        levels = levels[: max(1, int(np.searchsorted(levels, last))) + 1]
        # a time within the tolerance above a knot is that knot
        after = np.clip(np.searchsorted(levels, times - tolerance), 1, len(levels) - 1)
        weight = (times - levels[after - 1]) / (levels[after] - levels[after - 1])
        return _Steps(levels, after - 1, np.clip(weight, 0.0, 1.0))

    def _stacked(self, u: PyTree[Array], name: str, before: int) -> Float[Array, "..."]:
        """Stack the fields along a new axis, after `before` leading axes."""
        leaves = jax.tree_util.tree_flatten_with_path(u)[0]
        if len(leaves) != self.network.fields:
            raise InputError(
                f"SequenceModel: {name} has {len(leaves)} fields; expected {self.network.fields}, "
                "as many as the network gives increments of"
            )
        expected = (*leaves[0][1].shape[:before], *self.cells)
        for path, leaf in leaves:
            if leaf.shape != expected:
                raise InputError(
                    f"SequenceModel: {name}{jax.tree_util.keystr(path)} has shape {leaf.shape}; "
                    f"expected {expected}, whose last entries are the model's cells"
                )
        return jnp.stack([leaf for _, leaf in leaves], before)

    def _apart(self, stacked: Float[Array, "..."], like: PyTree[Array]) -> PyTree[Array]:
        """Split into fields with the structure and precision of `like`."""
        leaves, structure = jax.tree.flatten(like)
        fields = jnp.moveaxis(stacked, -1 - len(self.cells), 0)
        parts = [x.astype(leaf.dtype) for x, leaf in zip(fields, leaves, strict=True)]
        return jax.tree.unflatten(structure, parts)

    def _conditions(
        self, u: Float[Array, "samples fields *cells"]
    ) -> Float[Array, "samples conditions"]:
        """The conditions of the samples u; empty if there are none."""
        given = jnp.zeros((len(u), 0), u.dtype) if self.conditions is None else self.conditions
        expected = (len(u), len(self.condition_scales))
        if given.shape != expected:
            raise InputError(
                f"SequenceModel: conditions has shape {given.shape}; expected {expected}, one row "
                "per sample and one column per entry of condition_scales; see with_conditions"
            )
        return given


class _Steps(NamedTuple):
    """Step times of the network, and the positions of the requested times among them."""

    levels: Float[np.ndarray, " levels"]
    before: np.ndarray
    weight: Float[np.ndarray, " times"]


def _increase(times: Sequence[float] | np.ndarray) -> bool:
    """True if the times are finite and increasing."""
    return bool(np.all(np.isfinite(times)) and np.all(np.diff(times) > 0))
