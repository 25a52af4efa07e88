"""A problem with its settings, data and method: training targets, forecasts and errors."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError, SolverError
from impindiff.grid.geometry import cell_widths, volumes_around
from impindiff.methods import method_of
from impindiff.observations import PointTable, relative_l1_percent
from impindiff.observations.checks import same_places, shortest, up_to
from impindiff.observations.walls import of_model
from impindiff.problem import (
    Data,
    Observations,
    Problem,
    measured,
    output_times,
    start_of,
    truths_of,
)
from impindiff.problem.findings import Findings
from impindiff.problem.samples import AXES
from impindiff.rollout import depends_on_time, failure_of
from impindiff.settings.steps import is_steady
from impindiff.training import Ensemble, Fitted, TrajectoryLoss

# stored states of a forecast without an interval
_OUTPUTS = 50


class TestValues(NamedTuple):
    """Values of some samples that belong to the test set."""

    samples: list[int]
    table: PointTable


class Experiment:
    """A problem with its settings, data and method.

    Forecasts, latent fields and scalars of an ensemble are means over its members.

    - `problem`: must be `checked`; `settings`: completed from the data.
    - `data`: all samples.
    """

    def __init__(self, problem: Problem, settings: Any, data: Data):
        self.problem, self.settings, self.data = problem, settings, data
        self.method = method_of(problem, settings, data)

    # Training

    def model(self, key: PRNGKeyArray) -> Any:
        """A fresh model to train; with `training.ensemble` an `Ensemble` from successive seeds."""
        members = self.settings.training.ensemble
        if members == 1:
            return self.method.model(key)
        seeds = range(self.settings.seed, self.settings.seed + members)
        return Ensemble.of([self.method.model(jax.random.key(seed)) for seed in seeds])

    @cached_property
    def observations(self) -> Observations:
        """The training observations."""
        return self.method.observations

    def loss(self) -> TrajectoryLoss:
        """The misfit to the training observations."""
        problem, settings, method = self.problem, self.settings, self.method
        training, samples = self.data.of(self.data.training), len(self.data.training)

        def prepare(model: Any) -> tuple[Any, PyTree[Array]]:
            return method.prepared(model, training, samples)

        example = method.model(jax.random.key(settings.seed))
        prepared, u0 = prepare(example)
        found = self.observations
        fixed = prepared is example and not _depends(lambda m: prepare(m)[1], example)
        return TrajectoryLoss(
            u0=u0,
            times=found.times,
            values=found.values,
            observe=found.operator,
            stepper=method.stepper,
            dt=problem.step(settings),
            checkpointing=settings.adjoint.build_checkpointing(),
            prepare=None if fixed else prepare,
            prior=problem.prior(settings) if method.is_hybrid else None,
            penalty=problem.penalty(settings) if method.is_hybrid else None,
            simulate=method.simulate_to_train(),
        )

    # Unknowns

    def identified(self, model: Any) -> dict[str, Float[Array, ""]]:
        """The unknown scalars of a model, by name."""
        if not self.method.is_hybrid:
            return {}
        each = [self.problem.identified(member) for member in members_of(model)]
        return {name: jnp.mean(jnp.stack([of[name] for of in each])) for name in each[0]}

    def truths(self) -> dict[str, float]:
        """The known true values of these scalars."""
        return self.problem.truths(self.settings) if self.method.is_hybrid else {}

    def latent_fields(
        self, model: Any, times: Float[np.ndarray, " time"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """The latent fields of a model: (*cells), or (time, *cells) if time-dependent."""
        if not self.method.is_hybrid:
            return {}
        each = [self._latent_of(member, times) for member in members_of(model)]
        return {name: self._inside(np.mean([of[name] for of in each], axis=0)) for name in each[0]}

    def _latent_of(
        self, model: Any, times: Float[np.ndarray, " time"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        if not depends_on_time(model, jnp.asarray(times[0])):
            found = self.problem.latent_fields(model, jnp.asarray(times[0]))
            return {name: np.asarray(field) for name, field in found.items()}
        found = jax.lax.map(lambda t: self.problem.latent_fields(model, t), jnp.asarray(times))
        fields = {name: np.asarray(values) for name, values in found.items()}
        steady = {name for name, values in fields.items() if (values == values[:1]).all()}
        return {name: field[0] if name in steady else field for name, field in fields.items()}

    def findings(self, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """The problem's findings; of an ensemble, those of the member with the smallest loss."""
        if not self.method.is_hybrid:
            return Findings()
        if isinstance(fitted.model, Ensemble):
            member = int(np.argmin(fitted.member_losses or (0.0,)))
            fitted = dataclasses.replace(fitted, model=fitted.model.members[member])
        return self.problem.findings(self.settings, self.data, fitted, loss)

    # Forecasts

    @property
    def is_steady(self) -> bool:
        """True if states are steady states, not steps in time."""
        return is_steady(self.settings)

    @cached_property
    def start(self) -> float:
        """The time of the initial state."""
        return start_of(self.data.of(self.data.training), self.settings)

    def states(
        self, model: Any, samples: Sequence[int], times: Float[np.ndarray, " time"]
    ) -> tuple[list[PyTree[np.ndarray]], SolverError | None]:
        """(states of these samples for each member, (time, sample, *cells); the first failure).

        The first time is that of the initial state, except for steady states, of which there is one
        at every time after `start`.
        """
        dataset, failure, found = self.data.of(samples), None, []
        members = members_of(model)
        needed, index = self.rolled_out(times)
        for number, member in enumerate(members):
            result = self.method.trajectory(member, dataset, len(samples), needed)
            found.append(jax.tree.map(lambda leaf: np.asarray(leaf)[index], result.u))
            failed = failure_of(result)
            if failed is not None and failure is None:
                which = f"member {number}: " if len(members) > 1 else ""
                failure = SolverError(f"{which}{failed}", code=failed.code)
        return found, failure

    def states_of_all(
        self, model: Any, times: Float[np.ndarray, " time"]
    ) -> tuple[list[PyTree[np.ndarray]], SolverError | None]:
        """`states` of every sample.

        Where training evaluates a `test_error`, they are rolled out in the data's `batches`: for
        the test samples at `evaluated_times` there is a program already.
        """
        every = range(self.data.samples)
        if not (self.truth and self.data.test):
            return self.states(model, every, times)
        parts = [self.states(model, batch, times) for batch in self.data.batches]
        if any(failure is not None for _, failure in parts):
            # the failure is to name the sample among all
            return self.states(model, every, times)
        by_member = zip(*(states for states, _ in parts), strict=True)
        return [self.data.joined(member) for member in by_member], None

    def rolled_out(self, times: Float[np.ndarray, " time"]) -> tuple[Float[np.ndarray, " _"], Any]:
        """(times of a rollout, the index of `times` in them), see `states`."""
        if not self.is_steady:
            return times, slice(None)
        needed = np.unique(np.append(self.start, times))
        return needed, np.searchsorted(needed, times)

    def forecast_times(self) -> Float[np.ndarray, " time"]:
        """Times of the data, if they are fields; up to `forecast.until` in any case.

        Of steady states only those of the data, and `forecast.until`.

        **Raises:** `InputError` if that is not after the start.
        """
        until, every = self.settings.forecast.until, self.settings.forecast.every
        there = self.data.dataset["time"].to_numpy().astype(float)
        last = float(there.max())
        if until is not None and not until > self.start:
            raise InputError(
                f"forecast.until: {until:g} is not after the initial state at {self.start:g}"
            )
        end = last if until is None else until
        if self.is_steady:
            return self.steady_times(end)
        if not self.data.scattered:
            interval = shortest(there)
            own = there[(there > self.start) & ~same_places(there, self.start, interval)]
            own = np.append(self.start, own[up_to(own, end, interval)])
            if up_to(np.array([end]), float(own[-1]), interval)[0]:
                return own
            return np.append(own, self.even_times(own[-1], end, every)[1:])
        seen = np.asarray(self.observations.times)
        close = len(seen) > 1 and np.diff(seen).max() <= (end - self.start) / _OUTPUTS
        if every is None and close and len(seen) > _OUTPUTS and seen[-1] == end:
            # there is a state at every step already
            return seen[np.round(np.linspace(0, len(seen) - 1, _OUTPUTS + 1)).astype(int)]
        return self.even_times(self.start, end, every)

    @cached_property
    def evaluated_times(self) -> Float[np.ndarray, " time"]:
        """Times at which states are compared with something: those of observations and forecast."""
        tables = (part.table for part in self.test)
        return merged_times(
            np.asarray(self.observations.times),
            self.forecast_times(),
            *(self.times_of(table) for table in tables),
        )

    def steady_times(self, until: float) -> Float[np.ndarray, " time"]:
        """Times of the data up to `until`, at most 50 of them, and `until` itself."""
        there = np.unique(self.data.dataset["time"].to_numpy().astype(float))
        there = there[there < until]
        if len(there) > _OUTPUTS:
            there = there[np.round(np.linspace(0, len(there) - 1, _OUTPUTS)).astype(int)]
        return np.append(there, until)

    @staticmethod
    def even_times(start: float, until: float, every: float | None) -> Float[np.ndarray, " time"]:
        """Even times from start to until, about `every` apart (default: 1/50 of the span)."""
        count = _OUTPUTS if every is None else max(1, round((until - start) / every))
        return np.linspace(start, until, count + 1)

    def at_data(
        self, states: Sequence[PyTree[np.ndarray]]
    ) -> dict[str, Float[np.ndarray, "member sample time *space"]]:
        """The forecast quantities, at the places of the data if these hold a `truth` to compare."""
        problem, settings, dataset = self.problem, self.settings, self.data.dataset
        each = [
            problem.at_data(settings, dataset, u) if self.truth else problem.quantities(u)
            for u in states
        ]
        return {
            str(name): self._inside(
                np.stack([np.moveaxis(np.asarray(of[name]), 0, 1) for of in each])
            )
            for name in each[0]
        }

    def _inside(self, fields: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Fields on the model's grid with NaN outside its domain."""
        grid = self.method.example.grid
        if grid.domain is None or fields.shape[-grid.ndim :] != grid.cells:
            return fields
        return np.where(np.asarray(grid.inside), fields, np.nan)

    @property
    def is_measured(self) -> bool:
        """True if the data come from elsewhere than `reference`, so that they are not the truth."""
        from_file = self.settings.data.path is not None
        return from_file or type(self.problem).reference is Problem.reference

    @cached_property
    def truth(self) -> dict[str, Float[np.ndarray, "sample time *space"]]:
        """Fields of the data to compare forecasts with, by quantity.

        Only those at the forecast's places: none for points, or on another grid.
        """
        if self.data.scattered:
            return {}
        dataset = self.data.dataset
        axes = tuple(axis for axis in AXES if axis in dataset.dims)
        model = self.method.example
        first = self.data.training[:1]
        state = self.problem.start(self.settings, model, self.data.of(first), 1)
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], state)
        found = self.problem.at_data(self.settings, dataset, one)
        grid = model.grid
        moved = type(self.problem).at_data is not Problem.at_data
        same = moved or (
            grid.cells == tuple(dataset.sizes[axis] for axis in axes)
            and all(
                same_places(
                    dataset[axis].to_numpy(), grid.axis_centers(i), cell_widths(grid, i)
                ).all()
                for i, axis in enumerate(axes)
            )
        )
        return {
            str(name): self._inside(
                dataset[name].transpose("sample", "time", *axes).to_numpy().astype(float)
            )
            for name in found
            if same and name in dataset and set(dataset[name].dims) == {"sample", "time", *axes}
        }

    def truth_at(
        self, times: Float[np.ndarray, " time"]
    ) -> dict[str, Float[np.ndarray, "sample time *space"]]:
        """The truth at these times, NaN at times without data."""
        there = self.data.dataset["time"].to_numpy().astype(float)
        interval = shortest(there)
        nearest = np.abs(there[None, :] - times[:, None]).argmin(axis=1)
        known = same_places(there[nearest], times, interval)
        return {
            name: np.where(known.reshape(-1, *[1] * (field.ndim - 2)), field[:, nearest], np.nan)
            for name, field in self.truth.items()
        }

    def true_latent(self, names: Mapping[str, Any]) -> dict[str, Float[np.ndarray, "..."]]:
        """The true latent fields in the data, among the given names."""
        return truths_of(self.data.dataset, names)

    # Evaluation

    @cached_property
    def test(self) -> list[TestValues]:
        """Test values that are not part of the truth's fields."""
        table = self.observations.table
        if table is None:
            return []
        problem, settings, grid = self.problem, self.settings, self.method.example.grid
        first_is_state = problem.starts_from_data
        found = []
        if getattr(settings.observations, "until", None) is not None:
            training = self.data.of(self.data.training)
            late = measured(training, grid, settings, first_is_state=first_is_state).test
            if len(late):
                found.append(TestValues(self.data.training, late))
        if self.data.test and not self.truth:
            others = measured(
                self.data.of(self.data.test),
                grid,
                settings,
                first_is_state=first_is_state,
                to_train_on=False,
            ).test
            # without errors of their own, weighted by those of the training values, not by spread
            errors, stated = others.standard_deviation.copy(), others.stated.copy()
            for name in table.quantities:
                seen = table.quantity == name
                filled = (others.quantity == name) & ~others.stated
                errors[filled] = np.median(table.standard_deviation[seen])
                stated[filled] = table.stated[seen].all()
            others = dataclasses.replace(others, standard_deviation=errors, stated=stated)
            found.append(TestValues(self.data.test, others))
        return found

    def times_of(self, table: PointTable) -> Float[np.ndarray, " time"]:
        """Times of the states needed to read these values."""
        return output_times(self.start, table.time, self.problem.step(self.settings))

    def predicted(
        self,
        model: Any,
        states: Sequence[PyTree[np.ndarray]],
        times: Float[np.ndarray, " time"],
        table: PointTable,
    ) -> Float[np.ndarray, " point"]:
        """Model predictions of these values, in their units.

        - `states`: for each member, the samples of the table's numbers, at `times`.
        """
        example = self.method.example
        found = []
        for member, u in zip(members_of(model), states, strict=True):
            own = member if self.method.is_hybrid else example
            points = self.problem.points(own, table, times)
            found.append(np.asarray(points(jax.tree.map(jnp.asarray, u))))
        return np.mean(found, axis=0) * table.standard_deviation

    def fit_to_training(
        self,
        model: Any,
        states: Sequence[PyTree[np.ndarray]],
        times: Float[np.ndarray, " time"],
        table: PointTable,
    ) -> Float[np.ndarray, " point"]:
        """Predictions of the training values, by the operator of the loss."""
        seen = np.asarray(self.observations.times)
        at = np.abs(times[None, :] - seen[:, None]).argmin(axis=1)
        found = []
        for member, u in zip(members_of(model), states, strict=True):
            operator = self.observations.operator
            if self.method.is_hybrid:
                operator = of_model(operator, member)
            found.append(np.asarray(operator(jax.tree.map(lambda x: jnp.asarray(x[at]), u))))
        return np.ravel(np.mean(found, axis=0)) * table.standard_deviation

    def test_error(self) -> Callable[[Any], float | None] | None:
        """A function from a model to its test error in percent; None without test values.

        The relative L1 error at the end of the forecast, for samples of known fields; else the
        relative L1 misfit of all test values, each over its error. None where the forecast fails or
        is not finite.
        """
        if self.truth and self.data.test:
            return self._error_at_end()
        return self._relative_misfit() if self.test else None

    def _error_at_end(self) -> Callable[[Any], float | None]:
        times = self.forecast_times()
        known = self.truth_at(times)
        whole = [t for t in range(len(times)) if all(_any(f[:, t]) for f in known.values())]
        end, samples = times[whole[-1]], self.data.test
        at_end = [int(np.abs(self.evaluated_times - end).argmin())]
        last = {name: field[samples, whole[-1]] for name, field in known.items()}

        def error(model: Any) -> float | None:
            # at all times, not only the last, as in the forecast that follows: one program for both
            states, failure = self.states(model, samples, self.evaluated_times)
            if failure is not None:
                return None
            found = self.at_data(at_times(states, at_end))
            percent = [
                relative_l1_percent(
                    found[name].mean(axis=0)[:, -1],
                    truth,
                    space_axes=truth.ndim - 1,
                    volumes=self.volumes,
                ).mean()
                for name, truth in last.items()
            ]
            mean = float(np.mean(percent))
            return mean if np.isfinite(mean) else None

        return error

    def _relative_misfit(self) -> Callable[[Any], float | None]:
        parts = [(part, self.times_of(part.table)) for part in self.test]

        def error(model: Any) -> float | None:
            off = size = 0.0
            for part, times in parts:
                states, failure = self.states(model, part.samples, times)
                if failure is not None:
                    return None
                table = part.table
                found = self.predicted(model, states, times, table)
                off += np.abs((found - table.value) / table.standard_deviation).sum()
                size += np.abs(table.value / table.standard_deviation).sum()
            percent = 100 * float(off / size)
            return percent if np.isfinite(percent) else None

        return error

    def dataset_coordinates(self) -> dict[str, Float[np.ndarray, " _"]]:
        """Places of a forecast along each axis: those of its `truth`, else the cell centres."""
        grid = self.method.example.grid
        axes = AXES[: grid.ndim]
        if self.truth:
            return {axis: self.data.dataset[axis].to_numpy().astype(float) for axis in axes}
        return {axis: grid.axis_centers(i) for i, axis in enumerate(axes)}

    @cached_property
    def volumes(self) -> Float[np.ndarray, "*space"] | None:
        """Volume of the cell at each place of a forecast over the largest; None if all are alike.

        Errors of fields are weighted by it.
        """
        return volumes_around(self.method.example.grid, [*self.dataset_coordinates().values()])


