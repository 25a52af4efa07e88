"""Fields conditioned on time, on a code and on both: equations, starting values, derivatives."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from numpy.polynomial import chebyshev

from impindiff.errors import InputError
from impindiff.fields import BoundedField, ConditionalField, TimeBasis
from impindiff.grid import Grid

KEY = jax.random.key(3)
LOWER, UPPER = (-1.0, 0.0), (1.0, 2.0)
GRID = Grid(lower=LOWER, upper=UPPER, cells=(5, 4))
TIME = TimeBasis(0.0, 2.0, order=3, damping=0.6)
TIMES = jnp.asarray([0.0, 0.3, 1.9, 2.6])  # the last one beyond the interval
CODE = jnp.asarray([0.4, -1.1])
WIDTH, DEPTH = 6, 2
KINDS = ("last_layer", "modulation", "hypernetwork")
NEEDS = {"time": (TIME, 0), "code": (None, 2), "both": (TIME, 2)}


def make(conditioning=None, time=None, code_size=0, **options):
    return ConditionalField(
        2,
        LOWER,
        UPPER,
        periodic=(True, False),
        width=options.pop("width", WIDTH),
        depth=DEPTH,
        omega_first=8.0,
        omega=10.0,
        conditioning=conditioning,
        time=time,
        code_size=code_size,
        key=KEY,
    )


@eqx.filter_jit
def evaluate(field, points, t, code):
    return field(points, t, code)


def given(field):
    """A time and a code where the field needs them."""
    return (None if field.time is None else TIMES[1]), (CODE if field.code_size else None)


def moved(field):
    """The field with other weights, as after training, in what conditions it too."""
    draw = np.random.default_rng(8).normal
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.05 * draw(size=leaf.shape)), field)


STEADY = make()
FIELDS = {(kind, need): make(kind, *NEEDS[need]) for kind in KINDS for need in NEEDS}
MOVED = {key: moved(field) for key, field in FIELDS.items()}
every_field = pytest.mark.parametrize(("kind", "need"), FIELDS)


def inputs():
    """Scaled coordinates of the grid's points, (3, points), by hand."""
    x, y = np.asarray(GRID.centers).reshape(2, -1)
    return np.stack([np.cos(np.pi * x), np.sin(np.pi * x), y - 1])


def conditions(field):
    """e(t) and z of `given(field)`, by hand."""
    tau = float(TIMES[1]) - 1
    e = [chebyshev.chebval(tau, [0.0] * j + [0.6**j]) for j in range(4)]
    return np.asarray([1.0] if field.time is None else e), np.asarray(
        CODE if field.code_size else []
    )


def siren(weights, biases, modulations=((1.0, 0.0),) * DEPTH):
    h = inputs()
    for omega, w, b, (scale, shift) in zip(
        (8.0, 10.0), weights[:-1], biases[:-1], modulations, strict=True
    ):
        h = np.sin(
            omega * (np.reshape(scale, (-1, 1)) * (w @ h + b[:, None]) + np.reshape(shift, (-1, 1)))
        )
    return (weights[-1] @ h + biases[-1][:, None]).reshape(-1, *GRID.shape)


def last_layer(field, e, z):
    phi = siren(field.network.weights, field.network.biases)
    a = [ej * zk for ej in e for zk in [1.0, *z]]
    assert len(phi) == 2 * len(a)
    return np.stack([sum(a[r] * phi[c * len(a) + r] for r in range(len(a))) for c in range(2)])


def modulation(field, e, z):
    c = np.asarray([*e[1:], *z])
    scales, shifts = field.conditioning.scale, field.conditioning.shift
    layers = [(1 + G @ c, B @ c) for G, B in zip(scales, shifts, strict=True)]
    return siren(field.network.weights, field.network.biases, layers)


