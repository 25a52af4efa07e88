"""Errors of rain forecasts half an hour ahead, from three starting times: ours, translation, peer.

    python validation/radar.py     # about five minutes on two cores
    python -m venv peer && peer/bin/pip install pysteps opencv-python-headless
    python validation/radar.py --pysteps peer/bin/python --json docs/results/radar.json

Runs `examples/measured/radar_rain.py` from 15:15, 15:45 and 16:15 UTC. All forecasts see the same
images, up to the start, and are scored on the same pixels of 1 km: those in reach of a radar and 60
km or more from the edges. Pixels without rain are 0 dBZ. Scores are the mean absolute error, and
the critical success index at 20 dBZ, hits / (hits + misses + false alarms).

- persistence: the image at the start.
- translation: the start shifted by whole pixels, those of the smallest error in hindsight; smooth:
  by a Gaussian too, of the best width in hindsight.
- model: the forecast of the run, interpolated linearly from its cells to the pixels; traced: the
  start carried along the run's wind without diffusion, as pysteps' extrapolation does.
- pysteps, in an environment of its own: dense Lucas-Kanade motion, then extrapolation or S-PROG.

Prints a Markdown table; exits with 1 unless the model's error is below that of every translation.
"""

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter, map_coordinates, shift

import impindiff as ipd
from impindiff.report.style import FIELD_MAP, colour_bar, styled

EXAMPLE = Path(__file__).parents[1] / "examples" / "measured" / "radar_rain.py"
_NAMES = runpy.run_path(str(EXAMPLE))
SIZE, images = _NAMES["SIZE"], _NAMES["images"]
STARTS = {"15:15": 30, "15:45": 60, "16:15": 90}
AHEAD, MARGIN, RAINS = 30, 60, 20.0  # min, km, dBZ
WIDTHS = (1, 2, 3, 4, 6, 8)  # km, of the Gaussian
# the axes of pysteps are rows from the north and columns
PYSTEPS = """
import sys
import numpy as np
from pysteps import motion, nowcasts
seen = np.load(sys.argv[1]).transpose(0, 2, 1)[:, ::-1]
wind = motion.get_method("lucaskanade")(seen)
dry = np.where(seen < 1, -15.0, seen)
found = {
    "extrapolation": nowcasts.get_method("extrapolation")(seen[-1], wind, 6)[-1],
    "S-PROG": nowcasts.get_method("sprog")(dry, wind, 6, n_cascade_levels=6, precip_thr=1.0)[-1],
}
np.savez(sys.argv[2], **{k: np.fmax(v, 0)[::-1].T for k, v in found.items()})
"""
Image = Float[np.ndarray, "x y"]


def pysteps(python: str, seen: Float[np.ndarray, "time x y"], folder: Path) -> dict[str, Image]:
    """Forecasts of pysteps by the interpreter that has it."""
    given, found = folder / "seen.npy", folder / "found.npz"
    np.save(given, seen)
    subprocess.run([python, "-c", PYSTEPS, given, found], check=True, stdout=subprocess.DEVNULL)
    with np.load(found) as forecasts:
        return {f"pysteps, {name}": forecasts[name] for name in forecasts}


def at(field: Float[np.ndarray, "..."], place: Float[np.ndarray, "2 x y"]) -> Image:
    """Linear interpolation at places in cells, whose centres are whole numbers."""
    return map_coordinates(field, place, order=1, mode="nearest")


def traced(rain: Image, wind: Float[np.ndarray, "2 x y"], hours: float, steps: int = 6) -> Image:
    """The image carried by a wind in pixels per hour, by the midpoint rule backwards in time."""
    place, h = np.indices(rain.shape).astype(float), hours / steps
    for _ in range(steps):
        middle = place - h / 2 * np.stack([at(v, place) for v in wind])
        place = place - h * np.stack([at(v, middle) for v in wind])
    return at(rain, place)


def model(
    start: int, rain: Image, later: Image, folder: Path, figure: Path | None
) -> dict[str, Image]:
    """The run's forecast, and the image at the start carried along its wind."""
    out = str(folder / f"run{start}")
    words = ["run", str(EXAMPLE), "--set", f"start={start}", "--out", out]
    subprocess.run([sys.executable, "-m", "impindiff", *words], check=True)
    run = ipd.open_run(out)
    last = run.forecast()["echo_forecast"].isel(sample=1, time=-1).transpose("x", "y")
    pixels = ipd.Grid((0.0, 0.0), SIZE, SIZE, boundary=(ipd.Neumann(), ipd.Neumann()))
    wind = np.asarray(eqx.tree_at(lambda m: m.grid, run.model, pixels).latent(0.0)["wind"])
    forecast = at(last.to_numpy(), (np.indices(SIZE) + 0.5) / run.settings.cell - 0.5)
    if figure is not None:
        draw(figure, rain, wind, forecast, later)
    return {"model": forecast, "model, traced": traced(rain, wind, AHEAD / 60)}


