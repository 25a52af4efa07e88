"""Folders such as `impindiff run` and a comparison leave, small and made up."""

import copy
import json

import numpy as np

from impindiff.data import forecast_dataset
from impindiff.experiment.directory import write_configuration
from impindiff.problems import PROBLEMS
from impindiff.report import error_vs_time_figure, forecast_figure, history_figure, save
from impindiff.results import METRICS as METRICS_FILE
from impindiff.results import RunMetrics
from impindiff.settings import load_configuration

CASE = "advection_diffusion_steady"
TIMES = {"training_end": 0.05, "twice_training": 0.1, "horizon": 0.2, "twice_horizon": None}
METRICS = {
    "problem": CASE,
    "summary": PROBLEMS[CASE].summary,
    "infers": PROBLEMS[CASE].infers,
    "labels": {"nu": "ν", "max_imbalance": "largest imbalance", **PROBLEMS[CASE].labels},
    "trained_until": 0.05,
    "forecast": {
        "relative_l1_percent": {"train": 0.23814, "test": 0.30212},
        "error_vs_time": [[0.0, 0.0], [0.1, 0.21], [0.2, 0.30212]],
    },
    "latent": {"relative_l1_percent": {"velocity_x": 2.2957, "velocity_y": 1.4049}},
    "train": {"seconds": 3725.0, "steps": 1250, "final_loss": 1.134e-06},
    "solver": {
        "iterations_mean": 1.0,
        "linear_iterations_mean": 6.43,
        "max_residual": 9.9e-09,
        "failed_solves": 0,
    },
    "gradient": {"max_residual": 8.1e-09},
    "balance": {"max_imbalance": 2.5e-12},
    "precision": "float64",
    "seed": 0,
    "versions": {"python": "3.11.7", "impindiff": "0.1.0"},
    "identified": {"nu": {"value": 0.00318266, "standard_error": 5e-8, "truth": 0.0031831}},
    "memory": {"peak_rss_mb": 936.4},
    "seconds_total": 29.2,
}


def history(seed=0, rate=60.0, seconds_per_step=0.1):
    steps = np.arange(1, 300, 20)
    noise = np.exp(0.1 * np.random.default_rng(seed).standard_normal(len(steps)))
    return [
        {
            "step": int(step),
            "loss": float(of * (1e-6 + 1e-2 * np.exp(-step / rate))),
            "test_percent": float(of * (0.3 + 30 * np.exp(-step / rate))),
            "seconds": float(seconds_per_step * step),
        }
        for step, of in zip(steps, noise, strict=True)
    ]


def forecast(times=5):
    x, y = (np.arange(32) + 0.5) / 16 - 1.0, (np.arange(16) + 0.5) / 16
    t = np.linspace(0.0, 0.2, times)
    phase = np.arange(3.0)[:, None, None, None] - 4 * t[:, None, None]
    truth = np.sin(np.pi * x[:, None] + phase) * np.cos(2 * np.pi * y)
    wrong = 0.02 * t[:, None, None] * np.cos(np.pi * x)[:, None]
    return forecast_dataset(truth + wrong, t, {"x": x, "y": y}, np.arange(3) > 0, truth)


def run_folder(folder, **changes):
    """A finished run; `changes` replace metrics."""
    problem = PROBLEMS[CASE]
    write_configuration(folder, load_configuration(problem.settings, [], []))
    RunMetrics.model_validate(METRICS | changes).write(folder / METRICS_FILE)
    fields = forecast()
    fields.to_netcdf(folder / "forecast.nc", engine="h5netcdf")
    figures = folder / "figures"
    figures.mkdir()
    save(forecast_figure(fields, 2), figures / "forecast_test.png")
    save(history_figure(history()), figures / "history.png")
    times = fields["time"].to_numpy()
    save(
        error_vs_time_figure({"test": (times, times + 0.1)}, [0.05]),
        figures / "my_own_curve.png",
    )
    return folder


