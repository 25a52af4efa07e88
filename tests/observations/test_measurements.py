import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import dot, normal_like
from impindiff.errors import InputError
from impindiff.observations import (
    AtTimes,
    BlockAverages,
    Measurement,
    Measurements,
    PartAverage,
    Probes,
    Sensors,
)

CELLS = (6, 4)
TIMES, SAMPLES = 3, 2
LOWER, UPPER = (-1.0, 0.0), (2.0, 1.0)


def centres(cells=CELLS, lower=LOWER, upper=UPPER) -> list[np.ndarray]:
    return [
        a + (b - a) * (np.arange(n) + 0.5) / n for a, b, n in zip(lower, upper, cells, strict=True)
    ]


def states() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.random((TIMES, SAMPLES, *CELLS)) for name in ("porosity", "theta")}


def scan(name="scan", deviation=0.02) -> Measurement:
    return Measurement(
        name, lambda u: u["porosity"], BlockAverages(CELLS, (3, 2)), (0, 2), deviation
    )


def mass() -> Measurement:
    return Measurement("mass", lambda u: 2.0 * (1 - u["porosity"]), PartAverage(CELLS), [1], 0.5)


def thermocouples() -> Measurement:
    probes = Probes(LOWER, UPPER, CELLS, np.array([[0.0, 0.5], [1.9, 0.99], [-1.0, 0.3]]))
    return Measurement("heat", lambda u: u["theta"], probes, np.arange(3), 5.0)


ALL = Measurements((scan(), mass(), thermocouples()))
SIZE = SAMPLES * (2 * 4 + 1 + 3 * 3)


