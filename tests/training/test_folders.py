"""What a folder of training is put through: damage, full disks, moves, two processes at once."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from noisy_decay import loss, model, train

import impindiff as ipd
from impindiff.training import (
    Callbacks,
    FitOptions,
    StorageError,
    TrainingError,
    TrainingStore,
    adam,
    fit_restarts,
    held,
    holder,
)
from impindiff.training.history import read

SGD = optax.sgd(0.1)
STATE = {"a": jnp.arange(3000.0), "b": {"c": jnp.eye(4), "step": jnp.asarray(7)}}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    store = TrainingStore(folder)
    for step in (1, 2):
        store.save(step, {**STATE, "a": step * STATE["a"]})
    store.close()
    return folder


def damaged(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    how = rng.choice(["cut", "flip", "delete", "folder", "empty"])
    if how == "cut":
        path.write_bytes(content[: rng.randrange(len(content) or 1)])
    elif how == "flip" and content:
        content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()


@pytest.mark.few(6)
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_state_is_never_restored_to_other_numbers(stored, tmp_path, seed, capfd):
    """It is restored as it was, or the one before it is, and that is said."""
    folder, rng, said = tmp_path / "states", random.Random(seed), []
    shutil.copytree(stored, folder)
    path = rng.choice(sorted(p for p in (folder / "2").rglob("*") if p.is_file()))
    damaged(path, rng)
    store = TrainingStore(folder)
    found = store.restore(STATE, said.append)
    assert found is not None
    taken = 1 if said else 2
    np.testing.assert_array_equal(found["a"], taken * STATE["a"])
    np.testing.assert_array_equal(found["b"]["c"], STATE["b"]["c"])
    if said:
        assert "the training state of step 2 is damaged (" in said[0]
        assert said[0].endswith("going on from that of step 1")
        store.save(2, STATE)
        found = store.restore(STATE)
        assert found is not None
        np.testing.assert_array_equal(found["a"], STATE["a"])
    store.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("at", [0.1, 0.4, 0.7])
def test_one_flipped_bit_in_the_numbers_is_noticed(stored, tmp_path, at):
    """Orbax alone restores other numbers, without a word."""
    folder, said = tmp_path / "states", []
    shutil.copytree(stored, folder)
    of_numbers = (folder / "2" / "default" / "ocdbt.process_0" / "d").iterdir()
    largest = max(of_numbers, key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[int(at * len(content))] ^= 1
    largest.write_bytes(content)
    store = TrainingStore(folder)
    found = store.restore(STATE, said.append)
    assert found is not None
    np.testing.assert_array_equal(found["a"], STATE["a"])
    assert len(said) == 1
    store.close()


def test_when_no_state_is_whole_it_says_what_to_do(stored, tmp_path):
    folder = tmp_path / "states"
    shutil.copytree(stored, folder)
    for path in folder.rglob("manifest.ocdbt"):
        path.write_bytes(b"x" * 50)
    store = TrainingStore(folder)
    with pytest.raises(ipd.InputError, match=r"none of the training states \(of steps 1, 2\) can"):
        store.restore(STATE)
    store.close()


# TensorStore may end a read that Orbax has given up after the event loop that asked for it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_state_of_another_model_is_called_so(stored):
    store = TrainingStore(stored)
    for other in ({"a": STATE["a"]}, {**STATE, "a": jnp.zeros(7)}):
        with pytest.raises(ipd.InputError, match="of step 2 does not fit this model"):
            store.restore(other)
    store.close()


@pytest.mark.slow
def test_a_run_goes_on_from_the_state_before_a_damaged_one_to_the_same_end(tmp_path):
    whole = train(tmp_path / "whole", SGD, 20)
    train(tmp_path / "cut", SGD, 10)
    for path in (tmp_path / "cut" / "training_state" / "10").rglob("manifest.ocdbt"):
        path.unlink()
    seen, said = [], []
    told = Callbacks(show=seen.append, say=said.append)
    resumed = train(tmp_path / "cut", SGD, 20, resume=True, callbacks=told)
    assert seen[0].step == 6
    assert "step 10 is damaged" in said[0]
    assert float(resumed.model.rate) == float(whole.model.rate)
    histories = [
        [(r["step"], r["loss"]) for r in read(tmp_path / of / "history.jsonl")]
        for of in ("whole", "cut")
    ]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_without_resume_the_states_that_are_there_are_forgotten(tmp_path):
    train(tmp_path, SGD, 10)
    train(tmp_path, SGD, 10, model(3.0))
    store = TrainingStore(tmp_path / "training_state")
    resumed = train(tmp_path, SGD, 10, model(3.0), resume=True)
    again = train(tmp_path / "again", SGD, 10, model(3.0))
    assert float(resumed.model.rate) == float(again.model.rate)
    store.close()


FULL = """
import resource, signal, sys
from pathlib import Path
import jax.numpy as jnp
from impindiff.training import StorageError, TrainingStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = TrainingStore(Path(sys.argv[1]))
store.save(1, {"a": jnp.arange(10.0)})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    store.save(2, {"a": jnp.sin(jnp.arange(9000.0))})
except StorageError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_write_that_fails_in_a_thread_of_orbax_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "states"],
        # compiled programs would not fit either
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "cannot be saved; that of step 1 is intact" in done.stdout
    assert [p.name for p in (tmp_path / "states").iterdir()] == ["1"]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "content",
    [
        b"not ours\n",
        b'{"step": 1, "loss": 0.5}\n{"step": 2, "lo\n{"step": 3, "loss": 0.1}\n',
        b"\xff\xfe\x00\x01\n",
        b"[1, 2]\n",
        b'{"step": "one"}\n',
        b'{"step": 1, "loss": "small"}\n',
        b"[" * 50_000 + b"\n",
        b"9" * 6000 + b"\n",
    ],
)
def test_a_history_of_other_content_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "history.jsonl"
    path.write_bytes(content)
    with pytest.raises(ipd.InputError, match=r"history\.jsonl, line [12]: is not a record of tra"):
        read(path)
    train(tmp_path, SGD, 5)
    path.write_bytes(content)
    with pytest.raises(ipd.InputError, match=r"history\.jsonl, line"):
        train(tmp_path, SGD, 10, resume=True)


