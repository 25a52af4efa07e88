"""Points from arrays are those of a file with the same columns."""

import numpy as np
import pytest

import impindiff as ipd

COLUMNS = {
    "time": [0.5, 0.5, 1.0],
    "x": [0.2, 0.4, 0.2],
    "c": [1.0, np.nan, 0.8],
    "standard_deviation": [0.1, 0.1, 0.2],
}


def test_points_are_those_of_a_file(tmp_path):
    file = tmp_path / "points.csv"
    header = "time [h],x [cm],c [mg/l],standard_deviation"
    np.savetxt(file, np.transpose([*COLUMNS.values()]), delimiter=",", header=header, comments="")
    made = ipd.data.points(COLUMNS, {"time": "h", "x": "cm", "c": "mg/l"})
    assert made.attrs["dropped_rows"] == 1
    assert made.identical(ipd.data.read_points(file).assign_attrs(made.attrs))


def test_a_number_or_a_text_stands_for_all_rows():
    made = ipd.data.points({"time": [1, 2], "x": 0.3, "quantity": "T", "value": [5.0, 6.0]})
    assert made["x"].to_numpy().tolist() == [0.3, 0.3]
    assert made["quantity"].to_numpy().tolist() == ["T", "T"]
    assert ipd.data.is_points(made)
    days = np.array(["2016-06-27", "2016-06-28"], "datetime64[D]")
    dated = ipd.data.points({"time": days, "x": 0.0, "T": 1.0})
    assert dated["time"].to_numpy().tolist() == [0.0, 86400.0]


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"x": [1.0, 2.0]}, "of one length, got {'time': (3,), 'x': (2,)"),
        ({"x": np.zeros((3, 3))}, "'time' has shape (3, 3)"),
        ({"c": ["a", "b", "c"]}, "'c' has shape (3,) and type <U1; expected one number a row"),
        ({"quantity": 3.0}, "expected one text a row"),
        ({"c": np.nan}, "points: has no value in any row"),
    ],
)
def test_wrong_columns(changed, part):
    with pytest.raises(ipd.InputError) as raised:
        ipd.data.points(COLUMNS | changed)
    assert part in str(raised.value)


def test_missing_columns_and_units_of_nothing():
    with pytest.raises(ipd.InputError, match=r"lack a column x; given: \(time, c\)"):
        ipd.data.points({"time": 0.0, "c": 1.0})
    with pytest.raises(ipd.InputError, match="units of 'T'"):
        ipd.data.points(COLUMNS, {"T": "K"})


def test_points_in_the_units_wanted(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(
        "time [h],x,T [degC],T_standard_deviation,c\n0,0.1,20.0,0.5,3.0\n2,0.3,21.0,0.5,4.0\n"
    )
    found = ipd.data.read(path, units={"time": "s", "x": "m", "T": "K"})
    assert found["time"].to_numpy().tolist() == [0.0, 7200.0] * 2
    assert (found["time"].attrs["units"], found["x"].attrs["units"]) == ("s", "m")
    values = {name: found["value"].to_numpy()[found["quantity"] == name] for name in "Tc"}
    np.testing.assert_allclose(values["T"], [293.15, 294.15])
    np.testing.assert_allclose(values["c"], [3.0, 4.0])
    # an error has no offset
    errors = found["standard_deviation"].to_numpy()[found["quantity"] == "T"]
    np.testing.assert_allclose(errors, 0.5)
    assert found["value"].attrs["units_T"] == "K"
    assert "units_c" not in found["value"].attrs
    one = ipd.data.read_points(path, ["c"], units={"c": "g/l"})
    assert one["value"].attrs["units"] == "g/l"
    with pytest.raises(ipd.InputError, match=r"units: there is no 'U' among \(time, x, T, c\)"):
        ipd.data.read(path, units={"U": "m"})
    with pytest.raises(ipd.InputError, match="'T' is in 'degC', which cannot be converted to 'm'"):
        ipd.data.read(path, units={"T": "m"})
