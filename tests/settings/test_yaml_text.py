"""YAML 1.2 without tags, aliases and duplicate keys: every text is a value or refused on a line."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impindiff.settings.yaml_text import NotYAMLError, one_line, parse_yaml, write_yaml

many = settings(max_examples=300, derandomize=True, database=None, deadline=None)
MARKS = "[]{}:,-?!&*#|>'\"%@` \n\t\\ab01.e+_~<=\x00\x85\u2028é\ufeff"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("010", 10),
        ("0o17", 15),
        ("1_000", 1000),
        ("no", "no"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("=", "="),
        ("<<: 3", {"<<": 3}),
        ("True", True),
        ("~", None),
        ("", None),
        ("# nothing", None),
        ("-.inf", float("-inf")),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("\ufeffa: [1, 'x']", {"a": [1, "x"]}),
        ("|\n a\n b", "a\nb"),
    ],
)
def test_values(text, value):
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!binary aGk=", "tag !!binary"),
        ("a: !!set {b}", "tag !!set is not taken; leave it out, line 1, column 4"),
        ("!!omap [a: 1]", "tag !!omap"),
        ("!!python/object:os.system x", "tag !!python/object:os.system"),
        ("!mine x", "tag !mine"),
        ("!!int abc", "'abc' is not an integer"),
        ("9" * 5000, "is not an integer"),
        ("a: 1\na: 2", "key 'a' is given twice, line 2"),
        ("1: 2", "key '1' is not text"),
        ("[a]: 2", "key is not text"),
        ("&a [*a]", "anchors and aliases"),
        ("a: &x 1\nb: *x", "anchors and aliases"),
        ("a: \x00", "#x0000"),
        ("a: \x1b[31m", "#x001b"),
        ('"\\ud800"', "half of a character"),
        ("--- 1\n--- 2", "another document"),
        ("a: [}", "line 1, column 5"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 60 + "x", "nested too deeply"),
    ],
)
def test_refusals(text, words):
    with pytest.raises(NotYAMLError) as refusal:
        parse_yaml(text)
    line = str(refusal.value)
    assert words in line
    assert len(line.splitlines()) == 1
    assert len(line) < 200


def test_a_billion_laughs():
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    start = time.perf_counter()
    with pytest.raises(NotYAMLError):
        parse_yaml("\n".join(lines))
    assert time.perf_counter() - start < 2.0


@many
@given(st.text(st.sampled_from(MARKS), max_size=25))
def test_any_text_is_a_value_or_refused(text):
    try:
        value = parse_yaml(text)
    except NotYAMLError as error:
        refusal = str(error)
    else:
        refusal = "-"
        assert repr(parse_yaml(write_yaml(value))) == repr(value)
    assert len(refusal.splitlines()) == 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=6,
)


@pytest.mark.slow
@many
@given(values)
def test_what_is_written_is_read_back(value):
    assert repr(parse_yaml(write_yaml(value))) == repr(value)
    if "nan" not in repr(value) and "inf" not in repr(value):
        assert repr(parse_yaml(one_line(value))) == repr(value)
        assert len(one_line(value).splitlines()) == 1 or value == ""
