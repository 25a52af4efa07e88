"""Which folder a run goes to."""

import subprocess
import sys
from pathlib import Path

import pytest

from impindiff import InputError
from impindiff.experiment import directory


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def begin(folder):
    (folder / "config.yaml").write_text("problem: x\n...\n")


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_no_run_touches_an_earlier_one():
    for name in ("case", "case-2", "case-3"):
        with directory.claimed("case", None) as folder:
            assert folder.name == name
            begin(folder)
    with directory.claimed("case", None, resume=True) as folder:
        assert folder.name == "case-3"
    with (
        pytest.raises(InputError, match="no run"),
        directory.claimed("other", None, resume=True),
    ):
        pass


def test_a_folder_in_which_no_run_begins_is_removed(tmp_path):
    with directory.claimed("case", None) as folder:
        (folder / "data.nc").write_text("written before the configuration")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "mine").mkdir()
    with (
        pytest.raises(ZeroDivisionError),
        directory.claimed("case", Path("mine")) as folder,
    ):
        raise ZeroDivisionError
    assert names("mine") == []


def test_what_holds_something_is_not_run_in(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "data.nc").write_text("mine")
    for out, words in (
        ("file", "is not a folder"),
        ("full", r"\(data.nc is in it\) and holds no run"),
    ):
        with pytest.raises(InputError, match=words), directory.claimed("c", Path(out)):
            pass
    assert names("full") == ["data.nc"]
    with directory.claimed("c", Path("run")) as folder:
        begin(folder)
    with (
        pytest.raises(InputError, match="holds a run; pass --resume"),
        directory.claimed("c", Path("run")),
    ):
        pass


KILLED = """
import os, sys
from pathlib import Path
from impindiff.experiment import directory
with directory.claimed("case", Path("run")) as folder:
    (folder / "data.nc").write_text("of the killed")
    (folder / f".config.partial-{os.getpid()}.yaml").write_text("ca")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_run_killed_before_it_began_is_started_again():
    """The one way out: --resume says so, and --out takes it."""
    subprocess.run([sys.executable, "-c", KILLED], timeout=120, check=False)
    assert len(names("run")) == 4
    with (
        pytest.raises(InputError, match=r"ended before it began .* start it again with --out run"),
        directory.claimed("case", Path("run"), resume=True),
    ):
        pass
    with directory.claimed("case", Path("run")) as folder:
        assert names(folder) == [".begun", ".lock"]
        begin(folder)
    assert "data.nc" not in names("run")


RACE = """
import sys, time
from pathlib import Path
from impindiff import InputError
from impindiff.experiment import directory
for out in (None, Path("same")):
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with directory.claimed("case", out) as folder:
            (folder / "config.yaml").write_text("problem: x\\n...\\n")
            time.sleep(0.5)
            print(folder, flush=True)
    except InputError as error:
        print(error, flush=True)
"""


@pytest.mark.slow
def test_runs_started_at_once_never_share_a_folder():
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", RACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    def lines():
        return sorted(process.stdout.readline().strip() for process in pair if process.stdout)

    said = []
    for _ in range(2):
        assert lines() == ["ready", "ready"]
        for process in pair:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said.append(lines())
    for process in pair:
        process.communicate(timeout=60)
    assert said[0] == ["runs/case", "runs/case-2"]
    assert said[1][0] == "same"
    assert "is writing to it" in said[1][1] or "holds a run" in said[1][1]


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    directory.write_json(tmp_path / "m.json", {"a": [1.5, float("nan")], "b": float("inf")})
    assert (tmp_path / "m.json").read_text().split() == list(
        ["{", '"a":', "[", "1.5,", "null", "],", '"b":', "null", "}"]
    )
