"""Best weights and early stopping: exactly those of a run that was recorded."""

import numpy as np
import optax
import pytest
from noisy_decay import loss, model, train

from impindiff.training import Callbacks, FitOptions, LevenbergMarquardt, Optimizer, split
from impindiff.training.history import read

TRAINING, VALIDATION = split(loss(), model(), 0.3)
# large steps over a narrow valley: the loss goes up and down
OPTIMIZER = optax.adam(0.6)


def recorded(folder, optimizer: Optimizer = OPTIMIZER, steps=30, **options):
    """The trained model's numbers after each step, and its validation loss before it."""
    weights = [(1.0, 0.0)]

    def remember(m):
        weights.append((float(m.rate), float(m.source)))
        return None

    fitted = train(
        folder,
        optimizer,
        steps,
        of_loss=TRAINING,
        validation=VALIDATION,
        callbacks=Callbacks(evaluate=remember),
        **options,
    )
    return fitted, weights, [r["validation_loss"] for r in read(folder / "history.jsonl")]


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_smallest_validation_loss(tmp_path):
    fitted, weights, losses = recorded(tmp_path)
    best = int(np.argmin(losses))
    assert 0 < best < len(losses) - 1
    assert fitted.best_step == best
    assert fitted.validation_loss == losses[best]
    assert (float(fitted.model.rate), float(fitted.model.source)) == weights[best]
    last, *_ = recorded(tmp_path / "last", keep_best=False)
    assert (float(last.model.rate), float(last.model.source)) == weights[-1]
    assert last.best_step is None


def test_levenberg_marquardt_s_loss_belongs_to_the_parameters_after_its_trial(tmp_path):
    fitted, weights, losses = recorded(tmp_path, LevenbergMarquardt(damping=10.0), 12)
    best = int(np.argmin(losses))
    assert fitted.best_step == best + 1
    assert (float(fitted.model.rate), float(fitted.model.source)) == weights[best + 1]


@pytest.mark.slow
def test_patience_ends_training_so_many_steps_after_the_best(tmp_path):
    fitted, _, losses = recorded(tmp_path, patience=3)
    assert fitted.stopped_early
    assert fitted.best_step is not None
    assert fitted.steps == fitted.best_step + 3 + 1 < 30
    assert min(losses[: fitted.best_step + 1]) == losses[fitted.best_step]
    assert min(losses[fitted.best_step + 1 :]) >= losses[fitted.best_step]
    whole, *_ = recorded(tmp_path / "whole")
    assert not whole.stopped_early


def test_without_validation_patience_looks_at_the_training_loss(tmp_path):
    fitted = train(tmp_path, OPTIMIZER, 40, patience=2)
    losses = [r["loss"] for r in read(tmp_path / "history.jsonl")]
    assert fitted.stopped_early
    assert fitted.steps == int(np.argmin(losses)) + 3
    assert fitted.best_step is None
    assert fitted.validation_loss is None


@pytest.mark.slow
def test_resuming_before_and_after_the_end_changes_nothing(tmp_path):
    whole, _, losses = recorded(tmp_path / "whole", patience=3)
    recorded(tmp_path / "cut", steps=whole.steps - 2, patience=3)
    cut, _, of_cut = recorded(tmp_path / "cut", patience=3, resume=True)
    again, *_ = recorded(tmp_path / "cut", patience=3, resume=True)
    for resumed in (cut, again):
        assert resumed.steps == whole.steps
        assert resumed.best_step == whole.best_step
        assert resumed.stopped_early
        np.testing.assert_array_equal(resumed.model.rate, whole.model.rate)
    assert of_cut == losses


def test_a_run_without_these_options_keeps_no_state_for_them(tmp_path):
    from impindiff.training._fit import _start

    _, state = _start(model(), loss(), OPTIMIZER, FitOptions(steps=2))
    assert state.best is None
    assert state.validation is None
    assert train(tmp_path, OPTIMIZER, 2).stopped_early is False


@pytest.mark.few(1)
@pytest.mark.parametrize("keep_best", [True, None])
def test_the_best_weights_may_be_kept_without_validation(tmp_path, keep_best):
    fitted = train(tmp_path, OPTIMIZER, 12, keep_best=keep_best)
    losses = [r["loss"] for r in read(tmp_path / "history.jsonl")]
    assert fitted.best_step == (int(np.argmin(losses)) if keep_best else None)
