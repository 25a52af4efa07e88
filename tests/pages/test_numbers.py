"""Numbers as a page shows them."""

import pytest

from impindiff.pages.numbers import count, duration, in_ascii, memory, number, percent, with_error

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        (0.0, "0"),
        (0.30212, "0.302"),
        (9.996, "10.0"),
        (-2.5, "−2.50"),
        (12345.6, "12346"),
        (1e-4, "0.000100"),
        (1.134e-6, "1.13 × 10⁻⁶"),
        (-9.996e9, "−1.00 × 10¹⁰"),
    ],
)
def test_three_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.52, 0.02, "0.520 ± 0.020"),
        (157.0, 1.04, "157.0 ± 1.0"),
        (3.0, 250.0, "3 ± 250"),
        (1.0000421, 1.8e-6, "1.0000421 ± 0.0000018"),
        (0.00318266, 4.6e-8, "(3.182660 ± 0.000046) × 10⁻³"),
        (0.0, 1e-7, "(0.0 ± 1.0) × 10⁻⁷"),
        (-1e-6, 0.01, "0.000 ± 0.010"),
        (0.1, 1.4e-17, "0.100000 ± 1 × 10⁻¹⁷"),
        (0.4, None, "0.400"),
        (0.4, 0.0, "0.400000 ± 0"),
        (None, 0.1, "-"),
    ],
)
def test_a_value_has_as_many_decimals_as_its_error(value, error, text):
    assert with_error(value, error) == text


def test_a_terminal_gets_ascii():
    assert in_ascii(with_error(-1.60123e-5, 2e-8)) == "(-1.6012 +- 0.0020)e-5"
    assert in_ascii(with_error(1.234e9, 2.5e4)) == "(1.234000 +- 0.000025)e9"
    assert in_ascii(with_error(0.5031234, 0.0119)) == "0.503 +- 0.012"


def test_units_fit_what_is_measured():
    assert percent(0.30212) == f"0.302{SPACE}%"
    assert percent(None) == duration(None) == memory(None) == count(None) == "-"
    assert [duration(s) for s in (0.0123, 131.2, 3725.0, 9000.0)] == [
        f"0.0123{SPACE}s",
        f"131{SPACE}s",
        f"62.1{SPACE}min",
        f"2.50{SPACE}h",
    ]
    assert [memory(mb) for mb in (57.3, 1234.0)] == [f"57.3{SPACE}MB", f"1.23{SPACE}GB"]
    assert count(12802.0) == "12\N{NARROW NO-BREAK SPACE}802"
