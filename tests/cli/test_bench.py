"""`ssmc bench`, and the timing that it shares with the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ssmc as api
from ssmc.cli.main import cli
from ssmc.runtime import bench
from ssmc.runtime.timing import FEWEST, faster, interleaved, paired, take_turns

LEAKY = "ssm leaky\naxis N\ninput x[N], g[N]\nstate h[N] = 0\nh = sigmoid(g)*h + x\noutput y[N] = h\n"
REVERSE = "ssm back\naxis N\ninput x[N]\nstate h[N] = 0 reverse\nh = 0.5*h + x\noutput y[N] = h\n"
QUICK = ("--backend", "torch", "--rounds", "1", "--seconds", "0", "--length", "20")


def ssmc(*arguments: str, stdin: str) -> Result:
    return CliRunner().invoke(cli, ["bench", "-", *arguments], input=stdin, prog_name="ssmc")


def rows(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["rows"]  # type: ignore[no-any-return]


def test_every_form_in_every_direction_is_compared_and_timed() -> None:
    found = rows(ssmc(*QUICK, "--size", "N=3", "--json", stdin=LEAKY))
    named = {(r["what"], r["form"]) for r in found}
    both = {(what, form) for what in (bench.FORWARD, bench.BACKWARD) for form in ("recurrent", "scan")}
    assert named == both | {(bench.STEP, "step")}
    assert all(r["estimate"] > 0 for r in found if r["what"] != bench.STEP)
    assert all(r["median"] > 0 and r["error"] < 1e-5 and not r["wrong"] for r in found)
    for what in (bench.FORWARD, bench.BACKWARD):
        of_one = [r for r in found if r["what"] == what]
        assert min(r["ratio"] for r in of_one) == 1
        assert sum(r["chosen"] for r in of_one) == 1


def test_the_text_names_what_was_measured() -> None:
    done = ssmc(*QUICK, "--only", "forward", stdin=LEAKY)
    assert done.exit_code == 0, done.output
    first, header, *_ = done.stdout.splitlines()
    assert first == "batch 1, length 20, N = 16; float32"
    columns = "form backend median ms spread best ms ratio estimate error first s"
    assert header.split() == columns.split()
    assert "* what the plan chooses" in done.stdout
    assert "backward" not in done.stdout


def test_a_reverse_state_has_no_step() -> None:
    assert {r["what"] for r in rows(ssmc(*QUICK, "--json", stdin=REVERSE))} == {bench.FORWARD, bench.BACKWARD}


def test_a_spec_without_inputs_or_gradients_is_timed_forward() -> None:
    count = "ssm count\nstate n int = 0\nn = n + 1\noutput y = n\n"
    assert {r["what"] for r in rows(ssmc(*QUICK, "--json", stdin=count))} == {bench.FORWARD}


@pytest.mark.parametrize("text", [LEAKY, REVERSE])
def test_long_sequences_are_compared_in_their_first_steps(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "COMPARED", 1)
    report = bench.bench(api.compile(text), sizes={"N": 3}, length=40, backends=["torch"], rounds=1, budget=0)
    assert report.compared == 16
    assert report.rows
    assert all(row.error < 1e-5 and not row.wrong for row in report.rows)


def test_a_wrong_result_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for what in bench.TOLERANCE:
        monkeypatch.setitem(bench.TOLERANCE, what, 0.0)
    monkeypatch.setattr(bench, "ROUNDINGS", 0)
    done = ssmc(*QUICK, "--only", "forward", stdin=LEAKY)
    assert done.exit_code == 1
    assert "WRONG" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--form", "chunked"), 1, "error[E802]"),
        (("--size", "Q=3"), 1, "error[E605]"),
        (("--size", "N"), 2, "is not of the form NAME=INT"),
        (("--length", "0"), 2, "0 is not in the range x>=1"),
        (("--backend", "fortran"), 2, "'fortran' is not one of"),
        (("--only", "sideways"), 2, "'sideways' is not one of"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = ssmc(*QUICK, *arguments, stdin=LEAKY)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stdout == ""


# -- timing --------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that only cases move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def case(self, name: str, seconds: float) -> tuple[str, Callable[[], object]]:
        def run() -> None:
            self.now += seconds
            self.calls.append(name)

        return name, run


def test_cases_take_turns_in_an_order_that_turns() -> None:
    clock = Clock()
    timings = interleaved([clock.case("a", 1), clock.case("b", 3)], rounds=2, clock=clock)
    assert "".join(clock.calls) == "ab" + "ab" + "ba"
    assert [t.runs for t in timings] == [(1, 1), (3, 3)]
    assert faster(timings, "a", "b") == paired(timings, "a", "b") == 3


def test_slow_cases_take_part_in_fewer_rounds_and_short_ones_many_times_in_each() -> None:
    clock = Clock()
    timings = interleaved(
        [clock.case("slow", 9), clock.case("short", 0.01)], rounds=9, budget=18, repeat=1, clock=clock
    )
    slow, short = timings
    assert len(slow.runs) == FEWEST
    assert len(short.runs) == 9
    assert clock.calls.count("short") == 1 + 9 * 100
    assert short.median == pytest.approx(0.01)


def test_spread_is_of_the_quartiles_where_there_are_enough_runs() -> None:
    runs = iter([1.0, 2.0, 4.0])
    (few,) = take_turns([("x", lambda count: next(runs))], rounds=3, warmups=0)
    assert few.spread == pytest.approx(0.75)
