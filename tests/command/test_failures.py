"""A run that fails keeps why, for programs and for people, until it is resumed."""

import json

import jax
import jax.numpy as jnp
import pytest
from running import CASE, impindiff, settings

from impindiff import InputError
from impindiff.command.exit_codes import ending_of
from impindiff.errors import FailureCode
from impindiff.experiment import directory
from impindiff.problems import get_problem
from impindiff.results import Failure
from impindiff.settings import load_configuration
from impindiff.training._compiled_step import compile_step


@pytest.mark.slow
def test_what_blows_up_says_so_in_the_folder_of_its_run(tmp_path):
    wild = settings(training__learning_rate=1e200)
    done = impindiff("run", CASE, *wild, "--out", tmp_path / "run", check=False)
    assert done.returncode == 1
    stored = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert stored["code"] == "not_finite"
    assert f"impindiff: {stored['message']}" in done.stderr


def begun(folder):
    directory.write_configuration(folder, load_configuration(get_problem(CASE).settings, [], []))
    return folder


def test_a_run_that_is_resumed_has_not_failed(tmp_path):
    folder = begun(tmp_path)
    assert directory.read_failure(folder) is None
    directory.write_failure(folder, FailureCode.full_disk, "no room")
    found = directory.read_failure(folder)
    assert found == Failure(code=FailureCode.full_disk, message="no room")
    with directory.claimed(CASE, folder, resume=True):
        assert directory.read_failure(folder) is None


def test_a_run_that_has_not_begun_leaves_nothing(tmp_path):
    directory.write_failure(tmp_path, FailureCode.other, "no")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[]", "{}", '{"code": "sad", "message": "x"}', "1", "{"])
def test_a_failure_of_other_content_is_refused(tmp_path, content):
    folder = begun(tmp_path)
    (folder / "failure.json").write_text(content)
    with pytest.raises(InputError, match=r"failure\.json: (code: |must be a m|cannot be r)"):
        directory.read_failure(folder)


def test_a_training_step_that_uses_up_the_memory():
    # more bytes than there are addresses
    compiled = compile_step(lambda x: jnp.broadcast_to(x, 10**15) + 1, jnp.ones(()))
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        compiled.advance(jnp.ones(()))
    ending = ending_of(caught.value)
    assert (ending.exit_code, ending.code) == (1, FailureCode.out_of_memory)
    assert ending.line is not None
    assert "\n" not in ending.line
