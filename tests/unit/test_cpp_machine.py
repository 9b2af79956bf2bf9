"""What is known of this machine: measured on demand, kept in the user's folder, never trusted blindly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ssmc.backends.cpp import constants, measure, toolchain

from ssmc.api import compile as compile_spec
from ssmc.cli.main import cli
from ssmc.diagnostics import SpecError
from ssmc.plan.choose import choose
from ssmc.plan.machines import Machine
from ssmc.plan.machines import machine as find_machine

MEASURED = constants.Constants(
    threads=2,
    copy=constants.Rate(2e10, 3e10),
    streamed=constants.Rate(3e10, 4e10),
    flops=constants.Rate(1e11, 2e11),
    exps=constants.Rate(5e9, 1e10),
    caches=(constants.Cache(1 << 15, 2e11), constants.Cache(1 << 20, 1e11)),
    region=1e-6,
    call=3e-6,
    processor="a processor",
    measured="2026-01-02T03:04:05+00:00",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for data of the test's own, which is not there yet."""
    monkeypatch.setenv("SSMC_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def machine_lines() -> str:
    """What the doctor says of the machine."""
    from ssmc.cli.doctor import machine_findings

    return "\n".join(f"{f.name}: {f.value}" for f in machine_findings())


def test_without_a_file_there_are_defaults_and_nothing_is_measured(folder: Path) -> None:
    assert constants.constants() == constants.defaults()
    assert constants.found().age_days is None
    assert "defaults: `ssmc doctor --calibrate`" in machine_lines()
    assert not folder.exists()


def test_what_was_measured_is_kept() -> None:
    file = constants.keep(MEASURED)
    assert constants.constants() == MEASURED
    assert json.loads(file.read_text())["processor"] == "a processor"


def test_the_age_is_told() -> None:
    for ago, said in (
        (timedelta(hours=2), "today"),
        (timedelta(days=1, hours=2), "1 day ago"),
        (timedelta(days=40), "40 days"),
    ):
        then = (datetime.now(timezone.utc) - ago).isoformat(timespec="seconds")
        constants.keep(constants.Constants(**vars(MEASURED) | {"measured": then}))
        assert f"measured {said}" in machine_lines()


def changed(**new: Any) -> Callable[[dict[str, Any]], str]:
    return lambda data: json.dumps(data | new)


def other(name: str, value: Any) -> Callable[[dict[str, Any]], str]:
    return lambda data: json.dumps(data | {"constants": data["constants"] | {name: value}})


DAMAGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "half of it": lambda data: json.dumps(data)[: len(json.dumps(data)) // 2],
    "empty": lambda data: "",
    "no object": lambda data: "[1, 2]",
    "deep": lambda data: "[" * 100_000,
    "no constants": lambda data: json.dumps({k: v for k, v in data.items() if k != "constants"}),
    "a text": other("a call, seconds", "quick"),
    "a truth": other("useful threads", True),
    "negative": other("a call, seconds", -1.0),
    "infinite": other("a call, seconds", 1e999),
    "no number": other("a call, seconds", float("nan")),
    "no caches": other("caches, from the nearest", []),
    "one rate": other("exponentials a second", 1e9),
    "no date": changed(measured="yesterday"),
    "a date nowhere": changed(measured="2026-01-02T03:04:05"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_file_is_told_and_ignored(how: str) -> None:
    file = constants.keep(MEASURED)
    file.write_text(DAMAGED[how](json.loads(file.read_text())))
    assert constants.constants() == constants.defaults()
    assert "it is damaged; `ssmc doctor --calibrate` measures anew" in machine_lines()


@pytest.mark.parametrize(
    ("change", "why"), [({"format": 99}, "format 99"), ({"machine": "another"}, "it is of another processor")]
)
def test_a_file_for_others_is_told_and_ignored(change: dict[str, Any], why: str) -> None:
    file = constants.keep(MEASURED)
    file.write_text(changed(**change)(json.loads(file.read_text())))
    assert constants.constants() == constants.defaults()
    assert why in machine_lines()


def test_a_folder_that_takes_nothing_is_told(folder: Path) -> None:
    folder.write_text("a file in its place")
    with pytest.raises(SpecError, match="E902"):
        constants.keep(MEASURED)


def test_threads_share_what_there_is() -> None:
    rate = constants.Rate(10.0, 25.0)
    assert [rate.of(n) for n in (1, 2, 3, 8)] == [10.0, 20.0, 25.0, 25.0]
    assert [MEASURED.machine(n).cores for n in (None, 1, 2, 64)] == [2, 1, 2, 2]
    assert MEASURED.machine(1).flops == 1e11
    assert MEASURED.machine().flops == 2e11


def test_processors_that_were_kept_busy_are_noticed() -> None:
    assert not MEASURED.disturbed
    assert constants.Constants(**vars(MEASURED) | {"flops": constants.Rate(1e11, 1.1e11)}).disturbed


# -- estimates -------------------------------------------------------------------------------------------------------

LEAKY = "ssm leaky\naxis D\ninput x[D], g[D]\nstate h[D] = 0\nh = sigmoid(g)*h + x\noutput y[D] = h\n"
OUTER = "ssm outer\naxis K, V\ninput k[K], v[V]\nstate S[K, V] = 0\nS = S + k*v\noutput y[V] = sum[K](k*S)\n"


def estimate(
    text: str, machine: Machine, length: int = 4096, batch: int = 1, form: str = "recurrent", **sizes: int
) -> float:
    """Seconds of a form of a spec's only component."""
    analysis = compile_spec(text).analysis
    own = {a: s for a, s in sizes.items() if a in analysis.graph.axis}
    plan = choose(analysis, form=form, sizes=own, batch=batch, length=length, machine=machine)
    cost = next(f.cost for f in plan.choices[0].forms if f.name == form)
    assert cost is not None
    assert cost.seconds_at is not None
    return cost.seconds_at


def changed_machine(**change: Any) -> Machine:
    return replace(MEASURED.machine(1), starting=0.0, **change)


def test_an_estimate_is_what_bounds_it() -> None:
    """Twice as quick at what bounds it is twice as quick, and at anything else as quick as before."""
    fast = {"bandwidth": 1e15, "flops": 1e17, "exps": 1e15, "caches": (constants.Cache(1 << 15, 1e17),)}
    for name, text, slow in (
        ("bandwidth", LEAKY, 1e9), ("exps", LEAKY, 1e7), ("flops", OUTER, 1e9), ("caches", OUTER, 1e9),
    ):  # fmt: skip

        def at(value: float, name: str = name, text: str = text) -> float:
            given = (constants.Cache(1 << 15, value),) if name == "caches" else value
            return estimate(text, changed_machine(**fast | {name: given}), D=512, K=128, V=128)

        assert at(slow) / at(2 * slow) == pytest.approx(2, rel=0.05), name


def test_estimates_grow_with_the_work() -> None:
    m = changed_machine()
    for text in (LEAKY, OUTER):
        whole = estimate(text, m, D=512, K=64, V=64)
        assert estimate(text, m, length=8192, D=512, K=64, V=64) == pytest.approx(2 * whole)
        assert estimate(text, m, batch=3, D=512, K=64, V=64) == pytest.approx(3 * whole)
        assert estimate(text, m, D=1024, K=128, V=64) > 1.5 * whole


def test_idle_cores_are_of_no_use() -> None:
    """One block of channels keeps one core busy, however many there are, unless time is cut into segments."""
    one, two = MEASURED.machine(1), replace(MEASURED.machine(2), starting=MEASURED.call)
    exp_bound = {"bandwidth": 1e15}
    slow, quick = replace(one, **exp_bound), replace(two, **exp_bound)
    assert estimate(LEAKY, slow, D=16) == pytest.approx(estimate(LEAKY, quick, D=16))
    assert estimate(LEAKY, slow, D=512) == pytest.approx(2 * estimate(LEAKY, quick, D=512), rel=0.01)
    assert estimate(LEAKY, quick, form="scan", D=16) < estimate(LEAKY, slow, form="scan", D=16)


def test_what_params_alone_decide_costs_nothing_at_a_step() -> None:
    inside = LEAKY.replace("sigmoid(g)", "sigmoid(a)").replace("input", "param a[D]\ninput")
    m = changed_machine(bandwidth=1e15)
    assert estimate(inside, m, D=512) < 0.2 * estimate(LEAKY, m, D=512)


def test_what_cpp_has_no_code_for_is_estimated_for_pytorch() -> None:
    here, pytorch = (
        estimate(LEAKY.replace("sigmoid(g)", "0.5"), m, form="conv", D=64)
        for m in (MEASURED.machine(), find_machine("cpu"))
    )
    assert here == pytest.approx(pytorch)


@pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")
def test_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every constant is measured, of few and short runs here, and is of the order that it should be."""
    for name in ("SECONDS", "AIM"):
        monkeypatch.setattr(measure, name, 1e-4)
    monkeypatch.setattr(measure, "FAR", measure.STRIPE)
    done = CliRunner().invoke(cli, ["doctor", "--calibrate"])
    assert done.exit_code == 0, done.output
    assert "measured today" in done.output
    c = constants.constants()
    assert c.processor == measure.processor_name()
    assert 1 <= c.threads <= constants.available_threads()
    for rate in (c.copy, c.streamed, c.flops, c.exps):
        assert 1e7 < rate.one <= rate.all < 1e15
    assert [x.bytes for x in c.caches] == list(measure.cache_sizes())
    assert all(1e8 < x.bandwidth < 1e14 for x in c.caches)
    assert 0 < c.region < 1
    assert 0 < c.call < 1


def test_sizes_of_caches_grow() -> None:
    sizes = measure.cache_sizes()
    assert sizes
    assert list(sizes) == sorted(set(sizes))
