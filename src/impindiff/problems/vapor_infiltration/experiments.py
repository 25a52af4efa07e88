"""Three inverse problems: a hidden closure, a hidden field, and both with heat."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.fields import BoundedField, ConditionalField, MonotoneClosure, PercolatingClosure
from impindiff.grid import Grid
from impindiff.problems.vapor_infiltration.forward import true_model
from impindiff.problems.vapor_infiltration.model import VaporInfiltration
from impindiff.problems.vapor_infiltration.pores import HardCore, OverlappingFibres, PoreModel
from impindiff.problems.vapor_infiltration.problem import InfiltrationProblem
from impindiff.problems.vapor_infiltration.results import Law, diffusivity_of
from impindiff.problems.vapor_infiltration.settings import (
    GAS_CONSTANT,
    ClosureSettings,
    InfiltrationSettings,
    VaporInfiltrationClosureSettings,
    VaporInfiltrationFieldSettings,
    VaporInfiltrationThermalSettings,
)
from impindiff.problems.vapor_infiltration.transport import LearnedConductivity, LearnedTransport
from impindiff.steppers import HybridModel
from impindiff.training import GaussianPrior


class VaporInfiltrationClosure(InfiltrationProblem[VaporInfiltrationClosureSettings]):
    """Chemical vapor infiltration, isothermal."""

    name = "vapor_infiltration_closure"
    infers: ClassVar[str] = "the effective diffusivity as a function of porosity, from CT and mass"
    settings = VaporInfiltrationClosureSettings

    def model(
        self, settings: VaporInfiltrationClosureSettings, key: PRNGKeyArray
    ) -> VaporInfiltration:
        """The part with a diffusivity that starts as the law of other fibres."""
        del key
        return _known(settings, transport=_learned_transport(settings, settings.closure))

    def prior(self, settings: VaporInfiltrationClosureSettings) -> GaussianPrior:
        """Gaussian prior of the closure."""
        return GaussianPrior(_slopes_of_diffusivity, settings.closure.deviation)

    def laws(self, settings: VaporInfiltrationClosureSettings) -> list[Law]:
        """The diffusivity law."""
        return [_diffusivity(settings)]

    def identified(self, model: HybridModel) -> dict[str, Float[Array, ""]]:
        """The percolation threshold."""
        return _threshold(model)

    def truths(self, settings: VaporInfiltrationClosureSettings) -> dict[str, float]:
        """The true percolation threshold."""
        return {"percolation_threshold": settings.physics.percolation[0]} | settings.truth


class VaporInfiltrationField(InfiltrationProblem[VaporInfiltrationFieldSettings]):
    """Chemical vapor infiltration of a preform that is not uniform.

    Its porosity eps0(x, y) has a dense inclusion.
    """

    name = "vapor_infiltration_field"
    infers: ClassVar[str] = "the initial porosity field, from CT and mass while the part densifies"
    latent_figure: ClassVar[str] = "initial_porosity"
    settings = VaporInfiltrationFieldSettings

    def initial_porosity(
        self, settings: VaporInfiltrationFieldSettings, grid: Grid
    ) -> Float[np.ndarray, "*cells"]:
        """The true porosity: eps0 less a Gaussian inclusion."""
        inclusion = settings.inclusion
        scaled = [
            (axis / length - centre) / inclusion.radius
            for axis, length, centre in zip(
                np.asarray(grid.centers), grid.upper, inclusion.centre, strict=True
            )
        ]
        return settings.physics.eps0 - inclusion.depth * np.exp(-0.5 * sum(x**2 for x in scaled))

    def model(
        self, settings: VaporInfiltrationFieldSettings, key: PRNGKeyArray
    ) -> VaporInfiltration:
        """The part with a bounded SIREN for its initial porosity."""
        field, upper = settings.field, settings.grid.upper
        network = ConditionalField(
            1,
            (0.0,) * len(upper),
            upper,
            width=field.width,
            depth=field.depth,
            omega_first=field.omega_first,
            omega=field.omega,
            key=key,
        )
        return _known(settings, initial_porosity=BoundedField(network, *settings.bounds))

    def latent_fields(
        self, model: HybridModel, t: Float[Array, ""]
    ) -> dict[str, Float[Array, "*cells"]]:
        """The initial porosity."""
        assert isinstance(model, VaporInfiltration)
        return {"initial_porosity": model.latent(t).initial}


class VaporInfiltrationThermal(InfiltrationProblem[VaporInfiltrationThermalSettings]):
    """Chemical vapor infiltration in a thermal gradient."""

    name = "vapor_infiltration_thermal"
    infers: ClassVar[str] = (
        "the activation energy, effective diffusivity and conductivity, from CT, mass and "
        "thermocouples"
    )
    settings = VaporInfiltrationThermalSettings

    def model(
        self, settings: VaporInfiltrationThermalSettings, key: PRNGKeyArray
    ) -> VaporInfiltration:
        """The part with gamma and both laws at their initial values."""
        del key
        start, heat, eps0 = settings.start, settings.physics.heat, settings.physics.eps0
        assert heat is not None
        gas, fibre, matrix = start.conductivity
        conductivity = MonotoneClosure(
            _Mixed(eps0, gas, fibre, matrix),
            lower=settings.physics.percolation[0],
            upper=eps0,
            knots=start.knots,
        )
        model = _known(settings, transport=_learned_transport(settings, settings.closure))
        return eqx.tree_at(
            lambda m: (m.gamma, m.heat.conductivity),
            model,
            (
                jnp.asarray(start.activation_energy / (GAS_CONSTANT * heat.reference)),
                LearnedConductivity(conductivity),
            ),
        )

    def prior(self, settings: VaporInfiltrationThermalSettings) -> GaussianPrior:
        """Gaussian prior of both closures."""
        return GaussianPrior(_slopes_of_both, settings.closure.deviation)

    def laws(self, settings: VaporInfiltrationThermalSettings) -> list[Law]:
        """The diffusivity and conductivity laws."""
        eps0 = settings.physics.eps0

        def conductivity(model: VaporInfiltration, eps: Array) -> Array:
            assert model.heat is not None
            return model.heat.conductivity(eps, jnp.asarray(eps0))

        return [
            _diffusivity(settings),
            Law("conductivity", "conductivity over the reference value", conductivity),
        ]

    def identified(self, model: HybridModel) -> dict[str, Float[Array, ""]]:
        """The activation gamma and the percolation threshold."""
        assert isinstance(model, VaporInfiltration)
        return {"gamma": jnp.asarray(model.gamma)} | _threshold(model)

    def truths(self, settings: VaporInfiltrationThermalSettings) -> dict[str, float]:
        """The true activation gamma and percolation threshold."""
        heat = settings.physics.heat
        assert heat is not None
        own = {"gamma": heat.gamma, "percolation_threshold": settings.physics.percolation[0]}
        return own | settings.truth


class _Mixed(eqx.Module):
    """The prior law of the conductivity: a mixture, as a function of porosity alone."""

    initial: float
    gas: float
    fibre: float
    matrix: float

    def __call__(self, porosity: Any) -> Any:
        solid = (1 - self.initial) * self.fibre + (self.initial - porosity) * self.matrix
        return porosity * self.gas + solid


def _known(settings: InfiltrationSettings, **learned: Any) -> VaporInfiltration:
    """The model with the known properties, and `learned` in place of the hidden ones."""
    pores: PoreModel = HardCore() if settings.physics.pores == "hard_core" else OverlappingFibres()
    model = true_model(settings)
    return eqx.tree_at(
        lambda m: (m.pores, *(getattr(m, name) for name in learned)),
        model,
        (pores, *learned.values()),
        is_leaf=lambda leaf: leaf is None,
    )


def _learned_transport(
    settings: InfiltrationSettings, closure: ClosureSettings
) -> LearnedTransport:
    threshold, exponent = closure.prior
    return LearnedTransport(
        PercolatingClosure(
            threshold,
            exponent,
            largest_threshold=closure.largest_threshold,
            floor=settings.physics.floor,
            knots=closure.knots,
        )
    )


def _diffusivity(settings: InfiltrationSettings) -> Law:
    eps0 = settings.physics.eps0
    return Law(
        "diffusivity",
        "effective diffusivity over the free one",
        lambda model, eps: diffusivity_of(model, eps, eps0),
    )


def _slopes_of_diffusivity(model: VaporInfiltration) -> Any:
    assert isinstance(model.transport, LearnedTransport)
    return model.transport.closure.log_slopes


def _slopes_of_both(model: VaporInfiltration) -> Any:
    assert model.heat is not None
    assert isinstance(model.heat.conductivity, LearnedConductivity)
    return _slopes_of_diffusivity(model), model.heat.conductivity.closure.log_slopes


def _threshold(model: HybridModel) -> dict[str, Float[Array, ""]]:
    assert isinstance(model, VaporInfiltration)
    return {"percolation_threshold": jnp.asarray(model.transport.closing_porosity)}
