"""Event files: the numbers of the history, by step."""

import builtins
import struct

import optax
import pytest
from noisy_decay import train
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

import impindiff as ipd
from impindiff.training import Callbacks, TensorBoard
from impindiff.training.history import read


def events(folder):
    """(tag, step, value) of all event files: records of a length, a checksum, data, a checksum."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack("<Q", data[at : at + 8])
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += size + 16
    return found


def test_each_number_of_the_history_is_an_event(tmp_path):
    with TensorBoard(tmp_path) as log:
        told = Callbacks(
            evaluate=lambda m: None, identified=lambda m: {"rate": float(m.rate)}, log=log
        )
        train(tmp_path, optax.sgd(0.1), 4, log_every=2, callbacks=told)
    records = read(tmp_path / "history.jsonl")
    found = events(tmp_path)
    losses = {step: value for tag, step, value in found if tag == "loss"}
    assert losses == pytest.approx({r["step"]: r["loss"] for r in records}, rel=1e-6)
    rates = {step: value for tag, step, value in found if tag == "identified/rate"}
    assert rates == pytest.approx({r["step"]: r["identified"]["rate"] for r in records}, rel=1e-6)
    assert "test_percent" not in {tag for tag, _, _ in found}


def test_without_the_package_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("tensorboardX"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ipd.InputError, match=r"pip install 'impindiff\[tensorboard\]'"):
        TensorBoard(tmp_path)
