"""Several starts: the best goes on as if it had been the only one."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from noisy_decay import loss, model, train

import impindiff as ipd
from impindiff.training import Callbacks, FitOptions, TrainingError, adam, fit_restarts, split
from impindiff.training.history import read

TRAINING, VALIDATION = split(loss(), model(), 0.3)
STARTS = ((9.0, 3.0), (1.5, 0.2), (0.1, -2.0))
OPTIMIZER = adam("cosine", 0.1, 12)


def restarted(folder, starts=STARTS, steps=12, **given: Any):
    options = FitOptions(steps=steps, log_every=1, save_every=4, validation=VALIDATION)
    models = [model(*start) for start in starts]
    return fit_restarts(models, TRAINING, OPTIMIZER, folder, options, restart_steps=5, **given)


def alone(folder, start, steps=12):
    return train(
        folder, OPTIMIZER, steps, model(*start), TRAINING, validation=VALIDATION, save_every=4
    )


def same(found, expected):
    assert float(found.model.rate) == float(expected.model.rate)
    assert float(found.model.source) == float(expected.model.source)
    assert (found.steps, found.best_step) == (expected.steps, expected.best_step)


@pytest.mark.slow
def test_the_result_is_that_of_the_best_start_alone_to_the_bit(tmp_path):
    said = []
    fitted, starts = restarted(tmp_path / "all", callbacks=Callbacks(say=said.append))
    ends = [alone(tmp_path / f"short{i}", start, 5) for i, start in enumerate(STARTS)]
    assert starts.losses == tuple(end.validation_loss for end in ends)
    assert starts.chosen == int(np.argmin(starts.losses)) == 1
    same(fitted, alone(tmp_path / "one", STARTS[1]))
    losses = [
        [(r["step"], r["loss"]) for r in read(tmp_path / of / "history.jsonl")]
        for of in ("all", "one")
    ]
    assert losses[0] == losses[1]
    assert said[-1] == "going on with start 2 of 3"


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [(0, 3), (2, 2), (3, 8)])
def test_resuming_repeats_nothing_that_is_done(tmp_path, interrupted):
    """Interrupted in a step of a start, or, as the fourth, after the choice."""
    run, at = interrupted
    seen = []

    def stop(progress):
        seen.append(progress.step)
        if seen.count(at) == run + (1 if run < 3 else -2) and progress.step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restarted(tmp_path / "cut", callbacks=Callbacks(show=stop))
    before = len(seen)
    count = Callbacks(show=lambda p: seen.append(p.step))
    fitted, starts = restarted(tmp_path / "cut", resume=True, callbacks=count)
    # 5 steps of each start, and 7 more of the best
    assert len(seen) == 3 * 5 + 7
    assert 0 < before < len(seen)
    whole, of_whole = restarted(tmp_path / "whole")
    same(fitted, whole)
    assert starts == of_whole


@pytest.mark.slow
def test_a_start_that_fails_is_passed_over(tmp_path):
    said = []
    some = ((jnp.nan, 0.0), STARTS[1])
    fitted, starts = restarted(tmp_path, some, callbacks=Callbacks(say=said.append))
    assert starts.losses[0] == np.inf
    assert starts.chosen == 1
    assert np.isfinite(fitted.final_loss)
    assert said[0].startswith("start 1 of 2 failed: training step 1: ")
    again, starts = restarted(tmp_path, some, resume=True)
    assert starts.losses[0] == np.inf
    assert float(again.model.rate) == float(fitted.model.rate)


def test_starts_that_all_fail_end_the_training(tmp_path):
    with pytest.raises(TrainingError, match="all 1 starts failed"):
        restarted(tmp_path, ((jnp.nan, 0.0),))


def test_too_many_steps_of_a_start_are_refused(tmp_path):
    with pytest.raises(ipd.InputError, match=r"training\.restart_steps: 5 must be between 1 and"):
        restarted(tmp_path, steps=5)
