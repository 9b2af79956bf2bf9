"""Reading files: everything that is no spec gets one diagnostic, at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ssmc.diagnostics import Diagnostic, SpecError
from ssmc.source import Source
from ssmc.syntax.parser import parse
from ssmc.syntax.reader import choose_spec, decode, read, read_spec_argument


def error(path: Path | str) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        read(path)
    [found] = caught.value.diagnostics
    return found


def test_text_comes_back_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.ssm"
    path.write_bytes("ssm a\r\nλ = 1\n".encode())
    assert read(path) == read(str(path)) == Source(str(path), "ssm a\r\nλ = 1\n")


@pytest.mark.parametrize(
    ("content", "code", "tells"),
    [
        (b"ssm a\nx = \xff\n", "E005", "0xFF"),
        ("ssm a".encode("utf-16"), "E004", "UTF-16"),
        (b"ssm a\0b", "E004", "byte 5"),
        (b"\x7fELF\0", "E004", "NUL"),
        (b"a+" * 5_000_000, "E007", "10000000"),
    ],
)
def test_wrong_contents(content: bytes, code: str, tells: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ssm"
    path.write_bytes(content)
    started = time.perf_counter()
    found = error(path)
    assert time.perf_counter() - started < 1
    assert found.code == code
    assert tells in f"{found.title} {found.primary and found.primary.text} {found.notes}"


def test_the_place_of_a_wrong_byte() -> None:
    with pytest.raises(SpecError) as caught:
        decode("x", "λ\n€ ".encode() + b"\xe9")
    [found] = caught.value.diagnostics
    assert found.primary is not None
    assert found.primary.span.source.position(found.primary.span.start) == (2, 3)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "mamba.ssm").write_text("ssm a")
    found = error(tmp_path / "mambda.ssm")
    assert found.code == "E001"
    assert found.helps == ("did you mean `mamba.ssm`?",)
    (tmp_path / "link.ssm").symlink_to("nowhere.ssm")
    assert error(tmp_path / "link.ssm").helps == ("it is a link to a file that is not there",)
    assert error(tmp_path).code == "E002"
    assert error("a\0b").code == "E003"
    assert error("x" * 5000).code == "E003"


@pytest.mark.skipif(os.name != "posix", reason="a device file")
def test_an_endless_file() -> None:
    assert error("/dev/zero").code == "E007"


def test_arguments(tmp_path: Path) -> None:
    assert read_spec_argument("a.ssm") == ("a.ssm", None)
    assert read_spec_argument("dir/a.ssm:mamba") == ("dir/a.ssm", "mamba")
    assert read_spec_argument("C:\\a.ssm") == ("C:\\a.ssm", None)
    path = tmp_path / "a:b"
    path.write_text("ssm b")
    assert read_spec_argument(str(path)) == (str(path), None)


def test_choosing_a_spec() -> None:
    file = parse(Source("f.ssm", "ssm mamba\nssm gru\n"))
    assert choose_spec(file, "gru").name.text == "gru"
    assert choose_spec(parse(Source("f", "ssm a")), None).name.text == "a"
    with pytest.raises(SpecError, match=r"did you mean `mamba`\?"):
        choose_spec(file, "mambo")
    with pytest.raises(SpecError, match=r"`f\.ssm:mamba`, `f\.ssm:gru`"):
        choose_spec(file, None)
