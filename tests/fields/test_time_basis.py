"""Features of time against numpy's polynomials and the plain formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import chebyshev

from impindiff.errors import InputError
from impindiff.fields import TimeBasis

START, END = 2.0, 6.0
TIMES = np.asarray([1.0, 2.0, 2.5, 4.0, 5.9, 6.0, 7.5])  # from before the interval to after it
TAU = (TIMES - 4) / 2
CHEBYSHEV = TimeBasis(START, END, order=5, damping=0.7)
FOURIER = TimeBasis(START, END, order=2, kind="fourier", damping=0.7)


def values_and_slopes(basis):
    """(times, size) each, by one compiled program."""

    def both(t):
        return jax.jvp(basis, (t,), (jnp.ones(()),))

    return jax.jit(jax.vmap(both))(jnp.asarray(TIMES))


def test_chebyshev_polynomials_inside_and_outside_the_interval():
    values, slopes = values_and_slopes(CHEBYSHEV)
    assert values.shape == (7, CHEBYSHEV.size) == (7, 6)
    for j in range(6):
        coefficients = [0.0] * j + [0.7**j]
        np.testing.assert_allclose(
            values[:, j], chebyshev.chebval(TAU, coefficients), atol=1e-12, err_msg=f"T_{j}"
        )
        of_time = chebyshev.chebder(coefficients, scl=2 / (END - START))
        np.testing.assert_allclose(slopes[:, j], chebyshev.chebval(TAU, of_time), atol=1e-12)


@pytest.mark.parametrize(("period", "expected"), [(None, 8.0), (5, 5.0)])
def test_fourier_features(period, expected):
    basis = TimeBasis(START, END, order=2, kind="fourier", damping=0.7, period=period)
    phase = 2 * np.pi * (TIMES - 4) / expected
    reference = [np.ones(7)]
    for j in (1, 2):
        reference += [0.7**j * np.cos(j * phase), 0.7**j * np.sin(j * phase)]
    values, slopes = values_and_slopes(basis)
    assert basis.size == 5
    np.testing.assert_allclose(values, np.stack(reference, axis=1), atol=1e-12)
    # d/dt of 0.7 sin(phase)
    np.testing.assert_allclose(slopes[:, 2], 0.7 * 2 * np.pi / expected * np.cos(phase), atol=1e-12)


def test_the_ends_of_the_interval_differ_by_default():
    values, _ = values_and_slopes(FOURIER)
    assert np.max(np.abs(values[1] - values[5])) > 0.5


def test_mean_squares():
    nodes = np.cos(np.pi * (np.arange(16) + 0.5) / 16)  # Gauss-Chebyshev: equal weights
    squares = sum((0.7**j * chebyshev.chebval(nodes, [0.0] * j + [1.0])) ** 2 for j in range(6))
    assert CHEBYSHEV.mean_square == pytest.approx(np.mean(squares), rel=1e-12)
    squares = np.sum(np.square(values_and_slopes(FOURIER)[0]), axis=1)
    np.testing.assert_allclose(squares, FOURIER.mean_square, rtol=1e-12)


@pytest.mark.parametrize("kind", ["chebyshev", "fourier"])
def test_order_zero_is_the_constant(kind):
    basis = TimeBasis(START, END, order=0, kind=kind)
    np.testing.assert_array_equal(basis(3.0), [1.0])
    assert basis.size == basis.mean_square == 1


@pytest.mark.parametrize("basis", [CHEBYSHEV, FOURIER])
def test_single_precision_stays_single(basis):
    assert jax.eval_shape(basis, jax.ShapeDtypeStruct((), jnp.float32)).dtype == jnp.float32


def test_numbers_of_any_kind_are_taken():
    basis = TimeBasis(0, np.float32(4), order=1, damping=1)
    np.testing.assert_allclose(basis(1.0), [1, -0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end": 2.0}, "start = 2.0, end = 2.0; expected finite times with start < end"),
        ({"end": np.inf}, "end = inf; expected finite"),
        ({"start": np.nan}, "start = nan"),
        ({"order": -1}, "order = -1; expected 0 or more"),
        ({"kind": "wavelet"}, "kind = 'wavelet'; expected one of .*fourier"),
        ({"damping": 0.0}, "damping = 0.0; expected a factor above 0 and at most 1"),
        ({"damping": 1.5}, "damping = 1.5"),
        ({"period": 3.0}, "period = 3.0 with kind 'chebyshev'"),
        ({"kind": "fourier", "period": -3.0}, "period = -3.0; .* such as 8.0, twice the interval"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        TimeBasis(**{"start": START, "end": END, **arguments})


def test_several_times_are_refused():
    with pytest.raises(InputError, match=r"t has shape \(7,\); expected one time.*jax\.vmap"):
        CHEBYSHEV(jnp.asarray(TIMES))
