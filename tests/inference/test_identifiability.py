import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.inference import identifiability

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((50, 3))


def test_a_product_that_alone_is_seen_hides_its_factors():
    """Growth depends on k and C0 as their product: equal columns but for their size."""
    rate = BASE[:, 0]
    jacobian = np.stack([3.0 * rate, BASE[:, 1], 1e-6 * rate], axis=1)
    found = identifiability(jacobian, ["k", "alpha", "C0"])
    assert found.condition_indices[-1] == np.inf
    assert found.singular_values[-1] == 0
    np.testing.assert_allclose(abs(found.directions[-1]), [0.5**0.5, 0, 0.5**0.5], atol=1e-12)
    # The product stays when one factor grows as the other falls.
    np.testing.assert_allclose(found.correlation[0, 2], -1.0, rtol=1e-6)
    assert found.weakest() == "cannot be told apart: k and C0 (condition index inf)"


def test_a_nearly_degenerate_pair_has_the_condition_index_of_its_angle():
    """Unit columns with cosine r: singular values sqrt(1 +- r)."""
    q = np.linalg.qr(BASE)[0]
    r = 1 - 2e-5
    near = r * q[:, 0] + np.sqrt(1 - r**2) * q[:, 1]
    found = identifiability(np.stack([q[:, 0], 7 * near, q[:, 2]], axis=1), ["a", "b", "c"])
    np.testing.assert_allclose(found.singular_values, np.sqrt([1 + r, 1, 1 - r]), rtol=1e-9)
    np.testing.assert_allclose(found.correlation[0, 1], -r, rtol=1e-9)
    assert found.weakest() == "cannot be told apart: a and b (condition index 316)"
    assert set(list(found.composition())[:2]) == {"a", "b"}
    np.testing.assert_allclose(sum(found.composition().values()), 1.0)


def test_the_correlation_is_that_of_the_covariance_whatever_the_units():
    jacobian = BASE * np.array([1e6, 1.0, 1e-9])
    found = identifiability(jacobian, "abc")
    expected = np.linalg.inv(BASE.T @ BASE)
    deviation = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(found.correlation, expected / np.outer(deviation, deviation))
    plain = identifiability(BASE, "abc")
    np.testing.assert_allclose(found.singular_values, plain.singular_values, rtol=1e-12)


def test_orthogonal_columns_can_all_be_told():
    found = identifiability(np.eye(4)[:, :3], "abc")
    np.testing.assert_allclose(found.correlation, np.eye(3))
    assert found.weakest() == "all can be told apart (condition index 1)"


def test_a_parameter_that_nothing_depends_on_is_named():
    jacobian = np.eye(5)[:, :3]
    jacobian[:, 1] = 0
    found = identifiability(jacobian, ["gamma", "beta", "alpha"])
    assert found.unseen == ("beta",)
    assert found.weakest() == (
        "all others can be told apart (condition index 1); not seen by the data: beta"
    )
    assert np.isnan(found.correlation[1]).all()
    np.testing.assert_array_equal(found.correlation[::2, ::2], np.eye(2))
    assert found.directions.shape == (2, 3)
    nothing = identifiability(np.zeros((4, 2)), "ab")
    assert nothing.weakest() == "not seen by the data: a and b"
    assert identifiability(np.ones((4, 1)), "a").weakest().startswith("a single parameter")


def test_fewer_observations_than_parameters_leave_some_untold():
    found = identifiability(RNG.standard_normal((2, 4)), "abcd")
    assert found.singular_values.shape == (4,)
    np.testing.assert_array_equal(found.singular_values[2:], 0)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(4), atol=1e-12)


def test_many_parameters_in_one_direction_are_counted():
    """Twelve columns whose sum vanishes: each has a share of the weakest direction."""
    columns = RNG.standard_normal((60, 12))
    columns[:, -1] = -columns[:, :-1].sum(axis=1)
    names = [f"p{i}" for i in range(12)]
    assert " more (condition index" in identifiability(columns, names).weakest()


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="2 names for a Jacobian of 3 columns"):
        identifiability(BASE, "ab")
    bad = BASE.copy()
    bad[4, 1] = np.nan
    with pytest.raises(InputError, match="column of 'b' is not finite"):
        identifiability(bad, "abc")
