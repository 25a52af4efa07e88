"""A key that is accepted does something; one that does nothing is refused with a reason."""

import functools
import itertools
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from impindiff.errors import InputError
from impindiff.methods import method_of
from impindiff.methods._diffrax_hybrid import Integrator
from impindiff.problem import ProblemSettings, as_data
from impindiff.problems import PROBLEMS, get_problem
from impindiff.settings.choices import models_in, tags_of
from impindiff.settings.configuration import (
    dump_yaml,
    load_configuration,
    load_settings,
    merged,
    without_useless,
)
from impindiff.settings.yaml_text import parse_yaml

PROBLEM = get_problem("burgers")
INFILTRATION = get_problem("vapor_infiltration_field")
# what the loop of training reads, of every optimiser: tests/command/test_training_options.py
LOOP = {"optimizer", "steps", "seconds", "log_every", "save_every", "tensorboard", "validation"}
LOOP |= {"patience", "keep_best", "freeze", "restarts", "ensemble", "shooting", "horizon"}


class Weights(eqx.Module):
    w: jax.Array


def steps_of(problem, chosen):
    """What advances time, and what is stored of it."""
    return [
        eqx.tree_pformat(problem.stepper(chosen), short_arrays=False),
        str(problem.step(chosen)),
        str(chosen.adjoint.build_checkpointing()),
    ]


def updates_of(problem, chosen):
    """What the optimiser makes of two gradients, or all that it is."""
    del problem
    optimizer = chosen.training.build()
    if chosen.training.optimizer not in ("adam", "muon"):
        return repr(optimizer)
    weights = Weights(jnp.asarray([[1.0, 2.0], [3.0, 4.0]]))
    gradient = Weights(jnp.asarray([[300.0, -2.0], [0.5, 7.0]]))
    optimizer = optimizer.transformation()
    state, found = optimizer.init(weights), []
    for _ in range(2):
        step, state = optimizer.update(gradient, state, weights)
        gradient = Weights(gradient.w * 0.1)
        found.append(np.asarray(step.w).tolist())
    return found


@functools.cache
def small_data():
    """Data on 8 x 4 cells, which no key of a method changes."""
    small = load_settings(PROBLEM.settings, {"grid": {"cells": [8, 4]}, "truth": {"dt": 0.01}})
    return as_data(PROBLEM.data(small), None)


def model_of(problem, chosen):
    """What is trained, and what of its method does not show in it."""
    model = method_of(problem, chosen, small_data()).model(jax.random.key(0))
    arrays, rest = eqx.partition(model, eqx.is_array)
    numbers = [np.asarray(x).tolist() for x in jax.tree.leaves(arrays)]
    integrator = Integrator.of(chosen.method) if chosen.method.name == "diffrax" else None
    return [numbers, str(rest), str(integrator), getattr(chosen.method, "fit_to", None)]


def leaves(model, nested, before=()):
    """(path, field, value) of every key that a configuration writes."""
    for key, value in nested.items():
        info = type(model).model_fields[key]
        below = getattr(model, key)
        if isinstance(value, dict) and hasattr(type(below), "model_fields"):
            yield from leaves(below, value, (*before, key))
        else:
            yield (*before, key), info, value


def another(path, info, value):
    """Another value of the key; None where none is simple to find."""
    if path[-1] in ("rates", "budget"):
        return {"rates": {"w": 0.5}, "budget": "2GB"}[path[-1]]
    if value is None and models_in(info.annotation):
        return {}
    choices = [info.annotation, *get_args(info.annotation)]
    words = [word for of in choices for word in get_args(of) if isinstance(word, str)]
    if isinstance(value, str) or (value is None and words):
        return next((word for word in words if word != value), None)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 + (path[-1] == "kernel")
    return 0.5 if value != 0.5 else 0.25


def tags(section, problem=PROBLEM):
    info = problem.settings.model_fields[section]
    return [t for m in models_in(info.annotation) for t in tags_of(m, str(info.discriminator))]


