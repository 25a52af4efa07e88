"""The hybrid method and baselines, on the same problem, data and training loop."""

from typing import Any

from impindiff.errors import InputError
from impindiff.methods._conv_lstm import ConvLSTM, ConvLSTMCell, ConvLSTMEmulator
from impindiff.methods._emulator import Emulator
from impindiff.methods._field_network import FieldNetwork
from impindiff.methods._fno import FourierEmulator, FourierNeuralOperator
from impindiff.methods._method import Hybrid, Method
from impindiff.methods._sequence import SequenceModel, SequenceNetwork, number_of_channels
from impindiff.problem import Data, Problem

# by `method.name`; Diffrax's is imported when it is chosen, since that package is an extra
_METHODS: dict[str, type[Method]] = {
    "hybrid": Hybrid,
    "local_law": FieldNetwork,
    "fno": FourierEmulator,
    "conv_lstm": ConvLSTMEmulator,
}
_EXTRA_HINT = "pip install 'impindiff[baselines]'"


def method_of(problem: Problem, settings: Any, data: Data) -> Method:
    """The method chosen by `settings.method`, for a problem and its data.

    **Raises:** `InputError` for a method that needs a package which is not installed.
    """
    name = settings.method.name
    if name == "diffrax":
        try:
            from impindiff.methods._diffrax_hybrid import DiffraxHybrid
        except ModuleNotFoundError:
            raise InputError(f"method.name: diffrax needs that package: {_EXTRA_HINT}") from None
        return DiffraxHybrid(problem, settings, data)
    return _METHODS[name](problem, settings, data)


__all__ = [
    "ConvLSTM",
    "ConvLSTMCell",
    "Emulator",
    "FieldNetwork",
    "FourierNeuralOperator",
    "Hybrid",
    "Method",
    "SequenceModel",
    "SequenceNetwork",
    "method_of",
    "number_of_channels",
]
