"""Gas, heat and solid in a fibrous part that densifies from within."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.fields import BoundedField
from impindiff.grid import Boundaries, Dirichlet, Grid, Neumann, Robin
from impindiff.operators import diffusion
from impindiff.problems.vapor_infiltration.cells import cell_by_cell
from impindiff.problems.vapor_infiltration.pores import PoreModel
from impindiff.problems.vapor_infiltration.transport import ConductivityModel, TransportModel
from impindiff.steppers import HybridModel, PerSample

# smaller porosities tried by a solver are replaced by this
_SMALLEST = 1e-6

Number = float | Array | PerSample
Fields = dict[str, Float[Array, "*cells"]]


class Heat(eqx.Module):
    """beta d(theta)/dtau = div(lambda grad theta) + q R, theta being temperature over T0.

    A heater holds the side at the lower end of the first axis at a temperature; other closed sides
    are insulated; open sides are cooled.

    - `conductivity`: lambda(eps, eps0), over a reference conductivity.
    - `heater`, `surroundings`: theta of the heater, and of the medium that cools the open sides.
    - `biot`: Bi of these, -lambda dtheta/dn = Bi (theta - surroundings); None: they are held at the
      temperature of the surroundings.
    - `capacity`: beta; 0, the default, for heat conduction much faster than deposition.
    - `source`: q, heat of the reaction.
    """

    conductivity: ConductivityModel
    heater: Number
    surroundings: Number = 1.0
    biot: float | None = None
    capacity: float = 0.0
    source: float = 0.0


class Coefficients(NamedTuple):
    """State-independent properties of a part; the latent of `VaporInfiltration`."""

    phi2: Any
    initial: Any
    gamma: Any
    heater: Any
    surroundings: Any


class VaporInfiltration(HybridModel):
    """Chemical vapor infiltration: gas diffuses into a fibrous part and deposits solid there.

    In lengths of L, concentrations of the inlet's and times of r_f rho_s / (nu M_s k0 C0):

        solid   d(eps)/dtau = -R,   R = s(eps) kappa(theta) c
        gas     delta d(eps c)/dtau = div(d(eps) grad c) - phi2 R
        heat    beta d(theta)/dtau = div(lambda(eps) grad theta) + q R   (if there is `heat`)

    with kappa = exp(gamma (1 - 1/theta)). Gas enters through the open sides: c = 1 there, or
    -d dc/dn = Bi (c - 1); no gas passes the others, planes of symmetry.

    The state is a dictionary of fields: `porosity` (eps), `gas` (the content eps c of the pores per
    volume of the part; `concentration` gives c) and, with `heat`, `temperature` (theta). Both
    conserved quantities are state variables: the equations of gas and solid share the term R, so
    the gas lost equals the solid gained, to the solver's tolerance, in every stage of every
    implicit stepper and for any delta. The fibres' radius as state would need a special stepper for
    its discrete surface. With delta = 0 (the default) gas is quasi-steady, an algebraic variable
    (mass 0).

    Where pores reach the percolation threshold eps_p of the transport model, they are cut off from
    the gas: R carries a factor tanh((eps - eps_p) / `stop_width`).

    - `pores`, `transport`: s(eps, eps0) and d(eps, s).
    - `phi2`: k0 L^2 / (r_f D0), the square of the Thiele modulus of the bare fibres.
    - `initial_porosity`: eps0, a number, an array of values or a neural field.
    - `gamma`: E / (R T0), of the reaction; without `heat` theta is 1 and kappa too.
    - `biot`: Bi of the gas at open sides; None: c = 1 there.
    - `storage`: delta.
    - `open_sides`: per axis, flags of the (lower, upper) open sides; default the upper ones.
    - `track_inflow`: add a component `inflow`, the gas that has entered through each cell's open
      sides, per volume, from which `imbalance` measures conservation.

    Source: equations of Tomadakis and Sotirchos (1993) and later literature on chemical vapor
    infiltration; scaled as on its page of the documentation.
    """

    grid: Grid
    pores: PoreModel
    transport: TransportModel
    phi2: Number
    initial_porosity: Number | BoundedField
    gamma: Number = 0.0
    heat: Heat | None = None
    biot: float | None = None
    storage: float = 0.0
    stop_width: float = 2e-4
    open_sides: tuple[tuple[bool, bool], ...] | None = eqx.field(static=True, default=None)
    track_inflow: bool = eqx.field(static=True, default=False)

    def latent(self, t: Float[Array, ""]) -> Coefficients:
        """Evaluate the coefficients."""
        del t
        initial, heat = self.initial_porosity, self.heat
        numbers = Coefficients(
            phi2=self.phi2,
            initial=initial(self.grid)[0] if isinstance(initial, BoundedField) else initial,
            gamma=self.gamma,
            heater=1.0 if heat is None else heat.heater,
            surroundings=1.0 if heat is None else heat.surroundings,
        )
        return Coefficients(*(x if isinstance(x, PerSample) else jnp.asarray(x) for x in numbers))

    def mass(self) -> dict[str, float]:
        """Mass matrix: 1 for the porosity, delta and beta."""
        masses = {"porosity": 1.0, "gas": self.storage}
        if self.heat is not None:
            masses["temperature"] = self.heat.capacity
        return masses | ({"inflow": 1.0} if self.track_inflow else {})

    def initial_state(self, samples: int | None = None) -> Fields:
        """Initial state: porosity eps0, pores full of gas, theta between heater and surroundings.

        - `samples`: batch size, as the first axis. `PerSample` coefficients must have as many.
        """
        batch = () if samples is None else (samples,)
        coefficients = self.latent(jnp.zeros(()))

        def spread(value: Any) -> Float[Array, "..."]:
            if isinstance(value, PerSample):
                value = jnp.asarray(value.values, float)
                value = value.reshape(*value.shape, *[1] * (1 + self.grid.ndim - value.ndim))
            return jnp.broadcast_to(jnp.asarray(value, float), (*batch, *self.grid.cells))

        eps = spread(coefficients.initial)
        state = {"porosity": eps, "gas": eps}
        if self.heat is not None:
            along = jnp.linspace(0.0, 1.0, self.grid.cells[0])
            along = along.reshape(-1, *[1] * (self.grid.ndim - 1))
            heater, surroundings = spread(coefficients.heater), spread(coefficients.surroundings)
            state["temperature"] = heater + along * (surroundings - heater)
        return state | ({"inflow": jnp.zeros_like(eps)} if self.track_inflow else {})

    def tendency(self, t: Float[Array, ""], u: PyTree, latent: Coefficients) -> PyTree:
        """Right-hand sides of the equations above."""
        del t
        eps = u["porosity"]
        c = concentration(u)
        theta = u.get("temperature")
        d = self.diffusivity(eps, latent)
        R = self.reaction(eps, c, theta, latent)
        spread = self.spread_of_gas(c, d)
        rates = {"porosity": -R, "gas": spread - latent.phi2 * R}
        if self.heat is not None and theta is not None:
            conductivity = self.conductivity(eps, latent)
            rates["temperature"] = self.heat.source * R + diffusion(
                theta,
                conductivity,
                self.grid,
                averaging="harmonic",
                boundary=self.heat_boundary(conductivity, latent),
            )
        if self.track_inflow:
            rates["inflow"] = self.inflow(eps, c, latent)
        return rates

    def reaction(
        self,
        eps: Float[Array, "*cells"],
        c: Float[Array, "*cells"],
        theta: Float[Array, "*cells"] | None,
        latent: Coefficients,
    ) -> Float[Array, "*cells"]:
        """Reaction rate R = s kappa c, fading where the pores close."""
        closing = (self.transport.closing_porosity, self.stop_width)
        fields = (eps, c) if theta is None else (eps, c, theta)
        return cell_by_cell(_reaction, (self.pores, closing, latent.initial, latent.gamma), *fields)

    def diffusivity(
        self, eps: Float[Array, "*cells"], latent: Coefficients
    ) -> Float[Array, "*cells"]:
        """The effective diffusivity d at porosity eps."""
        return cell_by_cell(_diffusivity, (self.transport, self.pores, latent.initial), eps)

    def conductivity(
        self, eps: Float[Array, "*cells"], latent: Coefficients
    ) -> Float[Array, "*cells"]:
        """The effective conductivity lambda at porosity eps, of a model with `heat`."""
        assert self.heat is not None
        return cell_by_cell(_conductivity, (self.heat.conductivity, latent.initial), eps)

    def spread_of_gas(
        self, c: Float[Array, "*cells"], d: Float[Array, "*cells"]
    ) -> Float[Array, "*cells"]:
        """Diffusive transport div(d grad c)."""
        return diffusion(c, d, self.grid, averaging="harmonic", boundary=self.gas_boundary(d))

    def inflow(
        self, eps: Float[Array, "*cells"], c: Float[Array, "*cells"], latent: Coefficients
    ) -> Float[Array, "*cells"]:
        """Gas entering each cell through open sides, per volume."""
        d = self.diffusivity(eps, latent)
        closed = self._sides(Neumann(), Neumann())
        inside = diffusion(c, d, self.grid, averaging="harmonic", boundary=closed)
        return self.spread_of_gas(c, d) - inside

    def gas_boundary(self, d: Float[Array, "*cells"]) -> Boundaries:
        """Gas boundary conditions: c = 1 or Robin at open sides, no flux at the others."""
        biot = self.biot
        if biot is None:
            return self._sides(Neumann(), Dirichlet(1.0))
        return self._sides(Neumann(), lambda near: Robin(biot, near, biot), d)

    def heat_boundary(
        self, conductivity: Float[Array, "*cells"], latent: Coefficients
    ) -> Boundaries:
        """Heat boundary conditions: heater, insulated symmetry planes, open sides."""
        assert self.heat is not None
        biot, surroundings = self.heat.biot, latent.surroundings
        if biot is None:
            sides = self._sides(Neumann(), Dirichlet(surroundings))
        else:
            sides = self._sides(
                Neumann(), lambda near: Robin(biot, near, biot * surroundings), conductivity
            )
        return ((Dirichlet(latent.heater), sides[0][1]), *sides[1:])

    def _sides(self, closed: Any, opened: Any, field: Array | None = None) -> Boundaries:
        """Conditions on all sides; `opened` may be a function of the cells next to the side."""
        given = self.open_sides or ((False, True),) * self.grid.ndim

        def of_side(axis: int, end: int, is_open: bool) -> Any:
            if not is_open:
                return closed
            if field is None:
                return opened
            return opened(jnp.take(field, -end, axis=axis - self.grid.ndim))

        return tuple(
            (of_side(axis, 0, lower), of_side(axis, 1, upper))
            for axis, (lower, upper) in enumerate(given)
        )


def concentration(u: Fields) -> Float[Array, "*cells"]:
    """The gas concentration c in the pores, over the inlet's."""
    return cell_by_cell(_concentration, (), u["porosity"], u["gas"])


