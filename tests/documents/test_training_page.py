"""The guide on training: its Python runs as it stands, its commands are valid configurations."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np

from impindiff.problems import get_problem
from impindiff.settings import load_configuration
from impindiff.settings.choices import models_in
from impindiff.settings.training import TrainingSettings

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "training.md").read_text()


def test_segments_find_what_one_rollout_does_not(tmp_path, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks))
    names = runpy.run_path(str(script))
    assert abs(float(names["many"].model.model.omega) - 2.0) < 0.01
    assert abs(float(names["one"].model.omega) - 2.0) > 0.2
    assert np.isfinite(names["spread"]["x"]).all()
    assert "at t = 60" in capsys.readouterr().out


def test_commands_are_valid_configurations():
    commands = [shlex.split(line) for line in re.findall(r"^\$ impindiff run (.*)$", PAGE, re.M)]
    assert len(commands) >= 4
    for name, *rest in commands:
        assert rest[::2] == ["--set"] * (len(rest) // 2)
        load_configuration(get_problem(name).settings, [], rest[1::2])


def test_keys_it_speaks_of_are_keys():
    table = PAGE.split("\n## ")[0]
    named = {
        key
        for row in table.splitlines()
        for key in re.findall(r"`(\w+)`", row.split("|")[-2] if row.count("|") > 2 else "")
    }
    assert named - {"key"} <= {key for of in models_in(TrainingSettings) for key in of.model_fields}
    assert len(named) >= 9
