"""What the page of a comparison says, and what it refuses."""

import copy
import json
import re

import pytest
from page_folders import CASE, comparison_folder, results
from test_run_page import SPACE, cells

from impindiff import InputError
from impindiff.pages import write_report

GROUP = "\N{NARROW NO-BREAK SPACE}"
ERRORS = "Relative L1 error of the test set (%)"


def page(folder, content=None) -> str:
    return write_report(comparison_folder(folder, content)).read_text(encoding="utf-8")


def summary(html: str) -> str:
    found = re.search(r'<p class="summary">(.*?)</p>', html)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return page(tmp_path_factory.mktemp("pages") / "comparison")


def table(html: str, caption: str) -> dict[str, list[str]]:
    part = html.split(f"<caption>{caption}")[1].split("</table>")[0]
    return {head.split("<small>")[0]: row for head, row in cells(part).items()}


@pytest.mark.slow
def test_mean_and_spread_of_every_method(html):
    rows = table(html, ERRORS)
    assert rows["Implicit steps"] == ["3 of 3", "0.110 ± 0.010", "0.190 ± 0.010", "0.520 ± 0.020"]
    assert rows["Explicit recurrence"] == ["2 of 3 blew up", "0.400", "0.900", "2.50"]
    assert rows["Convolutional network &lt;CNN&gt;"][-1] == "157.0 ± 1.0"
    assert rows["Neural operator"] == ["not run: needs a square grid"]
    assert len(re.findall(r'<td class="best">', html)) == 3
    assert '<td class="best">0.520 ± 0.020</td>' in html


@pytest.mark.slow
def test_what_training_costs(html):
    rows = table(html, "Cost of training")
    assert rows["Implicit steps"] == [
        "0.110 ± 0.010",
        "5.20",
        "300",
        f"30.0{SPACE}s",
        f"57.3{SPACE}MB",
        f"1.23{SPACE}GB",
        "12\N{NARROW NO-BREAK SPACE}802",
        "40\N{NARROW NO-BREAK SPACE}960",
        "2.00 × 10⁻⁶",
    ]


def test_every_run_is_there_with_what_it_said(html):
    part = html.split("<caption>Every run")[1].split("</table>")[0]
    rows = cells(part)
    assert len(rows) == 9
    blown = next(head for head in rows if head.startswith("Explicit recurrence, seed 1"))
    assert "runs/explicit/seed-1: not finite at t = 0.03, step 3, sample 1" in blown
    assert rows[blown][:2] == ["blow-up", "-"]


def test_one_sentence_names_the_best_the_next_kind_and_what_blew_up(html):
    assert summary(html) == (
        f"At the horizon, t = 0.2, Implicit steps has the least mean relative L1 error, "
        f"0.520{SPACE}%, a factor of 4.8 below the best of another kind, Explicit recurrence "
        f"(explicit, 2.50{SPACE}%, 2 of 3 runs failed); Explicit recurrence (2 of 3 runs) blew up."
    )


@pytest.mark.slow
def test_a_survivor_does_not_win_over_methods_that_always_ended(tmp_path):
    content = results()
    content["methods"][1]["mean"]["error_percent"]["horizon"] = 0.1
    text = summary(page(tmp_path / "survivor", content))
    assert text.startswith(
        "At the horizon, t = 0.2, Implicit steps has the least mean relative L1 error"
    )
    assert f"(explicit, 0.100{SPACE}%, 2 of 3 runs failed) has less;" in text


def unconverged(content, index, **run):
    method = content["methods"][index]
    method["failures"] = len(method["runs"])
    for of in method["runs"]:
        of |= {"status": "not converged", "message": "the optimiser had not converged"} | run
    return content


@pytest.mark.slow
def test_what_did_not_converge_is_named_and_in_no_ratio(tmp_path):
    content = unconverged(results(), 1)
    content["methods"][1]["mean"]["failed_solves"] = 1193
    html = page(tmp_path / "other", content)
    assert summary(html) == (
        f"At the horizon, t = 0.2, Implicit steps has the least mean relative L1 error, "
        f"0.520{SPACE}%, a factor of 302 below the best of another kind, Convolutional network "
        f"&lt;CNN&gt; (black box, 157{SPACE}%); Explicit recurrence (3 of 3 runs) did not converge "
        "(left out of the comparison)."
    )
    row = table(html, ERRORS)["Explicit recurrence"]
    assert row == [
        "3 of 3 did not converge",
        "1\N{NARROW NO-BREAK SPACE}193",
        "0.400",
        "0.900",
        "2.50",
    ]
    assert "A run did not converge if training ended before" in html
    only = unconverged(results(), 0)
    only["methods"] = only["methods"][:1]
    text = summary(page(tmp_path / "best", only))
    assert text.startswith("No method converged and reached the horizon, t = 0.2, with every seed;")


