"""Preconditioner of the coupled system: one multigrid cycle for gas and one for heat."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.implicit import LinearMap
from impindiff.operators import Elliptic, multigrid_cycle
from impindiff.problems.vapor_infiltration.model import VaporInfiltration, concentration
from impindiff.steppers import StageEquation


class InfiltrationPreconditioner(eqx.Module):
    """Block elimination of a stage of `VaporInfiltration`, for use with `NewtonKrylov`.

    In (eps, c, theta), with R_x = dR/dx, w the stage's weight and W = w, or 1 in an equation
    without mass:

    1. heat: (beta - W div lambda grad) dtheta = r_theta;
    2. gas, the porosity eliminated: with g = 1 + w R_eps and e = delta c + W phi2 R_eps,
       (delta eps + (W phi2 - e w / g) R_c - W div d grad) dc
       = r_gas - (W phi2 - e w / g) R_theta dtheta - e r_eps / g;
    3. solid, cell by cell: deps = (r_eps - w (R_c dc + R_theta dtheta)) / g.

    The dependence of the coefficients d and lambda on eps is neglected. The elliptic operators are
    symmetric M-matrices; one cycle of `multigrid_cycle` approximates the inverse of each.
    """

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """Build the map on residuals, linearised at the state z."""
        model = stage.model
        assert isinstance(model, VaporInfiltration)
        latent, w, grid = stage.latent, stage.weight, model.grid
        eps, c, theta = z["porosity"], concentration(z), z.get("temperature")

        def slope(of, x):
            return jax.jvp(of, (x,), (jnp.ones_like(x),))[1]

        R_eps = slope(lambda eps: model.reaction(eps, c, theta, latent), eps)
        R_c = slope(lambda c: model.reaction(eps, c, theta, latent), c)
        R_theta = 0.0
        heat = model.heat
        inverse_of_heat = None
        if heat is not None and theta is not None:
            R_theta = slope(lambda theta: model.reaction(eps, c, theta, latent), theta)
            conductivity = model.conductivity(eps, latent)
            W = 1.0 if heat.capacity == 0 else w
            inverse_of_heat = multigrid_cycle(
                Elliptic.of(
                    W * conductivity,
                    heat.capacity,
                    grid,
                    averaging="harmonic",
                    boundary=model.heat_boundary(conductivity, latent),
                )
            )

        W = 1.0 if model.storage == 0 else w
        g = jnp.maximum(1 + w * R_eps, 0.1)
        e = model.storage * c + W * latent.phi2 * R_eps
        uptake = W * latent.phi2 - e * w / g
        d = model.diffusivity(eps, latent)
        inverse_of_gas = multigrid_cycle(
            Elliptic.of(
                W * d,
                jnp.maximum(model.storage * eps + uptake * R_c, 0.0),
                grid,
                averaging="harmonic",
                boundary=model.gas_boundary(d),
            )
        )
        inflow = None
        if model.track_inflow:
            _, inflow = jax.linearize(lambda eps, c: model.inflow(eps, c, latent), eps, c)

        def apply(r: PyTree) -> PyTree:
            dtheta = 0.0 if inverse_of_heat is None else inverse_of_heat(r["temperature"])
            dc = inverse_of_gas(r["gas"] - uptake * R_theta * dtheta - e / g * r["porosity"])
            deps = (r["porosity"] - w * (R_c * dc + R_theta * dtheta)) / g
            dz = {"porosity": deps, "gas": eps * dc + c * deps}
            if inverse_of_heat is not None:
                dz["temperature"] = dtheta
            if inflow is not None:
                dz["inflow"] = r["inflow"] + w * inflow(deps, dc)
            return dz

        return apply
