"""Targets, and writing that leaves nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmc.cli.files import Target, target
from ssmc.diagnostics import SpecError
from ssmc.files import write_atomically, write_texts


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
    write_texts({path: "one α"})
    path.chmod(0o600)
    write_texts({path: "two"})
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["new", "new/a.ssm"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "a.ssm"
    link.symlink_to("there/b.ssm")
    for text in ("one", "two"):  # what it points to is made, then replaced
        write_texts({link: text})
        assert link.is_symlink()
        assert (tmp_path / "there" / "b.ssm").read_text() == text
    assert names(tmp_path) == ["a.ssm", "there", "there/b.ssm"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "null.npz").symlink_to("/dev/null")
    (tmp_path / "folder.npz").mkdir()
    for name in ("null.npz", "folder.npz"):
        with pytest.raises(SpecError, match=f"E902.*{name}.*no file"):
            write_texts({tmp_path / name: "a"})
    assert Path("/dev/null").is_char_device()


def test_a_refusal_of_the_system_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below.ssm", tmp_path / "file" / "far" / "below.ssm"):
        with pytest.raises(SpecError, match=r"E902.*below\.ssm`: `.*/file` is not a directory"):
            write_texts({path: "a"})
    assert names(tmp_path) == ["file"]


def test_several_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").mkdir()
    files = {tmp_path / name: "new" for name in ("a", "b", "c")}
    with pytest.raises(SpecError, match="E902"):
        write_texts(files)
    assert names(tmp_path) == ["a", "c"]
    assert (tmp_path / "a").read_text() == "old"
    del files[tmp_path / "c"]
    write_texts(files)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"