def require_useful(problem, asked, sections, made_of, keys=None):
    """Each key that these settings write, or one that is drawn, changes what is made of them."""
    first = load_settings(problem.settings, without_useless(problem.settings, asked))
    written = parse_yaml(dump_yaml(first))
    within = {key: value for key, value in written.items() if key in sections}
    found = [leaf for leaf in leaves(first, within) if leaf[0][-1] not in LOOP]
    for path, info, value in found if keys is None else [keys(found)]:
        changed: Any = another(path, info, value)
        if changed is None:
            continue
        for part in reversed(path):
            changed = {part: changed}
        given = without_useless(problem.settings, merged(written, changed))
        second = load_settings(problem.settings, given)
        assert made_of(problem, second) != made_of(problem, first), (path, value, changed)


steps = st.fixed_dictionaries(
    {
        "stepper": st.sampled_from([*tags("stepper"), "kencarp4 adaptive"]).map(
            lambda name: {"name": name.split()[0]} | ({"adaptive": {}} if " " in name else {})
        ),
        "solver": st.sampled_from(tags("solver")).map(lambda name: {"name": name}),
        "adjoint": st.fixed_dictionaries(
            {
                "name": st.sampled_from(tags("adjoint")),
                "checkpointing": st.sampled_from(
                    ["store_states", "segments", "binomial", "for_budget"]
                ),
            }
        ),
    }
)


@pytest.mark.slow
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(data=st.data(), asked=steps, problem=st.sampled_from([PROBLEM, INFILTRATION]))
def test_each_key_of_solver_adjoint_and_stepper_changes_the_steps(data, asked, problem):
    assume(asked["stepper"]["name"] in tags("stepper", problem))
    asked = merged(asked, {"training": {"optimizer": "adam"}})

    def draw(keys):
        return data.draw(st.sampled_from(keys))

    require_useful(problem, asked, ("solver", "adjoint", "stepper"), steps_of, draw)


@pytest.mark.few(3)
@pytest.mark.parametrize("optimizer", tags("training"))
def test_each_key_of_an_optimizer_changes_it(optimizer):
    asked = {"training": {"optimizer": optimizer, "steps": 4}}
    require_useful(PROBLEM, asked, ("training",), updates_of)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "method",
    [
        {"name": "hybrid"},
        {"name": "local_law"},
        {"name": "diffrax"},
        {"name": "fno", "width": 2, "modes": 1, "layers": 1},
        {"name": "conv_lstm", "hidden": 1, "kernel": 1, "layers": 1},
    ],
    ids=tags("method"),
)
def test_each_key_of_a_method_and_of_the_field_changes_the_model(method):
    small = {"grid": {"cells": [8, 4]}, "field": {"width": 2, "depth": 1}}
    require_useful(PROBLEM, merged(small, {"method": method}), ("method", "field"), model_of)


@pytest.mark.parametrize(
    "model", [*(problem.settings for problem in PROBLEMS.values()), ProblemSettings]
)
def test_every_key_of_a_choice_that_was_not_made_is_refused(model):
    """Whatever is added to one choice alone: the types say it, nobody has to remember it."""
    counted = 0
    for section, info in model.model_fields.items():
        tag, members = info.discriminator, models_in(info.annotation)
        if not isinstance(tag, str):
            continue
        for chosen, other in itertools.permutations(members, 2):
            name = tags_of(chosen, tag)[0]
            for key in set(other.model_fields) - set(chosen.model_fields):
                given = {section: {tag: name, key: 1}}
                with pytest.raises(InputError, match=rf"{section}\.{key}: does nothing with"):
                    load_settings(model, given)
                assert load_settings(model, {section: {tag: name, key: None}})
                counted += 1
    assert counted > 10


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["adjoint.slots=3"], "adjoint.checkpointing=store_states; it works with binomial"),
        (
            ["adjoint.budget=1MB", "adjoint.checkpointing=binomial"],
            "adjoint.checkpointing=binomial; it works with for_budget",
        ),
        (["adjoint.terms=1"], "adjoint.name=implicit_adjoint; it works with jacobian_free"),
        (
            ["solver.krylov=gmres", "solver.name=picard"],
            "solver.name=picard; it works with newton_krylov; change solver.name, or leave it out",
        ),
        (["solver.rtol=1e-3", "stepper.name=rk4"], "stepper.name=rk4; it works with crank_nicol"),
        (["adjoint.rtol=1e-3", "stepper.name=rk4"], "stepper.name=rk4; it works with crank_nic"),
        (["stepper.max_halvings=1", "stepper.name=rk4"], "stepper.name=rk4; it works with crank"),
        (["stepper.adaptive.rtol=1"], "crank_nicolson; it works with kencarp3 or kencarp4"),
        (
            ["stepper.dt=0.1", "stepper={name: kencarp3, adaptive: {}}"],
            "stepper.adaptive={...}; it works with null",
        ),
        (["training.learning_rate=0.1", "training.optimizer=lbfgs"], "lbfgs; it works with adam "),
        (["training.damping=1"], "training.optimizer=adam; it works with levenberg_marquardt"),
        (["training.restart_steps=3"], "training.restarts=1; it works with any other"),
        (["training.validation_by=last"], "training.validation=0.0; it works with any other"),
        (["data.samples=[1]"], "data.path=null; it works with any other"),
        (["truth.seed=1", "data.path=a.nc"], "data.path=a.nc; it works with null"),
        (["stepper.dt=1", "method.name=fno"], "method.name=fno; it works with hybrid or local_law"),
        (["field.width=1", "method.name=fno"], "method.name=fno; it works with hybrid, local_law "),
        (
            ["adjoint.checkpointing=segments", "training.optimizer=levenberg_marquardt"],
            "training.optimizer=levenberg_marquardt; it works with adam, muon or lbfgs",
        ),
    ],
)
def test_a_key_that_does_nothing_says_with_what_it_works(overrides, line):
    with pytest.raises(InputError) as raised:
        load_configuration(PROBLEM.settings, [], overrides)
    message, key = str(raised.value), overrides[0].split("=")[0]
    assert message.startswith(f"{key.removesuffix('.rtol')}")
    assert f": does nothing with {line}" in message or line in message
    assert "\n" not in message


