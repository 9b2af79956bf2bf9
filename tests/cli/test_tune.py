"""`ssmc bench --tune`: what is tried, what is kept, and who uses it. Nothing here depends on what is quick."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from ssmc.backends.cpp import toolchain, tuned
from ssmc.backends.cpp.wishes import wishes_of

import ssmc
from ssmc.cli.main import cli
from ssmc.runtime import tune
from ssmc.runtime.timing import Timing

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

SPEC = """ssm outer
axis   K, V
input  k[K], v[V]
state  S[K, V] = 0
S = 0.9*S + k*v
output y[V] = sum[K](k*S)
"""
SIZES = {"K": 5, "V": 18}
OPTIONS = ("--size", "K=5", "--size", "V=18", "--length", "20")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SSMC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SSMC_BACKEND", "cpp")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "data"
    torch.set_num_threads(before)
    assert not list((tmp_path / "data").glob("**/.ssmc-*")), "something is left half written"


@pytest.fixture
def lanes_over_k(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which whatever has lanes over K is twice as quick."""

    def timed(cases: list[tuple[str, Any]], **_: Any) -> list[Timing]:
        return [Timing(name, (1.0,) if _over_k(run) else (2.0,)) for name, run in cases]

    monkeypatch.setattr(tune, "interleaved", timed)
    monkeypatch.setattr(tune, "seconds_of", lambda run, **_: 1.0 if _over_k(run) else 1.2)


def _over_k(run: Any) -> bool:
    question = next(c.cell_contents for c in run.__closure__ if hasattr(c.cell_contents, "compiled"))
    return any(p.wish.lane == "K" for p in question.compiled.schedule.parts)


def ssmc_(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=SPEC, prog_name="ssmc")


