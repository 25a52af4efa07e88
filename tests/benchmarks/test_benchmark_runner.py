"""The runner of benchmarks/, its table and history, and the page made of them."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a benchmark wrote to docs/results, where it is not of its own name.
STORED = {"checkpointing": "memory"}

pytestmark = pytest.mark.usefixtures("found")


@pytest.fixture(scope="module")
def run(found):
    return importlib.import_module("run")


@pytest.fixture(scope="module")
def registry(found):
    return importlib.import_module("registry")


@pytest.fixture(scope="module")
def page(found):
    return importlib.import_module("benchmark_page")


@pytest.fixture
def scripts(run, registry, monkeypatch, tmp_path):
    """Two benchmarks of no length, the second of which misses its target and fails a check."""

    def read(results):
        for name, value in results.items():
            yield registry.Ratio(name, value, most=2.0)
            yield registry.Ratio(f"{name} at least", value, least=1.0)
            yield registry.Ratio(f"{name}, no target", value)

    for name, value, code in (("good", 1.5, 0), ("bad", 3.0, 1)):
        (tmp_path / f"{name}.py").write_text(
            "import json, sys\n"
            "from pathlib import Path\n"
            f"value = {value} - 0.25 * ('--quick' in sys.argv)\n"
            f"Path(sys.argv[2]).write_text(json.dumps({{{name!r}: value}}))\n"
            f"sys.exit({code})\n"
        )
    both = (registry.Benchmark("good", read, quick=True), registry.Benchmark("bad", read))
    monkeypatch.setattr(run, "BENCHMARKS", both)
    monkeypatch.setattr(run, "HERE", tmp_path)
    return tmp_path / "history.jsonl"


def call(run, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
    return run.main()


def test_a_run_prints_one_table_and_adds_a_line(run, scripts, monkeypatch, capsys):
    assert call(run, monkeypatch, "--history", scripts) == 1
    table = capsys.readouterr().out
    assert table.count("pass") == 3  # both of good, and bad's lower bound
    assert table.count("FAIL") == 2  # bad's upper bound and its exit code
    assert call(run, monkeypatch, "--history", scripts, "--quick") == 0
    first, second = map(json.loads, scripts.read_text().splitlines())
    assert first["failed"] == ["bad"]
    assert [row["of_target"] for row in first["ratios"]] == [
        0.75, pytest.approx(1 / 1.5), None, 1.5, pytest.approx(1 / 3), None,
    ]  # fmt: skip
    assert {"jax", "python", "numpy"} <= set(first["versions"])
    assert second["quick"]
    assert [row["ratio"] for row in second["ratios"]] == [1.25, 1.25, 1.25]


def test_only_those_named_are_run_and_others_refused(run, scripts, monkeypatch):
    assert call(run, monkeypatch, "--history", scripts, "--only", "good") == 0
    (line,) = map(json.loads, scripts.read_text().splitlines())
    assert {row["benchmark"] for row in line["ratios"]} == {"good"}
    with pytest.raises(SystemExit, match="there is no benchmark ugly; there are good, bad"):
        call(run, monkeypatch, "--only", "ugly")
    with pytest.raises(SystemExit, match="bad has no short form"):
        call(run, monkeypatch, "--quick", "--only", "bad")


def test_a_script_that_writes_nothing_fails(run, scripts, monkeypatch):
    (scripts.parent / "good.py").write_text("")
    assert call(run, monkeypatch, "--history", scripts, "--only", "good") == 1
    assert json.loads(scripts.read_text())["failed"] == ["good"]


def test_every_benchmark_is_a_script_and_is_read(registry):
    for benchmark in registry.BENCHMARKS:
        script = ROOT / "benchmarks" / f"{benchmark.name}.py"
        assert '"--json"' in script.read_text(), benchmark.name
        assert ('"--quick"' in script.read_text()) is benchmark.quick, benchmark.name
        stored = ROOT / "docs" / "results" / f"{STORED.get(benchmark.name, benchmark.name)}.json"
        if stored.is_file() and benchmark.name not in ("memory", "burgers"):
            ratios = list(benchmark.read(json.loads(stored.read_text())))
            assert ratios, benchmark.name
            assert all(ratio.value > 0 for ratio in ratios), benchmark.name


def entry(commit, value, *, quick=False):
    row = {"benchmark": "good", "compared": "a / b", "ratio": value, "target": "<= 2"}
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": commit,
        "quick": quick,
        "versions": {"jax": "1.0"},
        "cores": 2,
        "seconds": {"good": 1.0},
        "failed": [],
        "ratios": [{**row, "of_target": value / 2}],
    }


def test_the_page_has_the_latest_ratios_and_those_of_each_commit(page, tmp_path):
    runs = [entry("aaa", 1.25), entry("bbb", 3.0), entry("bbb", 0.5, quick=True)]
    latest = page.latest_table(runs).splitlines()[2:]
    assert latest[0].startswith("| `good` | a / b | 3 | <= 2 | **fail** | bbb")
    assert latest[1].startswith("| `good`, quick | a / b | 0.5 | <= 2 | pass | bbb")
    commits = page.commits_table(runs).splitlines()
    assert commits[0].startswith("| ratio | aaa, 2026-01-02 | bbb, 2026-01-02 |")
    assert commits[2] == "| `good`: a / b | 1.25 | 3 |  |"
    page.draw(runs, tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 5000


def test_the_page_is_written_from_the_history(page):
    assert page.PAGE.read_text() == page.page(page.history())
    assert page.FIGURE.is_file()
