"""The `Problem` class: hooks that a user writes, and results derived from them."""

import abc
import math
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


class Scale(NamedTuple):
    """Sizes of a configuration's computations; values may exceed any machine.

    - `cells`: of the model's grid; `refine`: factor of the reference's refinement along each axis.
    - `fields`: numbers per cell in a state and in the latent fields.
    - `training`, `samples`: training trajectories, and all trajectories of the reference.
    - `times`, `steps`: of the reference. `observed`, `last`: times used in training, and the end.
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

    saved as `decay.py`, is run by `impindiff run decay.py --set data.path=measurements.csv`. The
    model must have a `grid`. All other hooks have defaults, given after the semicolon:

    - `settings`: class of the configuration, a subclass of the default; `ProblemSettings`.
    - `data`: the dataset, read once per run; the file `data.path`, else `reference`.
    - `reference`: synthetic data; none.
    - `configured`: settings that follow from the data; unchanged.
    - `initial_state`: the initial state; the fields at the first time of the data.
    - `for_samples`: the model with sample-specific values; the model.
    - `observations`: the training values; points and fields as chosen in the settings.
    - `quantities`: measurable quantities of a state; its components, by name.
    - `boundaries`: boundary conditions of the measured quantities; the grid's.
    - `offsets`: offsets of the instruments that measured them; none.
    - `latent_fields`: unknown fields to plot; the parts of `latent`.
    - `identified`: unknown scalars; every `Parameter`.
    - `stepper`, `step`: time integration; by the settings.
    - `prior`, `penalty`: prior beliefs about the unknowns; none.
    - `true_model`: the model with the true unknowns; unknown.
    - `findings`: further metrics and figures of a trained model; none.

    Other variables of a data file are used too: a variable without dimension `sample` that has the
    name of a latent field is its truth, and one named `test` along `sample` marks the test samples.

    - `name`: on the command line; for a problem from a file, the file's name.
    - `infers`: the unknowns, and the data that determine them, in a few words.
    - `latent_figure`: name of the figure of the latent fields.
    - `labels`: names in reports, by quantity or result; by `NAME.png`, the caption of a figure,
      without the final full stop.
    - `tuned`: by method of `impindiff compare`, configuration keys that it needs for this problem,
      or a text, the reason why the method cannot be run.
    - `quick`: keys of the configuration for a quick comparison.
    - `goes_on`: True if the process continues after its horizon: comparisons then forecast, and
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
        """Build the model with initial values of its unknowns; networks are drawn from `key`."""

    def data(self, settings: S) -> xr.Dataset:
        """The measurements in one of the two forms of `impindiff.data`, fields or points."""
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
        """Compute synthetic data, in one of the two forms of `impindiff.data`.

        True latent fields, and a variable `test` along `sample`, are used if present.

        - `until`: end of the data, overriding the settings.
        """
        del settings, until
        raise InputError(
            "data.path: is not given; name the file of measurements, or write data(settings) or "
            "reference(settings, until) in the problem"
        )

    def configured(self, settings: S, data: xr.Dataset) -> S:
        """The settings completed from the data; by default unchanged."""
        del data
        return settings

    def initial_state(
        self, settings: S, model: HybridModel, data: xr.Dataset | None = None
    ) -> PyTree[Any]:
        """The state at `observations.start`: an array or a pytree, (*cells) or (samples, *cells).

        It may depend on trained parts of the model. The default takes it from the data. For steady
        states (`stepper.name` steady) it is a first guess.

        - `data`: the result of `data` for the current samples, dates as seconds since the first;
          None: read here. A run always passes it.
        """
        data = self.data(settings) if data is None else data
        grid: Any = getattr(model, "grid", None)
        fields = initial_fields(data, grid, start=getattr(settings.observations, "start", None))
        return {name: jnp.asarray(values) for name, values in fields.items()}

    def for_samples(self, settings: S, model: Any, data: xr.Dataset) -> HybridModel:
        """The model for the current samples, with `PerSample` values where they differ.

        - `data`: as in `initial_state`; `conditions_of(data)` gives sample-specific numbers by
          name.
        """
        del settings, data
        return model

    def observations(self, settings: S, model: HybridModel, data: xr.Dataset) -> Observations:
        """The training values: by default those of points, or fields at all places.

        Each is divided by its error. Steps land on the times of the values unless there are more of
        them than steps; then the states of all steps are interpolated.

        - `data`: as in `initial_state`, for the training samples.
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
        """Measurable fields by name, from states with leading axes (times, samples).

        By default the components of a dictionary state; of a single array, `u`.
        """
        return u if isinstance(u, Mapping) else {"u": u}

    def boundaries(self, model: HybridModel) -> Mapping[str, BoundaryLike]:
        """Boundary conditions of quantities, by name, as `Grid` takes them.

        Measurements on a wall, or less than half a cell from it, use them. By default none:
        components of the state have those of the grid, other quantities are extrapolated linearly.
        Override it where operators are given `boundary=`.
        """
        del model
        return {}

    def offsets(self, model: HybridModel) -> Mapping[str, Any]:
        """Offsets of the instruments, by the name of a quantity: numbers, added to its readings.

        They may be trained. Give each instrument with its own offset its own quantity. By default
        none. Readings at points and of fields have them, forecasts have not.
        """
        del model
        return {}

    def at_data(self, settings: S, data: xr.Dataset, u: PyTree[Any]) -> Mapping[str, Any]:
        """The quantities at the places of the data, to compare fields with a truth.

        Each is (time, sample, *space). By default `quantities`, compared where the model's grid is
        that of the data.
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
        """The unknown scalars, by name; by default every `Parameter`, by its path."""
        leaves = jax.tree_util.tree_flatten_with_path(
            model, is_leaf=lambda part: isinstance(part, Parameter)
        )[0]
        return {
            ".".join(_key(part) for part in path): leaf()
            for path, leaf in leaves
            if isinstance(leaf, Parameter)
        }

    def truths(self, settings: S) -> dict[str, float]:
        """Known true values among `identified`; by default `truth` of the settings."""
        return dict(settings.truth)

    def stepper(self, settings: S) -> AbstractStepper:
        """The stepper with solver, adjoint rule and preconditioner; by default the settings'."""
        return settings.stepper.build(settings.solver, settings.adjoint)

    def step(self, settings: S) -> float | AdaptiveStep:
        """The `dt` argument of `rollout`."""
        return settings.stepper.build_step()

    def prior(self, settings: S) -> Callable[[Any], Float[Array, " residuals"]] | None:
        """Residuals of a prior on the model (see `TrajectoryLoss`), or None."""
        del settings
        return None

    def penalty(self, settings: S) -> Callable[[Any], Float[Array, ""]] | None:
        """A scalar penalty on the model (see `TrajectoryLoss`), or None."""
        del settings
        return None

    def true_model(self, settings: S) -> HybridModel | None:
        """The model with the true unknowns, where known.

        Comparisons find with it how long steps may be, by stability or by error, without training.
        """
        del settings
        return None

    def findings(self, settings: S, data: Any, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """Further metrics and figures of the trained model; called once.

        - `data`: a `Data`, all samples.
        """
        del settings, data, fitted, loss
        return Findings()

    def scale(self, settings: S, until: float | None = None) -> Scale | None:
        """Sizes implied by the settings, before anything is computed; None if unknown.

        - `until`: end of the reference data, overriding the settings.
        """
        del settings, until
        return None

    def horizon(self, settings: S) -> float | None:
        """Final time of the forecast; None: the end of the data."""
        return settings.forecast.until

    def described(self, settings: S) -> xr.Dataset:
        """The dataset that `impindiff data` writes; by default the data themselves."""
        return self.data(settings)

    def description(self, settings: S, dataset: xr.Dataset) -> str:
        """A one-line description of the dataset."""
        del settings
        if "observation" in dataset.sizes:
            return f"{dataset.sizes['observation']} values at points"
        cells = [size for name, size in dataset.sizes.items() if name not in ("sample", "time")]
        test = np.flatnonzero(dataset["test"]).tolist() if "test" in dataset else []
        return (
            f"{dataset.sizes.get('sample', 1)} samples at {dataset.sizes['time']} times on "
            f"{' x '.join(map(str, cells))} cells; test samples: {test}"
        )

    # derived results, not to be overridden

    @property
    def summary(self) -> str:
        """The first line of the problem's docstring, or its name."""
        own = type(self).__doc__ if type(self).__doc__ != Problem.__doc__ else None
        return (own or self.name).strip().splitlines()[0].rstrip(".")

    @property
    def starts_from_data(self) -> bool:
        """True if the initial state is the data's, which then hold no observation at that time."""
        return type(self).initial_state is Problem.initial_state

    def reading(
        self, settings: S, model: HybridModel, start: float, table: PointTable
    ) -> tuple[Float[np.ndarray, " output"], ScatteredPoints]:
        """(times of the states needed for these values, operator that reads the values)."""
        times = output_times(start, table.time, self.step(settings))
        return times, self.points(model, table, times)

    def points(
        self, model: HybridModel, table: PointTable, times: Float[np.ndarray, " output"]
    ) -> ScatteredPoints:
        """The operator that reads these values from states at these times."""
        return ScatteredPoints(
            table, _grid_of(model), times, self.quantities, self.boundaries, model, self.offsets
        )

    def start(self, settings: S, model: HybridModel, data: xr.Dataset, samples: int) -> PyTree[Any]:
        """The initial state with an axis of `samples` entries."""
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
    """Times of the states: the measured ones, or every step if these are fewer.

    Between them `ScatteredPoints` interpolates by cubic polynomials. Adaptive steps land on the
    measured times, or, if these are more than half the steps allowed, on as many of them, evenly by
    rank: their error is controlled where they land, and they are dense where the data are.
    Without a limit, that is for steady states, there is a state at every measured time.
    """
    last = float(measured_at.max())
    if not last > start:
        raise InputError(
            f"measurements: the last is at t = {last:g}, not after the initial state at "
            f"t = {start:g}; give later ones, or set observations.start"
        )
    own = np.unique(measured_at[measured_at > start])
    if isinstance(dt, AdaptiveStep):
        most = min(len(own), max(dt.max_steps // 2, 1))
        ranks = np.round(np.linspace(0, len(own) - 1, most)) if most > 1 else [len(own) - 1]
        return np.append(start, own[np.asarray(ranks, int)])
    if dt == math.inf:
        return np.append(start, own)
    steps = number_of_steps([start, last], dt)
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
    """An entry of a JAX path as text."""
    return str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", part))))
