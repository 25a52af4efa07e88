"""Everything that the command does, on three files of users: does it work for each?

    python validation/user_problems.py [gray_scott] [plume] [drying]     # some 20 minutes each

Gray-Scott (two species at scattered points), the plume of `impindiff new` and the drying plates
(two instruments, a condition of each sample, a prior) are run, resumed, forecast with an animation,
compared with every kind of method and along the studies of sensors, noise and cost, trained as an
ensemble and on two devices, each for a few steps: what is asked is that it works, not how well.
Prints a Markdown table; exits with 1 if a command fails.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
# one of each kind: hybrid, naive implicit, explicit, another package, black box, no physics
METHODS = "implicit,unrolled,rk4,diffrax_tsit5,fno,local_law"


def impindiff(*words: str, cwd: Path) -> None:
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cwd / ".compiled")}
    done = subprocess.run(
        [sys.executable, "-m", "impindiff", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")


def require_all_done(folder: Path) -> None:
    """Raise for a row of a comparison in which a run has failed."""
    results = json.loads((folder / "results.json").read_text())
    for row in results["methods"]:
        for run in row["runs"]:
            if run["status"] != "ok":
                raise RuntimeError(f"{row['name']}: {run['message']}")


def made(name: str, folder: Path) -> tuple[Path, list[str]]:
    """The folder with a problem's files, and the options to run it."""
    if name == "plume":
        impindiff("new", "plume", cwd=folder)
        return folder / "plume", ["plume.py", "--config", "plume.yaml"]
    if name == "gray_scott":
        shutil.copytree(EXAMPLES / "reaction_diffusion", folder / name)
        subprocess.run([sys.executable, "make_data.py"], cwd=folder / name, check=True)
        return folder / name, ["gray_scott.py", "--config", "gray_scott.yaml"]
    shutil.copytree(EXAMPLES / "instruments", folder / name)
    return folder / name, ["drying.py"]


def commands(options: list[str]) -> dict[str, list[str]]:
    """By what is shown, the command."""
    file, few = options[0], ["--set", "training.steps=3"]
    late = 1000 if file == "gray_scott.py" else 0.5
    test = ["--set", f"observations.until={late}"]
    adam = ["--set", "training.optimizer=adam"]
    compare = ["compare", *options, *adam, "--budget", "3", "--methods"]
    shown = {
        "check": ["check", *options],
        "run": ["run", *options, *few, "--out", "run"],
        "resume": ["run", file, "--out", "run", "--resume"],
        "data": ["data", *options, "--out", "again.nc"],
        "forecast --animate": ["forecast", "run", "--until", "2", "--animate", "film.gif"],
        "report": ["report", "run"],
        "ensemble": ["run", *options, *few, *adam, "--set", "training.ensemble=2", "--out", "two"],
        "sensors and noise": [
            *("run", *options, *few, "--set", "observations.noise=0.01", "--out", "noisy"),
            *([] if file == "drying.py" else ["--set", "observations.sensors=20"]),
        ],
        "--devices 2": ["run", *options, *few, *adam, "--devices", "2", "--out", "devices"],
        "compare": [*compare, METHODS, "--out", "compared"],
        "report of a comparison": ["report", "compared"],
        "study of cost": [*compare, "implicit", "--study", "pareto", "--out", "cost"],
    }
    if file != "drying.py":  # its instruments are not chosen by sensors and noise
        shown |= {
            "test times": ["run", *options, *few, *test, "--out", "late"],
            "study of sensors": [*compare, "implicit", "--study", "sensors", "--out", "sensors"],
            "study of noise": [*compare, "implicit", "--study", "noise", "--out", "noise"],
        }
    else:
        shown["test samples"] = [
            *("run", *options, *few, "--set", "data.test=[0]", "--out", "late")
        ]
    return shown


def main() -> int:
    asked = sys.argv[1:] or ["gray_scott", "plume", "drying"]
    failed = 0
    print("| problem | command | seconds | outcome |\n|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in asked:
            here, options = made(name, folder)
            for shown, words in commands(options).items():
                start, outcome = time.perf_counter(), "ok"
                try:
                    impindiff(*words, cwd=here)
                    if words[0] == "compare":
                        require_all_done(here / words[words.index("--out") + 1])
                except RuntimeError as error:
                    outcome, failed = str(error), failed + 1
                seconds = time.perf_counter() - start
                print(f"| {name} | {shown} | {seconds:.0f} | {outcome} |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
