"""A disk that becomes full outside of what is written whole: one line, and nothing half-written."""

import errno
from pathlib import Path

import pytest

from impindiff.command import cli
from impindiff.command.new_problem import write_problem


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device", "some/file")


def test_the_command_says_where_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    error = capsys.readouterr().err
    line = " ".join(error.split())
    assert line == "impindiff: some/file: no space left; make room and try again"


def test_a_new_problem_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_problem("plume", tmp_path)
    assert list(tmp_path.iterdir()) == []