def test_several_are_counted_and_each_is_taken_back_by_null():
    keys = ["solver.krylov=gmres", "solver.line_search=false"]
    with pytest.raises(InputError, match=r"^solver\.krylov: .* \(and 1 more such key\)$"):
        load_configuration(PROBLEM.settings, [], ["solver.name=picard", *keys])
    back = ["solver.name=picard", *keys, "solver.krylov=null", "solver.line_search=null"]
    assert load_configuration(PROBLEM.settings, [], back).solver.name == "picard"
    back = ["training.restart_steps=3", "training.restart_steps=null"]
    assert load_configuration(PROBLEM.settings, [], back).training.restart_steps == 50


def test_another_choice_keeps_what_it_shares_with_the_problem_s_own():
    found = load_configuration(
        get_problem("burgers_public").settings, [], ["stepper.name=kencarp3"]
    )
    assert (found.stepper.dt, found.stepper.first_guess) == (0.005, "extrapolated")
    found = load_configuration(get_problem("burgers_public").settings, [], ["stepper.name=rk4"])
    assert found.stepper.dt == 0.005
    found = load_configuration(INFILTRATION.settings, [], ["training.optimizer=adam"])
    assert (found.training.steps, found.training.learning_rate) == (150, 3e-3)
    # a number of one choice is none of another's that has the same name
    overrides = ["method={name: fno}", "method.name=conv_lstm"]
    assert load_configuration(PROBLEM.settings, [], overrides).method.layers == 2


def test_what_is_written_holds_no_key_that_does_nothing(tmp_path):
    found = load_configuration(PROBLEM.settings, [], ["stepper.name=rk4"])
    written = parse_yaml(dump_yaml(found))
    assert "solver" not in written
    assert written["adjoint"] == {"checkpointing": "store_states"}
    assert written["stepper"] == {"name": "rk4", "dt": 0.01}
    (tmp_path / "a.yaml").write_text(dump_yaml(found))
    assert load_configuration(PROBLEM.settings, [tmp_path / "a.yaml"], []) == found


def test_a_value_that_is_given_keys_of_its_own_later_is_refused():
    with pytest.raises(InputError, match=r"^training: is given twice, first as 5 .*training\.st"):
        load_configuration(PROBLEM.settings, [], ["training=5", "training.steps=3"])
    kept = load_configuration(INFILTRATION.settings, [], ["physics.heat=null", "physics.heat={}"])
    assert kept.physics.heat is not None


def test_an_editor_accepts_what_leaves_the_choice_to_its_default():
    solver = PROBLEM.settings.model_json_schema()["properties"]["solver"]
    assert len(solver["anyOf"]) == 3
    assert "oneOf" not in solver