def hypernetwork(field, e, z):
    H = field.conditioning
    hidden = np.tanh(H.hidden_weight @ np.asarray([*e[1:], *z]) + H.hidden_bias)
    change = np.asarray(H.output_weight @ hidden / 32)
    parts = [[], []]
    for part, arrays in zip(parts, (field.network.weights, field.network.biases), strict=True):
        for array in arrays:
            part.append(np.asarray(array) + change[: array.size].reshape(array.shape))
            change = change[array.size :]
    assert change.size == 0
    return siren(*parts)


EQUATIONS = {"last_layer": last_layer, "modulation": modulation, "hypernetwork": hypernetwork}


@every_field
def test_the_equation(kind, need):
    field = MOVED[kind, need]
    expected = EQUATIONS[kind](field, *conditions(field))
    np.testing.assert_allclose(evaluate(field, GRID, *given(field)), expected, atol=1e-10)


@every_field
def test_modulation_and_hypernetwork_start_as_the_steady_field(kind, need):
    field, steady = FIELDS[kind, need], evaluate(STEADY, GRID, None, None)
    values = evaluate(field, GRID, *given(field))
    if kind == "last_layer":
        assert np.std(values) > 0
    else:
        np.testing.assert_array_equal(values, steady)
    assert np.max(np.abs(evaluate(MOVED[kind, need], GRID, *given(field)) - steady)) > 1e-2


