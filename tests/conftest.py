"""All tests run in float64: they check mathematics. Most of their time is XLA's compilation.

So XLA compiles with little optimisation, and what it has compiled is kept for all tests: those of
every worker, of the next session, and the command's processes, which inherit the environment. What
is in the environment already stays as it is: `XLA_FLAGS= pytest` tests optimised programs, and
`JAX_ENABLE_COMPILATION_CACHE=0 pytest` compiles all of them.
"""

import gc
import hashlib
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

# before JAX is imported, which reads them
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1",
)
_COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
_LARGEST = 2 * 10**9  # bytes; JAX's own limit looks through the folder at every program


def _machine() -> str:
    """Programs are of the processor's instructions, which are not part of JAX's key."""
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    known = "\n".join([version("jaxlib"), platform.machine(), platform.processor(), flags])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED / _machine()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
# no program tells which line it is from, which takes a sixth of its lowering
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import psutil  # noqa: E402
import pytest  # noqa: E402

from quick_figures import draw_quickly  # noqa: E402

jax.config.update("jax_enable_x64", True)

# Traced programs are many small objects that live on: Python would look through them all the time.
gc.set_threshold(200_000, 50, 100)


def pytest_configure(config):
    # a worker has its own input, and the first process cleans up before there are any
    if not hasattr(config, "workerinput") and _COMPILED.is_dir():
        size = sum(file.stat().st_size for file in _COMPILED.rglob("*") if file.is_file())
        if size > _LARGEST:
            shutil.rmtree(_COMPILED, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as slow all but the few instances of a test that its mark asks for, spread evenly."""
    instances = {}
    for item in items:
        if item.get_closest_marker("few") is not None:
            instances.setdefault(item.nodeid.split("[")[0], []).append(item)
    for alike in instances.values():
        (wanted,) = alike[0].get_closest_marker("few").args
        steps = max(wanted - 1, 1)
        kept = {round(i * (len(alike) - 1) / steps) for i in range(wanted)}
        for i, item in enumerate(alike):
            if i not in kept:
                item.add_marker(pytest.mark.slow)


_ROOM = 1.2e9  # bytes of a worker that may stay; clearing takes longer than most modules' tests

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


@pytest.fixture(scope="module")
def found():
    """Scripts of `benchmarks` and `tools` find their neighbours as when they are run."""
    folders = [str(Path(__file__).parents[1] / name) for name in ("benchmarks", "tools")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


def pytest_collection_finish():
    gc.freeze()  # what has been imported lives as long as the process: no later collection looks


@pytest.fixture(scope="module", autouse=True)
def _figures(request):
    looked_at = {"report", "pages"}
    draw_quickly(request.path.parent.name not in looked_at)
    yield
    draw_quickly(False)


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_module():
    """A worker does not keep the programs of all modules: they would take 10 GB and more."""
    yield
    if psutil.Process().memory_info().rss > _ROOM:
        eqx.clear_caches()
        jax.clear_caches()
        gc.collect()
