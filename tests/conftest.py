"""All tests run in float64: they check mathematics. Most of their time is XLA's compilation.

So XLA compiles with little optimisation, and what it has compiled is shared by all tests of a
session: those of every worker, and the command's processes, which inherit the environment. What is
in the environment already stays as it is: `XLA_FLAGS= pytest` tests optimised programs.
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path

# before JAX is imported, which reads them
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)
_OWN_FOLDER = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _OWN_FOLDER = tempfile.mkdtemp(prefix="impindiff-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _OWN_FOLDER
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)

# Traced programs are many small objects that live on: Python would look through them all the time.
gc.set_threshold(200_000, 50, 100)


def pytest_unconfigure():
    if _OWN_FOLDER is not None:
        shutil.rmtree(_OWN_FOLDER, ignore_errors=True)


# Public data sets, a folder for each, of which no test downloads any.
PUBLIC_DATA = Path(
    os.environ.get("IMPINDIFF_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data"
)


@pytest.fixture(scope="session")
def public_data(tmp_path_factory):
    """A function that puts a public data set into the cache, and skips the test without it."""
    folder = tmp_path_factory.mktemp("public_data")
    before = os.environ.get("IMPINDIFF_DATA")
    os.environ["IMPINDIFF_DATA"] = str(folder)

    def fill(name):
        from impindiff.data import public_data_sets

        if not (PUBLIC_DATA / name).is_dir():
            pytest.skip(f"no folder {PUBLIC_DATA / name}; IMPINDIFF_TEST_DATA names another")
        (folder / name).mkdir(exist_ok=True)
        for file in public_data_sets()[name].files:
            shutil.copyfile(PUBLIC_DATA / name / file, folder / name / file)
        return folder / name

    yield fill
    os.environ.pop("IMPINDIFF_DATA")
    if before is not None:
        os.environ["IMPINDIFF_DATA"] = before


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_module():
    """A worker does not keep the programs of all modules: they would take 10 GB and more."""
    yield
    eqx.clear_caches()
    jax.clear_caches()
    gc.collect()
