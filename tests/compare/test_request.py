"""What a comparison consists of: methods, seeds, studies, and what each run changes."""

import shlex
from pathlib import Path

import pytest

from impindiff.compare._methods import choose, methods_of
from impindiff.compare._request import Request, folder_of, rows_of
from impindiff.compare._studies import STUDIES
from impindiff.compare.command import check_request, methods_table
from impindiff.errors import InputError
from impindiff.problems import PROBLEMS, get_problem
from impindiff.settings.configuration import load_settings, nested_overrides

CASE = "advection_diffusion_steady"


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_method_of_every_problem_is_a_valid_configuration_and_says_how_it_was_tuned(name):
    settings = get_problem(name).settings
    for row in rows_of(Request(problem=name)):
        assert row.method.description
        assert row.method.tuning
        if row.method.not_run is None:
            load_settings(settings, row.overrides(0, Request(problem=name)))


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_is_a_row_for_each_method_and_point(study):
    request = Request(problem=CASE, study=study)
    rows = rows_of(request)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {row.method.name for row in rows} == set(STUDIES[study].methods)
    for row in rows:
        load_settings(get_problem(CASE).settings, row.overrides(0, request))


def test_a_seed_is_of_network_truth_and_observations():
    request = Request(problem=CASE, methods=("implicit",), seeds=3)
    settings = load_settings(get_problem(CASE).settings, rows_of(request)[0].overrides(2, request))
    assert (settings.seed, settings.truth.seed, settings.observations.seed) == (2, 2, 2)
    # the specimens of infiltration are no draw: a seed is of network and noise alone
    request = Request(problem="vapor_infiltration_closure", methods=("implicit",))
    given = rows_of(request)[0].overrides(2, request)
    assert (given["seed"], given["observations"]["seed"], "truth" in given) == (2, 2, False)


def test_a_method_overrides_the_request_and_a_point_of_a_study_the_method():
    request = Request(
        problem=CASE,
        methods=("unrolled",),
        study="memory_iterations",
        overrides={"adjoint": {"name": "jacobian_free"}, "training": {"steps": 7}},
    )
    given = rows_of(request)[0].overrides(0, request)
    assert given["adjoint"]["name"] == "unrolled"
    assert given["solver"]["max_krylov_iterations"] == 5
    assert given["training"]["steps"] == 7


@pytest.mark.parametrize(
    ("case", "method", "asked", "section", "expected"),
    [
        (CASE, "rk4", {"solver": {"krylov": "gmres"}}, "solver", None),
        (CASE, "fno", {"stepper": {"dt": 0.02}, "adjoint": {"rtol": 1e-3}}, "stepper", None),
        (
            CASE,
            "rk4",
            {"adjoint": {"rtol": 1e-3, "checkpointing": "segments"}},
            "adjoint",
            {"checkpointing": "segments"},
        ),
        (
            "vapor_infiltration_closure",
            "conv_lstm",
            {"training": {"damping": 0.5, "patience": 9}},
            "training",
            {
                "optimizer": "adam",
                "steps": 4000,
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "patience": 9,
            },
        ),
    ],
)
def test_what_a_method_cannot_use_of_what_is_asked_for_all_is_left_out(
    case, method, asked, section, expected
):
    request = Request(problem=case, methods=(method,), overrides=asked)
    load_settings(get_problem(case).settings, asked)
    given = rows_of(request)[0].overrides(0, request)
    load_settings(get_problem(case).settings, given)
    assert given.get(section) == expected


def test_what_no_method_can_use_is_refused():
    request = Request(problem=CASE, methods=("rk4",), overrides={"adjoint": {"slots": 3}})
    with pytest.raises(InputError, match=r"adjoint\.slots: does nothing with adjoint\.check"):
        check_request(request)


def test_quick_is_coarser_and_leaves_the_slowest_out():
    request = Request(problem=CASE, quick=True)
    names = [row.name for row in rows_of(request)]
    assert "implicit" in names
    assert "diffrax_kvaerno5" not in names
    assert rows_of(request)[0].overrides(0, request)["grid"]["cells"] == [64, 32]


def test_quick_gives_way_to_what_was_asked_for():
    request = Request(problem=CASE, quick=True, overrides={"grid": {"cells": [24, 12]}})
    assert rows_of(request)[0].overrides(0, request)["grid"]["cells"] == [24, 12]
    named = Request(problem=CASE, quick=True, methods=("diffrax_kvaerno5",))
    assert [row.name for row in rows_of(named)] == ["diffrax_kvaerno5"]


