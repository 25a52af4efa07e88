"""Conditioning of a coordinate network on time and a code: three ways with one interface."""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.fields._siren import Siren
from impindiff.fields._time_basis import TimeBasis

MakeSiren = Callable[[int], Siren]
"""A network of position by its number of outputs, drawn from the field's own key."""

_HIDDEN = 32
"""Neurons of the network that generates weights: several times the few features it reads."""


class AbstractConditioning(eqx.Module):
    """Network N(x; e, z): a SIREN of position x conditioned on time features e and on a code z.

    e(t) is that of a `TimeBasis`, whose first feature is 1, or (1,) without time; z is empty
    without a code.
    """

    @classmethod
    @abc.abstractmethod
    def build(
        cls,
        siren: MakeSiren,
        components: int,
        time: TimeBasis | None,
        code_size: int,
        key: PRNGKeyArray,
    ) -> tuple[Siren, "AbstractConditioning"]:
        """Build the network and its conditioning; `key` is for random weights of the latter."""

    @abc.abstractmethod
    def __call__(
        self,
        network: Siren,
        x: Float[Array, "in *points"],
        e: Float[Array, " time_features"],
        z: Float[Array, " code"],
    ) -> Float[Array, "components *points"]:
        """Evaluate at all points."""


class LastLayer(AbstractConditioning):
    """v(x) = sum_r a_r phi_r(x), with a = e ⊗ (1, z) flattened, z fastest.

    The network gives r spatial functions of each component, independent of time and code: under
    `jax.vmap` over either they are computed once for all. The coefficients a have no parameters:
    time enters through the fixed basis e, and code through z itself.
    """

    @classmethod
    def build(
        cls,
        siren: MakeSiren,
        components: int,
        time: TimeBasis | None,
        code_size: int,
        key: PRNGKeyArray,
    ) -> tuple[Siren, "LastLayer"]:
        """Build a network of components x r outputs, without further parameters.

        Outputs are scaled so that v starts about as large as a steady field, for any r: on average
        over the interval its mean square is the same for z = 0, and twice that for codes with
        entries of size 1.
        """
        del key
        time_size, mean_square = (1, 1.0) if time is None else (time.size, time.mean_square)
        of_code = [1.0, *[code_size**-0.5] * code_size] if code_size else [1.0]
        scale = np.tile(np.asarray(of_code) / math.sqrt(mean_square), components * time_size)
        network = siren(scale.size)
        last = (network.weights[-1] * scale[:, None], network.biases[-1] * scale)
        network = eqx.tree_at(lambda n: (n.weights[-1], n.biases[-1]), network, last)
        return network, cls()

    def __call__(
        self,
        network: Siren,
        x: Float[Array, "in *points"],
        e: Float[Array, " time_features"],
        z: Float[Array, " code"],
    ) -> Float[Array, "components *points"]:
        """One evaluation of the network, then the sum over r."""
        a = jnp.outer(e, jnp.concatenate([jnp.ones(1, z.dtype), z])).ravel()
        phi = network(x)
        phi = phi.reshape(-1, a.size, *phi.shape[1:])
        return jnp.einsum("r,cr...->c...", a, phi)


class Modulation(AbstractConditioning):
    """Feature-wise modulation h_i = sin(omega ((1 + gamma_i) (W_i h_{i-1} + b_i) + beta_i)).

    gamma_i = G_i c and beta_i = B_i c in every sine layer, with c = (e_1, e_2, ..., z); the
    constant e_0 would be redundant with W_i and b_i. Initially G = B = 0, so the field starts
    steady; their derivatives are not zero for c != 0.

    Source: Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018.
    """

    scale: Float[Array, "layers width features"]
    shift: Float[Array, "layers width features"]

    @classmethod
    def build(
        cls,
        siren: MakeSiren,
        components: int,
        time: TimeBasis | None,
        code_size: int,
        key: PRNGKeyArray,
    ) -> tuple[Siren, "Modulation"]:
        """Build the network of the steady field, initially unmodulated."""
        del key
        network = siren(components)
        layers = network.biases[:-1]
        zero = jnp.zeros(
            (len(layers), layers[0].size, _varying_size(time, code_size)), layers[0].dtype
        )
        return network, cls(zero, zero)

    def __call__(
        self,
        network: Siren,
        x: Float[Array, "in *points"],
        e: Float[Array, " time_features"],
        z: Float[Array, " code"],
    ) -> Float[Array, "components *points"]:
        """One evaluation of the modulated network."""
        c = jnp.concatenate([e[1:], z])
        gamma, beta = 1 + self.scale @ c, self.shift @ c
        weights, biases = list(network.weights), list(network.biases)
        for i in range(len(weights) - 1):
            # equal to modulating at every point, at the cost of one
            weights[i] = gamma[i][:, None] * weights[i]
            biases[i] = gamma[i] * biases[i] + beta[i]
        leaves = (tuple(weights), tuple(biases))
        return eqx.tree_at(lambda n: (n.weights, n.biases), network, leaves)(x)


class Hypernetwork(AbstractConditioning):
    """Hypernetwork theta = theta_0 + U tanh(V c + d) / h that generates all weights of the SIREN.

    c = (e_1, e_2, ..., z), without the constant e_0, which d replaces; h is the number of hidden
    neurons. Initially U = 0, so the field starts steady; the derivative by U is not zero. SIREN
    weights are small (about 0.01 at width 64) and all h neurons move each of them: the factor 1 / h
    makes a step of U move theta as far as the same step of theta_0.

    Source: Ha, Dai and Le, "HyperNetworks", ICLR 2017; Akhare et al. (2025), section 2.
    """

    hidden_weight: Float[Array, "hidden features"]
    hidden_bias: Float[Array, " hidden"]
    output_weight: Float[Array, "parameters hidden"]

    @classmethod
    def build(
        cls,
        siren: MakeSiren,
        components: int,
        time: TimeBasis | None,
        code_size: int,
        key: PRNGKeyArray,
    ) -> tuple[Siren, "Hypernetwork"]:
        """Build the network of the steady field, and the one-hidden-layer network generating it."""
        network = siren(components)
        theta, _ = ravel_pytree(network)
        features = _varying_size(time, code_size)
        bound = 1 / math.sqrt(features)
        drawn = jax.random.uniform(
            key, (_HIDDEN, features + 1), theta.dtype, minval=-bound, maxval=bound
        )
        return network, cls(
            drawn[:, 1:], drawn[:, 0], jnp.zeros((theta.size, _HIDDEN), theta.dtype)
        )

    def __call__(
        self,
        network: Siren,
        x: Float[Array, "in *points"],
        e: Float[Array, " time_features"],
        z: Float[Array, " code"],
    ) -> Float[Array, "components *points"]:
        """One evaluation of the generated network."""
        c = jnp.concatenate([e[1:], z])
        hidden = jnp.tanh(self.hidden_weight @ c + self.hidden_bias)
        theta, with_parameters = ravel_pytree(network)
        return with_parameters(theta + self.output_weight @ hidden / hidden.size)(x)


def _varying_size(time: TimeBasis | None, code_size: int) -> int:
    """Length of c: the features of time without the constant one, and the code."""
    return (0 if time is None else time.size - 1) + code_size


CONDITIONINGS: dict[str, type[AbstractConditioning]] = {
    "last_layer": LastLayer,
    "modulation": Modulation,
    "hypernetwork": Hypernetwork,
}
