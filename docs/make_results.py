"""Run the examples that the README quotes, keep their metrics and figures, write its table.

python docs/make_results.py            # everything anew (about ten minutes on two cores)
python docs/make_results.py --table    # only the table, from the stored results
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
RESULTS = DOCS / "results"
README = DOCS.parent / "README.md"
EXAMPLES = {
    "demo": "whole field at t = 0.05",
    "sensors": "128 random sensors at t = 0.05 and 0.10",
    "noise": "whole field at t = 0.05 with 5 % noise",
}
FIGURES_OF = "demo"
START, END = "<!-- results:", "<!-- end of results -->"


def run(name: str, figures: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        command = ["impindiff", "run", "advection_diffusion_steady", "--out", str(out)]
        config = DOCS.parent / "examples" / f"{name}.yaml"
        subprocess.run([sys.executable, "-m", *command, "--config", str(config)], check=True)
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(out / "metrics.json", RESULTS / f"{name}.json")
        if figures:
            for figure in ("velocity", "forecast_held_out", "error_vs_time", "history"):
                shutil.copy(out / "figures" / f"{figure}.png", RESULTS)


def table() -> str:
    lines = [
        "| training sees (5 samples) | forecast error at t = 0.2, held out | velocity x, y | "
        "training | in all | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, observed in EXAMPLES.items():
        metrics = json.loads((RESULTS / f"{name}.json").read_text())
        velocity = metrics["latent"]["relative_l1_percent"]
        lines.append(
            f"| {observed} (`examples/{name}.yaml`) "
            f"| {metrics['forecast']['relative_l1_percent']['held_out']:.3f} % "
            f"| {velocity['velocity_x']:.2f} %, {velocity['velocity_y']:.2f} % "
            f"| {metrics['train']['steps']} steps, {metrics['train']['seconds']:.0f} s "
            f"| {metrics['seconds_total']:.0f} s "
            f"| {metrics['memory']['peak_rss_mb'] / 1000:.1f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    if "--table" not in sys.argv[1:]:
        for name in EXAMPLES:
            run(name, figures=name == FIGURES_OF)
    text = README.read_text()
    head, _, rest = text.partition(START)
    opening, _, rest = rest.partition("\n")
    tail = rest.partition(END)[2]
    note = (
        "Errors are relative L1 norms, means over fields; float64, Crank-Nicolson, dt = 0.01,\n"
        "2 cores. "
        "`python docs/make_results.py` redoes the runs and this table."
    )
    README.write_text(f"{head}{START}{opening}\n\n{table()}\n\n{note}\n\n{END}{tail}")


if __name__ == "__main__":
    main()
