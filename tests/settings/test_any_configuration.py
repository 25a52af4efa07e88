"""Whatever a configuration says, it is taken and written back alike, or refused in one line."""

import os
import resource
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impindiff.errors import InputError, printable
from impindiff.experiment.sizes import require_problem_fits
from impindiff.fields import Parameter
from impindiff.grid import Grid
from impindiff.problem import Problem, ProblemSettings
from impindiff.problems import PROBLEMS
from impindiff.settings import dump_yaml, load_configuration
from impindiff.settings.choices import models_in
from impindiff.settings.configuration import StrictModel
from impindiff.settings.yaml_text import one_line, write_yaml
from impindiff.steppers import HybridModel

# More by hand: IMPINDIFF_CONFIGURATIONS=300 pytest tests/settings/test_any_configuration.py
few = settings(
    max_examples=int(os.environ.get("IMPINDIFF_CONFIGURATIONS", "60")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PROBLEM = PROBLEMS["advection_diffusion_steady"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["picard", "1e-3", "float32", "null", "[24, 12]", "~", "newton_krylov"]),
)
values = st.recursive(
    scalars,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=5,
)


def _keys(model, prefix=""):
    """The dotted keys of a configuration, at all levels."""
    for name, info in model.model_fields.items():
        yield prefix + name
        for inner in models_in(info.annotation):
            yield from _keys(inner, f"{prefix}{name}.")


KEYS = sorted(set(_keys(PROBLEM.settings)))
keys = st.one_of(st.sampled_from(KEYS), st.text(string.ascii_lowercase + "._-", max_size=12))


def taken_or_refused(files, overrides, folder):
    refusal = found = None
    try:
        found = load_configuration(PROBLEM.settings, files, overrides)
    except InputError as error:
        refusal = str(error)
    if found is None:
        assert refusal
        assert "\n" not in refusal
        return
    again = folder / "again.yaml"
    again.write_text(dump_yaml(found), encoding="utf-8")
    assert load_configuration(PROBLEM.settings, [again], []) == found


@pytest.mark.slow
@few
@given(overrides=st.lists(st.tuples(keys, values), max_size=3))
def test_any_overrides(tmp_path, overrides):
    texts = [f"{key}={one_line(value)}" for key, value in overrides]
    taken_or_refused([], texts, tmp_path)


@pytest.mark.slow
@few
@given(overrides=st.lists(st.text(max_size=20), max_size=3))
def test_any_text_as_an_override(tmp_path, overrides):
    taken_or_refused([], overrides, tmp_path)


@few
@given(content=st.dictionaries(keys, values, max_size=4), as_keys=st.booleans())
def test_any_mapping_as_a_file(tmp_path, content, as_keys):
    nested = {}
    for key, value in content.items():
        for part in reversed(key.split(".") if as_keys else [key]):
            value = {part: value}
        nested |= value
    path = tmp_path / "given.yaml"
    path.write_text(write_yaml(nested), encoding="utf-8")
    taken_or_refused([path], [], tmp_path)


@few
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_bytes_as_a_file(tmp_path, content):
    path = tmp_path / "given.yaml"
    path.write_bytes(content)
    taken_or_refused([path], [], tmp_path)


class _Section(StrictModel):
    number: float = 1.0
    names: dict[str, int] = {}  # noqa: RUF012


class _Settings(ProblemSettings):
    cells: tuple[int, int] = (8, 4)
    mine: _Section | None = None


class _Decay(HybridModel):
    grid: Grid
    rate: Parameter

    def tendency(self, t, u, latent):
        return -self.rate() * u


class _Problem(Problem):
    settings = _Settings

    def model(self, settings, key):
        return _Decay(Grid((0.0, 0.0), (1.0, 1.0), settings.cells), Parameter(1.0))


INTEGERS = (2**31, 2**32, 2**63 - 1, 2**63, 10**30, 10**400, -1, 0, 1, 10**9)
FLOATS = (1e300, -1e300, 1e-300, 1e15, 5e-324, 1.7e308, float("nan"), float("inf"))
TEXTS = ("[/x]", "[red]a[/red]", "\x1b[31m", "a\nb", "\u202e", ":smile:", "../..", "x" * 5000)
YAML_TEXTS = ("!!int a", "&a", "*a", "<<", "{{7*7}}", "%s", "\x7f", "1e-3", "010", "no", "9" * 50)
huge = st.sampled_from((*INTEGERS, *FLOATS))
odd = st.sampled_from((*TEXTS, *YAML_TEXTS))
deep = st.recursive(
    huge | odd | scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(odd | st.text(max_size=4), below),
    max_leaves=6,
)
junk = st.one_of(huge, st.lists(huge, min_size=1, max_size=3), odd, deep)
OWNERS = {**PROBLEMS, "of one's own": _Problem()}


@few
@given(data=st.data())
def test_any_junk_in_any_key(tmp_path, data):
    """As the command takes it: read, judged by its sizes, written back."""
    name = data.draw(st.sampled_from(sorted(OWNERS)))
    owner = OWNERS[name]
    known = st.sampled_from(sorted(set(_keys(owner.settings))))
    chosen = data.draw(st.lists(st.tuples(known, junk), min_size=1, max_size=3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal = None
    try:
        path = tmp_path / "given.yaml"
        nested = {}
        for key, value in chosen:
            for part in reversed(key.split(".")):
                value = {part: value}
            nested |= value
        path.write_text(write_yaml(nested), encoding="utf-8")
        found = load_configuration(owner.settings, [path], [])
        if name in PROBLEMS:
            require_problem_fits(PROBLEMS[name], found)
        else:
            require_problem_fits(OWNERS[name], found)
        path.write_text(dump_yaml(found), encoding="utf-8")
        assert load_configuration(owner.settings, [path], []) == found
    except InputError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal
        assert refusal == printable(refusal)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.few(1)
@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "training.steps=" + "[" * 5000])
def test_deep_nesting(tmp_path, text):
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        load_configuration(PROBLEM.settings, [path] if ":" in text else [], [text])
