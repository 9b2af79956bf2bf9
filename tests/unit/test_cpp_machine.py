"""What is known of this machine: measured on demand, kept in the user's folder, never trusted blindly."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ssmc.backends.cpp import constants, measure, toolchain

from ssmc.cli.main import cli
from ssmc.diagnostics import SpecError

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
