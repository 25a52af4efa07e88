"""Which parts of a model are trained, how fast, and by what steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_decay import loss, model, train

import impindiff as ipd
from impindiff.inference import flat_parameters, standard_errors
from impindiff.training import (
    LevenbergMarquardt,
    adam,
    at_rates,
    learning_rate_schedule,
    muon,
    partition,
)


def moved(fitted):
    return float(fitted.model.rate) - 1.0, float(fitted.model.source)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["adam", "levenberg_marquardt"])
def test_a_frozen_part_stays_to_the_bit_and_the_rest_is_trained(tmp_path, name):
    optimizer = adam("constant", 0.05, 10) if name == "adam" else LevenbergMarquardt()
    start = model(1.0, 0.1)
    fitted = train(tmp_path, optimizer, 10, start, freeze=["source"])
    assert float(fitted.model.source) == 0.1
    assert float(fitted.model.rate) > 1.2
    assert fitted.frozen == ("source",)
    # as if it were a number of the model
    alone, rest = partition(start, ["source"])
    assert alone.source is None
    assert rest.rate is None
    if fitted.linearization is not None:
        assert fitted.linearization[1].shape == (24, 1)


def test_what_is_frozen_has_no_error_and_gives_none_to_the_rest(tmp_path):
    fitted = train(tmp_path, LevenbergMarquardt(), 10, model(1.0, 0.25), freeze=["source"])

    def found(m):
        return {"rate": m.rate, "source": m.source}

    errors = standard_errors(found, fitted.model, loss(), fitted.linearization, ["source"])
    both = standard_errors(found, fitted.model, loss())
    assert float(errors["source"]) == 0
    assert 0 < float(errors["rate"]) < float(both["rate"])
    assert flat_parameters(fitted.model, ["source"]).names == ("rate",)


def test_numpy_arrays_are_known_numbers():
    walls = (ipd.Dirichlet(np.linspace(0.0, 1.0, 3)), ipd.Dirichlet(jnp.ones(3)))
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (4, 3), (walls, ipd.Periodic()))
    trained, rest = (jax.tree.leaves(part) for part in partition(grid))
    assert trained == [walls[1].value]
    assert rest == [walls[0].value]


def test_parts_are_named_by_prefix():
    nested = {"network": [jnp.ones(2), jnp.ones(3)], "net": jnp.ones(1)}
    trained, _ = partition(nested, ["['network'][0]"])
    assert trained["network"][0] is None
    assert trained["network"][1] is not None
    trained, _ = partition(nested, ["['network']"])
    assert trained["network"] == [None, None]
    assert trained["net"] is not None


def test_a_part_that_there_is_not_is_named_with_those_there_are(tmp_path):
    message = r"training\.freeze: the model has no trained part 'sourc'; it has rate, source"
    with pytest.raises(ipd.InputError, match=message):
        train(tmp_path, optax.sgd(0.1), freeze=["sourc"])
    with pytest.raises(ipd.InputError, match=r"training\.rates: the model has no trained part 'a'"):
        train(tmp_path, at_rates(optax.sgd(0.1), {"a": 2.0}))
    with pytest.raises(ipd.InputError, match=r"'source'; it has rate$"):
        train(tmp_path, at_rates(optax.sgd(0.1), {"source": 2.0}), freeze=["source"])
    with pytest.raises(ipd.InputError, match="rate, source leaves nothing to train"):
        train(tmp_path, optax.sgd(0.1), freeze=["rate", "source"])


def test_half_the_rate_is_half_the_step(tmp_path):
    whole = moved(train(tmp_path / "a", optax.sgd(0.1), 1))
    half = moved(train(tmp_path / "b", at_rates(optax.sgd(0.1), {"source": 0.5}), 1))
    assert half == (whole[0], whole[1] / 2)


def test_the_longest_path_counts():
    parameters = {"a": [jnp.ones(()), jnp.ones(())], "b": jnp.ones(())}
    optimizer = at_rates(optax.sgd(1.0), {"['a']": 0.5, "['a'][1]": 4.0})
    updates, _ = optimizer.update(parameters, optimizer.init(parameters), parameters)
    assert [float(u) for u in jax.tree.leaves(updates)] == [-0.5, -4.0, -1.0]


def test_a_clipped_gradient_has_the_given_norm_and_its_own_direction(tmp_path):
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    short = moved(train(tmp_path / "a", clipped, 1))
    plain = moved(train(tmp_path / "b", optax.sgd(1.0), 1))
    assert np.linalg.norm(short) == pytest.approx(1e-3, rel=1e-9)
    assert short[0] / short[1] == pytest.approx(plain[0] / plain[1], rel=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential"])
def test_the_rate_grows_to_the_schedule_which_then_runs_as_without(name):
    with_warmup = learning_rate_schedule(name, 2.0, 30, warmup=4)
    rates = np.array([with_warmup(k) for k in range(30)])
    np.testing.assert_allclose(rates[:4], 2.0 * np.arange(1, 5) / 5, rtol=1e-6)
    after = learning_rate_schedule(name, 2.0, 26)
    np.testing.assert_allclose(rates[4:], np.array([after(k) for k in range(26)]), rtol=1e-6)


def test_the_first_step_of_adam_shows_the_warmup():
    parameters = {"a": jnp.ones((2, 2))}
    for make in (adam, muon):
        plain, warmed = make("constant", 0.1, 10), make("constant", 0.1, 10, warmup=4)
        steps = [o.update(parameters, o.init(parameters), parameters)[0] for o in (plain, warmed)]
        whole, fifth = (np.asarray(jax.tree.leaves(step)[0]) for step in steps)
        np.testing.assert_allclose(fifth, whole / 5, rtol=1e-6)


def test_what_cannot_be_trained_is_refused():
    start = model(1.0, 0.1)
    imaginary = eqx.tree_at(lambda m: m.rate, start, jnp.asarray(1j))
    with pytest.raises(ipd.InputError, match=r"training: rate is complex.*real and imaginary"):
        partition(imaginary)
    whole = jax.tree.map(lambda x: jnp.asarray(1) if eqx.is_array(x) else x, start)
    with pytest.raises(ipd.InputError, match="no floating-point array to train"):
        partition(whole)