def test_a_last_line_cut_short_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read(path) == [{"step": 1, "loss": 0.5}]
    path.unlink()
    assert read(path) == []
    path.mkdir()
    with pytest.raises(ipd.InputError, match="cannot be read as a history"):
        read(path)


@pytest.mark.slow
def test_a_history_that_could_not_be_written_loses_no_line(tmp_path, monkeypatch):
    """A state is never ahead of its history."""
    train(tmp_path / "whole", SGD, 12)
    opened = Path.open

    def full(self, mode="r", *args, **kwargs):
        if mode == "r+" and len(read(self)) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(StorageError, match="disk is full"):
            train(tmp_path / "cut", SGD, 12)
    train(tmp_path / "cut", SGD, 12, resume=True)
    steps = [
        [(r["step"], r["loss"]) for r in read(tmp_path / of / "history.jsonl")]
        for of in ("whole", "cut")
    ]
    assert steps[0] == steps[1]


STARTS = ((9.0, 3.0), (1.5, 0.2), (0.1, -2.0))


def restarted(folder, **given: Any):
    options = FitOptions(steps=12, log_every=1, save_every=4)
    models = [model(*start) for start in STARTS]
    optimizer = adam("cosine", 0.1, 12)
    return fit_restarts(models, loss(), optimizer, folder, options, restart_steps=5, **given)


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 7])
def test_starts_that_met_a_full_disk_go_on_to_the_same_end(tmp_path, monkeypatch, at):
    """Each save in turn is the first that fails; it is no fault of the start, and ends the run."""
    whole, of_whole = restarted(tmp_path / "whole")
    save, count = ocp.CheckpointManager.save, []

    def fill(self, step, *args, **kwargs):
        count.append(step)
        if len(count) >= at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, step, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(ocp.CheckpointManager, "save", fill)
        with pytest.raises(StorageError, match="the disk is full, the training state of step"):
            restarted(tmp_path / "cut")
    resumed, starts = restarted(tmp_path / "cut", resume=True)
    assert starts == of_whole
    assert float(resumed.model.rate) == float(whole.model.rate)
    assert float(resumed.model.source) == float(whole.model.source)


