"""Whatever a configuration says, it is taken and written back alike, or refused in one line."""

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impindiff.cases import CASES, dump_yaml, load_configuration
from impindiff.cases.yaml_text import one_line, write_yaml
from impindiff.errors import InputError

few = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
CASE = CASES["advection_diffusion_steady"]
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
        if hasattr(info.annotation, "model_fields"):
            yield from _keys(info.annotation, f"{prefix}{name}.")


KEYS = sorted(_keys(CASE.settings))
keys = st.one_of(st.sampled_from(KEYS), st.text(string.ascii_lowercase + "._-", max_size=12))


def taken_or_refused(files, overrides, folder):
    refusal = found = None
    try:
        found = load_configuration(CASE.settings, files, overrides)
    except InputError as error:
        refusal = str(error)
    if found is None:
        assert refusal
        assert "\n" not in refusal
        return
    again = folder / "again.yaml"
    again.write_text(dump_yaml(found), encoding="utf-8")
    assert load_configuration(CASE.settings, [again], []) == found


@few
@given(overrides=st.lists(st.tuples(keys, values), max_size=3))
def test_any_overrides(tmp_path, overrides):
    texts = [f"{key}={one_line(value)}" for key, value in overrides]
    taken_or_refused([], texts, tmp_path)


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


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "training.steps=" + "[" * 5000])
def test_deep_nesting(tmp_path, text):
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        load_configuration(CASE.settings, [path] if ":" in text else [], [text])