def _concentration(
    _: tuple[()], eps: Float[Array, "*cells"], gas: Float[Array, "*cells"]
) -> Float[Array, "*cells"]:
    return gas / jnp.maximum(eps, _SMALLEST)


def _reaction(
    given: tuple[Any, ...],
    eps: Float[Array, "*cells"],
    c: Float[Array, "*cells"],
    theta: Float[Array, "*cells"] | None = None,
) -> Float[Array, "*cells"]:
    pores, (threshold, stop_width), initial, gamma = given
    kappa = 1.0 if theta is None else jnp.exp(gamma * (1 - 1 / theta))
    excess = (eps - threshold) / stop_width
    # Beyond the threshold, where no solution lies, use a straight line in the porosity alone, from
    # which Newton's method returns in one step. On tanh's flat side it would never return, and
    # often not with the gas, which is arbitrary there, as a factor.
    open_part = jnp.where(excess > 0, jnp.tanh(excess) * c, excess)
    return pores.surface(jnp.maximum(eps, threshold), initial) * kappa * open_part


def _diffusivity(given: tuple[Any, ...], eps: Float[Array, "*cells"]) -> Float[Array, "*cells"]:
    transport, pores, initial = given
    return transport(eps, pores.surface(eps, initial))


def _conductivity(given: tuple[Any, ...], eps: Float[Array, "*cells"]) -> Float[Array, "*cells"]:
    conductivity, initial = given
    return conductivity(eps, initial)


