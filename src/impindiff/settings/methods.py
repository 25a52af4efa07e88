"""Settings of the method: the hybrid model, or a baseline in its place."""

from typing import Annotated, Literal

from pydantic import Field

from impindiff.settings.configuration import StrictModel

_Positive = Annotated[float, Field(gt=0)]
_PositiveInt = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=1, le=1000)]


class HybridSettings(StrictModel):
    """The problem's hybrid model, advanced by `stepper`."""

    name: Literal["hybrid"] = "hybrid"


class DiffraxSettings(StrictModel):
    """The hybrid model advanced by a Diffrax solver with adaptive steps.

    Differentiated by recursive checkpointing, or in forward mode for levenberg_marquardt.
    """

    name: Literal["diffrax"] = "diffrax"
    solver: Literal["tsit5", "kvaerno5"] = Field(
        default="tsit5", description="explicit, or implicit with a dense Jacobian"
    )
    rtol: _Positive = Field(default=1e-3, description="error of a step, relative")
    atol: _Positive = Field(default=1e-6, description="error of a step, in the state's unit")
    max_steps: _PositiveInt = Field(default=4096, description="steps at most in a trajectory")


class LocalLawSettings(StrictModel):
    """A baseline that drops the physics and keeps the field network: du/dt is any local law.

    A polynomial of the cell and its neighbours; the network gives the coefficients at each place.
    """

    name: Literal["local_law"] = "local_law"
    degree: Literal[1, 2] = Field(default=1, description="polynomial degree; 1: linear")
    timescale: _Positive | None = Field(
        default=None,
        description="time within which coefficients of order one change a cell's value by order "
        "one; null: the time range of the observations",
    )


class _Sequence(StrictModel):
    fit_to: Literal["next_observation", "trajectory"] | None = Field(
        default=None,
        description="predict each observation from the one before it, or all from the first state; "
        "null: the former where whole fields are observed, else the latter",
    )


class FnoSettings(_Sequence):
    """A Fourier neural operator from one observation to the next."""

    name: Literal["fno"] = "fno"
    width: _PositiveInt = Field(default=32, description="channels")
    modes: _PositiveInt = Field(default=12, description="Fourier modes kept along each axis")
    layers: Layers = Field(default=4, description="spectral layers")


class ConvLSTMSettings(_Sequence):
    """A convolutional LSTM from one observation to the next."""

    name: Literal["conv_lstm"] = "conv_lstm"
    hidden: _PositiveInt = Field(default=32, description="channels of the memory")
    kernel: _PositiveInt = Field(default=5, description="cells a side of the convolutions")
    layers: Layers = Field(default=2, description="cells stacked")


MethodSettings = Annotated[
    HybridSettings | DiffraxSettings | LocalLawSettings | FnoSettings | ConvLSTMSettings,
    Field(discriminator="name"),
]