@pytest.mark.slow
def test_a_disk_that_is_full_when_the_choice_is_stored(tmp_path, monkeypatch):
    whole, _ = restarted(tmp_path / "whole")
    copy = shutil.copytree

    def full(source, target, *args, **kwargs):
        if Path(target).name == ".training_state.partial":
            Path(target).mkdir()
            raise shutil.Error([(source, target, "[Errno 28] No space left on device")])
        return copy(source, target, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", full)
        with pytest.raises(StorageError, match="the disk is full"):
            restarted(tmp_path / "cut")
    assert not (tmp_path / "cut" / ".training_state.partial").exists()
    resumed, _ = restarted(tmp_path / "cut", resume=True)
    assert float(resumed.model.rate) == float(whole.model.rate)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", '{"losses": [1], "chosen": 0}', "{", '{"losses": 3}'])
def test_a_damaged_record_of_the_choice_is_one_line(tmp_path, text):
    restarted(tmp_path)
    (tmp_path / "restarts.json").write_text(text)
    with pytest.raises(ipd.InputError, match=r"restarts\.json: cannot be read as the record of a"):
        restarted(tmp_path, resume=True)


@pytest.mark.slow
def test_a_folder_that_is_moved_is_not_made_again(tmp_path):
    def move(progress):
        if progress.step == 7:
            (tmp_path / "run").rename(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match=r"was moved or deleted"):
        train(tmp_path / "run", SGD, 20, callbacks=Callbacks(show=move))
    assert [p.name for p in tmp_path.iterdir()] == ["elsewhere"]
    resumed = train(tmp_path / "elsewhere", SGD, 20, resume=True)
    assert float(resumed.model.rate) == float(train(tmp_path / "w", SGD, 20).model.rate)


def test_a_folder_of_starts_that_is_deleted_is_not_made_again(tmp_path):
    seen = []

    def delete(progress):
        seen.append(progress.step)
        if len(seen) == 5:
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(StorageError, match=r"was moved or deleted"):
        restarted(tmp_path / "run", callbacks=Callbacks(show=delete))
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from impindiff.training import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_folder_is_held_by_one_process_and_a_dead_one_does_not_keep_it(tmp_path):
    left = tmp_path / ".forecast.partial-99999999.nc"
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        who = f"process {other.pid}"
        assert holder(tmp_path) == who
        with pytest.raises(ipd.InputError, match=f"{who} is writing to it; wait until it has"):
            train(tmp_path, SGD, 5)
        left.write_text("")
        other.kill()
    assert (tmp_path / ".lock").exists()
    assert holder(tmp_path) is None
    train(tmp_path, SGD, 5)
    assert {p.name for p in tmp_path.iterdir()} == {"history.jsonl", "training_state"}


def test_a_process_may_hold_its_folder_twice(tmp_path):
    with held(tmp_path), held(tmp_path):
        assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    mine, other = (tmp_path / f".f.partial-{pid}.nc" for pid in (os.getpid(), os.getppid()))
    foreign = tmp_path / ".partial"
    for path in (mine, other, foreign):
        path.write_text("")
    (tmp_path / "training_state").mkdir()
    (tmp_path / "training_state" / "7.orbax-checkpoint-tmp").mkdir()
    with held(tmp_path):
        pass
    assert {p.name for p in tmp_path.rglob("*")} == {other.name, foreign.name, "training_state"}


def test_training_that_diverges_is_advised_on_its_rate(tmp_path):
    explicit = loss(stepper=ipd.RK4())
    with pytest.raises(TrainingError, match=r"smaller learning rate \(training\.learning_rate\)"):
        train(tmp_path / "a", optax.sgd(1e6), 20, of_loss=explicit)
    with pytest.raises(TrainingError) as first:
        train(tmp_path / "b", optax.sgd(1e6), 20, model(jnp.nan), explicit)
    assert "learning" not in str(first.value)


@pytest.mark.slow
@pytest.mark.parametrize("of", [optax.lbfgs(), optax.chain(optax.sgd(1.0), optax.lbfgs())])
def test_a_method_that_searches_along_a_line_is_advised_on_no_rate(tmp_path, of):
    train(tmp_path, of, 1)
    broken = loss(values=jnp.full_like(loss().values, jnp.nan))
    with pytest.raises(TrainingError, match="training step 2") as second:
        train(tmp_path, of, 4, of_loss=broken, resume=True)
    assert "learning" not in str(second.value)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs", "levenberg_marquardt"])
def test_a_state_without_an_axis_of_samples_is_trained_as_one_sample(tmp_path, optimizer):
    """To the numbers of the same state with an axis of length one."""
    of = {
        "sgd": SGD,
        "lbfgs": optax.lbfgs(),
        "levenberg_marquardt": ipd.training.LevenbergMarquardt(),
    }[optimizer]
    one = loss()
    one = {"u0": one.u0[:1], "values": one.values[:, :1]}
    with_axis = train(tmp_path / "with", of, 6, of_loss=loss(**one, observe=lambda u: u[1:]))
    alone = {"u0": one["u0"][0], "values": one["values"][:, 0]}
    without = train(tmp_path / "without", of, 6, of_loss=loss(**alone, observe=lambda u: u[1:]))
    assert float(without.model.rate) == pytest.approx(float(with_axis.model.rate), rel=1e-12)
    assert float(without.final_loss) == pytest.approx(float(with_axis.final_loss), rel=1e-12)
