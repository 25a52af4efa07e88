"""`impindiff check`: exit code 0 for a right gradient, 1 for a wrong one, 2 for wrong input."""

import pytest
from running import impindiff

SMALL = ("--config", "plume.yaml", "--set", "cells=[12,6]")
# what the tendency reads the diffusivity through: its value, and twice its derivative
WRONG = "(2 * self.diffusivity() - jax.lax.stop_gradient(self.diffusivity()))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    parent = tmp_path_factory.mktemp("check")
    impindiff("new", "plume", cwd=parent)
    return parent / "plume"


@pytest.mark.slow
def test_a_right_gradient(folder):
    done = impindiff("check", "plume.py", *SMALL, cwd=folder)
    assert "the gradient is right" in done.stdout


@pytest.mark.slow
def test_a_wrong_gradient(folder):
    text = (folder / "plume.py").read_text()
    assert text.count("self.diffusivity(), self.grid") == 1
    wrong = text.replace("self.diffusivity(), self.grid", f"{WRONG}, self.grid")
    (folder / "wrong.py").write_text(wrong)
    done = impindiff("check", "wrong.py", *SMALL, cwd=folder, check=False)
    assert done.returncode == 1
    assert "THE GRADIENT IS WRONG" in done.stdout


@pytest.mark.slow
def test_wrong_input(folder):
    done = impindiff("check", "no.py", cwd=folder, check=False)
    assert done.returncode == 2
    assert "there is no such file" in done.stderr


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_made():
    cells = ("--set", "grid.cells=[1000000,1000000]")
    done = impindiff("check", "advection_diffusion_steady", *cells, check=False)
    assert done.returncode == 2
    assert "of memory, this machine has" in done.stderr
    assert done.stderr.count("\n") == 1
