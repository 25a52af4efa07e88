"""Gray-Scott: both rates from 500 scattered, noisy values of the two concentrations.

da/dt = 2e-5 div(grad a) - a b^2 + F (1 - a),  db/dt = 1e-5 div(grad b) + a b^2 - (F + K) b

python make_data.py && impindiff run gray_scott.py --config gray_scott.yaml
"""

import jax.numpy as jnp

import impindiff as ipd


class GrayScott(ipd.HybridModel):
    grid: ipd.Grid
    feed: ipd.Parameter  # F
    kill: ipd.Parameter  # K

    def tendency(self, t, u, latent):
        a, b = u["a"], u["b"]
        reaction = a * b**2
        return {
            "a": ipd.diffusion(a, 2e-5, self.grid) - reaction + self.feed() * (1 - a),
            "b": ipd.diffusion(b, 1e-5, self.grid) + reaction - (self.feed() + self.kill()) * b,
        }


class Problem(ipd.Problem):
    """Gray-Scott's reaction and diffusion, both rates unknown."""

    def model(self, settings, key):
        grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (80, 80))
        return GrayScott(grid, ipd.Parameter(0.02, lower=0.0), ipd.Parameter(0.04, lower=0.0))

    def initial_state(self, settings, model, data):
        x, y = model.grid.centers
        spot = jnp.exp(-((x - 0.5) ** 2 + (y - 0.4) ** 2) / 0.02)
        return {"a": 1 - 0.5 * spot, "b": 0.3 * spot}
