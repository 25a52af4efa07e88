"""Transport models: effective diffusivity and conductivity of a part as its pores close."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from impindiff.fields import MonotoneClosure, PercolatingClosure, percolation_law

# (eps_p, alpha) of structures of random fibres, Tomadakis and Sotirchos (1993), table 1
RANDOM_3D = (0.037, 0.661)
RANDOM_2D_IN_PLANE = (0.11, 0.521)
RANDOM_2D_THROUGH_PLANE = (0.11, 0.785)


class TransportModel(eqx.Module):
    """d(eps, s) > 0, the effective diffusivity of the gas over its diffusivity in free space."""

    @property
    @abc.abstractmethod
    def closing_porosity(self) -> Any:
        """The porosity below which no pore is connected to the surface, a scalar."""

    @abc.abstractmethod
    def __call__(
        self, porosity: Float[Array, "*cells"], surface: Float[Array, "*cells"]
    ) -> Float[Array, "*cells"]:
        """Diffusivity d at porosity eps and scaled surface s."""


class Percolation(TransportModel):
    """d = eps ((eps - eps_p) / (1 - eps_p))^alpha above eps_p, no lower than `floor`.

    - `threshold`, `exponent`: eps_p and alpha; `RANDOM_3D` and others for random fibres.

    Source: Tomadakis and Sotirchos, AIChE J. 39 (1993).
    """

    threshold: float
    exponent: float
    floor: float = 1e-3

    @property
    def closing_porosity(self) -> float:
        """The threshold eps_p."""
        return self.threshold

    def __call__(
        self, porosity: Float[Array, "*cells"], surface: Float[Array, "*cells"]
    ) -> Float[Array, "*cells"]:
        """Diffusivity d at porosity eps and scaled surface s."""
        del surface
        return percolation_law(porosity, self.threshold, self.exponent, self.floor)


class Bosanquet(TransportModel):
    """Bulk and Knudsen diffusion in series: d = percolation / (1 + Kn s / (2 eps)).

    Pores of radius 2 eps / S_v, S_v = s / r_f, narrow as they fill.

    - `percolation`: law of the structure alone.
    - `knudsen`: Kn, bulk over Knudsen diffusivity in a pore as wide as a fibre.

    Source: Pollard and Present, Phys. Rev. 73 (1948) (the series), with the pore radius of
    Tomadakis and Sotirchos (1993).
    """

    percolation: Percolation
    knudsen: float

    @property
    def closing_porosity(self) -> float:
        """The threshold of the structure."""
        return self.percolation.threshold

    def __call__(
        self, porosity: Float[Array, "*cells"], surface: Float[Array, "*cells"]
    ) -> Float[Array, "*cells"]:
        """Diffusivity d at porosity eps and scaled surface s."""
        narrow = 1 + self.knudsen * surface / (2 * jnp.maximum(porosity, self.closing_porosity))
        return self.percolation(porosity, surface) / narrow


class LearnedTransport(TransportModel):
    """d = y(eps), a learned percolating closure: positive, increasing, with a learned threshold."""

    closure: PercolatingClosure

    @property
    def closing_porosity(self) -> Float[Array, ""]:
        """The learned threshold."""
        return self.closure.threshold

    def __call__(
        self, porosity: Float[Array, "*cells"], surface: Float[Array, "*cells"]
    ) -> Float[Array, "*cells"]:
        """Diffusivity d at porosity eps and scaled surface s."""
        del surface
        return self.closure(porosity)


class ConductivityModel(eqx.Module):
    """lambda(eps, eps0) > 0, the effective conductivity over a reference conductivity."""

    @abc.abstractmethod
    def __call__(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Conductivity at porosity eps, for a part of initial porosity eps0."""


class Mixture(ConductivityModel):
    """lambda = eps gas + (1 - eps0) fibre + (eps0 - eps) matrix: a mean by volume fractions."""

    gas: float = 0.02
    fibre: float = 1.0
    matrix: float = 2.0

    def __call__(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Conductivity at porosity eps, for a part of initial porosity eps0."""
        deposited = initial - porosity
        return porosity * self.gas + (1 - initial) * self.fibre + deposited * self.matrix


class LearnedConductivity(ConductivityModel):
    """lambda = y(eps), a learned positive closure that falls as porosity rises."""

    closure: MonotoneClosure

    def __call__(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Conductivity at porosity eps, for a part of initial porosity eps0."""
        del initial
        return self.closure(porosity)
