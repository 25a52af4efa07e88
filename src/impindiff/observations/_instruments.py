"""Measurements by several instruments, of several fields and times, as one vector."""

import zlib
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.observations.scattered import PointTable
from impindiff.observations.walls import of_model


@runtime_checkable
class MeasuringOperator(Protocol):
    """Map `(..., *cells) -> (..., count)`: `Sensors`, `Probes`, `BlockAverages`, `PartAverage`."""

    @property
    def count(self) -> int:
        """Number of values read per field."""
        ...

    def __call__(self, u: Any, /) -> Any:
        """Read the values."""
        ...


class AtTimes(eqx.Module):
    r"""Observation operator $H u = (h(u(t_{k_1})), h(u(t_{k_2})), \dots)$: $h$ at chosen times.

    **Arguments:**

    - `operator`: $h$, such as `Sensors`; called once, on the states of all these times, with time
      as their first axis.
    - `times`: $k$, indices along the time axis of the states; 0 is the initial time.

    **Raises:** `InputError` for no time, and one that is no whole number from 0 on; when called,
    for states of too few times.
    """

    operator: Callable[..., Any]
    times: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, operator: Callable[..., Any], times: Sequence[int] | np.ndarray):
        self.operator = operator
        self.times = _indices(times, "observations")

    def __call__(self, u: PyTree[Float[Array | np.ndarray, "..."]]) -> Any:
        """Apply $h$ to the states at the chosen times."""
        return self.operator(_states_at(u, self.times, "observations"))

    def of_model(self, model: Any) -> "AtTimes":
        """A copy with the operator for this model, see `observations.walls.of_model`."""
        return AtTimes(of_model(self.operator, model), self.times)


class Measurement(eqx.Module):
    r"""Readings of one instrument: $H q(u(t_k))$ at chosen times, with independent Gaussian errors.

    Called on states with leading axes (times, samples), it returns the values in their own unit,
    (chosen times, samples, N).

    **Arguments:**

    - `name`: unique name, used in messages.
    - `quantity`: $q$, from the states, a pytree with leading axes (times, samples), to the field
      measured, (times, samples, *cells). It must treat each time by itself.
    - `operator`: $H$, with its number of values as `count`: `Sensors`, `Probes`, `BlockAverages`,
      `PartAverage`, or a user-defined one.
    - `times`: $k$, indices along the time axis of the states; 0 is the initial time.
    - `standard_deviation`: of the instrument's errors, in the unit of the quantity: a number, or
      one per time.

    **Raises:** `InputError` for a standard deviation that is not positive and finite, for another
    number of them than 1 or that of the times, for no time, and one that is no whole number from 0
    on; when called, for states of too few times and a quantity of another shape.
    """

    name: str = eqx.field(static=True)
    quantity: Callable[[Any], Any]
    operator: MeasuringOperator
    times: tuple[int, ...] = eqx.field(static=True)
    standard_deviation: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        quantity: Callable[[Any], Any],
        operator: MeasuringOperator,
        times: Sequence[int] | np.ndarray,
        standard_deviation: float | Sequence[float] | np.ndarray,
    ):
        errors = np.atleast_1d(np.asarray(standard_deviation, float))
        if not (np.isfinite(errors) & (errors > 0)).all():
            raise InputError(
                f"measurement '{name}': its standard deviation is {errors.min():g}; give the "
                f"instrument's error, a positive number in the unit of the quantity"
            )
        if errors.ndim > 1 or errors.size not in (1, len(times)):
            raise InputError(
                f"measurement '{name}': {errors.size} standard deviations for {len(times)} times; "
                f"give one for all, or one for each"
            )
        self.name = name
        self.quantity = quantity
        self.operator = operator
        self.times = _indices(times, f"measurement '{name}'")
        self.standard_deviation = tuple(np.broadcast_to(errors, len(times)).tolist())

    def __call__(
        self, u: PyTree[Float[Array | np.ndarray, "..."]]
    ) -> Float[Array | np.ndarray, "times samples values"]:
        """The values in their own unit, (chosen times, samples, N)."""
        field = self.quantity(_states_at(u, self.times, f"measurement '{self.name}'"))
        expected = (len(self.times), jax.tree.leaves(u)[0].shape[1])
        if field.shape[:2] != expected:
            raise InputError(
                f"measurement '{self.name}': the quantity has shape {field.shape}; expected "
                f"(times, samples) = {expected} in front of the grid's axes"
            )
        try:
            values = self.operator(field)
        except InputError as error:
            raise InputError(f"measurement '{self.name}': {error}") from error
        if values.shape != (*expected, self.operator.count):
            # the grid fitted the last axes, so one axis too many precedes them
            raise InputError(
                f"measurement '{self.name}': of a quantity of shape {field.shape} the operator "
                f"made {values.shape}; expected {(*expected, self.operator.count)}, from (times, "
                f"samples) and the grid's axes alone"
            )
        return values

    def of_model(self, model: Any) -> "Measurement":
        """A copy with the operator for this model, see `observations.walls.of_model`."""
        operator = of_model(self.operator, model)
        return eqx.tree_at(lambda part: part.operator, self, operator)

    @property
    def errors(self) -> Float[np.ndarray, "times 1 1"]:
        """The standard deviations, to broadcast against the values."""
        return np.asarray(self.standard_deviation)[:, None, None]

    def size(self, samples: int) -> int:
        """Number of values read from `samples` trajectories."""
        return len(self.times) * samples * self.operator.count


