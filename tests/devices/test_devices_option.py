"""The text of `--devices`."""

import pytest

from impindiff.devices import mesh_of
from impindiff.errors import InputError


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "1e9", "abc", "", "1000000000", "x=1000000000", "x=2,q=3", "x", "x=0", "9" * 5000],
)
def test_refuses_what_no_machine_has(text):
    with pytest.raises(InputError, match="--devices") as refusal:
        mesh_of(text)
    assert len(str(refusal.value)) < 200 + len(text)