@pytest.mark.parametrize(("order", "damping", "code_size"), [(6, 0.5, 0), (12, 1.0, 8)])
def test_last_layer_starts_about_as_large_as_the_steady_field(order, damping, code_size):
    time = TimeBasis(0.0, 2.0, order=order, damping=damping)
    field = make("last_layer", time, code_size, width=128)
    code = jnp.ones(code_size) if code_size else None
    nodes = jnp.asarray(1 + np.cos(np.pi * (np.arange(16) + 0.5) / 16))
    size = np.std(eqx.filter_jit(jax.vmap(lambda t: field(GRID, t, code)))(nodes))
    steady = np.std(evaluate(make(width=128), GRID, None, None))
    assert 0.6 < size / steady < 1.8


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_what_conditions_the_field(kind):
    """At the start: no layer may begin where it cannot be trained."""
    field = FIELDS[kind, "both"]
    t, code = given(field)
    gradient = jax.tree.leaves(
        eqx.filter_jit(eqx.filter_grad(lambda field: jnp.sum(field(GRID, t, code) ** 2)))(field)
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in gradient)
    zero = sum(not np.any(leaf) for leaf in gradient)
    # the hidden layer that generates weights waits for its output layer to leave zero
    assert zero == (2 if kind == "hypernetwork" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_many_times_at_once_and_the_derivative_by_time(kind):
    field, step = MOVED[kind, "time"], 1e-5

    @jax.jit
    @jax.vmap
    def values_and_slopes(t):
        return jax.jvp(lambda t: field(GRID, t), (t,), (jnp.ones(()),))

    values, slopes = values_and_slopes(TIMES)
    for t, value, slope in zip(TIMES, values, slopes, strict=True):
        np.testing.assert_allclose(value, evaluate(field, GRID, t, None), atol=1e-12)
        after, before = (evaluate(field, GRID, t + d, None) for d in (step, -step))
        np.testing.assert_allclose(slope, (after - before) / (2 * step), rtol=1e-6, atol=1e-7)
    assert np.max(np.abs(values[3] - values[2])) > 1e-3


def primitives(function, *args):
    """Sizes of the outputs of each primitive, through nested programs."""
    found = collections.defaultdict(list)

    def collect(jaxpr):
        for equation in jaxpr.eqns:
            inner = list(jaxprs_in_params(equation.params))
            for one in inner:
                collect(one)
            if not inner:
                found[equation.primitive.name].append(equation.outvars[0].aval.size)

    collect(jax.make_jaxpr(function)(*args).jaxpr)
    return found


@pytest.mark.parametrize("over", ["time", "code"])
@pytest.mark.parametrize("kind", KINDS)
def test_last_layer_passes_the_network_once_for_all_times_and_codes(kind, over):
    field = FIELDS[kind, "both"]
    many, points = 50, 20
    ts, codes = (jnp.ones(many), CODE) if over == "time" else (jnp.ones(()), jnp.ones((many, 2)))

    def loss(field):
        axes = (0, None) if over == "time" else (None, 0)
        return jnp.sum(jax.vmap(lambda t, z: field(GRID, t, z), axes)(ts, codes) ** 2)

    found = primitives(eqx.filter_value_and_grad(loss), field)
    layers = [size for size in found["sin"] if size > points]
    assert len(layers) == DEPTH
    batch = many if kind != "last_layer" else 1
    assert set(layers) == {batch * WIDTH * points}
    if kind == "last_layer":
        # the largest that a pass makes are the r = 4 * 3 functions of 2 components
        sums = [size for size in found["dot_general"] if size > 12 * 2 * points]
        assert sums == [many * 2 * points]


@pytest.mark.parametrize("kind", KINDS)
def test_periodic_axes_stay_periodic(kind):
    class Points(eqx.Module):
        centers: jax.Array

    field = MOVED[kind, "both"]
    x = jnp.asarray([[-1.0, 0.3, 0.9], [0.2, 0.2, 1.1]])
    shifted = x + jnp.asarray([[2.0], [0.0]])
    here, there = (evaluate(field, Points(x), *given(field)) for x in (x, shifted))
    np.testing.assert_allclose(there, here, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays_single(kind):
    single = jax.tree.map(lambda x: x.astype(jnp.float32), FIELDS[kind, "both"])
    for t in (0.3, jnp.asarray(0.3), jnp.asarray(0.3, jnp.float32)):
        values = jax.eval_shape(lambda t=t: single(GRID, t, CODE))
        assert values.dtype == jnp.float32


def test_a_field_without_time_ignores_it():
    field = MOVED["modulation", "code"]
    np.testing.assert_array_equal(
        evaluate(field, GRID, 0.7, CODE), evaluate(field, GRID, None, CODE)
    )


@every_field
def test_a_field_made_anew_is_one_of_other_weights_without_a_code(kind, need):
    expected = STEADY if need == "code" else FIELDS[kind, "time"]
    assert eqx.tree_equal(MOVED[kind, need].anew(2, key=KEY), expected)


def test_a_bounded_field_passes_time_and_code_on():
    field = MOVED["last_layer", "both"]
    bounded = evaluate(BoundedField(field, 1.0, 3.0), GRID, *given(field))
    inner = evaluate(field, GRID, *given(field))
    np.testing.assert_allclose(bounded, 1 + 2 / (1 + np.exp(-inner)), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("modulation",), "conditioning = 'modulation' with neither time nor code_size"),
        (("last_layer", TimeBasis(0.0, 1.0, order=0)), "with a time basis of order 0"),
        ((None, TIME), "time is given without a conditioning"),
        ((None, None, 2), "code_size = 2 is given without a conditioning"),
        (("film", TIME), "conditioning = 'film'; expected one of last_layer, modulation, hyper"),
        (("last_layer", TIME, -1), "code_size = -1; expected 0 or more"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make(*arguments)


@pytest.mark.parametrize(
    ("field", "t", "code", "message"),
    [
        (FIELDS["last_layer", "time"], None, None, "t is missing"),
        (FIELDS["last_layer", "time"], jnp.zeros(3), None, r"t has shape \(3,\)"),
        (FIELDS["modulation", "code"], None, None, r"code is missing; .* shape \(2,\)"),
        (FIELDS["modulation", "code"], None, jnp.zeros(3), r"code has shape \(3,\); .*\(2,\)"),
        (FIELDS["modulation", "code"], None, jnp.zeros((7, 2)), r"\(7, 2\).*jax\.vmap"),
        (FIELDS["hypernetwork", "time"], 0.1, CODE, r"shape \(2,\) is given to a field without"),
        (STEADY, None, CODE, "field without one"),
    ],
)
def test_calls_that_do_not_fit_the_field_are_refused(field, t, code, message):
    with pytest.raises(InputError, match=message):
        field(GRID, t, code)
