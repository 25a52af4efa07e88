"""Coordinate fields: unknown functions of position, and optionally of time or a code."""

import functools
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.errors import InputError
from impindiff.fields._conditioning import CONDITIONINGS, AbstractConditioning
from impindiff.fields._siren import Siren
from impindiff.fields._time_basis import TimeBasis


@runtime_checkable
class HasCenters(Protocol):
    """Any object with coordinates of its points, such as `Grid`: (dimensions, *points)."""

    @property
    def centers(self) -> Float[Array, "ndim *points"]:
        """Coordinates, one row per axis."""
        ...


class ConditionalField(eqx.Module):
    """Coordinate field v(x) = N(xi(x)), a SIREN N: steady, or conditioned on time, a code or both.

    The field is defined on a box, not on a grid: it may be trained on one grid and evaluated on
    another. Each coordinate is scaled to xi in [-1, 1] on the box; along axes marked `periodic` it
    enters as (cos pi xi, sin pi xi) instead, and the field is exactly periodic.

    **Arguments:**

    - `components`: number of outputs (2 for a velocity in the plane).
    - `lower`, `upper`: corners of the box, in the units of the coordinates.
    - `periodic`: one flag per axis; default none.
    - `width`, `depth`, `omega_first`, `omega`: see `Siren`.
    - `conditioning`: dependence of v on e(t), the features of time, and on a code z:

      - "last_layer": v = sum_r a_r phi_r(x) with a = e(t) ⊗ (1, z); the network gives the spatial
        functions phi in one pass for all times and codes. The cheapest, and the one to start with.
      - "modulation": e(t) and z scale and shift the argument of each sine linearly (FiLM).
      - "hypernetwork": a small network of e(t) and z generates all weights of N.
      - None (default): a steady field.

      The last two start as the steady field of the same key and cost a pass per time and code;
      `jax.lax.map` over `jax.checkpoint` of the call holds the activations of one at a time.
    - `time`: e, a `TimeBasis`; without it the field does not depend on time.
    - `code_size`: entries of z, such as a learned vector per trajectory (auto-decoder); default 0,
      no code. Draw the first codes at random: at z = 0 "modulation" has no derivative by z.

    **Raises:** `InputError` if the box or the grid have the wrong dimension, if `conditioning`,
    `time` and `code_size` do not fit together, and if a time or code is missing or of the wrong
    shape.

    Calling it with a grid, a time and a code (code_size,) gives an array (components, *grid.shape);
    a field without `time` ignores the time. Use `jax.vmap` for many times or codes.

    Source: Akhare et al. (2025), section 2 (conditional neural fields); Sitzmann et al. (2020);
    Park et al., "DeepSDF", CVPR 2019 (codes); Perez et al., "FiLM", AAAI 2018 (modulation);
    Ha, Dai and Le, "HyperNetworks", ICLR 2017 (hypernetwork).
    """

    network: Siren
    conditioning: AbstractConditioning | None
    time: TimeBasis | None
    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    code_size: int = eqx.field(static=True)

    def __init__(
        self,
        components: int,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        *,
        periodic: tuple[bool, ...] | None = None,
        width: int = 64,
        depth: int = 3,
        omega_first: float = 30.0,
        omega: float = 30.0,
        conditioning: str | None = None,
        time: TimeBasis | None = None,
        code_size: int = 0,
        key: PRNGKeyArray,
    ):
        self.periodic = (False,) * len(lower) if periodic is None else periodic
        if not len(lower) == len(upper) == len(self.periodic):
            raise InputError(
                f"ConditionalField: lower, upper and periodic have {len(lower)}, {len(upper)} and "
                f"{len(self.periodic)} entries; expected one per axis in each"
            )
        _check_conditioning(conditioning, time, code_size)
        self.lower, self.upper = lower, upper
        self.time, self.code_size = time, code_size
        siren = functools.partial(
            Siren,
            len(lower) + sum(self.periodic),
            width=width,
            depth=depth,
            omega_first=omega_first,
            omega=omega,
            key=key,
        )
        if conditioning is None:
            self.network, self.conditioning = siren(components), None
        else:
            # `Siren` uses the key itself, split by three: fold in another number
            self.network, self.conditioning = CONDITIONINGS[conditioning].build(
                siren, components, time, code_size, jax.random.fold_in(key, 3)
            )

    def __call__(
        self,
        grid: HasCenters,
        t: Float[Array, "..."] | float | None = None,
        code: Float[Array, "..."] | None = None,
    ) -> Float[Array, "components *cells"]:
        """Evaluate at the grid's points, at one time and for one code."""
        x = self._inputs(grid)
        e, z = self._conditions(t, code)
        if self.conditioning is None:
            return self.network(x)
        return self.conditioning(self.network, x, e, z)

    def anew(self, components: int, *, key: PRNGKeyArray) -> "ConditionalField":
        """A fresh field with other `components` and the same hyperparameters, without code.

        It is steady unless this one depends on time.
        """
        network = self.network
        of_kind = (n for n, kind in CONDITIONINGS.items() if isinstance(self.conditioning, kind))
        time = self.time if self.time is not None and self.time.order > 0 else None
        return ConditionalField(
            components,
            self.lower,
            self.upper,
            periodic=self.periodic,
            width=network.biases[0].size,
            depth=len(network.weights) - 1,
            omega_first=network.omega_first,
            omega=network.omega,
            conditioning=None if time is None else next(of_kind),
            time=time,
            key=key,
        )

    def _inputs(self, grid: HasCenters) -> Float[Array, "inputs *cells"]:
        """Scaled coordinates, or their cosine and sine along periodic axes."""
        x = grid.centers
        if x.shape[0] != len(self.lower):
            raise InputError(
                f"ConditionalField: the grid has {x.shape[0]} axes, the field's box has "
                f"{len(self.lower)}"
            )
        features = []
        for axis, periodic in enumerate(self.periodic):
            lower, upper = self.lower[axis], self.upper[axis]
            xi = 2 * (x[axis] - lower) / (upper - lower) - 1
            features += [jnp.cos(np.pi * xi), jnp.sin(np.pi * xi)] if periodic else [xi]
        return jnp.stack(features)

    def _conditions(
        self, t: Float[Array, "..."] | float | None, code: Float[Array, "..."] | None
    ) -> tuple[Float[Array, " time_features"], Float[Array, " code"]]:
        """e(t), or (1,) without time, and z, empty without a code; in the weights' precision."""
        if self.time is not None and t is None:
            raise InputError("ConditionalField: t is missing; the field is conditioned on time")
        if self.code_size == 0 and code is not None:
            raise InputError(
                f"ConditionalField: a code of shape {code.shape} is given to a field without one; "
                "leave it out, or make the field with code_size and a conditioning"
            )
        if self.code_size > 0 and code is None:
            raise InputError(
                f"ConditionalField: code is missing; expected one of shape ({self.code_size},)"
            )
        if code is not None and code.shape != (self.code_size,):
            raise InputError(
                f"ConditionalField: code has shape {code.shape}; expected ({self.code_size},): "
                "for many codes use jax.vmap"
            )
        dtype = self.network.weights[0].dtype
        e = jnp.ones(1) if self.time is None or t is None else self.time(t)
        z = jnp.zeros(0) if code is None else code
        return e.astype(dtype), z.astype(dtype)


def _check_conditioning(conditioning: str | None, time: TimeBasis | None, code_size: int) -> None:
    """Refuse inconsistent arguments."""
    if conditioning is not None and conditioning not in CONDITIONINGS:
        raise InputError(
            f"ConditionalField: conditioning = '{conditioning}'; expected one of "
            f"{', '.join(CONDITIONINGS)}, or None for a steady field"
        )
    if code_size < 0:
        raise InputError(f"ConditionalField: code_size = {code_size}; expected 0 or more")
    if conditioning is None:
        if time is not None or code_size > 0:
            given = "time" if time is not None else f"code_size = {code_size}"
            raise InputError(
                f"ConditionalField: {given} is given without a conditioning, and the field would "
                "not depend on it; choose one, such as conditioning='last_layer'"
            )
    elif code_size == 0 and (time is None or time.order == 0):
        given = "neither time nor code_size" if time is None else "a time basis of order 0"
        raise InputError(
            f"ConditionalField: conditioning = '{conditioning}' with {given}: nothing to depend "
            "on; give time=TimeBasis(start, end) or code_size, or leave conditioning out"
        )