def _run(name, seed, errors, status="ok", message=None, seconds=0.1):
    ended = status == "ok"
    return {
        "seed": seed,
        "folder": f"runs/{name}/seed-{seed}",
        "status": status,
        "message": message,
        "error_percent": dict(zip(TIMES, errors, strict=True)),
        "seconds_per_step": seconds,
        "compile_seconds": 4.2 + seed,
        "temporary_mb": 57.3,
        "peak_rss_mb": 1234.0,
        "training_seconds": 30.0,
        "steps": 300,
        "parameters": 12802,
        "observations": 40960,
        "final_loss": 1e-6 * (1 + seed) if ended else None,
    }


def _statistics(runs, of, fewest=1):
    """Mean or standard deviation of each number over the runs that ended well."""
    ended = [run for run in runs if run["status"] == "ok"]

    def over(values):
        known = [value for value in values if value is not None]
        return float(of(known)) if len(known) >= fewest else None

    numbers = {
        key: over([run[key] for run in ended])
        for key, value in runs[0].items()
        if key != "seed" and (value is None or isinstance(value, float | int))
        if key != "message"
    }
    errors = {key: over([run["error_percent"][key] for run in ended]) for key in TIMES}
    return numbers | {"error_percent": errors}


def _method(name, title, kind, runs, **keys):
    content = {
        "name": name,
        "title": title,
        "method": name,
        "kind": kind,
        "description": f"What {title} does, in a sentence or two that say how.",
        "tuning": "learning rate of 1e-4, 1e-3 and 1e-2, the best on test data",
        "overrides": {"training": {"learning_rate": 0.001, "optimizer": "adam"}, "list": [1, 2]},
        "not_run": None,
        "failures": sum(run["status"] != "ok" for run in runs),
        "runs": runs,
        "mean": _statistics(runs, np.mean) if runs else {},
        "spread": _statistics(runs, lambda of: np.std(of, ddof=1), 2) if len(runs) > 1 else {},
    }
    return content | keys


def results():
    none = (None,) * 4
    implicit = [
        _run("implicit", s, (0.1 + 0.01 * s, 0.2 - 0.01 * s, 0.5 + 0.02 * s, None), seconds=w)
        for s, w in enumerate((0.10, 0.11, 0.12))
    ]
    explicit = [
        _run("explicit", 0, (0.4, 0.9, 2.5, None)),
        _run("explicit", 1, none, "blow-up", "not finite at t = 0.03, step 3, sample 1"),
        _run("explicit", 2, none, "blow-up", "not finite at t = 0.04, step 4, sample 0"),
    ]
    network = [
        _run("network", s, (2.0 + s, 6.0 + s, 156.0 + s, None), seconds=0.02) for s in range(3)
    ]
    return {
        "problem": CASE,
        "command": f"impindiff compare {CASE} --seeds 0,1,2 --budget 30",
        "budget_seconds": 30.0,
        "seeds": [0, 1, 2],
        "times": TIMES,
        "machine": {
            "system": "Linux",
            "processor": "x86_64",
            "cores": 2,
            "disk": None,
            "memory_gb": 7.75,
        },
        "versions": {"python": "3.11.7", "impindiff": "0.1.0"},
        "methods": [
            _method("implicit", "Implicit steps", "implicit", implicit),
            _method("explicit", "Explicit recurrence", "explicit", explicit),
            _method("network", "Convolutional network <CNN>", "black box", network),
            _method("operator", "Neural operator", "black box", [], not_run="needs a square grid"),
        ],
    }


def comparison_folder(folder, content=None):
    """A comparison of four methods: one blew up with two seeds, one was not run."""
    content = copy.deepcopy(results() if content is None else content)
    write = folder / "results.json"
    (folder / "figures").mkdir(parents=True)
    write.write_text(json.dumps(content))
    for which, method in enumerate(content["methods"]):
        for run, rate in zip(method["runs"], (60, 62, 66), strict=False):
            place = folder / run["folder"]
            place.mkdir(parents=True)
            records = history(
                run["seed"],
                rate * (1 + which),
                seconds_per_step=run["seconds_per_step"],
            )
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (place / "history.jsonl").write_text(lines)
    save(forecast_figure(forecast(), 2), folder / "figures" / "forecast_test.png")
    return folder
