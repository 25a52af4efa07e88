"""Black boxes to compare with: networks that map one observation to the next, without physics."""

from impindiff.baselines.conv_lstm import ConvLSTM, ConvLSTMCell
from impindiff.baselines.fno import FourierNeuralOperator
from impindiff.baselines.sequence import SequenceModel, SequenceNetwork, number_of_channels

__all__ = [
    "ConvLSTM",
    "ConvLSTMCell",
    "FourierNeuralOperator",
    "SequenceModel",
    "SequenceNetwork",
    "number_of_channels",
]