class Measurements(eqx.Module):
    r"""All measurements as one vector, each divided by its standard deviation.

    $z = (H_1 q_1(u) / \sigma_1, H_2 q_2(u) / \sigma_2, \dots)$, concatenated, each in the order
    (time, sample, value). The squared distance of two such vectors is $\chi^2$, so instruments with
    different units are weighted by their accuracy.

    Used as `observe` of a `TrajectoryLoss`, with the measured vector as its values: $\|z(u) -
    z_\mathrm{measured}\|^2$ is the negative log-likelihood up to factor and constant.

    **Arguments:**

    - `parts`: the measurements, with distinct names.

    **Raises:** `InputError` for no parts, and for duplicate names.
    """

    parts: tuple[Measurement, ...]

    def __init__(self, parts: Sequence[Measurement]):
        names = [part.name for part in parts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not parts or twice:
            problem = f"'{twice[0]}' is the name of more than one" if twice else "there are none"
            raise InputError(f"measurements: {problem}; give at least one, each with its own name")
        self.parts = tuple(parts)

    def __call__(self, u: PyTree[Float[Array | np.ndarray, "..."]]) -> Float[Array, " measured"]:
        """$z$ of states with leading axes (times, samples). Raises as `Measurement`."""
        return jnp.concatenate([jnp.ravel(_weighed(p, p(u))) for p in self.parts])

    def of_model(self, model: Any) -> "Measurements":
        """A copy with the operators for this model, see `observations.walls.of_model`."""
        return Measurements([part.of_model(model) for part in self.parts])

    def split(
        self, vector: Float[Array | np.ndarray, " measured"], samples: int
    ) -> dict[str, Float[np.ndarray, "times samples values"]]:
        """Split a vector $z$ of `samples` trajectories by measurement, in each quantity's unit.

        **Raises:** `InputError` for a vector of another length.
        """
        sizes = [part.size(samples) for part in self.parts]
        if len(vector) != sum(sizes):
            raise InputError(
                f"measurements: a vector of {len(vector)} values is not of {samples} sample(s), "
                f"which have {sum(sizes)}"
            )
        pieces = np.split(np.asarray(vector), np.cumsum(sizes)[:-1])
        return {
            p.name: p.errors * z.reshape(len(p.times), samples, p.operator.count)
            for p, z in zip(self.parts, pieces, strict=True)
        }

    def table(
        self,
        vector: Float[Array | np.ndarray, " measured"],
        samples: int,
        times: Sequence[float] | Float[np.ndarray, " time"],
    ) -> PointTable:
        """A vector $z$ of `samples` trajectories as one row per value, in the vector's order.

        A value's position is its number among those that its instrument reads at once.

        - `times`: of the states, which the measurements' indices count.
        """
        split, rows = self.split(vector, samples), []
        for part in self.parts:
            values = split[part.name]
            when, sample, number = np.indices(values.shape).reshape(3, -1)
            rows.append(
                PointTable(
                    quantity=np.full(values.size, part.name),
                    sample=sample,
                    time=np.asarray(times)[np.asarray(part.times)][when],
                    position=number[:, None].astype(float),
                    value=values.ravel(),
                    standard_deviation=np.asarray(part.standard_deviation)[when],
                    stated=np.ones(values.size, bool),
                )
            )
        return reduce(PointTable.with_rows, rows)

    def noisy(
        self, vector: Float[Array | np.ndarray, " measured"], seed: int
    ) -> Float[np.ndarray, " measured"]:
        r"""Add synthetic errors: $z + \xi$ with independent $\xi \sim N(0, 1)$.

        Each measurement has its own random stream, given by the seed and its name, so adding
        another one does not change its noise.

        **Raises:** `InputError` if the length of `vector` is not that of a whole number of samples.
        """
        samples, left = divmod(len(vector), sum(part.size(1) for part in self.parts))
        if left or not samples:
            raise InputError(
                f"measurements: a vector of {len(vector)} values is of no whole number of samples, "
                f"which have {sum(part.size(1) for part in self.parts)} each"
            )
        noise = [
            # a checksum is the same in every process, unlike a hash
            np.random.default_rng([seed, zlib.crc32(part.name.encode())]).standard_normal(
                part.size(samples)
            )
            for part in self.parts
        ]
        clean = np.asarray(vector)
        return clean + np.concatenate(noise).astype(clean.dtype)


def _indices(times: Sequence[int] | np.ndarray, name: str) -> tuple[int, ...]:
    if len(times) == 0 or min(times) < 0 or any(k != int(k) for k in times):
        raise InputError(
            f"{name}: time indices {list(times)}; give at least one, each a whole number from 0 on"
        )
    return tuple(int(k) for k in times)


def _states_at(u: PyTree[Any], times: tuple[int, ...], name: str) -> PyTree[Any]:
    count = jax.tree.leaves(u)[0].shape[0]
    if max(times) >= count:
        raise InputError(
            f"{name}: time index {max(times)}, but the states have {count} time(s); give indices "
            f"below {count}"
        )
    first, stop = times[0], times[0] + len(times)
    # a slice is not copied in a compiled program, an index selection is
    chosen = slice(first, stop) if times == tuple(range(first, stop)) else np.asarray(times)
    return jax.tree.map(lambda x: x[chosen], u)


def _weighed(part: Measurement, values: Any) -> Any:
    """Values divided by their errors, in the values' precision."""
    return values / part.errors.astype(values.dtype)
