"""The README's Python, and that of the guide on models, runs as it stands."""

import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

ROOT = Path(__file__).parents[2]


def names_of(page: Path, folder: Path) -> dict:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    script = folder / "example.py"
    script.write_text("\n".join(blocks))
    return runpy.run_path(str(script))


def require_gradient(names: dict) -> None:
    assert names["value"] > 0
    leaves = jax.tree.leaves(names["gradient"])
    assert leaves
    assert all(jnp.isfinite(leaf).all() for leaf in leaves)
    assert jnp.abs(names["gradient"].velocity.network.weights[0]).max() > 0


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return names_of(ROOT / "docs" / "guides" / "models.md", tmp_path_factory.mktemp("models"))


def test_the_example_of_the_readme_gives_a_loss_and_a_gradient(tmp_path):
    require_gradient(names_of(ROOT / "README.md", tmp_path))


def test_the_guide_on_models_begins_with_the_same(models):
    require_gradient(models)


def test_trajectories_have_codes_of_their_own(models):
    end = models["result"].u[-1]
    assert end.shape == (3, 64, 32)
    assert jnp.abs(end[0] - end[1]).max() > 1e-4  # the same initial state in two flows


def test_an_algebraic_variable_starts_consistent(models):
    together = models["together"].u
    assert set(together) == {"n", "c"}
    mass = {name: field.mean(axis=(-2, -1)) for name, field in together.items()}
    # the signal starts as 0, which does not obey its equation: there is as much of it as of cells
    assert jnp.allclose(mass["c"], mass["n"][0], rtol=1e-5)
