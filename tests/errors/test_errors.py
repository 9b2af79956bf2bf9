"""Every `x.ssm` here is wrong in some way, and `x.err` is what the compiler says of it.

`pytest tests/errors --update-errors` writes the `.err` files anew; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmc.diagnostics import Diagnostic, SpecError
from ssmc.render import render_text
from ssmc.step.build import build_with_warnings
from ssmc.syntax.parser import parse
from ssmc.syntax.reader import decode

FOLDER = Path(__file__).parent
CASES = sorted(p.stem for p in FOLDER.glob("*.ssm"))


def said_of(path: Path) -> tuple[Diagnostic, ...]:
    """All diagnostics of a file: the errors, or else the warnings."""
    found: list[Diagnostic] = []
    try:
        source = decode(path.name, path.read_bytes())
        for spec in parse(source).specs:
            found.extend(build_with_warnings(spec, source)[1])
    except SpecError as error:
        return error.diagnostics
    return tuple(found)


@pytest.mark.parametrize("case", CASES)
def test_error(case: str, request: pytest.FixtureRequest) -> None:
    said = "\n\n".join(map(render_text, said_of(FOLDER / f"{case}.ssm"))) + "\n"
    expected = FOLDER / f"{case}.err"
    if request.config.getoption("--update-errors"):
        expected.write_text(said, encoding="utf-8")
    assert said.strip(), f"{case}.ssm is legal"
    assert said == expected.read_text(encoding="utf-8")


def test_no_err_file_is_left_over() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.err")) == CASES
