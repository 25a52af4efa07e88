from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from impindiff.errors import InputError
from impindiff.settings.configuration import (
    StrictModel,
    dump_yaml,
    load_configuration,
    with_defaults,
)


class Adam(StrictModel):
    name: Literal["adam"] = "adam"
    rate: Annotated[float, Field(gt=0)] = 1e-3


class Quasi(StrictModel):
    name: Literal["quasi"] = "quasi"
    memory: int = 10


class Train(StrictModel):
    steps: Annotated[int, Field(ge=1)] = 400
    optimiser: Annotated[Adam | Quasi, Field(discriminator="name")] = Adam()
    precision: Literal["float32", "float64"] = "float64"
    log: bool = True


class Configuration(StrictModel):
    train: Train = Train()
    sensors: int | None = None
    window: int | Literal["all"] = "all"
    times: tuple[float, ...] = (0.05,)
    path: Path | None = None
    title: str = "1e-3"
    lower: float = 0.0
    upper: float = 1.0

    @model_validator(mode="after")
    def _ordered(self):
        if self.lower >= self.upper:
            raise ValueError(f"upper must be above lower ({self.lower:g}), not {self.upper:g}")
        return self


class Needy(StrictModel):
    seed: int


def load(*overrides: str, files=()) -> Configuration:
    return load_configuration(Configuration, list(files), list(overrides))


def refused(*parts: str, overrides=(), files=(), model: type[StrictModel] = Configuration) -> str:
    with pytest.raises(InputError) as raised:
        load_configuration(model, list(files), list(overrides))
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    return message


def test_defaults_then_files_then_overrides(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("train: {steps: 10, precision: float32}\nsensors: 3\n")
    second.write_text("train:\n  steps: 20\n")
    assert load() == Configuration()
    config = load("sensors=5", files=[first, second])
    assert config.train.steps == 20
    assert config.train.precision == "float32"
    assert config.sensors == 5
    assert config.train.log


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", ".001", "1.e-3", "1.0e-03"])
def test_every_way_to_write_a_number(text):
    assert load(f"train.optimiser.rate={text}").train.optimiser == Adam(rate=1e-3)


def test_values_are_yaml():
    assert load("times=[0.05, 1e-1, 1]").times == (0.05, 0.1, 1.0)
    assert load("sensors=null").sensors is None
    assert load("sensors=").sensors is None
    assert load("train={steps: 7}", "train.log=false").train == Train(steps=7, log=False)
    assert load("path=data/f.nc").path == Path("data/f.nc")
    assert load("title=a=b").title == "a=b"
    assert load("title='7'").title == "7"
    assert load("sensors=010").sensors == 10
    assert load("window=all").window == "all"
    assert load("train.optimiser.name=quasi").train.optimiser == Quasi()


def test_setting_one_key_keeps_the_rest_of_a_default():
    class Case(StrictModel):
        train: Train = Train(steps=77, optimiser=Adam(rate=0.5))

    config = load_configuration(Case, [], ["train.log=false"])
    assert config.train == Train(steps=77, optimiser=Adam(rate=0.5), log=False)


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert load(files=[tmp_path / "a.yaml"]) == Configuration()


def test_the_dump_reads_back(tmp_path):
    config = load(
        "times=[1e-7, 0.1]", "path=f.nc", "train.optimiser.rate=1.2345678901234567e-5", "title=yes"
    )
    (tmp_path / "a.yaml").write_text(dump_yaml(config), encoding="utf-8")
    assert load(files=[tmp_path / "a.yaml"]) == config
    assert load(files=[tmp_path / "a.yaml"]).title == "yes"


@pytest.mark.parametrize(
    "title", ["1e3", "010", "no", "null", "", "1:30", "a: b", "é", "2020-01-01"]
)
def test_text_that_looks_like_something_else_survives_the_dump(tmp_path, title):
    config = Configuration(title=title)
    (tmp_path / "a.yaml").write_text(dump_yaml(config), encoding="utf-8")
    assert load(files=[tmp_path / "a.yaml"]) == config


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (
            "train.stpes=3",
            ["train.stpes: ", "did you mean 'steps'?", "allowed in train: steps, optim"],
        ),
        ("zzz=3", ["zzz: there is no such key; allowed at the top level: train, sensors, window"]),
        ("train.optimiser.rte=3", ["train.optimiser.rte: ", "did you mean 'rate'?", "name, rate"]),
        ("train.steps=many", ["train.steps: must be an integer, not 'many'"]),
        ("train.steps='5'", ["train.steps: must be an integer, not '5'"]),
        ("train.steps=1.5", ["train.steps: must be an integer"]),
        ("train.steps=true", ["train.steps: must be an integer, not True"]),
        ("train.steps=0", ["train.steps: must be greater than or equal to 1, not 0"]),
        ("train.steps=null", ["train.steps: must be an integer, not None"]),
        ("train.log=yes", ["train.log: must be true or false, not 'yes'"]),
        ("train.optimiser.rate=-1", ["train.optimiser.rate: must be greater than 0, not -1"]),
        ("train.optimiser.rate=.nan", ["train.optimiser.rate: must be a finite number"]),
        ("train.optimiser.name=sgd", ["train.optimiser.name: must be 'adam', 'quasi', not 'sgd'"]),
        ("train.precision=half", ["train.precision: must be 'float32' or 'float64', not 'half'"]),
        ("window=some", ["window: must be an integer or must be 'all', not 'some'"]),
        ("times=0.05", ["times: must be a list, not 0.05"]),
        ("times=[0.05, late]", ["times.1: must be a number, not 'late'"]),
        ("train=3", ["train: must be a mapping", "with keys steps, optimiser", "not 3"]),
        ("train.steps.more=3", ["train.steps.more: there is no such key; train.steps has no keys"]),
        ("lower=2", ["upper must be above lower (2), not 1"]),
        ("train.steps", ["--set train.steps: expected KEY=VALUE"]),
        ("=3", ["--set =3: expected KEY=VALUE"]),
        ("train..steps=3", ["expected KEY=VALUE"]),
        ("times=[1", ["--set times=[1: times has a value that is not valid YAML"]),
        ("train={steps: 1, steps: 2}", ["key 'steps' is given twice"]),
        ("train={1: 2}", ["key '1' is not text, line 1, column 2"]),
        ("times=&a [*a]", ["aliases are not taken"]),
    ],
)
def test_each_mistake_has_one_clear_line(override, parts):
    refused(*parts, overrides=[override])


