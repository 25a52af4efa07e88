"""A folder that cannot be written to, and a disk that is or becomes full."""

import collections
import errno
import shutil
from pathlib import Path

import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
import pytest
from noisy_decay import train

import impindiff as ipd
from impindiff.training import (
    Callbacks,
    History,
    StorageError,
    TrainingError,
    TrainingStore,
    require_room,
)

Usage = collections.namedtuple("Usage", "total used free")


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ipd.InputError, match=r"file/run: cannot be written to \(Not a directory\)"):
        train(tmp_path / "file" / "run", optax.sgd(0.1))


def test_too_little_room_is_told_with_what_is_needed_and_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 3_000_000))
    require_room(tmp_path, 3_000_000, "results")
    message = r": the results need 3\.1 MB, and 3\.0 MB are free on its disk; make room"
    with pytest.raises(ipd.InputError, match=message):
        require_room(tmp_path, 3_100_000, "results")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10))
    with pytest.raises(ipd.InputError, match="the training states need"):
        train(tmp_path, optax.sgd(0.1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Failed writing: No space left on device"),
    ],
)
def test_a_disk_that_becomes_full_leaves_the_state_before_which_resumes(
    tmp_path, monkeypatch, error
):
    whole = train(tmp_path / "whole", optax.sgd(0.1), 20)
    save = ocp.CheckpointManager.save

    def fill(self, step, *args, **kwargs):
        if step > 5:
            (tmp_path / "cut" / "training_state" / f"{step}.orbax-checkpoint-tmp").mkdir()
            raise error
        return save(self, step, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(ocp.CheckpointManager, "save", fill)
        message = (
            r"the disk is full, .* step 10 \(85 Bytes\) cannot be saved; that of step 5 is int"
        )
        with pytest.raises(TrainingError, match=message):
            train(tmp_path / "cut", optax.sgd(0.1), 20)
    left = sorted(path.name for path in (tmp_path / "cut" / "training_state").iterdir())
    assert left == ["5"]
    seen = []
    resumed = train(
        tmp_path / "cut", optax.sgd(0.1), 20, resume=True, callbacks=Callbacks(show=seen.append)
    )
    assert seen[0].step == 6
    assert float(resumed.model.rate) == float(whole.model.rate)


def test_a_history_that_cannot_grow_says_so(tmp_path, monkeypatch):
    history = History(tmp_path / "history.jsonl")

    def full(self, mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(TrainingError, match=r"history\.jsonl: the disk is full; make room"):
        history.append({"step": 1})


def test_other_errors_of_saving_are_not_called_a_full_disk(tmp_path, monkeypatch):
    def fail(self, step, *args, **kwargs):
        raise ValueError("something else")

    monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
    store = TrainingStore(tmp_path)
    with pytest.raises(StorageError, match="ValueError: something else, the training state"):
        store.save(1, {"a": jnp.ones(())})
    store.close()
