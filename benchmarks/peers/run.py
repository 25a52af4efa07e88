"""Compare with peer libraries, side by side on this machine, and write one file of rows.

    python benchmarks/peers/run.py             # 12 minutes on two busy cores
    python benchmarks/peers/run.py --quick     # the smallest cases
    python benchmarks/peers/run.py --json docs/results/peers.json
    python tools/make_results.py --table       # then: the page, from that file

Each peer is a script in a process of its own. One that is not installed loses its rows only:
pip install 'impindiff[peers]' installs all of them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from common import MISSING

HERE = Path(__file__).parent
SCRIPTS = ("with_exponax", "with_picardax", "with_phiflow", "with_diffrax", "heat_slab")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest case of each")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="these")
    options = parser.parse_args()
    old = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    # rows of scripts that are not run again stay
    results = dict(old.get("peers", {}))
    failed = []
    for name in options.only:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(path)]
            code = subprocess.run(command + ["--quick"] * options.quick, check=False).returncode
            if code == 0:
                results[name] = json.loads(path.read_text())
            else:
                results.pop(name, None)
                failed += [name] if code != MISSING else []
    if options.json:
        written = {
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "versions": {"python": platform.python_version(), "jax": version("jax")},
            "peers": results,
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
