"""The training loop: what it leaves on disk, how it resumes, how it fails."""

import json
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import impindiff as ipd
from impindiff.training import Callbacks, FitOptions, TrainingError, TrajectoryLoss, adam, fit
from impindiff.training.history import History, read


class Decay(ipd.HybridModel):
    """du/dt = -exp(a) u on a line of cells: the rate is the unknown."""

    grid: ipd.Grid
    a: jax.Array

    def latent(self, t):
        return jnp.exp(self.a)

    def tendency(self, t, u, latent):
        return -latent * u


def model(a=0.0):
    return Decay(ipd.Grid((0.0,), (1.0,), (4,)), jnp.asarray(a))


def loss(values=None, solver=None, rate=2.0):
    u0 = np.linspace(1.0, 2.0, 8).reshape(2, 4)
    times = (0.0, 0.1, 0.25)
    exact = u0 * np.exp(-rate * np.array(times[1:]))[:, None, None]
    return TrajectoryLoss(
        u0=jnp.asarray(u0),
        times=times,
        values=jnp.asarray(exact if values is None else values),
        observe=lambda u: u[1:],
        stepper=ipd.CrankNicolson(solver=solver or ipd.NewtonKrylov()),
        dt=0.01,
    )


def train(folder, steps=60, of_loss=None, *, log_every=10, save_every=20, **given: Any):
    options = FitOptions(steps=steps, log_every=log_every, save_every=save_every)
    return fit(model(), of_loss or loss(), adam("cosine", 0.1, 60), folder, options, **given)


def test_recovers_the_rate_and_records_what_it_did(tmp_path):
    seen = []
    fitted = train(tmp_path, callbacks=Callbacks(evaluate=lambda m: float(m.a), show=seen.append))
    assert np.exp(fitted.model.a) == pytest.approx(2.0, rel=0.03)
    assert fitted.steps == 60
    assert fitted.final_loss < 1e-3
    steps, samples = loss().probe().shape
    assert (steps, samples) == (25, 2)
    assert int(fitted.totals.solves) == 60 * 25 * 2
    assert float(fitted.totals.iterations) == 60 * 25 * 2  # linear: one Newton iteration each
    assert int(fitted.totals.failed_solves) == 0
    assert 0 < float(fitted.totals.max_adjoint_residual) <= 1e-8
    records = read(tmp_path / "history.jsonl")
    assert [r["step"] for r in records] == [1, 10, 20, 30, 40, 50, 60]
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["test_percent"] == float(fitted.model.a)
    assert [p.step for p in seen] == list(range(1, 61))


def test_nothing_is_compiled_after_the_first_steps(tmp_path):
    compiled = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs, kwargs
        if "backend_compile" in event:
            compiled.append(event)

    counts = []
    count = Callbacks(show=lambda progress: counts.append(len(compiled)))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        train(tmp_path, steps=6, log_every=2, callbacks=count)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert counts[0] > 0
    assert counts[0] == counts[-1]


@pytest.mark.slow
def test_resuming_gives_the_same_weights_to_the_bit(tmp_path):
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", steps=33)
    resumed = train(tmp_path / "parts", resume=True)
    assert float(resumed.model.a) == float(whole.model.a)
    assert resumed.final_loss == whole.final_loss
    assert float(resumed.totals.solves) == float(whole.totals.solves)
    histories = [
        [(r["step"], r["loss"]) for r in read(tmp_path / name / "history.jsonl")]
        for name in ("whole", "parts")
    ]
    assert [r for r in histories[1] if r[0] != 33] == histories[0]


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(tmp_path):
    whole = train(tmp_path)
    again = train(tmp_path, resume=True)
    assert float(again.model.a) == float(whole.model.a)
    assert again.final_loss == whole.final_loss


@pytest.mark.slow
def test_an_interruption_saves_the_last_step(tmp_path):
    def stop(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=Callbacks(show=stop))
    first = []
    train(tmp_path, steps=9, resume=True, callbacks=Callbacks(show=first.append))
    assert first[0].step == 8


@pytest.mark.slow
def test_what_is_shown_as_saved_is_on_disk(tmp_path):
    seen = []

    def show(progress):
        seen.append(progress)
        stored = tmp_path / "training_state" / str(progress.step)
        assert progress.saved == stored.is_dir()

    train(tmp_path, steps=8, save_every=3, callbacks=Callbacks(show=show))
    assert [p.step for p in seen if p.saved] == [3, 6, 8]


def test_a_nan_in_an_observation_is_named(tmp_path):
    values = np.full((2, 2, 4), np.nan)
    with pytest.raises(TrainingError, match=r"^training step 1: the loss is nan .*observations"):
        train(tmp_path, of_loss=loss(values))


def test_a_rollout_that_fails_is_named(tmp_path):
    bad = eqx.tree_at(lambda of: of.u0, loss(), loss().u0.at[1, 2].set(jnp.nan))
    message = r"^training step 1: .* step 1 of 25 \(t = 0 to 0\.01\), sample 1: field u, .*NaN"
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, of_loss=bad)


@pytest.mark.slow
def test_an_adjoint_that_does_not_converge_is_named(tmp_path):
    stepper = ipd.CrankNicolson(
        solver=ipd.NewtonKrylov(),
        adjoint=ipd.ImplicitAdjoint(
            rtol=1e-30, linear_solver=lx.BiCGStab(rtol=1e-6, atol=1e-6, max_steps=1)
        ),
    )
    bad = eqx.tree_at(lambda of: of.stepper, loss(), stepper)
    with pytest.raises(TrainingError, match=r"the gradient is not finite; the adjoint solve of"):
        train(tmp_path, of_loss=bad)


def test_history_drops_what_comes_after_the_restored_step_and_a_cut_line(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps({"step": s}) + "\n" for s in (1, 10, 20)) + '{"step": 3')
    History(path, after_step=10).append({"step": 11})
    assert [r["step"] for r in read(path)] == [1, 10, 11]


@pytest.mark.parametrize("name", ["steps", "log_every", "save_every", "patience"])
def test_counts_below_one_are_refused(name):
    numbers: Any = {"steps": 1, name: 0}
    with pytest.raises(ipd.InputError, match=f"FitOptions: {name} = 0; expected at least 1"):
        FitOptions(**numbers)


@pytest.mark.slow
def test_the_time_of_training_does_not_include_its_evaluation(tmp_path):
    def slow(model):
        time.sleep(0.5)
        return 1.0

    options = FitOptions(steps=4, log_every=1)
    callbacks = Callbacks(evaluate=slow)
    begun = time.perf_counter()
    fitted = fit(model(), loss(), adam("constant", 0.01, 4), tmp_path, options, callbacks=callbacks)
    assert fitted.seconds < time.perf_counter() - begun - 4 * 0.5
