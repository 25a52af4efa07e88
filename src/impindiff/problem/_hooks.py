"""Checks of the hooks of user-defined problems."""

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import xarray as xr

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.observations.walls import conditions
from impindiff.problem._problem import Problem
from impindiff.problem.observations import Observations
from impindiff.problem.samples import Data
from impindiff.rollout import AdaptiveStep
from impindiff.steppers import AbstractStepper, HybridModel, PerSample
from impindiff.steppers.model import total_tendency

P = TypeVar("P", bound=Problem)
_CHECKED = "_checked_hook"


def checked(problem: P) -> P:
    """Wrap a problem so that the results of its hooks are checked before use.

    On a fault a hook raises `InputError`, one line with its name, its result and the expected form.

    **Raises:** `InputError` for texts of reports, such as `labels`, that are none.
    """
    _require_texts(problem)
    found = copy.copy(problem)
    for name, check in _CHECKS.items():
        hook = getattr(found, name)
        if not hasattr(hook, _CHECKED):
            setattr(found, name, _guarded(found, name, hook, check))
    return found


def _require_texts(problem: Problem) -> None:
    """Refuse before training what would fail when its results are written."""
    labels = problem.labels
    if not _is_named(labels) or not all(isinstance(text, str) for text in labels.values()):
        raise InputError(
            f"{problem.name}: labels is {_shown(labels)}; expected a dictionary of texts by name"
        )
    for name in ("infers", "latent_figure"):
        value = getattr(problem, name)
        if not isinstance(value, str):
            raise InputError(f"{problem.name}: {name} is {_shown(value)}; expected a text")


def require_consistent(
    problem: Problem, settings: Any, model: HybridModel, data: Data, found: Observations
) -> None:
    """Refuse a tendency unlike the state, and measured quantities that the model does not have.

    Only shapes are evaluated; `problem` must be `checked`.

    **Raises:** `InputError`, and any exception of the problem's code.
    """
    training = data.of(data.training)

    def started(model: Any) -> Any:
        return problem.start(settings, model, training, len(data.training))

    state = eqx.filter_eval_shape(started, model)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
    own = problem.for_samples(settings, model, training)
    t = jnp.asarray(found.times[0])
    latent = eqx.filter_eval_shape(lambda: own.latent(t))
    leaves = jax.tree.leaves(latent, is_leaf=lambda leaf: isinstance(leaf, PerSample))
    if not any(isinstance(leaf, PerSample) for leaf in leaves):
        change = eqx.filter_eval_shape(total_tendency, own, t, one, latent)
        _require_like(problem, "tendency", change, one)
    eqx.filter_eval_shape(problem.latent_fields, model, t)
    numbers = eqx.filter_eval_shape(problem.identified, model)
    truths = problem.truths(settings)
    if type(problem).truths is Problem.truths:
        for name in truths:
            if name not in numbers:
                known = f"it identifies {', '.join(numbers)}" if numbers else "it identifies none"
                raise InputError(
                    f"truth.{name}: the problem identifies no number of that name; {known}"
                )
    states = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((len(found.times), *leaf.shape), leaf.dtype), state
    )
    eqx.filter_eval_shape(found.operator, states)
    known = eqx.filter_eval_shape(problem.quantities, states)
    for name in problem.boundaries(model):
        if name not in known:
            raise InputError(
                f"{problem.name}: boundaries gives conditions of '{name}', which is no quantity; "
                f"expected names among {', '.join(map(str, known))}"
            )
    for name in problem.offsets(model):
        if name not in known:
            raise InputError(
                f"{problem.name}: offsets gives one of '{name}', which is no quantity; "
                f"expected names among {', '.join(map(str, known))}"
            )


def _require_like(problem: Problem, what: str, found: Any, state: Any) -> None:
    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.shape(leaf), tree)

    if jax.tree.structure(found) != jax.tree.structure(state) or shapes(found) != shapes(state):
        raise InputError(
            f"{problem.name}: {what} returned {_shown(found)}; expected the structure and shapes "
            f"of the state, {_shown(state)}"
        )


