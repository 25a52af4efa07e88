"""The cache of compiled programs: where it is, and when there is none."""

from typing import Any

import jax
import pytest

from impindiff.command import programs
from impindiff.command.programs import PLACE, keep_programs


@pytest.fixture(autouse=True)
def changed(monkeypatch) -> dict[str, Any]:
    """What JAX is told, which is not done here; and no cache is asked for yet."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.update({name: value}))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv(PLACE, raising=False)
    return told


def test_programs_are_kept_in_the_folder_asked_for_by_kind_of_machine(
    changed, tmp_path, monkeypatch
):
    monkeypatch.setenv(PLACE, str(tmp_path))
    folder = keep_programs()
    assert folder is not None
    assert folder.parent == tmp_path / "programs"
    assert changed["jax_compilation_cache_dir"] == str(folder)
    monkeypatch.setattr(programs, "_processor", lambda: "another")
    assert keep_programs() != folder


def test_without_being_asked_they_are_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "user_cache_path", lambda name: tmp_path / name)
    folder = keep_programs()
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "impindiff")


def test_none_are_kept_where_that_is_asked_for(changed, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "user_cache_path", lambda name: tmp_path)
    assert keep_programs(off=True) is None
    monkeypatch.setenv(PLACE, "off")
    assert keep_programs() is None
    monkeypatch.delenv(PLACE)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert keep_programs() is None
    assert changed == {}
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_means_no_cache(changed, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(PLACE, str(file))
    assert keep_programs() is None
    monkeypatch.setenv(PLACE, str(tmp_path))
    monkeypatch.setattr(programs.os, "access", lambda *arguments: False)
    assert keep_programs() is None
    assert changed == {}
