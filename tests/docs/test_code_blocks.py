"""The code blocks of the documents do what they say.

In order, in one empty directory: `ssm` blocks go to the file that their first line names, and are checked; `python`
blocks run as one program (`python file=x.py` is written to that file and run); `console` blocks run each `$ ` line in a
shell and compare the output, where `[...]` stands for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ssmc.backends.cpp import toolchain

PAGES = ("README.md", "docs/calling.md", "docs/walkthrough.md")
PAGES_OF_CPP = ("docs/schedules.md",)  # where generated C++ is the default, as it is for users with a compiler


@dataclass(frozen=True)
class Block:
    language: str
    options: dict[str, str]
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page that name a language."""
    found = []
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", page, re.M | re.S):
        options = dict(word.split("=", 1) for word in match[2].split())
        found.append(Block(match[1], options, match[3], page.count("\n", 0, match.start()) + 1))
    return found


def matches(expected: str, found: str) -> bool:
    """Equal, where `[...]` is any text, and a line of its own any lines; trailing space does not count."""
    tidy = "\n".join(line.rstrip() for line in found.strip().splitlines())
    return re.fullmatch(".*".join(map(re.escape, expected.strip().split("[...]"))), tidy, re.S) is not None


def commands(text: str) -> list[tuple[str, str]]:
    """The `$ ` lines of a console block, each with the output below it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def shell(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        command,
        shell=True,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")
@pytest.mark.parametrize("name", PAGES_OF_CPP)
def test_the_blocks_of_a_page_of_cpp(name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSMC_BACKEND")
    test_the_blocks_of_a_page(name, root, tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_of_a_page(name: str, root: Path, tmp_path: Path) -> None:
    program = ""
    for block in blocks((root / name).read_text(encoding="utf-8")):
        where = f"{name}:{block.line}"
        match block.language:
            case "ssm":
                file = block.text.splitlines()[0].removeprefix("#").strip()
                (tmp_path / file).write_text(block.text, encoding="utf-8")
                done = shell(f"ssmc check {file}", tmp_path)
                assert done.returncode == 0, f"{where}\n{done.stdout}"
            case "python" if "file" in block.options:
                (tmp_path / block.options["file"]).write_text(block.text, encoding="utf-8")
                done = shell(f"python {block.options['file']}", tmp_path)
                assert done.returncode == 0, f"{where}\n{done.stdout}"
            case "python":
                # Each block goes on from those before it, in a process: what a reader would paste.
                program += "\n" * (block.line - program.count("\n")) + block.text
                (tmp_path / "page.py").write_text(program, encoding="utf-8")
                done = shell("python page.py", tmp_path)
                assert done.returncode == 0, f"{where}\n{done.stdout}"
            case "console":
                for command, expected in commands(block.text):
                    done = shell(command, tmp_path)
                    assert matches(expected, done.stdout), f"{where}: {command}\n{done.stdout}"
                    assert done.returncode == (1 if "error[" in expected else 0), where
            case other:
                pytest.fail(f"{where}: {other} is not a language this test knows")


def test_a_wrong_output_is_found() -> None:
    assert matches("a [...] c\n", "a  \nb c\n") is False
    assert matches("a\n[...]\nd\n", "a\nb\nc\nd\n")
    assert not matches("a\n", "a\nb\n")
    assert commands("$ x\n1\n2\n$ y\n") == [("x", "1\n2\n"), ("y", "")]
