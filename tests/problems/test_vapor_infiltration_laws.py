"""Laws of pores and of transport, and the scales of a real furnace, by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.problems.vapor_infiltration import (
    RANDOM_3D,
    Bosanquet,
    HardCore,
    LearnedConductivity,
    LearnedTransport,
    Mixture,
    OverlappingFibres,
    Percolation,
    PoreModel,
    explicit_steps,
    from_physical,
)
from impindiff.problems.vapor_infiltration.forward import build_stepper, densify, true_model
from impindiff.problems.vapor_infiltration.settings import VaporInfiltrationClosureSettings

EPS0 = jnp.asarray(0.6)
EPS = jnp.linspace(0.04, 0.6, 15)


# Pores


def test_overlapping_fibres_have_the_surface_of_their_own_porosity():
    """s = -d eps/dr of eps = eps0^(r^2)."""
    r = jnp.linspace(1.0, 2.5, 7)
    eps, slope = jax.vmap(jax.value_and_grad(lambda r: EPS0 ** (r**2)))(r)
    np.testing.assert_allclose(OverlappingFibres().surface(eps, EPS0), -slope, rtol=1e-12)
    np.testing.assert_allclose(OverlappingFibres().radius(eps, EPS0), r, rtol=1e-12)


def test_the_radius_by_quadrature_is_the_closed_form():
    fibres = OverlappingFibres()
    quadrature = PoreModel.radius(fibres, EPS, EPS0)
    np.testing.assert_allclose(quadrature, fibres.radius(EPS, EPS0), rtol=1e-9)


def test_porosity_falls_with_the_radius_by_the_surface():
    pores = HardCore()
    slope = jax.vmap(jax.grad(lambda eps: pores.radius(eps, EPS0)))(EPS)
    np.testing.assert_allclose(-1 / slope, pores.surface(EPS, EPS0), rtol=1e-6)
    np.testing.assert_allclose(pores.radius(EPS0, EPS0), 1, rtol=1e-12)


def test_hard_core_by_hand():
    """eps0 = 0.5, eps = 0.25: x = 1/2, s = 0.75 (1 + 2 ln 2)."""
    s = HardCore().surface(jnp.asarray(0.25), jnp.asarray(0.5))
    np.testing.assert_allclose(s, 0.75 * (1 + 2 * math.log(2)), rtol=1e-12)


@pytest.mark.parametrize("pores", [OverlappingFibres(), HardCore()], ids=["overlapping", "hard"])
def test_a_porosity_that_only_a_solver_would_try_has_a_finite_surface(pores):
    strange = jnp.asarray([-1.0, 0.0, 1.0, 2.0])
    value, slope = jax.vmap(jax.value_and_grad(lambda eps: pores.surface(eps, EPS0)))(strange)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


# Transport


def test_percolation_is_the_law_of_random_fibres_and_a_floor_below():
    law = Percolation(*RANDOM_3D)
    d = law(jnp.asarray([0.6, 0.03]), jnp.ones(2))
    np.testing.assert_allclose(d, [0.6 * ((0.6 - 0.037) / 0.963) ** 0.661, 1e-3], rtol=1e-12)


def test_bosanquet_is_percolation_without_knudsen_diffusion_and_slower_with_it():
    law, s = Percolation(*RANDOM_3D), OverlappingFibres().surface(EPS, EPS0)
    free = law(EPS, s)
    np.testing.assert_allclose(Bosanquet(law, 1e-12)(EPS, s), free, rtol=1e-10)
    narrow = Bosanquet(law, 0.5)(EPS, s)
    np.testing.assert_allclose(1 / narrow, (1 + 0.5 * s / (2 * EPS)) / free, rtol=1e-12)
    assert (np.diff(narrow / free) > 0).all()  # narrow pores are slowed most


def test_learned_laws_start_as_their_priors():
    closure = ipd.PercolatingClosure(*RANDOM_3D, largest_threshold=0.2, floor=1e-3)
    s = OverlappingFibres().surface(EPS, EPS0)
    np.testing.assert_allclose(
        LearnedTransport(closure)(EPS, s), Percolation(*RANDOM_3D)(EPS, s), rtol=1e-9
    )
    falling = ipd.MonotoneClosure(lambda eps: 2 - eps, lower=0.0, upper=0.7)
    np.testing.assert_allclose(LearnedConductivity(falling)(EPS, EPS0), 2 - EPS, rtol=1e-9)


def test_conductivity_of_a_mixture_by_volume():
    """Of 0.6 pores 0.4 are filled: 0.2 gas, 0.4 fibre, 0.4 matrix."""
    mixed = Mixture(gas=0.1, fibre=1.0, matrix=3.0)(jnp.asarray(0.2), EPS0)
    np.testing.assert_allclose(mixed, 0.2 * 0.1 + 0.4 * 1 + 0.4 * 3, rtol=1e-12)


# Scales


FURNACE = {
    "pre_exponential_m_s": 13.5,
    "activation_energy_j_mol": 126e3,
    "temperature_k": 1373.0,
    "pressure_pa": 2e4,
    "diffusivity_m2_s": 1e-3,
    "half_thickness_m": 0.01725,
    "fibre_radius_m": 4e-6,
    "solid_density_kg_m3": 2100.0,
    "solid_molar_mass_kg_mol": 0.012,
    "solid_per_gas": 2.0,
    "mole_fraction": 0.5,
}


def test_scales_of_a_furnace_by_hand():
    """R T = 11415.756 J/mol; exp(-126000 / R T) = 1.60869e-5; C0 = 1e4 / R T = 0.875983 mol/m3."""
    scales = from_physical(**FURNACE)
    np.testing.assert_allclose(scales.gamma, 11.03738, rtol=1e-5)
    np.testing.assert_allclose(scales.rate_constant_m_s, 2.1718e-4, rtol=1e-4)
    np.testing.assert_allclose(scales.inlet_concentration_mol_m3, 0.875983, rtol=1e-5)
    np.testing.assert_allclose(scales.phi2, 16.156, rtol=1e-3)  # k0 L^2 / (r_f D0)
    # 4e-6 2100 / (2 0.012 k0 C0), half an hour
    np.testing.assert_allclose(scales.time_scale_s, 1839.5, rtol=1e-3)
    np.testing.assert_allclose(scales.storage, 0.01725**2 / 1e-3 / scales.time_scale_s, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        *(({name: -1.0}, f"{name} = -1.0; expected a positive") for name in FURNACE),
        ({"pressure_pa": math.nan}, "pressure_pa = nan"),
        ({"mole_fraction": 1.5}, "mole_fraction = 1.5; expected at most 1"),
        ({"temperature_k": 20.0}, "temperature_k = 20 is colder than a room; give kelvin"),
        ({"fibre_radius_m": 4.0}, "fibre_radius_m = 4 is not below half_thickness_m"),
    ],
)
def test_each_impossible_quantity_is_named(change, part):
    with pytest.raises(ipd.InputError) as raised:
        from_physical(**FURNACE | change)
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_explicit_steps_are_those_of_the_smallest_cell_in_the_preform():
    """delta eps / (2 d (h_x^-2 + h_y^-2)) is the longest step; pores store the gas."""
    settings = VaporInfiltrationClosureSettings.model_validate({"grid": {"cells": (10, 20)}})
    d = 0.6 * ((0.6 - 0.037) / 0.963) ** 0.661
    expected = 1.54 * 2 * d * (10**2 + 20**2) / (1e-6 * 0.6)
    np.testing.assert_allclose(explicit_steps(true_model(settings), 1.54), expected, rtol=1e-9)


@pytest.mark.slow
def test_on_a_fine_grid_the_tolerance_stays_above_round_off():
    settings = VaporInfiltrationClosureSettings.model_validate({"grid": {"cells": (512,)}})
    stepper = build_stepper(settings)
    assert isinstance(stepper, ipd.SDIRK2)
    assert stepper.solver.atol == 4 * np.finfo(float).eps * 512**2
    result = densify(settings, true_model(settings), np.asarray([0.0, 0.002]), step=0.002)
    assert int(result.stats.halvings.sum()) == 0
