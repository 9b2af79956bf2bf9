"""What a file is called never becomes code."""

from __future__ import annotations

from pathlib import Path

import ssmc

SPEC = "ssm s\naxis D\ninput x[D]\nstate h[D]\nh = 0.5*h + x\noutput y[D] = h\n"


def test_a_line_break_in_a_file_name_stays_in_its_comment(tmp_path: Path) -> None:
    path = tmp_path / "a\nraise SystemExit('run')\r\u2028b.ssm"
    path.write_text(SPEC)
    text = ssmc.load(str(path)).source()
    lines = [line for line in text.splitlines() if "SystemExit" in line]
    assert lines
    assert all("#" in line.partition("raise")[0] for line in lines)
    compile(text, "generated", "exec")
