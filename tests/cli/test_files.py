"""Targets, and writing that leaves nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmc.cli.files import Target, target, write_atomically, write_directory, write_text
from ssmc.diagnostics import SpecError


class Stop(Exception):
    pass


def names(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*"))


def test_a_target_is_a_path_and_perhaps_a_name(tmp_path: Path) -> None:
    assert target("a.ssm") == Target("a.ssm")
    assert target("a.ssm:gru") == Target("a.ssm", "gru")
    assert target("-").is_stdin
    assert target("-:gru") == Target("-", "gru")
    odd = tmp_path / "a:b"
    odd.write_text("")
    assert target(str(odd)) == Target(str(odd))


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise Stop

    with pytest.raises(Stop):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.npz"]


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.ssm"
    write_text(path, "one α")
    path.chmod(0o600)
    write_text(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["new", "new/a.ssm"]


def test_a_directory_gets_all_files_or_none(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.py").write_text("old")
    (out / "mine.txt").write_text("mine")

    def write(scratch: Path) -> None:
        (scratch / "a.py").write_text("new")
        (scratch / "sub").mkdir()
        (scratch / "sub" / "b.py").write_text("b")

    def fail(scratch: Path) -> None:
        write(scratch)
        raise Stop

    with pytest.raises(Stop):
        write_directory(out, fail)
    assert names(tmp_path) == ["out", "out/a.py", "out/mine.txt"]
    assert (out / "a.py").read_text() == "old"
    assert write_directory(out, write) == (out / "a.py", out / "sub" / "b.py")
    assert (out / "a.py").read_text() == "new"
    assert names(out) == ["a.py", "mine.txt", "sub", "sub/b.py"]
    assert names(tmp_path)[0] == "out"


def test_a_refusal_of_the_system_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError) as error:
        write_directory(tmp_path / "file", lambda scratch: (scratch / "a").write_text("a"))
    assert error.value.diagnostics[0].code == "E902"
    with pytest.raises(SpecError):
        write_text(tmp_path / "file" / "below.ssm", "a")
    assert names(tmp_path) == ["file"]