@pytest.mark.slow
def test_no_winner_where_one_that_did_not_converge_has_less(tmp_path):
    content = unconverged(results(), 0)
    for run in content["methods"][1]["runs"]:
        run |= {"status": "ok", "message": None}
    content["methods"][1]["failures"] = 0
    html = page(tmp_path / "less", content)
    assert summary(html) == (
        "At the horizon, t = 0.2, no method is best: Implicit steps has the least mean relative "
        f"L1 error, 0.520{SPACE}%, although its optimiser had not converged; Implicit steps (3 of "
        "3 runs) did not converge."
    )
    assert "least mean relative L1 error at t" not in html
    assert '<td class="best">' not in html
    assert "more steps may" not in html
    # a survivor of a method that blew up too takes the place of none
    content["methods"][0]["runs"][0]["status"] = "blow-up"
    text = summary(page(tmp_path / "survivor", content))
    assert "Explicit recurrence has the least mean" in text


@pytest.mark.slow
def test_misfits_are_called_misfits(tmp_path):
    content = results() | {"metric": "relative_percent", "judged_on": "train"}
    html = page(tmp_path / "misfit", content)
    assert "<caption>Relative rms misfit to the measurements of the training set (%)" in html
    assert "the least mean relative rms misfit to the measurements, 0.520" in summary(html)
    assert "L1 error" not in html


@pytest.mark.slow
def test_no_winner_where_none_reached_the_horizon(tmp_path):
    content = results()
    content["methods"] = content["methods"][1::2]
    text = summary(page(tmp_path / "none", content))
    assert text.startswith("No method reached the horizon, t = 0.2, with every seed;")


@pytest.mark.slow
def test_a_study_says_what_it_is_and_shows_errors_only_where_there_are_some(tmp_path):
    content = copy.deepcopy(results())
    content["study_summary"] = "memory against iterations"
    with_errors = page(tmp_path / "errors", content)
    assert summary(with_errors).startswith("Memory against iterations. At the horizon")
    assert "Errors of the forecast" in with_errors
    for method in content["methods"]:
        method["failures"] = 0
        numbers = [*method["runs"], *([method["mean"]] if method.get("mean") else [])]
        for of in numbers:
            of["error_percent"] = dict.fromkeys(of["error_percent"])
        for run in method["runs"]:
            run |= {"status": "ok", "message": None}
    without = page(tmp_path / "none", content)
    assert summary(without) == "Memory against iterations."
    assert "Errors of the forecast" not in without


@pytest.mark.slow
def test_one_seed_has_no_spread(tmp_path):
    content = results()
    content["seeds"] = [0]
    for method in content["methods"]:
        method["runs"] = method["runs"][:1]
        method["spread"] = {}
    html = page(tmp_path / "one", content)
    assert table(html, ERRORS)["Implicit steps"][-1] == "0.520"
    assert "Relative L1 error over the runs that got to the time, seed 0." in html


@pytest.mark.slow
def test_times_that_are_the_same_share_a_column(tmp_path):
    content = results()
    content["times"] |= {"twice_training": 0.2, "twice_horizon": 0.4}
    html = page(tmp_path / "times", content)
    assert "t = 0.2 (twice the training, horizon)" in html
    assert "t = 0.4 (twice the horizon)" in html
    rows = table(html, ERRORS)
    assert rows["Explicit recurrence"] == ["2 of 3 blew up", "0.400", "0.900", "-"]


@pytest.mark.slow
def test_curves_are_drawn_where_there_are_histories(html, tmp_path):
    assert "Training loss against training time" in html
    assert "Error of the test set against training time" in html
    folder = comparison_folder(tmp_path / "comparison")
    for history in folder.glob("runs/*/*/history.jsonl"):
        history.unlink()
    assert "against training time" not in write_report(folder).read_text(encoding="utf-8")


def test_settings_tuning_machine_and_command(html):
    assert "--set training.learning_rate=0.001\n--set training.optimizer=adam" in html
    assert "--set list=[1, 2]" in html
    assert "Tuning: learning rate of 1e-4" in html
    assert f"<code>impindiff compare {CASE} --seeds 0,1,2 --budget 30</code>" in html
    assert cells(html)["memory (GB)"] == ["7.75"]
    assert "disk" not in cells(html)


def test_titles_are_text_not_markup(html):
    assert "<CNN>" not in html


def test_the_page_needs_nothing_else(html):
    assert not re.findall(r"(?:src|href|srcset)=\"(?!data:|#)", html)
    assert "<script" not in html


def spoiled(key: str, value) -> str:
    content = copy.deepcopy(results())
    content[key] = value
    return json.dumps(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "results.json: cannot be read as JSON"),
        ("[]", "results.json: .*mapping"),
        (spoiled("methods", []), "results.json: methods: "),
        (spoiled("times", {"training_end": 0.1}), r"results.json: times\.horizon: is required"),
        (spoiled("seeds", ["a"]), r"results.json: seeds\.0: must be an integer"),
    ],
    ids=["no JSON", "a list", "no methods", "no times", "no number"],
)
def test_results_of_another_form_are_refused(tmp_path, text, message):
    folder = comparison_folder(tmp_path / "comparison")
    (folder / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()
