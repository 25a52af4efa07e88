"""The Fourier neural operator, acting on the lowest modes of a field."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from impindiff.errors import InputError
from impindiff.methods._emulator import Emulator
from impindiff.methods._layers import SMALL, Pointwise, require_positive
from impindiff.methods._sequence import SequenceNetwork

# relative length of zero padding along axes that are not periodic
_PADDING = 0.25


class SpectralConvolution(eqx.Module):
    """(K h)_k = R_k h_k for the Fourier coefficients h_k with |k_i| < modes_i along each axis.

    Other coefficients are dropped. R_k is a complex (width, width) matrix for each k; matrices of k
    and -k are conjugate, so the result is real. It is stored as two real arrays, for any optimiser.
    Entries of R start normal with E |R|^2 = 1 / width, so K preserves the mean square of a field of
    these modes.
    """

    weight: Float[Array, "2 width width *modes"]
    modes: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, width: int, modes: tuple[int, ...], *, key: PRNGKeyArray):
        kept = (*(2 * m - 1 for m in modes[:-1]), modes[-1])
        scale = math.sqrt(0.5 / width)
        self.weight = scale * jax.random.normal(key, (2, width, width, *kept))
        self.modes = modes

    def __call__(self, h: Float[Array, "width *cells"]) -> Float[Array, "width *cells"]:
        """K h on h's grid, which needs at least 2 modes_i cells along each axis."""
        cells = h.shape[1:]
        for axis, (m, n) in enumerate(zip(self.modes, cells, strict=True)):
            if 2 * m > n:
                raise InputError(
                    f"FourierNeuralOperator: {m} modes along axis {axis}, which has {n} cells; "
                    f"expected at most {n // 2}"
                )
        axes = tuple(range(1, h.ndim))
        kept = self._kept()
        coefficients = jnp.fft.rfftn(h, axes=axes)
        low = jnp.einsum("oi...,i...->o...", self._matrices(), coefficients[(slice(None), *kept)])
        spectrum = jnp.zeros_like(coefficients).at[(slice(None), *kept)].set(low)
        return jnp.fft.irfftn(spectrum, s=cells, axes=axes)

    def _kept(self) -> tuple[np.ndarray, ...]:
        """Indices of the coefficients kept; real fields have no negative ones on the last axis."""
        *others, last = self.modes
        return np.ix_(*(np.arange(1 - m, m) for m in others), np.arange(last))

    def _matrices(self) -> Complex[Array, "width width *modes"]:
        return jax.lax.complex(self.weight[0], self.weight[1])


class FourierNeuralOperator(SequenceNetwork):
    """h_0 = P v, h_{l+1} = gelu(K_l h_l + W_l h_l), output Q(h_L); the last layer has no gelu.

    P is a 1x1 convolution, W_l too (with its bias), K_l a `SpectralConvolution` and Q = Q_2 gelu
    Q_1 two 1x1 convolutions through 2 width channels. Q_2 starts small. The operator is independent
    of the grid: on a finer one it gives the same function, as far as its nonlinearities are
    resolved. Along axes that are not periodic, zeros are appended to h_0 for a quarter of the axis,
    and removed before Q. There is no memory.

    **Arguments:**

    - `channels`: features, see `number_of_channels`.
    - `periodic`: one entry per spatial axis.
    - `fields`: number of outputs of Q, the increments of the fields.
    - `width`: channels of h.
    - `modes`: wavenumbers kept along each axis, 0 to modes - 1 and their negatives; a number or one
      per axis.
    - `layers`: L.

    **Raises:** `InputError` for numbers below 1 or modes that do not fit the axes; when called, on
    a grid with less than two cells for each mode.

    Source: Li et al., "Fourier neural operator for parametric partial differential equations", ICLR
    2021. Written out here, since the Equinox package pdequinox pads no axes, has a large initial
    last layer, and has not been released since 2024.
    """

    lift: Pointwise
    spectral: tuple[SpectralConvolution, ...]
    skips: tuple[Pointwise, ...]
    project: tuple[Pointwise, Pointwise]
    channels: int = eqx.field(static=True)
    fields: int = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        periodic: tuple[bool, ...],
        *,
        fields: int = 1,
        width: int = 32,
        modes: int | tuple[int, ...] = 12,
        layers: int = 4,
        key: PRNGKeyArray,
    ):
        modes = (modes,) * len(periodic) if isinstance(modes, int) else modes
        if len(modes) != len(periodic):
            raise InputError(
                f"FourierNeuralOperator: modes = {modes}; expected a number, or one for each of "
                f"{len(periodic)} axes"
            )
        require_positive(
            "FourierNeuralOperator",
            channels=channels,
            fields=fields,
            width=width,
            modes=min(modes),
            layers=layers,
        )
        lift_key, first_key, last_key, *keys = jax.random.split(key, 3 + 2 * layers)
        self.lift = Pointwise(channels, width, key=lift_key)
        self.spectral = tuple(
            SpectralConvolution(width, modes, key=k) for k in itertools.islice(keys, layers)
        )
        self.skips = tuple(Pointwise(width, width, key=k) for k in keys[layers:])
        self.project = (
            Pointwise(width, 2 * width, key=first_key),
            Pointwise(2 * width, fields, scale=SMALL, key=last_key),
        )
        self.channels, self.fields, self.periodic = channels, fields, periodic

    def start(self, u: Float[Array, "fields *cells"]) -> tuple[()]:
        """Empty memory."""
        del u
        return ()

    def __call__(
        self, features: Float[Array, "channels *cells"], memory: tuple[()] = ()
    ) -> tuple[Float[Array, "fields *cells"], tuple[()]]:
        """One step (see `SequenceNetwork`)."""
        cells = features.shape[1:]
        widths = [
            0 if periodic else math.ceil(_PADDING * n)
            for n, periodic in zip(cells, self.periodic, strict=True)
        ]
        h = jnp.pad(self.lift(features), [(0, 0), *((0, extra) for extra in widths)])
        last = len(self.spectral) - 1
        for i, (spectral, skip) in enumerate(zip(self.spectral, self.skips, strict=True)):
            h = spectral(h) + skip(h)
            h = h if i == last else jax.nn.gelu(h)
        h = h[(slice(None), *(slice(n) for n in cells))]
        first, second = self.project
        return second(jax.nn.gelu(first(h))), memory


class FourierEmulator(Emulator):
    """The baseline `fno`: a `FourierNeuralOperator` from observation to observation."""

    def network(
        self, channels: int, fields: int, periodic: tuple[bool, ...], key: PRNGKeyArray
    ) -> FourierNeuralOperator:
        """The network that `settings.method` describes."""
        method = self.settings.method
        return FourierNeuralOperator(
            channels,
            periodic,
            fields=fields,
            width=method.width,
            modes=method.modes,
            layers=method.layers,
            key=key,
        )
