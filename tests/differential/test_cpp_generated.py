"""Generated specs through the C++ backend against the oracle: forward, gradients, steps, packed, single precision."""

from __future__ import annotations

import warnings

import pytest
import torch

import ssmc
from tests.differential.check import Check
from tests.differential.generate import generate

PART = 8  # of the specs of the other tests: each is compiled some times


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(max(1, metafunc.config.getoption("--specs") // PART)))


def test_generated_cpp_is_the_oracle(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSMC_BACKEND", "cpp")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec = generate(seed)
            checked = Check(spec, ssmc.compile(spec.text), seed)
            for length in (0, 1, 13):
                checked.forward(length, ["recurrent"])
            checked.backward(5, ["recurrent:4"])
            checked.single(7, ["recurrent"])
            if not spec.anticausal:
                checked.stepwise(6)
            if checked.inputs:
                checked.packed((5, 0, 1, 7), ["recurrent"])
    finally:
        torch.set_default_dtype(default)
