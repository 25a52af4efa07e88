"""The examples of flow: exact solutions, and the page that shows them."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = runpy.run_path(str(ROOT / "tools" / "run_page.py"))["blocks_of"]


def names(name: str) -> dict:
    return runpy.run_path(str(ROOT / "examples" / "flow" / f"{name}.py"))


def test_the_vortices_obey_their_equation_to_second_order():
    found = names("taylor_green")
    problem, exact, errors = found["Problem"](), found["exact"], []
    for cells in (16, 32):
        model = problem.model(None, None, 0.05, cells)
        x, y = model.grid.centers

        def omega(t, x=x, y=y):
            return exact(x, y, t, 0.05)[0]

        now, rate = jax.jvp(omega, (0.3,), (1.0,))
        change = model.tendency(0.3, {"omega": now, "psi": now / 2}, None)
        off = rate - change["omega"], change["psi"]
        errors.append([float(jnp.abs(field).max()) for field in off])
    np.testing.assert_allclose(np.divide(*errors), 4.0, rtol=0.05)
    velocity = problem.quantities({"psi": now / 2})
    _, u, v = exact(x, y, 0.3, 0.05)
    np.testing.assert_allclose(velocity["u"], u, atol=0.01)
    np.testing.assert_allclose(velocity["v"], v, atol=0.01)


def test_the_fluid_sticks_to_the_walls_of_the_cavity():
    """psi = y^2 (y - 1) is at rest at y = 0 and has the lid's speed at y = 1.

    omega is linear in y. With the right values on both walls it does not diffuse.
    """
    problem = names("cavity")["Problem"]()
    model = problem.model(None, None, 1.0, 16)
    y = model.grid.centers[1]
    change = model.tendency(0.0, {"omega": 2 - 6 * y, "psi": y**2 * (y - 1)}, None)
    for rate in change.values():
        np.testing.assert_allclose(rate[5:-5], 0.0, atol=1e-9)  # away from the sides
    along = problem.quantities({"psi": y**2 * (y - 1)})["u"]
    np.testing.assert_allclose(along, 3 * y**2 - 2 * y, atol=1 / 16**2 + 1e-9)


def test_a_parabola_flows_through_the_channel():
    """Poiseuille's flow, which the pressure drives at 12 nu per length, is steady inside."""
    model = names("channel")["Problem"]().model(None, None, 0.05)
    x, y = model.grid.centers
    u = {"velocity": (6 * y * (1 - y), 0 * y), "pressure": 12 * 0.05 * (4.0 - x)}
    change = model.tendency(0.0, u, None)
    for rate in change["velocity"]:
        np.testing.assert_allclose(rate[1:, 1:-1], 0.0, atol=1e-9)  # away from inlet and walls


@pytest.mark.parametrize("name", ["cavity", "channel", "taylor_green"])
def test_the_page_shows_the_examples(name):
    blocks = {block.title: block.text for block in BLOCKS(ROOT / "docs" / "gallery" / "flow.md")}
    example = (ROOT / "examples" / "flow" / f"{name}.py").read_text()
    assert blocks[f"{name}.py"].strip() == example.strip()
    assert len(example.splitlines()) <= 80
