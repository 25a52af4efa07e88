"""What a notebook shows of a result: its numbers, escaped."""

import re

import jax.numpy as jnp
import pytest

import impindiff as ipd
from impindiff.support.html_tables import html_table
from impindiff.training import FitOptions, LevenbergMarquardt, TrajectoryLoss, fit
from result_files import run_metrics


class Decay(ipd.HybridModel):
    grid: ipd.Grid
    rate: ipd.Parameter

    def tendency(self, t, u, latent):
        return {"c<1>": -self.rate() * u["c<1>"]}


def cells(page):
    return dict(re.findall(r"<tr><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td></tr>", page))


@pytest.mark.slow
def test_rollouts_statuses_and_fits(tmp_path):
    grid = ipd.Grid((0.0,), (1.0,), (4,))
    model = Decay(grid, ipd.Parameter(1.0))
    u0 = {"c<1>": jnp.ones(4)}
    result = ipd.rollout(model, u0, [0.0, 0.1, 0.2])
    shown = cells(result._repr_html_())
    assert shown["u[&#x27;c&lt;1&gt;&#x27;]"] == "(3, 4) float64"
    assert shown["times"] == "3, t = 0 to 0.2"
    assert shown["converged"] == "2 of 2"
    assert shown["failure"] == "none"
    assert cells(result.stats._repr_html_())["iterations"] == "2"
    loss = TrajectoryLoss(
        {"c<1>": jnp.ones((1, 4))},
        (0.0, 0.1),
        jnp.full((1, 4), 0.8),
        lambda u: u["c<1>"][-1],
        ipd.CrankNicolson(),
        0.1,
    )
    optimizer = LevenbergMarquardt()
    fitted = fit(model, loss, optimizer, tmp_path, FitOptions(steps=3))
    shown = cells(fitted._repr_html_())
    assert shown["model"] == "Decay"
    assert shown["steps"] == "3"
    assert float(shown["final loss"]) == pytest.approx(fitted.final_loss, rel=1e-5)


def test_text_is_escaped():
    assert "<b>" not in html_table("<b>", [("<b>", "<b>")])


def test_a_run_is_opened_and_another_folder_is_refused(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "history.png").write_bytes(b"\x89PNG")
    (tmp_path / "config.yaml").write_text("problem: advection_diffusion_steady\n...\n")
    run_metrics([[0.1, 0.5]], final_loss=0.123456789).write(tmp_path / "metrics.json")
    (tmp_path / "history.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    run = ipd.open_run(tmp_path)
    assert run.history[-1]["step"] == 2
    shown = cells(run._repr_html_())
    assert (shown["train.final_loss"], shown["train.steps"]) == ("0.123457", "7")
    assert not {"forecast.error_vs_time", "train.best_step"} & set(shown)
    assert "data:image/png;base64,iVBORw==" in run._repr_html_()
    assert "history" in repr(run)
    with pytest.raises(ipd.InputError, match="is not the folder of a run"):
        ipd.open_run(tmp_path / "figures")
    assert run.metrics.train.final_loss == 0.123456789
