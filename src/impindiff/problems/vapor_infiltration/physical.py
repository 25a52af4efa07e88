"""Conversion of furnace conditions to the scaled equations."""

import math
from typing import NamedTuple

from impindiff.errors import InputError
from impindiff.problems.vapor_infiltration.settings import GAS_CONSTANT


class PhysicalScales(NamedTuple):
    """Parameters of the scaled equations, and the unit of time.

    - `phi2`: k0 L^2 / (r_f D0), with k0 the rate constant at the reference temperature.
    - `gamma`: E / (R T0).
    - `storage`: delta = L^2 / (D0 t_d).
    - `time_scale_s`: t_d = r_f rho_s / (nu M_s k0 C0), seconds for one unit of time.
    - `rate_constant_m_s`: k0.
    - `inlet_concentration_mol_m3`: C0.
    """

    phi2: float
    gamma: float
    storage: float
    time_scale_s: float
    rate_constant_m_s: float
    inlet_concentration_mol_m3: float


def from_physical(
    *,
    pre_exponential_m_s: float,
    activation_energy_j_mol: float,
    temperature_k: float,
    pressure_pa: float,
    diffusivity_m2_s: float,
    half_thickness_m: float,
    fibre_radius_m: float,
    solid_density_kg_m3: float,
    solid_molar_mass_kg_mol: float,
    solid_per_gas: float = 1.0,
    mole_fraction: float = 1.0,
) -> PhysicalScales:
    """Compute the scaled parameters of a part in a furnace.

    **Arguments:**

    - `pre_exponential_m_s`, `activation_energy_j_mol`: of the surface reaction, first order in the
      gas: k = A exp(-E / (R T)) (13.5 m/s and 126 kJ/mol for carbon from acetylene).
    - `temperature_k`, `pressure_pa`, `mole_fraction`: of the gas at the part's surface; the
      temperature is T0, at which phi2 holds.
    - `diffusivity_m2_s`: D0, of the gas in free space at that temperature and pressure.
    - `half_thickness_m`: L, from the surface to the plane of symmetry.
    - `fibre_radius_m`: r_f.
    - `solid_density_kg_m3`, `solid_molar_mass_kg_mol`, `solid_per_gas`: rho_s, M_s and nu, moles of
      solid for a mole of gas (2 for carbon from acetylene).

    **Raises:** `InputError` for a value that is not positive and finite, a mole fraction above 1,
    and a value of implausible magnitude for its unit (a temperature below 300 K, a fibre thicker
    than the part).
    """
    given = dict(locals())
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"from_physical: {name} = {value}; expected a positive number")
    if mole_fraction > 1:
        raise InputError(f"from_physical: mole_fraction = {mole_fraction:g}; expected at most 1")
    if temperature_k < 300:
        raise InputError(
            f"from_physical: temperature_k = {temperature_k:g} is colder than a room; give kelvin"
        )
    if fibre_radius_m >= half_thickness_m:
        raise InputError(
            f"from_physical: fibre_radius_m = {fibre_radius_m:g} is not below half_thickness_m = "
            f"{half_thickness_m:g}; give both in metres"
        )
    gamma = activation_energy_j_mol / (GAS_CONSTANT * temperature_k)
    rate_constant = pre_exponential_m_s * math.exp(-gamma)
    concentration = mole_fraction * pressure_pa / (GAS_CONSTANT * temperature_k)
    growth = solid_per_gas * solid_molar_mass_kg_mol * rate_constant * concentration
    time_scale = fibre_radius_m * solid_density_kg_m3 / growth
    length2 = half_thickness_m**2
    return PhysicalScales(
        phi2=rate_constant * length2 / (fibre_radius_m * diffusivity_m2_s),
        gamma=gamma,
        storage=length2 / (diffusivity_m2_s * time_scale),
        time_scale_s=time_scale,
        rate_constant_m_s=rate_constant,
        inlet_concentration_mol_m3=concentration,
    )
