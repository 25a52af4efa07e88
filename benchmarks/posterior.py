"""The cost of a network's posterior next to that of its training.

    python benchmarks/posterior.py        # 3 minutes

The steady advection-diffusion problem as it is shipped: a field network of some 9000 weights, whose
training is compared with `impindiff.inference.laplace` at the weights found, a randomised method of
110 directions. CPU seconds, compilation included in both.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

from impindiff.experiment import prepare
from impindiff.inference import flat_parameters, laplace
from impindiff.problems import get_problem
from impindiff.settings import load_configuration
from impindiff.training import FitOptions, fit


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    problem = get_problem("advection_diffusion_steady")
    settings = load_configuration(problem.settings, [], [])
    experiment = prepare(problem, settings)
    loss, model = experiment.loss(), experiment.model(jax.random.key(0))
    start = time.process_time()
    steps = FitOptions(steps=settings.training.steps)
    with TemporaryDirectory() as folder:
        fitted = fit(model, loss, settings.training.build(), Path(folder), steps)
    trained = time.process_time() - start
    start = time.process_time()
    posterior = laplace(fitted.model, loss)
    jax.block_until_ready(posterior.factor)
    found = time.process_time() - start
    assert np.isfinite(posterior.factor).all()
    number = flat_parameters(fitted.model).values.size
    ratio = found / trained
    print(f"{number} parameters: training {trained:.0f} s, posterior {found:.0f} s, {ratio:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"parameters": number, "ratio": ratio}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
