"""Scratch assay: how fast cancer cells move and divide, from their density over two days.

du/dt = D d2u/dx2 + r u (1 - u / K), no flux through the ends; D and r of each assay are unknown

    impindiff run scratch_assay.py
    impindiff run scratch_assay.py --set shared=true
"""

import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd

ASSAYS = (10, 12, 14, 16, 18, 20)  # by thousand cells at the start
K = 1.7e-3  # cells/um^2


class Cells(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: dict[str, ipd.Parameter]  # D, in um^2/h, of each assay or of all
    growth: dict[str, ipd.Parameter]  # r, in 1/h

    def latent(self, t):
        of_assays = [jnp.stack([p() for p in d.values()]) for d in (self.diffusivity, self.growth)]
        return ipd.PerSample([jnp.broadcast_to(of, len(ASSAYS)) for of in of_assays])

    def tendency(self, t, u, latent):
        diffusivity, growth = latent
        c = u["density"]
        spread = ipd.diffusion(c, diffusivity, self.grid)
        return {"density": spread + growth * c * (1 - c / K)}


class Settings(ipd.ProblemSettings):
    shared: bool = False  # one D and r for all assays


class Problem(ipd.Problem):
    """Cells that close a scratch."""

    settings = Settings.with_defaults(
        stepper={"name": "sdirk2", "dt": 1.0},
        training={"optimizer": "levenberg_marquardt", "steps": 40},
    )
    infers = "how fast cells move and divide, from their density over two days"

    def data(self, settings):
        folder = ipd.data.fetch("scratch_assay")
        density = []
        for assay in ASSAYS:
            file = folder / f"CellDensity_{assay}.csv"
            mean = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=(9,))
            density.append(mean.reshape(5, 38)[:, 1:])  # the first column is an outlier
        return xr.Dataset(
            {
                "density": (("sample", "time", "x"), density, {"units": "1/um2"}),
                "assay": ("sample", [*ASSAYS], {"units": "thousand cells"}),
            },
            coords={
                "time": ("time", 12.0 * np.arange(5), {"units": "h"}),
                "x": ("x", 75.0 + 50.0 * np.arange(37), {"units": "um"}),
            },
        )

    def model(self, settings, key) -> ipd.HybridModel:
        grid = ipd.Grid((50.0,), (1900.0,), (37,), boundary=(ipd.Neumann(),))
        names = ("all",) if settings.shared else map(str, ASSAYS)
        unknown = {
            n: (ipd.Parameter(500.0, lower=0.0), ipd.Parameter(0.05, lower=0.0)) for n in names
        }
        return Cells(
            grid, {n: D for n, (D, _) in unknown.items()}, {n: r for n, (_, r) in unknown.items()}
        )
