"""What a user writes to have a model trained, and what is worked out from it."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

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
from impindiff.problem.findings import Findings
from impindiff.problem.observations import Observations, initial_fields, measured
from impindiff.rollout import AdaptiveStep, number_of_steps
from impindiff.settings.sections import ProblemSettings
from impindiff.steppers import AbstractStepper, HybridModel
from impindiff.training import Fitted, TrajectoryLoss

S = TypeVar("S", bound=ProblemSettings)
# Outputs that a rollout with steps of its own choice has, for times between them.
_OUTPUTS = 50


class Scale(NamedTuple):
    """How large the computations of a configuration are; numbers that may be beyond any machine.

    - `cells`: of the model's grid; `refine`: into how many the reference divides each, an axis.
    - `fields`: numbers that a cell has in a state and in what is hidden.
    - `training`, `samples`: trajectories that are trained on, and all of the reference.
    - `times`, `steps`: of the reference. `observed`, `last`: times that training sees, and the end.
    - `modes`: waves of the random initial fields.
    - `advice`: by the names above, how to change the keys that make the reference large.
    """

    cells: tuple[int, ...]
    refine: int
    fields: int
    training: int
    samples: int
    times: float
    steps: float
    observed: int
    last: float
    advice: Mapping[str, str]
    modes: float = 0.0


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
    - `data`: the file that `data.path` names, else `reference`; asked for once a run.
    - `reference`: synthetic data, where the problem can make them; none.
    - `configured`: settings that follow from the data; as they are.
    - `initial_state`: the fields of the first time of the data.
    - `for_samples`: the model with what is each sample's own in it; the model.
    - `observations`: the values that are trained on; points and fields as the settings choose them.
    - `quantities`: what can be measured of a state; its components, by name.
    - `boundaries`: what holds on the walls for what is measured; what the grid says.
    - `latent_fields`: what is drawn of the unknown; the parts of `latent`.
    - `identified`: the unknown numbers; every `Parameter`.
    - `stepper`, `step`: as the settings say.
    - `prior`, `penalty`: what is believed of the unknown before anything is measured; nothing.
    - `true_model`: the model with the true unknowns; not known.
    - `findings`: further numbers and figures of a trained model; none.

    What a data file holds beside measurements is used as well: a variable without a dimension
    `sample` that is called as a latent field is its truth, and one named `test` along `sample`
    marks the samples that are not trained on.

    - `name`: on the command line; of a problem from a file, the file's.
    - `infers`: what is unknown, and from what it is found, in a few words.
    - `latent_figure`: name of the figure of the latent fields.
    - `labels`: words for reports, by name of a quantity or a result; by `NAME.png`, the caption of
      a figure, without the final full stop.
    - `tuned`: by method of `impindiff compare`, keys of the configuration that this problem needs
      for it, or a text, why the method cannot be run.
    - `quick`: keys of the configuration for a first look at a comparison.
    - `goes_on`: whether the process goes on after its horizon: comparisons then forecast, and
      compute the reference, twice as far; `compared_every` is the time between its states.
    """

    settings: ClassVar[type[Any]] = ProblemSettings
    name: str = ""
    infers: ClassVar[str] = ""
    latent_figure: ClassVar[str] = "latent"
    labels: ClassVar[Mapping[str, str]] = {}
    tuned: ClassVar[Mapping[str, Mapping[str, Any] | str]] = {}
    quick: ClassVar[Mapping[str, Any]] = {}
    goes_on: ClassVar[bool] = False
    compared_every: ClassVar[float | None] = None

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

    def data(self, settings: S) -> xr.Dataset:
        """What was measured, in one of the two forms of `impindiff.data`, fields or points."""
        chosen = settings.data
        if chosen.path is None:
            return self.reference(settings)
        return read(
            chosen.path,
            chosen.variables or None,
            samples=chosen.samples,
            times=chosen.times,
            units=chosen.units or None,
        )

    def reference(self, settings: S, until: float | None = None) -> xr.Dataset:
        """Synthetic data, in one of the two forms of `impindiff.data`.

        Its true latent fields, and a variable `test` along `sample`, are used where it has
        them.

        - `until`: where the data end, in place of the settings.
        """
        del settings, until
        raise InputError(
            "data.path: is not given; name the file of measurements, or write data(settings) or "
            "reference(settings, until) in the problem"
        )

    def configured(self, settings: S, data: xr.Dataset) -> S:
        """The settings with what the data determine filled in; by default as they are."""
        del data
        return settings

    def initial_state(
        self, settings: S, model: HybridModel, data: xr.Dataset | None = None
    ) -> PyTree[Any]:
        """The state at `observations.start`: an array or a pytree, (*cells) or (samples, *cells).

        It may use parts of the model that are trained. The default takes it from the data.

        - `data`: what the method `data` returned, of the samples at hand, dates as seconds since
          the first; None: asked for here. A run always gives it.
        """
        data = self.data(settings) if data is None else data
        grid: Any = getattr(model, "grid", None)
        fields = initial_fields(data, grid, start=getattr(settings.observations, "start", None))
        return {name: jnp.asarray(values) for name, values in fields.items()}

    def for_samples(self, settings: S, model: Any, data: xr.Dataset) -> HybridModel:
        """The model of the samples at hand: `PerSample` values where they differ.

        - `data`: as of `initial_state`; `conditions_of(data)` has its numbers a sample, by name.
        """
        del settings, data
        return model

    def observations(self, settings: S, model: HybridModel, data: xr.Dataset) -> Observations:
        """The values that are trained on: by default those of points, or fields at all places.

        Each is divided by its error. Steps land on the times of the values where there are no more
        of them than steps; else the states of all steps are interpolated.

        - `data`: as of `initial_state`, of the samples that are trained on.
        """
        found = measured(data, _grid_of(model), settings, first_is_state=self.starts_from_data)
        table = found.training
        times, points = self.reading(settings, model, found.start, table)
        return Observations(
            times=tuple(map(float, times)),
            operator=points,
            values=jnp.asarray(table.value / table.standard_deviation),
            table=table,
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

    def at_data(self, settings: S, data: xr.Dataset, u: PyTree[Any]) -> Mapping[str, Any]:
        """The quantities at the places of the data, of fields with a truth to be compared with.

        Each is (time, sample, *space). By default `quantities`: then they are compared where the
        model's grid is that of the data.
        """
        del settings, data
        return self.quantities(u)

    def latent_fields(
        self, model: HybridModel, t: Float[Array, ""]
    ) -> dict[str, Float[Array, "*cells"]]:
        """The unknown fields at time t, by name; by default the parts of `model.latent(t)`."""
        grid = _grid_of(model)
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

    def stepper(self, settings: S) -> AbstractStepper:
        """The stepper with solver, adjoint rule and preconditioner; by default the settings'."""
        return settings.stepper.build(settings.solver, settings.adjoint)

    def step(self, settings: S) -> float | AdaptiveStep:
        """What `rollout` takes as its `dt`."""
        return settings.stepper.build_step()

    def prior(self, settings: S) -> Callable[[Any], Float[Array, " residuals"]] | None:
        """What is believed of the model, as residuals (see `TrajectoryLoss`); None."""
        del settings
        return None

    def penalty(self, settings: S) -> Callable[[Any], Float[Array, ""]] | None:
        """What is believed of the model, as a number to be small (see `TrajectoryLoss`); None."""
        del settings
        return None

    def true_model(self, settings: S) -> HybridModel | None:
        """The model with the true unknowns, where they are known.

        It tells how long a step may be, without a model being trained.
        """
        del settings
        return None

    def findings(self, settings: S, data: Any, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """Further numbers and figures of the trained model; called once.

        - `data`: a `Data`, all samples.
        """
        del settings, data, fitted, loss
        return Findings()

    def scale(self, settings: S, until: float | None = None) -> Scale | None:
        """The sizes that the settings ask for, known before anything is made; None if unknown.

        - `until`: the end of the reference data, in place of the settings'.
        """
        del settings, until
        return None

    def horizon(self, settings: S) -> float | None:
        """How far the problem forecasts; None: as far as the data go."""
        return settings.forecast.until

    def described(self, settings: S) -> xr.Dataset:
        """What `impindiff data` writes: by default the data themselves."""
        return self.data(settings)

    def description(self, settings: S, dataset: xr.Dataset) -> str:
        """One line about it."""
        del settings
        if "observation" in dataset.sizes:
            return f"{dataset.sizes['observation']} values at points"
        cells = [size for name, size in dataset.sizes.items() if name not in ("sample", "time")]
        test = np.flatnonzero(dataset["test"]).tolist() if "test" in dataset else []
        return (
            f"{dataset.sizes.get('sample', 1)} samples at {dataset.sizes['time']} times on "
            f"{' x '.join(map(str, cells))} cells; test samples: {test}"
        )

    # What is worked out, and not to be written

    @property
    def summary(self) -> str:
        """The first line of the problem's docstring, or its name."""
        own = type(self).__doc__ if type(self).__doc__ != Problem.__doc__ else None
        return (own or self.name).strip().splitlines()[0].rstrip(".")

    @property
    def starts_from_data(self) -> bool:
        """Whether the initial state is that of the data, which then tell nothing more at it."""
        return type(self).initial_state is Problem.initial_state

    def reading(
        self, settings: S, model: HybridModel, start: float, table: PointTable
    ) -> tuple[Float[np.ndarray, " output"], ScatteredPoints]:
        """(when states are needed for these values, what reads the values from them)."""
        times = output_times(start, table.time, self.step(settings))
        return times, self.points(model, table, times)

    def points(
        self, model: HybridModel, table: PointTable, times: Float[np.ndarray, " output"]
    ) -> ScatteredPoints:
        """What reads these values from states at these times."""
        return ScatteredPoints(
            table, _grid_of(model), times, self.quantities, self.boundaries, model
        )

    def start(self, settings: S, model: HybridModel, data: xr.Dataset, samples: int) -> PyTree[Any]:
        """The initial state with the axis of samples, of which there are so many."""
        grid = _grid_of(model)

        def with_samples(leaf: Any) -> Any:
            leaf = jnp.asarray(leaf, jnp.result_type(float))
            if leaf.ndim == grid.ndim:
                return jnp.broadcast_to(leaf, (samples, *leaf.shape))
            if leaf.shape[0] != samples:
                raise InputError(
                    f"initial_state: {leaf.shape[0]} samples, but the measurements are of "
                    f"{samples}; return one state, or one for each"
                )
            return leaf

        return jax.tree.map(with_samples, self.initial_state(settings, model, data))


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


def _grid_of(model: Any) -> Any:
    grid = getattr(model, "grid", None)
    if grid is None:
        raise InputError(
            f"{type(model).__name__}: has no field 'grid'; measurements need to know where "
            f"the cells are"
        )
    return grid


def _key(part: Any) -> str:
    """An entry of a path of JAX as text."""
    return str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", part))))
