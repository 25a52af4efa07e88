"""The README's Python, block after block, runs as it stands."""

import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp

ROOT = Path(__file__).parents[2]


def test_the_example_gives_a_loss_and_a_gradient(tmp_path, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks))
    names = runpy.run_path(str(script))
    assert names["value"] > 0
    leaves = jax.tree.leaves(names["gradient"])
    assert leaves
    assert all(jnp.isfinite(leaf).all() for leaf in leaves)
    assert jnp.abs(names["gradient"].velocity.network.weights[0]).max() > 0
    assert "work of a step" in capsys.readouterr().out
    end = names["result"].u[-1]
    assert end.shape == (3, 64, 32)
    assert jnp.abs(end[0] - end[1]).max() > 1e-4  # the same initial state in two flows
    together = names["together"].u
    assert set(together) == {"n", "c"}
    mass = {name: of.mean(axis=(-2, -1)) for name, of in together.items()}
    # the signal starts as 0, which does not obey its equation: there is as much of it as of cells
    assert jnp.allclose(mass["c"], mass["n"][0], rtol=1e-5)
