"""A bounded field stays inside its bounds, for any weights."""

import jax
import jax.numpy as jnp
import numpy as np

import impindiff as ipd


def test_values_stay_inside_and_the_derivative_does_not_vanish():
    grid = ipd.Grid((0.0, 0.0), (1.0, 2.0), (6, 5))
    network = ipd.ConditionalField(
        1, grid.lower, grid.upper, width=4, depth=1, key=jax.random.key(0)
    )

    def field(shift):
        moved = jax.tree.map(lambda leaf: leaf, network)
        biases = (*moved.network.biases[:-1], moved.network.biases[-1] + shift)
        object.__setattr__(moved.network, "biases", biases)
        return ipd.BoundedField(moved, 1e-3, 1e-2)(grid, None)

    for shift in (-20.0, 0.0, 20.0):
        values = np.asarray(field(shift))
        assert values.shape == (1, 6, 5)
        assert (values > 1e-3).all() or shift == -20.0
        assert ((values >= 1e-3) & (values <= 1e-2)).all()
        slope = jax.grad(lambda shift: jnp.sum(field(shift)))(shift)
        assert slope > 0
