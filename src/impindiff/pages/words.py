"""What keys, figures and moments are called on a page."""

_LABELS = {
    "train": "training",
    "test": "test",
    "velocity_x": "velocity, x",
    "velocity_y": "velocity, y",
    "lambda": "λ",
    "nu": "ν",
    "gamma": "activation γ",
    "trapped_porosity_error": "largest error of the trapped porosity",
    "closure_time_error": "largest error of the time at which the pores close",
    "max_imbalance": "largest imbalance",
    "weakest": "weakest combination of parameters",
    "training_end": "end of training",
    "twice_training": "twice the training",
    "horizon": "horizon",
    "twice_horizon": "twice the horizon",
}

# In the order of the page: what was forecast, what was found, how it was trained.
_CAPTIONS = {
    "forecast_test": "Truth, forecast and error of a sample that training did not see.",
    "profiles_test": "Profiles of a sample that training did not see, at several times.",
    "error_vs_time": "Relative error of the forecast over time.",
    "error_vs_cost": "Error of the forecast against what its training took.",
    "pareto": "Error of the forecast against the seconds of training, with several time steps.",
    "sensors": "Error of the forecast against the number of sensors.",
    "noise": "Error of the forecast against the noise of the data.",
    "velocity": "The velocity that was found beside the true one, and their difference.",
    "diffusivity": "The diffusivity that was found beside the true one, and their difference.",
    "initial_porosity": "The initial porosity that was found beside the true one.",
    "latent": "The unknown fields that were found beside the true ones.",
    "closures": "The laws that were learned, with their standard error, beside the true ones.",
    "identified": "The numbers that were found, over the training steps.",
    "instruments": "What the instruments read, and what the model says they read.",
    "trapped_porosity": "Porosity that stays trapped, against the condition that differs between "
    "specimens.",
    "porosity": "Porosity over time, found and true.",
    "state": "The whole state over time.",
    "identifiability": "Which combinations of parameters the data can tell apart.",
    "forecast_train": "Truth, forecast and error of a training sample.",
    "profiles_train": "Profiles of a training sample, at several times.",
    "history": "Training loss, and test error if there is one, over the training steps.",
}


def humanised(name: str) -> str:
    """A key as words."""
    return _LABELS.get(name, name.replace("_", " ").replace(".", ", "))


def caption(figure: str) -> str:
    """What the figure of that name shows, one sentence."""
    name, plane = _of_plane(figure)
    text = _CAPTIONS.get(name, f"{capitalised(humanised(name))}.")
    return text if not plane else f"{text[:-1]} (the middle plane across {plane})."


def figure_order(figure: str) -> tuple[int, str]:
    """The key by which figures are sorted: known ones as a person reads, others after by name."""
    known, (name, _) = list(_CAPTIONS), _of_plane(figure)
    return (known.index(name) if name in known else len(known), figure)


def _of_plane(figure: str) -> tuple[str, str]:
    """The name without the plane it shows, and the axis across; empty for a figure of a whole."""
    name, across, axis = figure.rpartition("_across_")
    return (name, axis) if across else (figure, "")


def capitalised(text: str) -> str:
    """With a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
