"""What a user writes to have a model trained, and what is worked out from it."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.data import read
from impindiff.errors import InputError
from impindiff.fields import Parameter
from impindiff.grid import BoundaryLike
from impindiff.observations import PointTable, ScatteredPoints
from impindiff.problem.measured import Measured, initial_fields, measured
from impindiff.problem.settings import ProblemSettings
from impindiff.rollout import AdaptiveStep, number_of_steps
from impindiff.steppers import HybridModel
from impindiff.training import TrajectoryLoss

S = TypeVar("S", bound=ProblemSettings)
# Outputs that a rollout with steps of its own choice has, for times between them.
_OUTPUTS = 50


class Problem(abc.ABC, Generic[S]):
    """A `HybridModel`, its initial state, and measurements of it, to be trained and forecast.

    ```python
    class Decay(ipd.Problem):
        def model(self, settings, key):
            return MyModel(grid, rate=ipd.Parameter(1.0, lower=0.0))

        def initial_state(self, settings, model, data):
            return {"c": jnp.exp(-jnp.sum(model.grid.centers**2, axis=0))}
    ```

    in `decay.py` is run by `impindiff run decay.py --set data.path=measurements.csv`. The model
    must have a `grid`. Everything but `model` has a default:

    - `settings`: the configuration's class, a `ProblemSettings` with keys of your own.
    - `data`: the file that `data.path` names; asked for once a run.
    - `initial_state`: the fields of the first time of the data.
    - `quantities`: what can be measured of a state; its components, by name.
    - `boundaries`: what holds on the walls for what is measured; what the grid says.
    - `latent_fields`: what is drawn of the unknown; the parts of `latent`.
    - `identified`: the unknown numbers; every `Parameter`.
    """

    settings: ClassVar[type[Any]] = ProblemSettings
    name: str = ""

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        own = cls.settings
        if not (isinstance(own, type) and issubclass(own, ProblemSettings)):
            raise InputError(
                f"{cls.__name__}.settings: must be a class that inherits from ipd.ProblemSettings, "
                f"not {own!r:.60}"
            )

    @abc.abstractmethod
    def model(self, settings: S, key: PRNGKeyArray) -> HybridModel:
        """The model with fresh unknown parts, those that are networks drawn from `key`."""

    def initial_state(self, settings: S, model: HybridModel, data: xr.Dataset) -> PyTree[Any]:
        """The state at `observations.start`: an array or a pytree, (*cells) or (samples, *cells).

        It may use parts of the model that are trained. The default takes it from the data.

        - `data`: what the method `data` returned, dates as seconds since the first.
        """
        grid: Any = getattr(model, "grid", None)
        fields = initial_fields(data, grid, start=settings.observations.start)
        return {name: jnp.asarray(values) for name, values in fields.items()}

    def data(self, settings: S) -> xr.Dataset:
        """What was measured, in one of the two forms of `impindiff.data`, fields or points."""
        chosen = settings.data
        if chosen.path is None:
            raise InputError(
                "data.path: is not given; name the file of measurements, or write data(settings) "
                "in the problem"
            )
        return read(
            chosen.path,
            chosen.variables or None,
            samples=chosen.samples,
            times=chosen.times,
            units=chosen.units or None,
        )

    def quantities(self, u: PyTree[Any]) -> Mapping[str, Any]:
        """The fields that can be measured, by name, of states with leading axes (times, samples).

        By default the components of a state that is a dictionary; of one array, `u`.
        """
        return u if isinstance(u, Mapping) else {"u": u}

    def boundaries(self, model: HybridModel) -> Mapping[str, BoundaryLike]:
        """The boundary conditions of quantities, by name, as `Grid` takes them.

        Measurements on a wall, or less than half a cell from it, read them. By default none: a
        component of the state has those of the grid, other quantities are continued in a straight
        line. Write it where operators are given `boundary=`.
        """
        del model
        return {}

    def latent_fields(
        self, model: HybridModel, t: Float[Array, ""]
    ) -> dict[str, Float[Array, "*cells"]]:
        """The unknown fields at time t, by name; by default the parts of `model.latent(t)`."""
        grid: Any = getattr(model, "grid", None)
        found = {}
        for path, leaf in jax.tree_util.tree_flatten_with_path(model.latent(t))[0]:
            name = "_".join(_key(part) for part in path) or "latent"
            if jnp.shape(leaf) == grid.shape:
                found[name] = leaf
            elif jnp.shape(leaf)[1:] == grid.shape:
                axes = "xyz" if len(leaf) == grid.ndim else "0123456789"
                found |= {f"{name}_{axes[i % 10]}": part for i, part in enumerate(leaf)}
        return found

    def identified(self, model: HybridModel) -> dict[str, Float[Array, ""]]:
        """The unknown numbers, by name; by default every `Parameter`, by where it is."""
        leaves = jax.tree_util.tree_flatten_with_path(
            model, is_leaf=lambda part: isinstance(part, Parameter)
        )[0]
        return {
            ".".join(_key(part) for part in path): leaf()
            for path, leaf in leaves
            if isinstance(leaf, Parameter)
        }

    def truths(self, settings: S) -> dict[str, float]:
        """Those of `identified` whose true value is known; by default `truth` of the settings."""
        return dict(settings.truth)

    @property
    def summary(self) -> str:
        """The first line of the problem's docstring, or its name."""
        own = type(self).__doc__ if type(self).__doc__ != Problem.__doc__ else None
        return (own or self.name).strip().splitlines()[0].rstrip(".")

    def measured(self, settings: S, model: HybridModel) -> Measured:
        """The data, which are read here, as the loss takes them.

        Raises `InputError` for those that do not fit. A model without a grid is refused here too.
        """
        grid = getattr(model, "grid", None)
        if grid is None:
            raise InputError(
                f"{type(model).__name__}: has no field 'grid'; measurements need to know where "
                f"the cells are"
            )
        own = type(self).initial_state is not Problem.initial_state
        return measured(self.data(settings), grid, settings, first_is_state=not own)

    def loss(self, settings: S, data: Measured) -> TrajectoryLoss:
        """The misfit to the values that training may see, each divided by its error.

        Steps land on the times of the values where there are no more of them than steps; else the
        states of all steps are interpolated.
        """
        example = self.model(settings, jax.random.key(settings.seed))
        table = data.training
        times, points = self.reading(settings, example, data, table)
        return TrajectoryLoss(
            u0=self.start(settings, example, data),
            times=tuple(map(float, times)),
            values=jnp.asarray(table.value / table.standard_deviation),
            observe=points,
            stepper=settings.stepper.build(settings.solver, settings.gradient),
            dt=self.step(settings),
            checkpointing=settings.gradient.build_checkpointing(),
            prepare=lambda model: (model, self.start(settings, model, data)),
        )

    def reading(
        self, settings: S, model: HybridModel, found: Measured, table: PointTable
    ) -> tuple[Float[np.ndarray, " output"], ScatteredPoints]:
        """(when states are needed for these values, what reads the values from them)."""
        times = output_times(found.start, table.time, self.step(settings))
        grid: Any = getattr(model, "grid", None)
        return times, ScatteredPoints(table, grid, times, self.quantities, self.boundaries, model)

    def start(self, settings: S, model: HybridModel, found: Measured) -> PyTree[Any]:
        """The initial state with the axis of samples."""
        grid: Any = getattr(model, "grid", None)

        def with_samples(leaf: Any) -> Any:
            leaf = jnp.asarray(leaf, jnp.result_type(float))
            if leaf.ndim == grid.ndim:
                return jnp.broadcast_to(leaf, (found.samples, *leaf.shape))
            if leaf.shape[0] != found.samples:
                raise InputError(
                    f"initial_state: {leaf.shape[0]} samples, but the measurements are of "
                    f"{found.samples}; return one state, or one for each"
                )
            return leaf

        return jax.tree.map(with_samples, self.initial_state(settings, model, found.dataset))

    def step(self, settings: S) -> float | AdaptiveStep:
        """What `rollout` takes as its `dt`."""
        return settings.stepper.build_step()


def output_times(
    start: float, measured_at: Float[np.ndarray, " point"], dt: float | AdaptiveStep
) -> Float[np.ndarray, " output"]:
    """When states are needed: at the times measured, or at every step if these are fewer."""
    last = float(measured_at.max())
    if not last > start:
        raise InputError(
            f"measurements: the last is at t = {last:g}, not after the initial state at "
            f"t = {start:g}; give later ones, or set observations.start"
        )
    steps = _OUTPUTS if isinstance(dt, AdaptiveStep) else number_of_steps([start, last], dt)
    own = np.unique(measured_at[measured_at > start])
    lands = len(own) <= max(steps, 1)
    return np.append(start, own) if lands else np.linspace(start, last, steps + 1)


def _key(part: Any) -> str:
    """An entry of a path of JAX as text."""
    return str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", part))))
