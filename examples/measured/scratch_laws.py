"""Scratch assay with laws: diffusivity and growth rate as functions of the density, for all assays.

du/dt = d/dx (D(u) du/dx) + g(u) u (1 - u / K), no flux through the ends; D and g are unknown

    impindiff run scratch_laws.py
"""

import jax.numpy as jnp
from scratch_assay import K
from scratch_assay import Problem as Assays

import impindiff as ipd
from impindiff.problem import Findings, closure_curves
from impindiff.training import GaussianPrior


class Cells(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: ipd.MonotoneClosure  # D(u), in um^2/h
    growth: ipd.MonotoneClosure  # g(u), in 1/h

    def tendency(self, t, u, latent):
        c = u["density"]
        spread = ipd.diffusion(c, self.diffusivity(c), self.grid)
        return {"density": spread + self.growth(c) * c * (1 - c / K)}


class Problem(Assays):
    """Laws of cells that close a scratch."""

    settings = ipd.ProblemSettings.with_defaults(
        observations={"standard_deviation": 1e-4},  # about that of the replicates
        stepper={"name": "sdirk2", "dt": 1.0},
        training={"optimizer": "levenberg_marquardt", "steps": 60, "loss_tolerance": 1e-4},
    )
    infers = "laws of movement and division of cells, from six assays"

    def model(self, settings, key):
        def around(value):
            return ipd.MonotoneClosure(
                lambda u: value * (1 + 2 * u / K), lower=0.0, upper=K, knots=6
            )

        grid = ipd.Grid((50.0,), (1900.0,), (37,), boundary=(ipd.Neumann(),))
        return Cells(grid, around(500.0), around(0.03))

    def prior(self, settings):
        # a slope on a log-log scale is that of the initial law, to a factor of e or so
        return GaussianPrior(lambda m: (m.diffusivity.log_slopes, m.growth.log_slopes), 1.0)

    def findings(self, settings, data, fitted, loss):
        u = jnp.linspace(0.0, 1.6e-3, 50)  # most of what was measured

        def laws(model):
            return {"D (um2/h)": model.diffusivity(u), "g (1/h)": model.growth(u)}

        return Findings(closures=closure_curves(laws, u, "density (1/um2)", fitted, loss))
