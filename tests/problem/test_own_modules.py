"""A problem of a file that imports modules beside it."""

import shutil
from typing import Any

import pytest

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.problem import configure_problem, load_problem, own_modules

PROBLEM = """
from __future__ import annotations
import dataclasses
import numpy as np
import impindiff as ipd
import helper
import package.part as part
from loose import thing
from package import other


@dataclasses.dataclass
class Values:
    first: float = helper.VALUE


class Own(ipd.Problem):
    def model(self, settings, key):
        import lazy

        return [Values().first, part.value(), thing.VALUE, other.VALUE, lazy.value(), np.e > 2]
"""


def values(problem: Any) -> Any:
    return problem.model(None, None)


def write(folder, value):
    for name, text in {
        "own.py": PROBLEM,
        "helper.py": "import base\nVALUE = base.VALUE\n",
        "base.py": f"VALUE = {value}\n",
        "lazy.py": "def value():\n    import later\n    return later.VALUE\n",
        "later.py": f"VALUE = {value}\n",
        "loose/thing.py": f"VALUE = {value}\n",
        "package/__init__.py": "",
        "package/part.py": "from .other import VALUE\n\n\ndef value():\n    import package.last\n"
        "    return package.last.VALUE\n",
        "package/other.py": "from helper import VALUE\n",
        "package/last.py": "from package import other\nVALUE = other.VALUE\n",
        "not_needed.py": "raise RuntimeError\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "own.py"


def test_two_problems_with_modules_of_the_same_names_do_not_mix(tmp_path):
    """Be it at the top of a file, in a package, or inside of a function that runs later."""
    first = load_problem(write(tmp_path / "a", 1.0))
    second = load_problem(write(tmp_path / "b", 2.0))
    assert values(first) == [1.0] * 5 + [True]
    assert values(second) == [2.0] * 5 + [True]
    assert values(first) == [1.0] * 5 + [True]


def test_the_modules_kept_are_enough_for_another_folder(tmp_path):
    path = write(tmp_path / "a", 3.0)
    kept = tmp_path / "kept"
    for name, file in own_modules(load_problem(path)).items():
        (kept / "modules" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept / "modules" / name)
    shutil.copyfile(path, kept / "problem.py")
    shutil.rmtree(tmp_path / "a")
    assert not list(kept.rglob("not_needed.py"))
    problem = load_problem(kept / "problem.py", kept / "modules")
    assert values(problem) == [3.0] * 5 + [True]
    assert not list(kept.rglob("__pycache__"))
    (kept / "modules" / "base.py").unlink()
    with pytest.raises(ipd.InputError, match=r"helper\.py, line 1: ModuleNotFoundError"):
        load_problem(kept / "problem.py", kept / "modules")


def test_a_problem_called_like_a_package_that_it_needs(tmp_path):
    text = "import numpy as np\nimport impindiff as ipd\n\n\nclass P(ipd.Problem):\n"
    (tmp_path / "numpy.py").write_text(
        f"{text}    def model(self, settings, key):\n        return np.pi\n"
    )
    assert values(load_problem(tmp_path / "numpy.py")) > 3
    assert own_modules(load_problem(tmp_path / "numpy.py")) == {}


def test_a_configuration_of_another_file_is_refused(tmp_path):
    path, other = write(tmp_path / "a", 1.0), write(tmp_path / "b", 2.0)
    problem = load_problem(path)
    assert configure_problem(problem, [], []).problem == str(path)
    assert configure_problem(problem, [], [f"problem={path}"]).problem == str(path)
    with pytest.raises(InputError, match=r"^problem: the configuration is of .*, but .* is run;"):
        configure_problem(problem, [], [f"problem={other}"])