def test_more_than_one_problem_is_counted():
    refused("train.steps", "(and 2 more problems)", overrides=["train.steps=a", "train.b=1", "c=2"])


def test_a_required_key():
    refused("seed: is required", model=Needy)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"train: [", "not valid YAML"),
        (b"- 1\n- 2\n", "the top level must be a mapping"),
        (b"sensors: 3\nsensors: 4\n", "key 'sensors' is given twice"),
        (b"title: \xff\n", "it is not UTF-8 text"),
        (b"%PDF \x00\x01", "not valid YAML"),
    ],
)
def test_each_wrong_file_is_named(tmp_path, content, part):
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    refused(str(file), part, files=[file])


def test_files_that_cannot_be_read(tmp_path):
    refused(str(tmp_path / "b.yaml"), "No such file", files=[tmp_path / "b.yaml"])
    refused(str(tmp_path), "Is a directory", files=[tmp_path])


def test_configurations_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Configuration().sensors = 3


def test_other_defaults_are_those_of_every_use():
    given = {"train": {"optimiser": {"name": "quasi"}, "steps": 7}, "sensors": 3}
    changed = with_defaults(Configuration, given)
    assert changed.__name__ == "Configuration"
    assert changed().train.optimiser == Quasi()
    assert load_configuration(changed, [], ["train.log=false"]).train.steps == 7
    assert Configuration().train.steps == 400
    assert changed.model_json_schema()["properties"]["sensors"]["default"] == 3

    class Further(changed):
        cells: int = 8

    assert load_configuration(Further, [], ["cells=4"]).sensors == 3
    with pytest.raises(InputError, match=r"train.stpes.*'steps'"):
        with_defaults(Configuration, {"train": {"stpes": 3}})


def test_a_choice_has_its_own_default_unless_the_others_was_chosen():
    class Base(StrictModel):
        every: int = 25

    class Slow(Base):
        name: Literal["slow"] = "slow"
        every: int = 1

    class Fast(Base):
        name: Literal["fast"] = "fast"

    class Plain(StrictModel):
        method: Annotated[Fast | Slow, Field(discriminator="name")] = Fast()

    class Chosen(StrictModel):
        method: Annotated[Fast | Slow, Field(discriminator="name")] = Fast(every=50)

    assert load_configuration(Plain, [], ["method.name=slow"]).method.every == 1
    assert load_configuration(Chosen, [], ["method.name=slow"]).method.every == 50
