"""A linear problem times c gives c times the answer: the worst relative error over c.

Two fields of very different size in one state, heat between cold walls with decay, four steps; the
reference is the same scheme at c = 1, its equations solved with dense matrices. The gradient is of
a misfit in each field's own units, with respect to the diffusivity and the initial state, against
that at c = 1. Prints a table in Markdown for each precision.
"""

import argparse

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import impindiff as ipd

N, DT, STEPS = 32, 0.005, 4
SIZES = {"float64": (1.0, 1e-12, 1e-250, 1e250), "float32": (1.0, 1e-8, 1e-28, 1e28)}
RATIOS = {"float64": (1.0, 1e-9), "float32": (1.0, 1e-7)}
# of fields of a size: float32 has nothing below 1e-38
SMALLEST = {"float64": 1e-260, "float32": 1e-29}
SOLVERS = {
    "NewtonKrylov": ipd.NewtonKrylov(),
    "GMRES": ipd.NewtonKrylov(linear_solver=lx.GMRES(rtol=1e-6, atol=1e-6)),
    "Multigrid": ipd.NewtonKrylov(preconditioner=ipd.Multigrid()),
    "Jacobi": ipd.NewtonKrylov(preconditioner=ipd.Jacobi()),
    "Anderson": ipd.Anderson(max_iterations=500),
    "Picard": ipd.Picard(relaxation=0.05, max_iterations=3000),
}
STEPPERS = (
    ipd.BackwardEuler,
    ipd.CrankNicolson,
    ipd.BDF2,
    ipd.SDIRK2,
    ipd.KenCarp3,
    ipd.KenCarp4,
)
GRID = ipd.Grid((0.0,), (1.0,), (N,), boundary=(ipd.Dirichlet(0.0),))


class TwoFields(ipd.HybridModel):
    """a and b diffuse, b faster decaying."""

    grid: ipd.Grid
    diffusivity: jax.Array

    def tendency(self, t, u, latent):
        a, b = u["a"], u["b"]
        return {
            "a": ipd.diffusion(a, self.diffusivity, self.grid),
            "b": ipd.diffusion(b, 0.3 * self.diffusivity, self.grid) - 20 * b,
        }


def initial(dtype):
    x = np.asarray(GRID.axis_centers(0))
    return {
        "a": jnp.asarray(np.exp(-100 * (x - 0.4) ** 2), dtype),
        "b": jnp.asarray(np.exp(-50 * (x - 0.6) ** 2), dtype),
    }


def solve(stepper, u, diffusivity, units):
    """The last state and the worst status, of an initial state in units of these sizes."""
    u0 = {name: units[name] * u[name] for name in u}
    result = ipd.rollout(
        TwoFields(GRID, diffusivity), u0, [0.0, STEPS * DT], dt=DT, stepper=stepper, throw=False
    )
    return {k: v[-1] / units[k] for k, v in result.u.items()}, result.stats.converged.all()


def worst(stepper, dtype) -> tuple[float, float]:
    """The worst error of the states, and of the gradient; infinite where a solve failed."""
    u, one = initial(dtype), jnp.ones((), dtype)

    def misfit(u, diffusivity, units):
        last, converged = solve(stepper, u, diffusivity, units)
        return sum(jnp.sum(jnp.cos(7 * x) * x) for x in last.values()), (last, converged)

    run = jax.jit(jax.value_and_grad(misfit, (0, 1), has_aux=True))
    exact = reference(type(stepper))
    errors, slopes, first = [], [], None
    for size in SIZES[dtype]:
        for ratio in RATIOS[dtype]:
            if size * ratio < SMALLEST[dtype]:
                continue
            units = {"a": size * one, "b": size * ratio * one}
            (_, (last, converged)), gradient = run(u, one, units)
            first = gradient if first is None else first
            found = [_difference(last[k], exact[k]) for k in last]
            errors.append(max(found) if converged else np.inf)
            pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(first), strict=True)
            slopes.append(max(_difference(*pair) for pair in pairs))
    return max(errors), max(slopes)


_REFERENCES: dict[type, dict[str, np.ndarray]] = {}


def reference(kind) -> dict[str, np.ndarray]:
    """The same steps at c = 1 in float64, every equation solved to round-off."""
    if kind not in _REFERENCES:
        u = initial("float64")
        tight = ipd.NewtonKrylov(rtol=1e-14, linear_solver=lx.GMRES(1e-6, 1e-6, restart=64))
        one = jnp.ones(())
        last, _ = jax.jit(lambda u: solve(kind(solver=tight), u, one, {"a": one, "b": one}))(u)
        _REFERENCES[kind] = {k: np.asarray(v) for k, v in last.items()}
    return _REFERENCES[kind]


def _difference(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="backward Euler alone")
    steppers = STEPPERS[:1] if parser.parse_args().quick else STEPPERS
    jax.config.update("jax_enable_x64", True)
    for dtype, sizes in SIZES.items():
        shown = ", ".join(f"{s:g}" for s in sizes)
        print(f"\n{dtype}: c = {shown}; b/a = {', '.join(f'{r:g}' for r in RATIOS[dtype])}\n")
        print("worst relative error of the states / of the gradient\n")
        print("| solver |", " | ".join(kind.__name__ for kind in steppers), "|")
        print("|---" * (1 + len(steppers)) + "|")
        for name, solver in SOLVERS.items():
            row = []
            for kind in steppers:
                state, slope = worst(kind(solver=solver), dtype)
                row.append(f"{state:.0e} / {slope:.0e}" if np.isfinite(state) else "not converged")
            print(f"| {name} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