def test_a_quick_study_is_of_the_methods_of_the_study():
    rows = rows_of(Request(problem=CASE, quick=True, study="pareto"))
    # but for rk4_same_step, which is none of the quick ones
    assert {row.method.name for row in rows} == {
        "implicit",
        "forward_euler_same_step",
        "diffrax_tsit5",
        "fno",
    }


def test_folders_are_by_method_point_and_seed():
    row = rows_of(Request(problem=CASE, methods=("fno",)))[0]
    assert folder_of(row, 1, Path("out")) == Path("out/runs/fno/seed-1")
    request = Request(problem=CASE, methods=("fno",), study="noise")
    row = rows_of(request)[1]
    assert row.title == "Fourier neural operator, 2 % noise"
    assert folder_of(row, 0, Path("out")) == Path("out/runs/fno/noise=0.02/seed-0")


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (Request(problem=CASE, seeds=3, budget=20), f"{CASE} --seeds 3 --budget 20"),
        (Request(problem=CASE, quick=True, budget=5.0), f"{CASE} --quick"),
        (
            Request(
                problem=CASE,
                methods=("fno", "rk4"),
                study="noise",
                overrides={"physics": {"diffusivity": 0.01}},
            ),
            f"{CASE} --study noise --methods fno,rk4 --seeds 1 --set physics.diffusivity=0.01",
        ),
    ],
)
def test_the_command_that_makes_the_same(request_, command):
    assert request_.command() == f"impindiff compare {command}"


def test_the_command_survives_the_shell():
    overrides = {
        "grid": {"cells": [24, 12]},
        "forecast": {"until": None, "keep_failed": True},
        "training": {"optimizer": "adam", "learning_rate": 1e-05},
        "text": ["two words", "it's"],
        "looks": {"like": "1e-3", "empty": "", "flow": "[", "pair": "a: b"},
    }
    words = shlex.split(Request(problem=CASE, overrides=overrides).command())
    assert words[:5] == ["impindiff", "compare", CASE, "--seeds", "1"]
    assert words[5::2] == ["--set"] * len(words[6::2])
    assert nested_overrides([], words[6::2]) == overrides
    assert "training.optimizer=adam" in words


def test_what_there_is_not_is_refused_with_what_there_is():
    available = methods_of(get_problem(CASE), {})
    with pytest.raises(InputError, match=r"no method 'fnoo'; methods: implicit"):
        choose(available, ["fnoo"])


def test_methods_are_listed_with_a_line_each_or_why_they_cannot_solve_it():
    table = methods_table("vapor_infiltration_closure", [], [])
    names, _, told = (list(column.cells) for column in table.columns)
    assert names == list(methods_of(get_problem("vapor_infiltration_closure"), {}))
    assert "adjoint gradient" in str(told[names.index("implicit")])
    assert "cannot solve it: " in str(told[names.index("rk4")])
    told = list(methods_table(CASE, [], []).columns[2].cells)
    assert "any local law in place of the known one" in str(told[names.index("local_law")])


def test_methods_that_cannot_solve_a_problem_say_why():
    methods = methods_of(get_problem("vapor_infiltration_closure"), {})
    assert "not observed" in (methods["local_law"].not_run or "")
    assert "mass 0" in (methods["rk4"].not_run or "")
    assert methods["implicit"].not_run is None


@pytest.mark.parametrize(
    ("method", "kept"), [("implicit", True), ("fno", False), ("local_law", False)]
)
def test_parts_of_the_problems_model_are_not_asked_of_a_black_box(method, kept):
    overrides = {"training": {"rates": {"velocity": 0.5}, "freeze": ["velocity"], "steps": 3}}
    given = rows_of(Request(problem=CASE, methods=(method,), overrides=overrides))[0]
    training = given.overrides(0, Request(problem=CASE, overrides=overrides))["training"]
    assert ("rates" in training, "freeze" in training) == (kept, kept)


@pytest.mark.parametrize(("cells", "modes"), [([128, 64], 12), ([32, 10], 5), ([6, 4], 2)])
def test_the_neural_operator_has_no_more_modes_than_the_grid_can_hold(cells, modes):
    methods = methods_of(get_problem(CASE), {"grid": {"cells": cells}})
    assert methods["fno"].overrides["method"]["modes"] == modes
