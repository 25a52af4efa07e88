"""Readable names of keys, figures and times."""

from collections.abc import Mapping
from types import MappingProxyType

Labels = Mapping[str, str]
"""Words of a problem, by the name of a quantity or result, or by `NAME.png` for a figure."""

_LABELS = {
    "train": "training",
    "test": "test",
    "weakest": "weakest combination of parameters",
    "training_end": "end of training",
    "twice_training": "twice the training",
    "horizon": "horizon",
    "twice_horizon": "twice the horizon",
}

# in the order of the page: forecast, unknowns, training
_CAPTIONS = {
    "forecast_test": "Truth, forecast and error of a sample that training did not see.",
    "samples": "Measured values (dots) and the model's prediction (lines) along x, by sample.",
    "stations": "Measured values and the model's prediction over time, by place of measurement.",
    "stations_test": "Measured and predicted values over time, a sample that training did not see.",
    "stations_train": "Measured and predicted values over time, a training sample.",
    "forecast": "The forecast at several times.",
    "agreement": "Predicted against measured values; on the line they agree.",
    "profiles_test": "Profiles of a sample that training did not see, at several times.",
    "error_vs_time": "Relative error of the forecast over time.",
    "error_vs_cost": "Error of the forecast against training time.",
    "pareto": "Error of the forecast against the seconds of training, with several time steps.",
    "sensors": "Error of the forecast against the number of sensors.",
    "noise": "Error of the forecast against the noise of the data.",
    "latent": "The inferred fields, the true ones where they are known, and their difference.",
    "closures": "The learned closures with bands of two standard deviations, true ones if known.",
    "identified": "The estimated numbers over the training steps.",
    "instruments": "Readings of the instruments, measured and predicted.",
    "identifiability": "The combinations of parameters that the data can distinguish.",
    "forecast_train": "Truth, forecast and error of a training sample.",
    "profiles_train": "Profiles of a training sample, at several times.",
    "history": "Training loss, and test error if there is one, over the training steps.",
}


def humanised(name: str, labels: Labels = MappingProxyType({})) -> str:
    """A key in words: the problem's label if it has one."""
    return labels.get(name) or _LABELS.get(name, name.replace("_", " ").replace(".", ", "))


def caption(figure: str, labels: Labels) -> str:
    """The caption of a figure, one sentence."""
    name, plane = _of_plane(figure)
    own = labels.get(f"{name}.png") or _CAPTIONS.get(name)
    text = f"{(own or capitalised(humanised(name, labels))).rstrip('.')}."
    return text if not plane else f"{text[:-1]} (the middle plane across {plane})."


def figure_order(figure: str, labels: Labels) -> tuple[int, str]:
    """Sort key of figures: in reading order, the problem's own with the inferred fields."""
    known, (name, _) = list(_CAPTIONS), _of_plane(figure)
    name = "latent" if f"{name}.png" in labels else name
    return (known.index(name) if name in known else len(known), figure)


def _of_plane(figure: str) -> tuple[str, str]:
    """(name without its plane, axis across the plane); the axis is empty for a whole figure."""
    name, across, axis = figure.rpartition("_across_")
    return (name, axis) if across else (figure, "")


def capitalised(text: str) -> str:
    """Capitalise the first letter only."""
    return text[:1].upper() + text[1:]


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