def _guarded(
    problem: Problem, name: str, hook: Callable[..., Any], check: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            inspect.signature(hook).bind(*arguments, **named)
        except TypeError as error:
            expected = ", ".join(list(inspect.signature(getattr(Problem, name)).parameters)[1:])
            raise InputError(
                f"{problem.name}: {name}{inspect.signature(hook)} cannot be called ({error}); "
                f"expected ({expected})"
            ) from None
        value = hook(*arguments, **named)
        try:
            return check(value, *arguments)
        except _UnexpectedError as unexpected:
            raise InputError(
                f"{problem.name}: {name} returned {_shown(value)}; expected {unexpected}"
            ) from None

    setattr(call, _CHECKED, True)
    return call


class _UnexpectedError(Exception):
    """The form expected of a hook's result."""


def _model(value: Any, *arguments: Any) -> Any:
    del arguments
    if not isinstance(value, HybridModel) or not isinstance(getattr(value, "grid", None), Grid):
        raise _UnexpectedError("a HybridModel with a field 'grid', an ipd.Grid")
    return value


def _state(value: Any, settings: Any, model: Any, data: Any) -> Any:
    del settings, data
    cells = model.grid.shape
    expected = f"real arrays of shape {cells} or (samples, {', '.join(map(str, cells))})"
    leaves = jax.tree.leaves(value)
    if not leaves:
        raise _UnexpectedError(expected)
    for leaf in leaves:
        if not _is_real(leaf) or np.shape(leaf)[-len(cells) :] != cells:
            raise _UnexpectedError(expected)
        if np.ndim(leaf) > len(cells) + 1:
            raise _UnexpectedError(expected)
        if not isinstance(leaf, jax.core.Tracer) and not np.isfinite(np.asarray(leaf)).all():
            raise _UnexpectedError("numbers that are finite; some are NaN or infinite")
    return value


def _dataset(value: Any, *arguments: Any) -> Any:
    del arguments
    if not isinstance(value, xr.Dataset):
        raise _UnexpectedError("an xarray.Dataset of fields or points, as ipd.data.read returns")
    return value


def _quantities(value: Any, u: Any) -> Any:
    shape = np.shape(jax.tree.leaves(u)[0])
    expected = f"a dictionary of arrays by name, each of the state's shape, {shape}"
    if not _is_named(value):
        raise _UnexpectedError(expected)
    for name, field in value.items():
        if not _is_real(field) or np.shape(field) != shape:
            raise _UnexpectedError(expected)
        if "/" in name:
            raise _UnexpectedError(f"names without a slash, which '{name}' has: files refuse it")
    return value


def _boundaries(value: Any, model: Any) -> Any:
    if not _is_named(value):
        raise _UnexpectedError("a dictionary of boundary conditions by the name of a quantity")
    for name, boundary in value.items():
        try:
            conditions(boundary, model.grid.ndim)
        except InputError as error:
            raise _UnexpectedError(f"what a Grid takes for '{name}': {error}") from None
    return value


def _latent_fields(value: Any, model: Any, t: Any) -> Any:
    del t
    cells = model.grid.shape
    if not _is_named(value) or not all(
        _is_real(field) and np.shape(field) == cells for field in value.values()
    ):
        raise _UnexpectedError(f"a dictionary of arrays of shape {cells} by name")
    # file formats allow neither slashes nor control characters in names of variables
    named = {re.sub(r"[^\w .+-]+", "_", name) or "latent": field for name, field in value.items()}
    if len(named) < len(value):
        raise _UnexpectedError("names that differ in letters and digits")
    return named


def _numbers(value: Any, *arguments: Any) -> Any:
    del arguments
    if not _is_named(value) or not all(
        _is_real(number) and np.shape(number) == () for number in value.values()
    ):
        raise _UnexpectedError("a dictionary of single numbers by name")
    return value


def _step(value: Any, *arguments: Any) -> Any:
    del arguments
    if isinstance(value, AdaptiveStep):
        return value
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not value > 0:
        raise _UnexpectedError("a time step above 0, or an ipd.AdaptiveStep")
    return value


def _observations(value: Any, *arguments: Any) -> Any:
    del arguments
    if not isinstance(value, Observations):
        raise _UnexpectedError("ipd.Observations(times, operator, values)")
    return value


def _stepper(value: Any, *arguments: Any) -> Any:
    del arguments
    if not isinstance(value, AbstractStepper):
        raise _UnexpectedError("a stepper, such as ipd.CrankNicolson()")
    return value


_CHECKS: dict[str, Callable[..., Any]] = {
    "model": _model,
    "data": _dataset,
    "reference": _dataset,
    "for_samples": _model,
    "observations": _observations,
    "stepper": _stepper,
    "initial_state": _state,
    "quantities": _quantities,
    "boundaries": _boundaries,
    "offsets": _numbers,
    "latent_fields": _latent_fields,
    "identified": _numbers,
    "truths": _numbers,
    "step": _step,
}


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _is_real(value: Any) -> bool:
    if value is None:  # JAX takes None for a number of the default type
        return False
    try:
        kind = jnp.result_type(value)
    except TypeError:  # no number
        return False
    return jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)


def _shown(value: Any) -> str:
    """A short description: the type, or the shapes."""
    leaves = jax.tree.leaves(value)
    if leaves and all(hasattr(leaf, "shape") for leaf in leaves):
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", value)
        if not isinstance(value, eqx.Module):
            return str(shapes).replace("'", "")[:200]
    whole = " ".join(repr(value).split())
    return "None" if value is None else f"{whole:.80} ({type(value).__name__})"
