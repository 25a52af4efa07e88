"""The convolutional LSTM, a network with a memory at each place."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.errors import InputError
from impindiff.methods._emulator import Emulator
from impindiff.methods._layers import SMALL, Pointwise, per_channel, require_positive, uniform
from impindiff.methods._sequence import SequenceNetwork

State = tuple[Float[Array, "hidden *cells"], Float[Array, "hidden *cells"]]
"""(H, C), the hidden state and the cell."""


class ConvLSTMCell(eqx.Module):
    """One layer: i, f, o are gates, C the cell, H the hidden state, X the input, * convolution.

        i = sigmoid(W_xi * X + W_hi * H + w_ci C + b_i)
        f = sigmoid(W_xf * X + W_hf * H + w_cf C + b_f)
        C' = f C + i tanh(W_xc * X + W_hc * H + b_c)
        o = sigmoid(W_xo * X + W_ho * H + w_co C' + b_o)
        H' = o tanh(C')

    Convolutions wrap around periodic axes and use zero padding on others. The weights from the cell
    to the gates, w_c., are one number per channel and start at zero; b_f starts at 1 (Jozefowicz et
    al. 2015), and other weights as U(-c, c), c = 1/sqrt(fan in).

    - `weight`: weights of i, f, c and o concatenated, (4 hidden, inputs + hidden, *kernel).
    - `peephole`: w_ci, w_cf and w_co.

    Source: Shi et al., "Convolutional LSTM network", NeurIPS 2015, eq. 3.
    """

    weight: Float[Array, "gates inputs *kernel"]
    bias: Float[Array, " gates"]
    peephole: Float[Array, "3 hidden"]
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        hidden: int,
        kernel: int,
        periodic: tuple[bool, ...],
        *,
        key: PRNGKeyArray,
    ):
        shape = (4 * hidden, inputs + hidden, *[kernel] * len(periodic))
        self.weight = uniform(key, shape, 1 / math.sqrt(math.prod(shape[1:])))
        self.bias = jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0)
        self.peephole = jnp.zeros((3, hidden))
        self.periodic = periodic

    def start(self, cells: tuple[int, ...]) -> State:
        """Zero initial state."""
        zeros = jnp.zeros((self.peephole.shape[1], *cells), self.weight.dtype)
        return zeros, zeros

    def __call__(self, x: Float[Array, "inputs *cells"], state: State) -> State:
        """One step: (H', C')."""
        h, c = state
        axes = x.ndim - 1
        both = jnp.concatenate([x.astype(h.dtype), h])
        convolved = convolve(self.weight, both, self.periodic) + per_channel(self.bias, axes)
        i, f, g, o = jnp.split(convolved, 4)
        see_i, see_f, see_o = (per_channel(w, axes) for w in self.peephole)
        c_new = jax.nn.sigmoid(f + see_f * c) * c + jax.nn.sigmoid(i + see_i * c) * jnp.tanh(g)
        return jax.nn.sigmoid(o + see_o * c_new) * jnp.tanh(c_new), c_new


class ConvLSTM(SequenceNetwork):
    """Stacked `ConvLSTMCell`s, each reading the hidden state of the one before.

    A 1x1 convolution with small initial weights maps the last hidden state to the increments. The
    memory, (H, C) of each layer, starts at zero.

    **Arguments:**

    - `channels`: features, see `number_of_channels`.
    - `periodic`: one entry per spatial axis.
    - `fields`: number of fields predicted.
    - `hidden`: channels of H and of C.
    - `kernel`: cells that a convolution spans along each axis, an odd number.
    - `layers`: number of cells stacked.

    **Raises:** `InputError` for numbers below 1 or an even kernel; when called, for a kernel that
    reaches further than a periodic axis is long.

    Source: Shi et al. (2015). Written out here, since Flax's cell, in a framework not used
    otherwise, has no w_c. and pads all axes alike.
    """

    layers: tuple[ConvLSTMCell, ...]
    output: Pointwise
    channels: int = eqx.field(static=True)
    fields: int = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        periodic: tuple[bool, ...],
        *,
        fields: int = 1,
        hidden: int = 16,
        kernel: int = 3,
        layers: int = 2,
        key: PRNGKeyArray,
    ):
        require_positive(
            "ConvLSTM",
            channels=channels,
            fields=fields,
            hidden=hidden,
            kernel=kernel,
            layers=layers,
        )
        if kernel % 2 == 0:
            raise InputError(
                f"ConvLSTM: kernel = {kernel}; expected an odd number, for it to have a middle"
            )
        output_key, *keys = jax.random.split(key, 1 + layers)
        self.layers = tuple(
            ConvLSTMCell(inputs, hidden, kernel, periodic, key=k)
            for inputs, k in zip([channels, *[hidden] * (layers - 1)], keys, strict=True)
        )
        self.output = Pointwise(hidden, fields, scale=SMALL, key=output_key)
        self.channels, self.fields = channels, fields

    def start(self, u: Float[Array, "fields *cells"]) -> tuple[State, ...]:
        """Zero memory."""
        return tuple(layer.start(u.shape[1:]) for layer in self.layers)

    def __call__(
        self, features: Float[Array, "channels *cells"], memory: tuple[State, ...]
    ) -> tuple[Float[Array, "fields *cells"], tuple[State, ...]]:
        """One step (see `SequenceNetwork`)."""
        after, h = [], features
        for layer, state in zip(self.layers, memory, strict=True):
            h, c = layer(h, state)
            after.append((h, c))
        return self.output(h), tuple(after)


class ConvLSTMEmulator(Emulator):
    """The baseline `conv_lstm`: a `ConvLSTM` from observation to observation."""

    def network(
        self, channels: int, fields: int, periodic: tuple[bool, ...], key: PRNGKeyArray
    ) -> ConvLSTM:
        """The network that `settings.method` describes."""
        method = self.settings.method
        return ConvLSTM(
            channels,
            periodic,
            fields=fields,
            hidden=method.hidden,
            kernel=method.kernel,
            layers=method.layers,
            key=key,
        )


def convolve(
    weight: Float[Array, "out in *kernel"],
    x: Float[Array, "in *cells"],
    periodic: tuple[bool, ...],
) -> Float[Array, "out *cells"]:
    """y_o(x) = sum_{i, k} W_oik x_i(x + k - middle), odd kernels; zeros past ends of the domain.

    Written as one matrix product over the neighbours of all cells: XLA's convolution takes more
    than twice as long on a CPU in double precision.
    """
    kernel, cells = weight.shape[2:], x.shape[1:]
    for axis, (k, n, wraps) in enumerate(zip(kernel, cells, periodic, strict=True)):
        if wraps and k // 2 > n:
            raise InputError(
                f"ConvLSTM: a kernel of {k} cells reaches around axis {axis}, which has {n}; "
                f"expected at most {2 * n + 1}"
            )
        ends = [(0, 0)] * x.ndim
        ends[axis + 1] = (k // 2, k // 2)
        x = jnp.pad(x, ends, mode="wrap" if wraps else "constant")
    neighbours = [
        x[(slice(None), *(slice(o, o + n) for o, n in zip(offset, cells, strict=True)))]
        for offset in itertools.product(*map(range, kernel))
    ]
    rows = jnp.moveaxis(weight, 1, -1).reshape(weight.shape[0], -1)
    return jnp.tensordot(rows, jnp.concatenate(neighbours), 1)
