"""`pulse.ssm`, the demonstration's spec, against the same detector written as a loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ssmc

KEEP, RELEASE, NOISE = 0.99, 0.5, 30.0


def detector(samples: np.ndarray) -> dict[str, np.ndarray]:
    rows = []
    base = peak = since = last = 0.0
    above = False
    for n, x in enumerate(samples):
        base = x if n == 0 else KEEP * base + (1 - KEEP) * x
        height = x - base
        peak = max(peak - RELEASE, height)
        was, above = above, bool(height > peak / 2 and height > NOISE)
        edge = above and not was
        last = since if edge else last
        since = 1 if edge else since + 1
        rows.append((base, height, peak, edge, last))
    names = ("baseline", "height", "envelope", "beat", "period")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def beats(length: int) -> np.ndarray:
    """Pulses of uneven distance over a wandering baseline, with noise."""
    generator = np.random.default_rng(3)
    at = np.cumsum(generator.integers(60, 130, size=length // 60))
    time = np.arange(length)
    pulses = sum(100 * np.exp(-0.5 * ((time - a) / 6) ** 2) for a in at)
    return 500 + 20 * np.sin(time / 300) + pulses + generator.normal(size=length)


@pytest.mark.parametrize("form", [None, "recurrent"])
def test_the_detector_is_the_loop(form: str | None, examples_dir: Path) -> None:
    samples = beats(1500)
    expected = detector(samples)
    assert 10 < expected["beat"].sum() < 30
    found = ssmc.load(examples_dir / "pulse.ssm")(x=torch.from_numpy(samples), form=form)
    for name, array in expected.items():
        np.testing.assert_allclose(np.asarray(getattr(found, name)), array, rtol=1e-9, atol=1e-9, err_msg=name)
