"""Incompressible flow in two dimensions, by two formulations, against known answers.

Vorticity and stream function:

- The lid-driven cavity on 64 and 128 intervals, by `ipd.steady`, at Re 1000 through pseudo-time:
  velocities on the centre lines at the places of Ghia, Ghia and Shin, J. Comput. Phys. 48 (1982),
  tables I and II, in parts of the lid's speed. At Re 1000 there are values of a spectral method too
  (Botella and Peyret, Computers & Fluids 27 (1998), tables 9 and 10), from which those of 1982
  differ by up to 0.018. Required: 0.01 of Ghia's at Re 100, and of the spectral ones at Re 1000,
  0.02 of Ghia's there; and 0.002 of the spectral ones after Richardson's extrapolation, which
  shows the second order.
- Taylor-Green vortices carried by a wind, against the exact solution: second order.
- Velocity and pressure on one grid: a checkerboard of the pressure, which central differences do
  not see. Required: that they do not, which is why the arrangement is staggered.

Velocity and pressure on a staggered grid (`ipd.incompressible`):

- The same cavity on 64 and 128 cells, narrower towards the walls (`ipd.grid.tanh`, strength 1.5, a
  ratio of widths of 5). Required: 0.01 of Ghia's, and of the spectral values at Re 1000. Those and
  Ghia's differ by 0.0185 there, in v next to the right wall, so that Ghia's row is missed.
- All that `validation/staggered_flow.py` has.

python validation/flow.py
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

import impindiff as ipd

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "flow"))
sys.path.insert(0, str(Path(__file__).parent))
import cavity  # pyright: ignore[reportMissingImports]
import staggered_flow
import taylor_green  # pyright: ignore[reportMissingImports]

# fmt: off
# u along x = 1/2, from the lid down
Y = (1.0, 0.9766, 0.9688, 0.9609, 0.9531, 0.8516, 0.7344, 0.6172, 0.5, 0.4531, 0.2813, 0.1719,
     0.1016, 0.0703, 0.0625, 0.0547, 0.0)
# v along y = 1/2, from the right
X = (1.0, 0.9688, 0.9609, 0.9531, 0.9453, 0.9063, 0.8594, 0.8047, 0.5, 0.2344, 0.2266, 0.1563,
     0.0938, 0.0781, 0.0703, 0.0625, 0.0)
GHIA = {
    100: ((1.0, 0.84123, 0.78871, 0.73722, 0.68717, 0.23151, 0.00332, -0.13641, -0.20581, -0.21090,
           -0.15662, -0.10150, -0.06434, -0.04775, -0.04192, -0.03717, 0.0),
          (0.0, -0.05906, -0.07391, -0.08864, -0.10313, -0.16914, -0.22445, -0.24533, 0.05454,
           0.17527, 0.17507, 0.16077, 0.12317, 0.10890, 0.10091, 0.09233, 0.0)),
    1000: ((1.0, 0.65928, 0.57492, 0.51117, 0.46604, 0.33304, 0.18719, 0.05702, -0.06080, -0.10648,
            -0.27805, -0.38289, -0.29730, -0.22220, -0.20196, -0.18109, 0.0),
           (0.0, -0.21388, -0.27669, -0.33714, -0.39188, -0.51550, -0.42665, -0.31966, 0.02526,
            0.32235, 0.33075, 0.37095, 0.32627, 0.30353, 0.29012, 0.27485, 0.0)),
}
SPECTRAL = {
    1000: ((1.0, 0.6644227, 0.5808359, 0.5169277, 0.4723329, 0.3372212, 0.1886747, 0.0570178,
            -0.0620561, -0.1081999, -0.2803696, -0.3885691, -0.3004561, -0.2228955, -0.2023300,
            -0.1812881, 0.0),
           (0.0, -0.2279225, -0.2936869, -0.3553213, -0.4103754, -0.5264392, -0.4264545,
            -0.3202137, 0.0257995, 0.3253592, 0.3339924, 0.3769189, 0.3330442, 0.3099097,
            0.2962703, 0.2807056, 0.0)),
}
# fmt: on
PSI = {100: -0.103423, 1000: -0.117929}  # Ghia's table III: the smallest stream function
SOLVER = ipd.NewtonKrylov(
    rtol=1e-7,
    linear_solver=ipd.BiCGStab(max_steps=2000),
    preconditioner=ipd.Multigrid(coupling="lower"),
)


def on_centre_lines(reynolds: int, intervals: int) -> tuple[np.ndarray, np.ndarray, str]:
    """(u at Y, v at X, a line on the solve)."""
    model = cavity.Problem().model(None, None, 1 / reynolds, intervals)
    guess = cavity.Problem().initial_state(None, model, None)
    pseudo = ipd.PseudoTime() if reynolds > 100 else None
    found = ipd.steady(model, guess, solver=SOLVER, pseudo_time=pseudo)
    flow = cavity.Problem().quantities(found.u)
    middle = intervals // 2 - 1
    nodes = np.linspace(0, 1, intervals + 1)
    u = CubicSpline(nodes, np.concatenate([[0], flow["u"][middle], [1]]))(np.asarray(Y))
    v = CubicSpline(nodes, np.concatenate([[0], flow["v"][:, middle], [0]]))(np.asarray(X))
    told = (
        f"psi {float(found.u['psi'].min()):.5f} (Ghia {PSI[reynolds]:.5f}), "
        f"{int(found.pseudo_steps)} pseudo-time steps, {int(found.status.iterations)} Newton and "
        f"{int(found.status.linear_iterations)} Krylov iterations"
    )
    return u, v, told


def off(found: Sequence[ArrayLike], known: Sequence[ArrayLike]) -> float:
    """The largest difference of a velocity."""
    return max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max())
        for a, b in zip(found, known, strict=True)
    )


def check_cavity(intervals: int) -> list[tuple[str, float, float]]:
    """Rows (name, found, allowed)."""
    rows = []
    for reynolds in GHIA:
        found = {}
        for n in (intervals // 2, intervals):
            u, v, told = on_centre_lines(reynolds, n)
            found[n] = (u, v)
            print(f"cavity, Re {reynolds}, {n} intervals: {told}", flush=True)
        fine = found[intervals]
        allowed = 0.01 if reynolds == 100 else 0.02
        rows.append((f"cavity, Re {reynolds}: from Ghia's", off(fine, GHIA[reynolds]), allowed))
        if reynolds in SPECTRAL:
            known = SPECTRAL[reynolds]
            pairs = zip(fine, found[intervals // 2], strict=True)
            limit = [f + (f - c) / 3 for f, c in pairs]
            rows.append((f"cavity, Re {reynolds}: from the spectral", off(fine, known), 0.01))
            rows.append(("    the same, extrapolated", off((limit[0], limit[1]), known), 0.002))
            apart = off(GHIA[reynolds], known)
            print(f"Ghia's table and the spectral one differ by up to {apart:.4f}")
    return rows


def check_staggered_cavity(cells: int) -> list[tuple[str, float, float]]:
    """Rows (name, found, allowed) of the staggered arrangement."""
    rows = []
    for reynolds, table in GHIA.items():
        for n in (cells // 2, cells):
            grid = staggered_flow.cavity(n, 1.5)
            u, v, told = staggered_flow.on_centre_lines(reynolds, grid, Y, X)
            print(f"staggered cavity, Re {reynolds}, {n} cells: {told}", flush=True)
            name = f"staggered cavity, Re {reynolds}, {n} cells"
            rows.append((f"{name}: from Ghia's", off((u, v), table), 0.01))
            if reynolds in SPECTRAL:
                known = SPECTRAL[reynolds]
                rows.append((f"{name}: from the spectral", off((u, v), known), 0.01))
    return rows


def check_taylor_green() -> list[tuple[str, float, float]]:
    """Errors of the vorticity at t = 1 on two grids, with steps to match."""
    errors = []
    for cells in (16, 32):
        problem = taylor_green.Problem()
        model = problem.model(None, None, 0.05, cells)
        u0 = problem.initial_state(None, model, None)
        solver = ipd.NewtonKrylov(preconditioner=ipd.FastDiagonalization())
        stepper = ipd.SDIRK2(solver=solver)
        found = ipd.rollout(model, u0, [0.0, 1.0], stepper=stepper, dt=1.6 / cells).u["omega"][-1]
        exact = taylor_green.exact(*model.grid.centers, 1.0, 0.05)[0]
        errors.append(float(jnp.abs(found - exact).max()))
    print(f"Taylor-Green: errors of the vorticity {errors[0]:.2e}, {errors[1]:.2e}")
    return [("Taylor-Green: 4 over the factor of halving h", 4 * errors[1] / errors[0], 1.25)]


def check_checkerboard(cells: int = 16) -> list[tuple[str, float, float]]:
    """The force of a checkerboard pressure by the collocated gradient, over that of a cosine."""
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (cells, cells))
    i, j = jnp.meshgrid(jnp.arange(cells), jnp.arange(cells), indexing="ij")
    board = (-1.0) ** (i + j)
    wave = jnp.cos(2 * jnp.pi * grid.centers[0])
    seen, usual = (float(jnp.abs(ipd.gradient(p, grid)).max()) for p in (board, wave))

    # div(grad p), whose null space a projection leaves in the pressure
    def projected(p: jax.Array) -> jax.Array:
        return ipd.divergence(ipd.gradient(p.reshape(grid.cells), grid), grid).ravel()

    matrix = np.asarray(jax.jacfwd(projected)(jnp.zeros(cells**2)))
    free = int(cells**2 - np.linalg.matrix_rank(matrix))
    print(f"collocated pressure: {free} pressures on {cells} x {cells} cells without any force")
    return [("collocated: force of a checkerboard over a wave's", seen / usual, 1e-12)]


def main() -> None:
    """Print a table; exit with 1 if a row is beyond what it allows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--intervals", type=int, default=128, help="of the finer cavity")
    jax.config.update("jax_enable_x64", True)
    rows = check_checkerboard() + check_taylor_green()
    intervals = parser.parse_args().intervals
    rows += check_cavity(intervals) + check_staggered_cavity(intervals)
    rows += staggered_flow.check_all()
    for name, found, allowed in rows:
        verdict = "" if found <= allowed else "  MISSED"
        print(f"{name:62s} {found:10.2e}  allowed {allowed:.2g}{verdict}")
    if any(not found <= allowed for _, found, allowed in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
