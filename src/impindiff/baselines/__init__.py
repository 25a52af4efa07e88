"""What the method is compared with, on the same cases, data and training loop."""

from typing import Any

from impindiff.baselines.conv_lstm import ConvLSTM, ConvLSTMCell
from impindiff.baselines.fno import FourierNeuralOperator
from impindiff.baselines.sequence import SequenceModel, SequenceNetwork, number_of_channels
from impindiff.cases import Case
from impindiff.errors import InputError

_EXTRA_HINT = "pip install 'impindiff[baselines]'"


def with_method(case: Case, settings: Any) -> Case:
    """The case with what `settings.method` puts in place of its model or its solver.

    Cases have no state, so that a class that inherits from both is all it takes. Raises
    `InputError` for a method that needs a package which is not installed.
    """
    name = settings.method.name
    if name == "hybrid":
        return case
    if name == "diffrax":
        try:
            from impindiff.baselines.diffrax_hybrid import DiffraxHybrid as Baseline
        except ModuleNotFoundError:
            raise InputError(f"method.name: diffrax needs that package: {_EXTRA_HINT}") from None
    elif name == "local_law":
        from impindiff.baselines.local_law import LocalLawInPlace as Baseline
    else:
        from impindiff.baselines.emulator import Emulator as Baseline
    return type(f"{Baseline.__name__}{type(case).__name__}", (Baseline, type(case)), {})()


__all__ = [
    "ConvLSTM",
    "ConvLSTMCell",
    "FourierNeuralOperator",
    "SequenceModel",
    "SequenceNetwork",
    "number_of_channels",
    "with_method",
]
