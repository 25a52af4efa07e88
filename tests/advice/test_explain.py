"""`explain`: the numbers it gives are the step's, and its choice solves it."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.advice._component import describe
from impindiff.preconditioners.stages import first_stage


class Spreading(ipd.HybridModel):
    grid: ipd.Grid
    D: float = 1.0
    speed: float = 0.0
    scheme: str = "upwind"

    def tendency(self, t, u, latent):
        velocity = [self.speed] * self.grid.ndim
        rate = ipd.diffusion(u, self.D, self.grid)
        return rate + ipd.advection(u, velocity, self.grid, self.scheme)


GRID = ipd.Grid((0.0, 0.0), (1.0, 2.0), (20, 16), (ipd.Periodic(), ipd.Neumann()))


def bump(grid):
    x = grid.centers
    return jnp.exp(-((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2) / 0.05)


def counts(found):
    return {c.name: (c.iterations or 0, c.adjoint or 0) for c in found.candidates}


@pytest.mark.slow
def test_a_stiff_step_is_described_and_its_choice_solves_it():
    u0 = jnp.stack([bump(GRID), 0 * bump(GRID)])
    found = ipd.explain(ipd.CrankNicolson(), Spreading(GRID), u0, dt=0.5)
    (component,) = found.components
    # Crank-Nicolson's weight is half the step
    assert component.exchange == pytest.approx(0.25 * 20**2)
    assert component.drift < 1e-12
    assert component.beyond < 1e-12
    by_name = counts(found)
    assert by_name["FastDiagonalization()"] == (1, 1)
    assert max(by_name["Multigrid()"]) <= 4 < min(by_name["none"]) / 4
    assert found.choice in found.candidates
    assert isinstance(found.stepper.solver, ipd.NewtonKrylov)
    assert found.stepper.solver.preconditioner == found.choice.preconditioner
    page = str(found)
    assert re.search(r"u: 20 x 16 cells, float64; a neighbour takes up to 100 ", page)
    assert page.count("<- taken") == 1
    assert "&lt;- taken" in found._repr_html_()
    result = ipd.rollout(Spreading(GRID), u0, [0.0, 0.5], stepper=found.stepper)
    assert bool(result.stats.converged.all())


@pytest.mark.slow
def test_wide_stencils_are_told_and_stages_in_a_loop_are_found():
    model = Spreading(GRID, 0.01, 3.0, "van_leer")
    stage = first_stage(ipd.KenCarp3(), model, bump(GRID), jnp.asarray(0.0), jnp.asarray(0.1))
    (component,) = describe(bump(GRID), stage)
    assert component.beyond > 0.01
    assert component.drift > 0
    assert "couples cells that are not neighbours" in component.lines()[1]


class Chain(ipd.HybridModel):
    grid: ipd.Grid

    def tendency(self, t, u, latent):
        return {"a": -u["a"], "b": 1e3 * u["a"] - u["b"]}


@pytest.mark.slow
def test_what_drives_what_and_blocks():
    u0 = {"a": bump(GRID), "b": bump(GRID)}
    found = ipd.explain(ipd.BackwardEuler(), Chain(GRID), u0, dt=1.0)
    assert [c.name for c in found.components] == ["u['a']", "u['b']"]
    assert found.components[0].others == 0
    assert found.components[1].others > 1
    assert counts(found)["Jacobi(blocks=True)"] == (1, 1)


@pytest.mark.slow
def test_without_state_or_step_a_hundred_explicit_steps_are_taken():
    found = ipd.explain(ipd.BackwardEuler(), Spreading(GRID))
    h = np.asarray(GRID.spacing)
    limit = 1 / (2 * (1 / h**2).sum())
    assert f"one step of {100 * limit:.3g} " in found.title


@pytest.mark.slow
def test_a_float32_step_and_a_preconditioner_of_ones_own():
    own = ipd.Multigrid(cycles=2)
    stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner=own))
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (8, 8))
    found = ipd.explain(stepper, Spreading(grid), bump(grid).astype(jnp.float32), dt=0.1)
    by_name = counts(found)
    assert all(min(both) >= 1 for both in by_name.values())
    assert "the solver's own Multigrid" in by_name


def test_what_it_cannot_look_at_is_refused():
    model = Spreading(GRID)
    with pytest.raises(ipd.InputError, match="RK4 is explicit"):
        ipd.explain(ipd.RK4(), model, bump(GRID), 0.1)
    with pytest.raises(ipd.InputError, match="Anderson takes no preconditioner"):
        ipd.explain(ipd.BackwardEuler(solver=ipd.Anderson()), model, bump(GRID), 0.1)
    with pytest.raises(ipd.InputError, match="VectorField has no grid"):
        ipd.explain(ipd.BackwardEuler(), ipd.VectorField(lambda t, u, args: -u), bump(GRID), 0.1)


@pytest.mark.slow
def test_the_automatic_choice_is_shown_and_is_none_of_the_candidates():
    auto = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (8, 8))
    u0 = jnp.stack([bump(grid)] * 3)
    found = ipd.explain(auto, Spreading(grid), u0, dt=0.1, steps=5)
    assert "auto" not in counts(found)
    assert str(found).splitlines()[-1] == f"preconditioner='auto' takes {found.automatic}"
    assert found.automatic.name == "none"
    times = [0.1 * i for i in range(6)]
    result = ipd.rollout(Spreading(grid), u0, times, stepper=auto, dt=0.1)
    assert result.method is not None
    assert result.method.automatic == str(found.automatic)
    # with another preconditioner it is shown too
    given = ipd.explain(ipd.BackwardEuler(), Spreading(grid), u0, dt=0.1, steps=5)
    assert given.automatic == found.automatic
