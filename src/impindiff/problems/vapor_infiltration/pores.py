"""Pore models: surface area of a fibrous preform's pores as a function of porosity."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# bounds for porosities outside (0, 1), which a solver may try
_SMALLEST, _LARGEST = 1e-6, 1 - 1e-9
# nodes of the quadrature for a fibre's radius
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


class PoreModel(eqx.Module):
    """s(eps; eps0) > 0, the surface per volume of the part times the fibre radius r_f.

    A fibre of radius r (over r_f) that grows by dr fills s dr of the volume: d eps = -s dr. So any
    positive s corresponds to exactly one monotone eps(r) from eps(1) = eps0, and a monotone eps(r)
    has s = -d eps/dr.
    """

    @abc.abstractmethod
    def surface(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Surface s at porosity eps, for a part of initial porosity eps0."""

    def radius(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """The coated fibre's radius over r_f: 1 + the integral of 1/s from eps to eps0.

        Uses Gauss-Legendre quadrature in ln eps.
        """
        nodes = jnp.asarray(_NODES, porosity.dtype).reshape(-1, *[1] * porosity.ndim)
        high, low = jnp.log(initial), jnp.log(jnp.clip(porosity, _SMALLEST))
        at = jnp.exp(0.5 * (high + low) + 0.5 * (high - low) * nodes)
        of_nodes = at / self.surface(at, jnp.broadcast_to(initial, at.shape))
        return 1 + 0.5 * (high - low) * jnp.tensordot(
            jnp.asarray(_WEIGHTS, porosity.dtype), of_nodes, 1
        )


class OverlappingFibres(PoreModel):
    """Randomly placed, overlapping fibres: eps = eps0^(r^2).

    s = -d eps/dr = -2 r ln(eps0) eps = 2 eps sqrt(ln eps ln eps0).

    Source: Tomadakis and Sotirchos, "Ordinary and transition regime diffusion in random fiber
    structures", AIChE J. 39 (1993).
    """

    def surface(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Surface s at porosity eps, for a part of initial porosity eps0."""
        eps = jnp.clip(porosity, _SMALLEST, _LARGEST)
        return 2 * eps * jnp.sqrt(jnp.log(eps) * jnp.log(initial))

    def radius(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Radius r = sqrt(ln eps / ln eps0), exactly."""
        eps = jnp.clip(porosity, _SMALLEST, _LARGEST)
        return jnp.sqrt(jnp.log(eps) / jnp.log(initial))


class HardCore(PoreModel):
    """Fibres that do not overlap: s = 2 x (1 - eps) (ln(1/x) / eps0 + 1) with x = eps / eps0."""

    def surface(
        self, porosity: Float[Array, "*cells"], initial: Float[Array, "..."]
    ) -> Float[Array, "*cells"]:
        """Surface s at porosity eps, for a part of initial porosity eps0."""
        eps = jnp.clip(porosity, _SMALLEST, _LARGEST)
        x = eps / initial
        return 2 * x * (1 - eps) * (1 - jnp.log(x) / initial)
