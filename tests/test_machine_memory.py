"""The memory that there is."""

import pytest

from impindiff.errors import InputError
from impindiff.support import memory
from impindiff.support.memory import memory_limit, require_memory


def test_a_container_has_less_than_its_machine(tmp_path, monkeypatch):
    whole = memory_limit()
    assert 10**8 < whole < 10**15
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    for line in memory.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, inside = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = tmp_path / controllers / inside.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "memory.max").write_text("max\n")
            (folder / "memory.limit_in_bytes").write_text("123456789\n")
    for name in ("memory.max", "memory.limit_in_bytes"):
        (tmp_path / name).write_text("123456789\n")
    (tmp_path / "memory").mkdir(exist_ok=True)
    assert memory_limit() == 123456789


def test_says_how_much_is_needed_and_what_to_do():
    require_memory("the data take", 1e6, "take fewer")
    for needed in (1e30, float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"the data take .* of memory, .*; take fewer"):
            require_memory("the data take", needed, "take fewer")