def members_of(model: Any) -> list[Any]:
    """The models of an ensemble, or the one model."""
    return model.members if isinstance(model, Ensemble) else [model]


def at_times(states: Sequence[PyTree[np.ndarray]], index: Any) -> list[PyTree[np.ndarray]]:
    """The states of each member at some of their times."""
    return [jax.tree.map(lambda leaf: leaf[index], u) for u in states]


def merged_times(
    *several: Float[np.ndarray, " time"],
) -> Float[np.ndarray, " time"]:
    """Merge sorted times; of two that differ by round-off, the first is kept."""
    every = np.concatenate([np.asarray(times, float) for times in several])
    order = np.argsort(every, kind="stable")
    span = float(np.ptp(every)) or 1.0
    kept: list[float] = []
    for time in every[order]:
        if not kept or time - kept[-1] > 1e-9 * span:
            kept.append(float(time))
    return np.array(kept)


def _any(field: np.ndarray) -> bool:
    return bool(np.isfinite(field).any())


def _depends(start: Callable[[Any], PyTree[Array]], model: Any) -> bool:
    """True if the result of `start` depends on a model's floating-point arrays."""
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    jaxpr = jax.make_jaxpr(lambda moving: start(eqx.combine(moving, rest)))(arrays).jaxpr
    moving = set(jaxpr.invars)

    def moves(values: Sequence[Any]) -> bool:
        return any(not isinstance(value, Literal) and value in moving for value in values)

    for equation in jaxpr.eqns:
        if moves(equation.invars):
            moving |= set(equation.outvars)
    return moves(jaxpr.outvars)