def kept(**change: Any) -> tuned.Tuned:
    spec = ssmc.compile(SPEC)
    made = tuned.Tuned(
        spec.scheduling.key, tuple(SIZES.items()), 1, 20, 1, wishes_of({"forward": {"lane": "K"}, "chunk": 7}),
        (("forward", 2.0, 1.0),), "2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    made = replace(made, **change)
    tuned.keep(made)
    return made


@pytest.mark.usefixtures("lanes_over_k")
def test_the_winner_is_kept_and_used() -> None:
    done = ssmc_("bench", "-", "--tune", *OPTIONS, "--seconds", "600", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["schedule"]["forward.1"]["lane"] == "K"
    assert told["left"] == 0
    verdicts = {t["schedule"]: t["verdict"] for t in told["trials"]}
    assert verdicts["forward.1:lane=K"] == "quicker"
    assert any("chunk=" in schedule for schedule in verdicts)
    assert any("backward" in schedule for schedule in verdicts)
    assert Path(told["kept"]).is_file()

    explained = ssmc_("explain", "-", *OPTIONS, "--threads", "1")
    assert "tuned on" in explained.stdout
    assert "lanes     K" in explained.stdout
    timed = ssmc_("bench", "-", "--backend", "cpp", "--only", "forward", "--rounds", "1", "--seconds", "0", *OPTIONS)
    assert "schedule of C++: tuned on" in timed.stderr
    # and a call runs it
    spec = ssmc.compile(SPEC)
    assert spec.scheduling.passes(SIZES).for_pass(1).lane == "K"
    k, v = torch.randn(2, 9, 5), torch.randn(2, 9, 18)
    torch.testing.assert_close(spec(k, v, backend="cpp"), spec(k, v, backend="torch"))


def test_what_is_not_quicker_is_not_kept(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    kept()
    monkeypatch.setattr(tune, "interleaved", lambda cases, **_: [Timing(name, (1.0,)) for name, _ in cases])
    done = ssmc_("bench", "-", "--tune", *OPTIONS, "--seconds", "600")
    assert done.exit_code == 0, done.output
    assert "nothing is clearly quicker" in done.stdout
    # what was kept before is not true any more
    assert not list(folder.glob("tuned/*"))


@pytest.mark.usefixtures("lanes_over_k")
def test_results_that_differ_disqualify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "error", lambda a, b: 0.5)
    done = ssmc_("bench", "-", "--tune", *OPTIONS, "--seconds", "600")
    assert done.exit_code == 0, done.output
    assert "differs by 5e-01" in done.stdout
    assert "nothing is clearly quicker" in done.stdout


def test_time_that_is_up_is_told() -> None:
    done = ssmc_("bench", "-", "--tune", *OPTIONS, "--seconds", "0")
    assert done.exit_code == 0, done.output
    assert "more choices: --seconds gives more" in done.stdout


def test_a_tuned_schedule_is_for_its_sizes_and_its_text() -> None:
    kept()
    spec = ssmc.compile(SPEC)
    assert spec.scheduling.chunk(SIZES) == 7
    assert spec.scheduling.chunk({"K": 5, "V": 19}) == 0
    assert ssmc.compile(SPEC.replace("0.9", "0.8")).scheduling.chunk(SIZES) == 0
    assert spec.scheduling.chunk(SIZES, threads=2) == 0
    # what somebody asks for goes before it
    assert ssmc.compile(SPEC, schedule="rules").scheduling.chunk(SIZES) == 0
    assert ssmc.compile(SPEC, schedule={"chunk": 9}).scheduling.chunk(SIZES) == 9


def test_another_compiler_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept()
    other = replace(toolchain.toolchain(), version="another 1.0")
    monkeypatch.setattr(tuned, "toolchain", lambda: other)
    assert tuned.tuned(made.spec, SIZES, 1) is None


@pytest.mark.parametrize("sizes", [(), ("--size", "K=5", "--size", "V=18")])
def test_it_can_be_forgotten(sizes: tuple[str, ...], folder: Path) -> None:
    kept()
    kept(sizes=(("K", 5), ("V", 7)))
    done = ssmc_("bench", "-", "--forget", *sizes)
    assert done.stdout == f"{'1 tuned schedule' if sizes else '2 tuned schedules'} of outer removed\n"
    assert len(list(folder.glob("tuned/*"))) == (1 if sizes else 0)


@pytest.mark.parametrize(
    "change", ['"format": 1', '"chunk": 7', '"by rules": 2.0', '"length": 20', "2026-01-02", "{", '"lane": "K"']
)
def test_a_damaged_file_is_told_and_not_used(change: str) -> None:
    made = kept()
    file = tuned.file_of(made.spec, SIZES, 1)
    text = file.read_text()
    assert change in text
    file.write_text(text.replace(change, change.partition(":")[0] + ": -1" if ":" in change else "?"))
    assert tuned.tuned(made.spec, SIZES, 1) is None
    from ssmc.cli.doctor import _tuned

    (finding,) = _tuned()
    assert "is damaged, and not used" in finding.value


def test_the_doctor_lists_them() -> None:
    from ssmc.cli.doctor import _tuned

    assert _tuned() == []
    kept()
    assert [f.value for f in _tuned()] == [
        "outer (K = 5, V = 18), tuned on 2026-01-02 at batch 1, length 20, 1 thread: forward 2.00 x"
    ]


@pytest.mark.parametrize(
    "wrong",
    [("--tune", "--forget"), ("--tune", "--form", "scan"), ("--forget", "--only", "step"),
     ("--tune", "--schedule", "lane=K")],
)  # fmt: skip
def test_wrong_usage(wrong: tuple[str, ...]) -> None:
    assert ssmc_("bench", "-", *wrong).exit_code == 2


@pytest.mark.parametrize("wrong", ["lane", "lane=", "=K", "lane=K,", "lane=K,lane=V", "lane=K,grid"])
def test_a_schedule_that_cannot_be_read_is_wrong_usage(wrong: str) -> None:
    assert ssmc_("explain", "-", "--schedule", wrong).exit_code == 2


def test_a_schedule_of_the_command_line() -> None:
    options = ("--schedule", "lane=K,chunk=9", "--schedule", "backward:grid=none", *OPTIONS, "--json")
    done = ssmc_("explain", "-", *options)
    assert done.exit_code == 0, done.output
    passes = json.loads(done.stdout)["schedule"]["passes"]
    assert {p["lanes"] for p in passes} == {"K"}
    assert {p["chunk"] for p in passes} == {9}
    assert [p["threads"] for p in passes if p["program"] == "backward"] == [[]]
    refused = ssmc_("explain", "-", "--schedule", "lane=Q")
    assert refused.exit_code == 1
    assert "error[E768]" in refused.stderr


def test_compile_takes_a_schedule(tmp_path: Path) -> None:
    line = ("compile", "-", "--backend", "cpp", "--emit", "cpp", "--size", "K=5", "--size", "V=18")
    assert "lanes over K" in ssmc_(*line, "--schedule", "lane=K").stdout
    assert "lanes over V" in ssmc_(*line, "--schedule", "rules").stdout
    assert ssmc_("compile", "-", "--schedule", "lane=K", "-o", str(tmp_path)).exit_code == 2