def imbalance(
    model: VaporInfiltration, u: PyTree[Float[Array, "times *rest"]]
) -> Float[Array, " steps *samples"]:
    """Relative imbalance of gas and deposited solid in each interval.

    |gas in - phi2 solid deposited - change of the gas stored| / (gas in), all summed over the part.
    Where hardly any gas enters, after pore closure, it is relative to a millionth of the largest
    inflow in an interval, since the remainder is round-off in the porosity.

    - `u`: states of a rollout of a model with `track_inflow`, at two or more times.
    """
    axes = tuple(range(-model.grid.ndim, 0))
    changes = jax.tree.map(lambda x: jnp.sum(jnp.diff(x, axis=0), axes), u)
    phi2 = model.phi2.values if isinstance(model.phi2, PerSample) else model.phi2
    deposited = -jnp.asarray(phi2) * changes["porosity"]
    stored = model.storage * changes["gas"]
    entered = jnp.abs(changes["inflow"])
    least = 1e-6 * jnp.max(entered, 0)
    return jnp.abs(changes["inflow"] - deposited - stored) / jnp.maximum(entered, least)


def imbalance_of_rates(
    model: VaporInfiltration, u: PyTree[Float[Array, "times samples *cells"]]
) -> Float[Array, "times samples"]:
    """Relative imbalance of the rates of gas and deposition at each time, without storage.

    |gas in - phi2 solid deposited| / (gas in), per unit of time, both summed over the part; the
    same at each time of every specimen as `imbalance` over an interval, from the state alone. It is
    relative to a millionth of the largest inflow where hardly any gas enters.

    - `u`: states of a rollout of a model without `storage`.
    """
    latent = model.latent(jnp.zeros(()))
    phi2 = latent.phi2.values if isinstance(latent.phi2, PerSample) else latent.phi2

    def of_state(u: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        eps, c = u["porosity"], concentration(u)
        reaction = model.reaction(eps, c, u.get("temperature"), latent)
        return jnp.sum(model.inflow(eps, c, latent)), jnp.sum(reaction)

    entered, reacted = jax.vmap(jax.vmap(of_state))(u)
    least = 1e-6 * jnp.max(entered, 0)
    return jnp.abs(entered - jnp.asarray(phi2) * reacted) / jnp.maximum(entered, least)
