"""A preconditioner "auto" in training: chosen once, announced, the same when resumed."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.training import (
    Callbacks,
    FitOptions,
    TrajectoryLoss,
    adam,
    compile_training_step,
    fit,
    fit_ensemble,
    fit_restarts,
    multiple_shooting,
    steps_within,
)

N, DT = 8, 0.1
# too few iterations for none
FEW = ipd.NewtonKrylov(linear_solver=ipd.BiCGStab(max_steps=6), preconditioner="auto")


class Heat(ipd.HybridModel):
    """Diffusion with an unknown diffusivity."""

    grid: ipd.Grid
    D: jax.Array

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.D, self.grid)


def model(exchange=20.0):
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (N, N), (ipd.Dirichlet(), ipd.Dirichlet()))
    return Heat(grid, jnp.asarray(exchange / N**2 / DT))


def loss(preconditioner: Any = "auto"):
    solver = eqx.tree_at(lambda s: s.preconditioner, FEW, preconditioner)
    times = (0.0, DT, 2 * DT)
    u0 = jnp.asarray(np.random.default_rng(0).normal(size=(2, N, N)))
    return TrajectoryLoss(
        u0=u0,
        times=times,
        values=0.1 * jnp.ones((2, 2, N, N)),
        observe=lambda u: u[1:],
        stepper=ipd.BackwardEuler(solver=solver),
        dt=DT,
    )


OPTIONS = FitOptions(steps=4, log_every=1, save_every=1)
OPTIMIZER = adam("constant", 0.1, 4)


def trained(folder, given, options=OPTIONS, **more):
    said = []
    fitted = fit(
        model(), given, OPTIMIZER, folder, options, callbacks=Callbacks(say=said.append), **more
    )
    return float(fitted.model.D), said


@pytest.mark.slow
def test_training_takes_the_choice_announces_it_and_resumes_with_it(tmp_path):
    found, said = trained(tmp_path / "auto", loss())
    assert len(said) == 1
    assert said[0].startswith("preconditioner: Multigrid() (D dt/dx^2 at most 20; ")
    given, nothing = trained(tmp_path / "given", loss(ipd.Multigrid()))
    assert (found, nothing) == (given, [])
    trained(tmp_path / "cut", loss(), FitOptions(steps=2, log_every=1, save_every=1))
    resumed, again = trained(tmp_path / "cut", loss(), resume=True)
    assert (resumed, again) == (found, said)


@pytest.mark.slow
def test_programs_compiled_beforehand_have_it(tmp_path):
    compiled = compile_training_step(model(), loss(), OPTIMIZER, OPTIONS)
    assert trained(tmp_path, loss(), compiled=compiled)[0] != float(model().D)
    assert steps_within(1e-9, model(), loss(), OPTIMIZER, OPTIONS)[0] == 1


@pytest.mark.slow
def test_starts_and_members_share_the_choice_for_the_first(tmp_path):
    said = []
    models, starts = [model(20.0), model(0.01)], tmp_path / "starts"
    callbacks = Callbacks(say=said.append)
    fit_restarts(models, loss(), OPTIMIZER, starts, OPTIONS, restart_steps=1, callbacks=callbacks)
    announced = [line.startswith("preconditioner: Multigrid()") for line in said]
    assert announced == [True, False, False, False]
    said.clear()
    fit_ensemble(models, loss(), OPTIMIZER, tmp_path / "members", OPTIONS, callbacks=callbacks)
    assert len(said) == 1
    assert said[0].startswith("preconditioner: Multigrid()")


def test_multiple_shooting_and_other_integrators():
    shooting, with_nodes = multiple_shooting(loss(), model(), 2)
    decided, choice = shooting.with_automatic_choice(with_nodes)
    assert choice is not None
    assert choice.name == "Multigrid()"
    assert isinstance(decided, type(shooting))
    assert isinstance(decided.stepper, ipd.BackwardEuler)
    assert decided.stepper.solver == eqx.tree_at(lambda s: s.preconditioner, FEW, ipd.Multigrid())
    # nothing of the stepper is used
    other = eqx.tree_at(lambda o: o.simulate, loss(), lambda *_: None, is_leaf=lambda x: x is None)
    assert other.with_automatic_choice(model()) == (other, None)


def test_a_prepared_model_counts():
    """Its coefficients and initial state are those of the rollout."""
    prepared = eqx.tree_at(
        lambda o: o.prepare,
        loss(),
        lambda m: (eqx.tree_at(lambda m: m.D, m, 2 * m.D), loss().u0),
        is_leaf=lambda x: x is None,
    )
    choice = prepared.with_automatic_choice(model())[1]
    assert choice is not None
    assert "at most 40;" in choice.why
