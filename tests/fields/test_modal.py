"""Sums of eigenfunctions: orthonormal, of the smallest eigenvalues, the same on every grid."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd

BOX = (-1.0, 0.0), (1.0, 1.0)


def grid(*cells, periodic=True):
    sides = ipd.Periodic() if periodic else ipd.Neumann()
    return ipd.Grid(*BOX, cells, boundary=(sides, sides))


@pytest.mark.slow
def test_periodic_eigenfunctions_are_orthonormal_with_their_laplacians_eigenvalues():
    field = ipd.ModalField(1, *BOX, periodic=(True, True), modes=30)
    on = grid(256, 128)
    phi = np.asarray(field.eigenfunctions(on)).reshape(len(field.waves), -1)
    np.testing.assert_allclose(phi @ phi.T / phi.shape[1], np.eye(len(phi)), atol=1e-12)
    bent = ipd.diffusion(field.eigenfunctions(on), 1.0, on).reshape(phi.shape)
    rayleigh = -np.sum(phi * np.asarray(bent), axis=1) / phi.shape[1]
    np.testing.assert_allclose(rayleigh, field.eigenvalues, rtol=2e-3, atol=1e-9)


def test_the_modes_are_those_of_the_smallest_eigenvalues_in_whole_sets():
    field = ipd.ModalField(1, *BOX, periodic=(True, True), modes=30)
    # all pairs of wavenumbers pi a, 2 pi b within the circle of the last, with both signs
    a, b = np.meshgrid(np.arange(-40, 41), np.arange(-20, 21))
    of_all = np.sort((np.pi * a.ravel()) ** 2 + (2 * np.pi * b.ravel()) ** 2)
    assert len(field.waves) >= 30
    np.testing.assert_allclose(field.eigenvalues, of_all[: len(field.waves)], rtol=1e-12)
    assert of_all[len(field.waves)] > field.eigenvalues[-1] * (1 + 1e-9)


def test_a_field_that_is_not_periodic_has_no_condition_at_its_ends():
    """The least-squares fit of x has its slope at the ends, where a cosine of the box is flat."""
    field = ipd.ModalField(1, (0.0,), (1.0,), modes=12)
    line = ipd.Grid((0.0,), (1.0,), (200,))
    phi, x = np.asarray(field.eigenfunctions(line)), line.axis_centers(0)
    fit = phi.T @ np.linalg.lstsq(phi.T, x, rcond=None)[0]
    slope = np.diff(fit)[[0, -1]] / np.diff(x)[0]
    np.testing.assert_allclose(slope, 1.0, atol=0.05)


def test_it_is_called_like_a_neural_field_and_refuses_what_it_lacks():
    field = ipd.ModalField(2, *BOX, modes=5)
    assert field(grid(8, 4), jnp.asarray(0.3)).shape == (2, 8, 4)
    with pytest.raises(ipd.InputError, match="takes none"):
        field(grid(8, 4), code=jnp.zeros(2))
    with pytest.raises(ipd.InputError, match="has 1 axes, the field's box has 2"):
        field(ipd.Grid((0.0,), (1.0,), (4,)))
    with pytest.raises(ipd.InputError, match="modes = 0, time_modes = 6; expected 1 or more"):
        ipd.ModalField(2, *BOX, modes=0)


def test_a_field_that_changes_is_a_sum_of_products_with_functions_of_time():
    field = ipd.ModalField(2, *BOX, modes=5, time=(1.0, 3.0), time_modes=3)
    steady = ipd.ModalField(2, *BOX, modes=5)
    assert field.coefficients.shape == (2, 3 * len(steady.waves))
    values = np.random.default_rng(0).normal(size=field.coefficients.shape)
    field = eqx.tree_at(lambda f: f.coefficients, field, jnp.asarray(values))
    at = 1.7
    # cosines of an interval longer by a quarter at each end
    psi = np.sqrt([1, 2, 2]) * np.cos(np.pi * np.arange(3) * (at - 0.5) / 3)
    then = np.einsum("ckj,j->ck", values.reshape(2, -1, 3), psi)
    steady = eqx.tree_at(lambda f: f.coefficients, steady, jnp.asarray(then))
    np.testing.assert_allclose(field(grid(8, 4), at), steady(grid(8, 4)), rtol=1e-12)
    k = field.wavenumbers
    np.testing.assert_allclose(k[:3], np.outer(np.arange(3), [0, 0, np.pi / 3]), atol=1e-12)
    np.testing.assert_allclose(field.eigenvalues, steady.eigenvalues)
    for wrong in (None, jnp.zeros(2)):
        with pytest.raises(ipd.InputError, match="changes between 1 and 3: give one time"):
            field(grid(8, 4), wrong)
    with pytest.raises(ipd.InputError, match="expected finite times"):
        ipd.ModalField(2, *BOX, time=(1.0, 1.0))