@pytest.mark.parametrize(
    ("cells", "block"), [((6,), (3,)), ((6, 4), (2, 4)), ((4, 6, 2), (2, 3, 1))]
)
def test_a_blocks_average_of_a_linear_field_is_its_value_at_the_blocks_centre(cells, block):
    axes = [np.cumsum(1.0 + np.zeros(n)) for n in cells]
    slopes = 10.0 ** np.arange(len(cells))
    field = np.einsum("i,i...->...", slopes, np.stack(np.meshgrid(*axes, indexing="ij")))
    blocks = BlockAverages(cells, block)
    assert blocks.shape == tuple(n // b for n, b in zip(cells, block, strict=True))
    np.testing.assert_allclose(blocks(field), blocks.positions(axes) @ slopes, rtol=1e-14)
    leading = np.stack([field, 2 * field])[None]
    assert blocks(leading).shape == (1, 2, blocks.count)
    np.testing.assert_allclose(blocks(leading)[0, 1], 2 * blocks(field))


def test_a_block_mean_is_of_its_own_cells_in_row_major_order():
    field = np.arange(24.0).reshape(CELLS)
    expected = [
        field[:3, :2].mean(),
        field[:3, 2:].mean(),
        field[3:, :2].mean(),
        field[3:, 2:].mean(),
    ]
    np.testing.assert_array_equal(BlockAverages(CELLS, (3, 2))(field), expected)


@pytest.mark.parametrize("block", [(4, 2), (3,), (0, 2), (3, 8)])
def test_blocks_that_do_not_divide_the_cells_are_refused(block):
    text = " x ".join(map(str, block))
    with pytest.raises(InputError, match=rf"blocks of {text} cells do not .* grid of 6 x 4;"):
        BlockAverages(CELLS, block)


def test_the_parts_average_is_the_mean_of_all_cells():
    fields = states()["theta"]
    found = PartAverage(CELLS)(fields)
    assert found.shape == (TIMES, SAMPLES, 1)
    np.testing.assert_allclose(found[..., 0], fields.mean(axis=(2, 3)))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_probes_are_exact_on_multilinear_fields_up_to_the_walls(dimensions):
    cells, lower, upper = (5, 4, 3)[:dimensions], (-1.0, 0.0, 2.0)[:dimensions], (2.0, 1.0, 3.0)
    upper = upper[:dimensions]
    axes = centres(cells, lower, upper)

    def multilinear(*x):
        return np.prod([1.5 + (k + 1) * xk for k, xk in enumerate(x)], axis=0)

    field = multilinear(*np.meshgrid(*axes, indexing="ij"))
    rng = np.random.default_rng(1)
    positions = np.asarray(lower) + (np.asarray(upper) - lower) * rng.random((40, dimensions))
    positions = np.concatenate([positions, [lower], [upper]])
    found = Probes(lower, upper, cells, positions)(np.stack([field, 3 * field]))
    np.testing.assert_allclose(found[0], multilinear(*positions.T), rtol=1e-12)
    np.testing.assert_allclose(found[1], 3 * found[0])


def test_probes_in_a_grid_of_one_cell_read_it():
    probes = Probes((0.0,), (1.0,), (1,), np.array([[0.1], [0.9]]))
    np.testing.assert_array_equal(probes(np.array([7.0])), [7.0, 7.0])


def test_a_probe_outside_the_part_is_refused():
    inside = np.array([[0.0, 0.5], [0.0, 1.2]])
    with pytest.raises(InputError, match=r"probe 1 is at \(0, 1.2\), .* \(-1, 0\) to \(2, 1\)"):
        Probes(LOWER, UPPER, CELLS, inside)
    with pytest.raises(InputError, match="probe 0 is at"):
        Probes(LOWER, UPPER, CELLS, np.array([[np.nan, 0.5]]))
    with pytest.raises(InputError, match=r"shape \(2,\) .* expected shape \(N, 2\)"):
        Probes(LOWER, UPPER, CELLS, np.zeros(2))
    with pytest.raises(InputError, match="below its upper bound"):
        Probes(UPPER, LOWER, CELLS, inside)


@pytest.mark.parametrize(
    "operator",
    [
        BlockAverages(CELLS, (3, 2)),
        PartAverage(CELLS),
        Probes(LOWER, UPPER, CELLS, np.ones((1, 2))),
    ],
)
def test_an_array_of_another_grid_is_refused(operator):
    for shape in ((4, 6), (2, 6, 5), (4,)):
        with pytest.raises(InputError, match=r"\(6, 4\) cells .* trailing axes must be the grid's"):
            operator(np.zeros(shape))
    assert operator(np.zeros(CELLS, np.float32)).dtype == np.float32


def test_the_vector_is_each_measurement_over_its_deviation_in_order():
    u = states()
    expected = [
        BlockAverages(CELLS, (3, 2))(u["porosity"][[0, 2]]) / 0.02,
        2.0 * (1 - u["porosity"][1].mean(axis=(1, 2))) / 0.5,
        thermocouples().operator(u["theta"]) / 5.0,
    ]
    expected = np.concatenate([np.ravel(e) for e in expected])
    assert expected.shape == (SIZE,)
    np.testing.assert_allclose(ALL(u), expected, rtol=1e-14)
    np.testing.assert_allclose(eqx.filter_jit(ALL)(u), expected, rtol=1e-14)


def test_splitting_returns_what_was_measured_in_its_own_unit():
    u = states()
    parts = ALL.split(ALL(u), SAMPLES)
    assert list(parts) == ["scan", "mass", "heat"]
    for part in ALL.parts:
        np.testing.assert_allclose(parts[part.name], part(u), rtol=1e-14)
    with pytest.raises(InputError, match=rf"vector of {SIZE} values is not of 3 .* have 54"):
        ALL.split(ALL(u), 3)


def test_a_vector_is_a_table_in_the_same_order():
    times = np.linspace(0.5, 2.0, len(jax.tree.leaves(states())[0]))
    table = ALL.table(ALL(states()), SAMPLES, times)
    assert len(table) == SIZE
    assert table.stated.all()
    np.testing.assert_allclose(table.value / table.standard_deviation, ALL(states()), rtol=1e-14)
    start = 0
    for part in ALL.parts:
        own = slice(start, start + part.size(SAMPLES))
        start = own.stop
        assert set(table.quantity[own]) == {part.name}
        shape = (len(part.times), SAMPLES, part.operator.count)
        when = times[list(part.times)]
        np.testing.assert_array_equal(table.time[own].reshape(shape)[:, 0, 0], when)
        np.testing.assert_array_equal(table.sample[own].reshape(shape)[0, :, 0], range(SAMPLES))
        numbers = table.position[own].reshape(shape)[0, 0]
        np.testing.assert_array_equal(numbers, range(part.operator.count))


@pytest.mark.slow
def test_derivatives_flow_to_every_field_and_forward_and_reverse_agree():
    u = jax.tree.map(jnp.asarray, states())
    tangent, cotangent = normal_like(1, u), normal_like(2, jnp.zeros(SIZE))
    _, forward = jax.jvp(ALL, (u,), (tangent,))
    (back,) = jax.vjp(ALL, u)[1](cotangent)
    np.testing.assert_allclose(dot(cotangent, forward), dot(back, tangent), rtol=1e-12)
    # The scan and the balance see every cell, at the times they measure.
    assert bool((back["porosity"] != 0).all())
    assert bool((back["theta"] != 0).any())


def test_noise_of_a_measurement_is_its_own_whatever_is_beside_it():
    u = states()
    both, one = ALL, Measurements((thermocouples(),))
    added = both.split(both.noisy(both(u), 3) - both(u), SAMPLES)
    alone = one.split(one.noisy(one(u), 3) - one(u), SAMPLES)
    np.testing.assert_allclose(added["heat"], alone["heat"])
    same = Measurements((scan("a", 1.0), scan("b", 1.0)))
    zero = np.zeros(same(u).shape)
    first, second = same.split(same.noisy(zero, 3), SAMPLES).values()
    assert not np.allclose(first, second)
    assert not np.allclose(same.noisy(zero, 3), same.noisy(zero, 4))
    np.testing.assert_array_equal(same.noisy(zero, 3), same.noisy(zero, 3))


def test_noise_has_the_deviation_of_the_instrument():
    many = Measurements((scan(),))
    deviations = many.split(many.noisy(np.zeros(8 * 5000), 0), 5000)["scan"].std()
    np.testing.assert_allclose(deviations, 0.02, rtol=0.02)
    assert ALL.noisy(np.zeros(SIZE, np.float32), 0).dtype == np.float32
    with pytest.raises(InputError, match=r"12 values is of no whole number .* 18 each"):
        ALL.noisy(np.zeros(12), 0)


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan"), float("inf")])
def test_a_deviation_that_is_not_positive_is_refused(deviation):
    with pytest.raises(InputError, match="'scan': its standard deviation is"):
        scan(deviation=deviation)


def test_measurements_without_or_with_equal_names_are_refused():
    with pytest.raises(InputError, match="'scan' is the name of more than one"):
        Measurements((scan(), mass(), scan()))
    with pytest.raises(InputError, match="there are none"):
        Measurements(())


def test_times_that_are_not_there_are_refused():
    late = Measurement("late", lambda u: u, PartAverage(CELLS), [0, 3], 1.0)
    with pytest.raises(InputError, match=r"'late': time index 3, .* have 3 time"):
        late(states()["theta"])
    for times in ([], [-1]):
        with pytest.raises(InputError, match=r"'early': time indices \["):
            Measurement("early", lambda u: u, PartAverage(CELLS), times, 1.0)
    with pytest.raises(InputError, match=r"observations: time index 3, .* have 3 time"):
        AtTimes(PartAverage(CELLS), [3])(states()["theta"])


@pytest.mark.parametrize("times", [[1, 2], [0, 2], [2, 0]])
def test_an_operator_reads_the_states_of_the_chosen_times(times):
    def porosity(u):
        return u["porosity"]

    found = eqx.filter_jit(AtTimes(porosity, times))(states())
    np.testing.assert_array_equal(found, states()["porosity"][times])


def test_a_quantity_of_another_shape_is_refused_by_the_measurements_name():
    u = states()["theta"]
    quantities = {
        r"'q': .*trailing axes must be the grid's": lambda u: u[..., :2],
        r"'q': the quantity has shape \(6, 4\)": lambda u: u[0, 0],
        r"'q': of a quantity of shape \(3, 2, 1, 6, 4\)": lambda u: u[:, :, None],
    }
    for message, quantity in quantities.items():
        with pytest.raises(InputError, match=message):
            Measurement("q", quantity, PartAverage(CELLS), range(3), 1.0)(u)


def test_cells_read_by_sensors_can_be_combined_too():
    sensors = Measurement("cells", lambda u: u["theta"], Sensors(CELLS, 5), [2], 1.0)
    vector = Measurements((sensors, mass()))(states())
    assert vector.shape == (SAMPLES * 5 + SAMPLES,)


def test_an_error_for_each_time():
    part = Measurement("mass", lambda u: u, PartAverage((4,)), [0, 1], [0.1, 0.5])
    u = np.ones((2, 3, 4))
    z = Measurements([part])(u)
    np.testing.assert_allclose(z, [10.0] * 3 + [2.0] * 3)
    np.testing.assert_allclose(Measurements([part]).split(z, 3)["mass"], np.ones((2, 3, 1)))
    with pytest.raises(InputError, match="2 standard deviations for 1 times"):
        Measurement("mass", lambda u: u, PartAverage((4,)), [0], [0.1, 0.5])
