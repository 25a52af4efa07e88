"""What the settings of vapor infiltration refuse: one line that names the key and the quantity."""

import pytest

from impindiff.errors import InputError
from impindiff.problems.vapor_infiltration.settings import (
    VaporInfiltrationClosureSettings,
    VaporInfiltrationFieldSettings,
    VaporInfiltrationThermalSettings,
)
from impindiff.settings.configuration import load_configuration

CLOSURE, FIELD, THERMAL = (
    VaporInfiltrationClosureSettings,
    VaporInfiltrationFieldSettings,
    VaporInfiltrationThermalSettings,
)


@pytest.mark.parametrize("model", [CLOSURE, FIELD, THERMAL])
def test_the_defaults_are_possible(model):
    load_configuration(model, [], [])


def test_forward_runs_of_one_two_and_three_dimensions_are_possible():
    for cells in ("[64]", "[64,64]", "[16,16,16]"):
        settings = load_configuration(CLOSURE, [], [f"grid.cells={cells}", "time.end=1.7"])
        assert len(settings.grid.upper) == len(settings.grid.cells)


@pytest.mark.parametrize(
    ("model", "overrides", "parts"),
    [
        (CLOSURE, ["physics.eps0=1.2"], ["physics.eps0: must be less than 1, not 1.2"]),
        (CLOSURE, ["physics.eps0=0"], ["physics.eps0: must be greater than 0, not 0"]),
        (
            CLOSURE,
            ["physics.eps0=0.03"],
            ["physics: ", "initial porosity eps0 = 0.03", "percolation threshold 0.037"],
        ),
        (CLOSURE, ["physics.percolation=[0,0.7]"], ["physics.percolation.0: must be greater"]),
        (CLOSURE, ["physics.phi2=-1"], ["physics.phi2: must be greater than or equal to 0"]),
        (CLOSURE, ["physics.biot=0"], ["physics.biot: must be greater than 0, not 0"]),
        (CLOSURE, ["grid.cells=[2]"], ["grid.cells.0: must be greater than or equal to 4"]),
        (CLOSURE, ["grid.size=[1]"], ["grid: ", "size has 1 entries for 2 cell counts"]),
        (CLOSURE, ["time.step=3"], ["time: ", "step 3 is longer than the run"]),
        (
            CLOSURE,
            ["observations.ct_window=[[0,0],[1,1.2]]"],
            ["observations.ct_window: [1.0, 1.2] lies outside the part, [0, 1] x [0, 1]"],
        ),
        (
            CLOSURE,
            ["observations.ct_window=[[0.5,0],[0.5,1]]"],
            ["observations.ct_window: ", "lower corner [0.5, 0.0] is not below"],
        ),
        (
            CLOSURE,
            ["observations.thermocouples=[[0.5,0.5]]"],
            ["observations.thermocouples: the part is isothermal"],
        ),
        (
            THERMAL,
            ["observations.thermocouples=[[0.5,-0.1]]"],
            ["observations.thermocouples: [0.5, -0.1] lies outside the part"],
        ),
        (
            THERMAL,
            ["observations.thermocouples=[[0.5]]"],
            ["observations.thermocouples: [0.5] has 1 coordinate(s), the part 2"],
        ),
        (THERMAL, ["physics.heat.heater=-5"], ["physics.heat.heater: must be greater than 0"]),
        (
            THERMAL,
            ["physics.heat.reference=-300"],
            ["physics.heat.reference: must be greater than 0"],
        ),
        (
            THERMAL,
            ["specimens.heater=[1200,1523]"],
            ["specimens.heater: 1200 K is not hotter", "surroundings of the surface, 1273 K"],
        ),
        (
            THERMAL,
            ["physics.heat.heater=1000"],
            ["physics.heat.heater: 1000 K is not hotter", "1273 K"],
        ),
        (
            THERMAL,
            ["physics.heat=null", "observations.thermocouples=[]"],
            ["physics.heat: this problem needs it"],
        ),
        (
            THERMAL,
            ["specimens.heater=[1500]"],
            ["specimens: ", "heater has 1 entries, thickness 2"],
        ),
        (
            CLOSURE,
            ["stepper.name=rk4"],
            ["stepper.name: must be", "sdirk2", "not 'rk4'", "the gas has mass 0"],
        ),
        (
            CLOSURE,
            ["stepper.dt=0.1"],
            ["stepper.dt: there is no such key", "its step is time.step"],
        ),
        (
            CLOSURE,
            ["solver.preconditioner=jacobi"],
            [
                "solver.preconditioner: there is no such key",
                "the problem has its own preconditioner",
            ],
        ),
        (FIELD, ["inclusion.depth=0.58"], ["inclusion.depth: the porosity in the inclusion"]),
        (FIELD, ["inclusion.centre=[0.5]"], ["inclusion.centre: 1 coordinates"]),
        (FIELD, ["bounds=[0.03,0.8]"], ["bounds: 0.03 and 0.8", "percolation threshold 0.037"]),
    ],
)
def test_each_impossible_value_has_one_clear_line(model, overrides, parts):
    with pytest.raises(InputError) as raised:
        load_configuration(model, [], overrides)
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