def draw(path: Path, rain: Image, wind: Float[np.ndarray, "2 x y"], *after: Image) -> None:
    """The rain at the start with the wind, and half an hour later as forecast and as measured."""
    titles = ("start, and the wind found", "forecast, 30 min later", "measured, 30 min later")
    scale = Normalize(0, 40)
    box, blocks = (0, SIZE[0], 0, SIZE[1]), (SIZE[0] // 4, 4, SIZE[1] // 4, 4)
    with styled():
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        for ax, title, image in zip(axes, titles, (rain, *after), strict=True):
            pixels = image.reshape(blocks).mean((1, 3)).T
            ax.imshow(pixels, FIELD_MAP, scale, origin="lower", extent=box)
            ax.set(title=title, xlabel="x (km)")
        some = np.indices(SIZE)[:, 32::64, 32::64]
        rainy = gaussian_filter(rain, 12)[*some] > 3  # elsewhere nothing shows the wind
        axes[0].quiver(*some[:, rainy], *wind[:, *some[:, rainy]], color="white", width=0.008)
        axes[0].set_ylabel("y (km)")
        colour_bar(figure, axes, FIELD_MAP, scale, "echo (dBZ)")
        figure.savefig(path, dpi=90)


def scores(
    start: int, folder: Path, python: str | None, figure: Path | None
) -> dict[str, dict[str, Any]]:
    """Errors of all forecasts from one starting time, by name."""
    minutes = np.arange(start - 30, start + AHEAD + 1, 5)
    measured = images(minutes)
    scored = np.isfinite(measured[-1]) & np.isfinite(measured[6])
    for axis in (0, 1):
        np.moveaxis(scored, axis, 0)[np.r_[:MARGIN, -MARGIN:0]] = False
    measured = np.nan_to_num(measured)
    rain, later = measured[6], measured[-1]

    def score(forecast: Image) -> dict[str, Any]:
        one, other = forecast[scored], later[scored]
        both, any_ = (one >= RAINS) & (other >= RAINS), (one >= RAINS) | (other >= RAINS)
        csi = both.sum() / any_.sum()
        return {"mae_dbz": float(np.abs(one - other).mean()), "csi_20_dbz": float(csi)}

    def shifted(image: Image) -> dict[str, Any]:
        shifts = [(x, y) for x in range(4, 22) for y in range(6, 28)]
        tried = [score(shift(image, by, order=0)) | {"shift_km": by} for by in shifts]
        best = min(tried, key=lambda found: found["mae_dbz"])
        assert best["shift_km"][0] not in (4, 21), best
        assert best["shift_km"][1] not in (6, 27), best
        return best

    smooth = [shifted(gaussian_filter(rain, width)) | {"width_km": width} for width in WIDTHS]
    found = {
        "persistence": score(rain),
        "translation": shifted(rain),
        "translation, smooth": min(smooth, key=lambda one: one["mae_dbz"]),
    }
    forecasts = model(start, rain, later, folder, figure)
    if python is not None:
        forecasts |= pysteps(python, measured[4:7], folder)
    return found | {name: score(forecast) for name, forecast in forecasts.items()}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores in Markdown, by starting time and forecast."""
    lines = [f"| error in dBZ, CSI | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    rows = next(iter(found.values()))
    for row in rows:
        cells = [f"{s[row]['mae_dbz']:.2f}, {s[row]['csi_20_dbz']:.2f}" for s in found.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    if not any(row.startswith("pysteps") for row in rows):
        lines.append(f"| pysteps | {' | '.join(['not run'] * len(found))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--figure", type=Path, help="draw the forecast from 15:15 here")
    parser.add_argument("--pysteps", help="Python of an environment that has pysteps")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    figures = {"15:15": options.figure}
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: scores(start, Path(folder), options.pysteps, figures.get(name))
            for name, start in STARTS.items()
        }
    print(f"\n{table(found)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(
        any(
            one["model"]["mae_dbz"] >= one[other]["mae_dbz"]
            for one in found.values()
            for other in ("translation", "translation, smooth")
        )
    )


if __name__ == "__main__":
    main()
