"""Redo the comparisons, keep what they found, write docs/evidence/claims.md.

python tools/make_evidence.py             # all of them anew (two hours on two cores)
python tools/make_evidence.py steady      # those named
python tools/make_evidence.py --table     # only the page, from what is stored
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from claims import CLAIMS
from evidence_tables import compared, headline, studied
from stored import COMPARISONS, STORED, STUDIES, command_of, load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence" / "claims.md"

HEAD = """# Claims and evidence

What the method claims, how each claim is tested, and the result, favourable or not. This page is
written by `python tools/make_evidence.py --table` from stored results; no number is typed by
hand. The command at each table reproduces it (`--resume` continues an interrupted comparison);
`impindiff report DIR` makes an HTML page with every training curve and how each method was tuned.
Further studies, not run for this page: `--study` pareto, sensors and noise.

All methods get the same data, the same observations and the same training time in seconds
(compilation excluded). Errors are relative L1 norms over the test samples, in percent: the mean
over seeds, +- the standard deviation where there are several. A seed sets the true field, the
initial fields, the observations and the network. Runs that blow up are counted, not left out.

`RK4` has since become several times faster (a loop over its stages), and implicit steps somewhat
(faster products; see `CHANGELOG.md`). The comparisons for the steady velocity and for ten times
the diffusivity were run after that change; those for the dynamic velocity and for Burgers before
it, so their seconds per step and step counts of `RK4` are less favourable than they would be now.
The field network without physics has since been given coefficients per time range of the
observations; its rows are of coefficients in length over time.
"""


def redo(name: str) -> None:
    """One comparison, in a folder that is thrown away once its results are kept."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        words = command_of(name).split()[1:]
        subprocess.run([sys.executable, "-m", "impindiff", *words, "--out", str(out)], check=True)
        keep(name, out)


def keep(name: str, out: Path) -> None:
    """What stays of a comparison: its results and its figures."""
    STORED.mkdir(parents=True, exist_ok=True)
    shutil.copy(out / "results.json", STORED / f"{name}.json")
    for figure in sorted((out / "figures").glob("*.png")):
        shutil.copy(figure, STORED / f"{name}_{figure.name}")


def page() -> str:
    """The whole of docs/evidence/claims.md."""
    parts = [HEAD, "## Claims\n"]
    parts += ["| claim | how it is tested | figure | verdict |", "|---|---|---|---|"]
    parts += [f"| {c.claim} | {c.test} | {c.figure()} | {c.verdict()} |" for c in CLAIMS]
    parts.append("\n## Methods side by side\n")
    parts += [compared(name, title) for name, title in COMPARISONS.items()]
    parts.append("## Studies\n")
    parts += [studied(name, title) for name, title in STUDIES.items()]
    first = load(next(iter(COMPARISONS)))
    machine = first.machine
    parts.append(
        f"Taken on {machine['system']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
        + ", ".join(f"{name} {version}" for name, version in first.versions.items())
        + "."
    )
    return "\n".join(parts) + "\n"


def main() -> None:
    arguments = sys.argv[1:]
    if "--table" not in arguments:
        for name in arguments or [*COMPARISONS, *STUDIES]:
            redo(name)
        if not arguments:
            check = [
                sys.executable,
                "validation/gradient.py",
                "--json",
                "docs/results/gradient.json",
            ]
            subprocess.run(check, check=True, cwd=ROOT)
    PAGE.write_text(page())
    print(headline("steady"))  # the README quotes rows of it
    print(json.dumps({"page": str(PAGE.relative_to(ROOT)), "claims": len(CLAIMS)}))


if __name__ == "__main__":
    main()
