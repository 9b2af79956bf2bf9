"""Generated modules are a product: clean by other people's linters, and usable without ssmc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ssmc.backends.torch import build

import ssmc
from ssmc.kernel.lower import lower
from ssmc.step.interp import run

RULES = "E4,E7,E9,F,I,UP,B"
WIDTH = 110

SPEC = """
ssm taken
axis   D, W = 2*D
input  x[D], step[D], prefix bool
param  lambda[D], w[D, W], steps
state  h[D] = 1, x_t[D] = 0
h = where(prefix, h, sigmoid(lambda)*h + step)
x_t = 0.5*x_t + conv(x, w) * steps
output y[D] = h + x_t
"""


@pytest.mark.slow
def test_the_modules_of_the_examples_are_clean(examples_dir: Path, tmp_path: Path) -> None:
    for path in sorted(examples_dir.glob("*.ssm")):
        f = ssmc.load(path)
        forms = {form.name for choice in f.plan().choices for form in choice.forms if form.legal}
        for form in sorted(forms) or ["recurrent"]:
            (tmp_path / f"{path.stem}_{form}.py").write_text(f.source(form=form), encoding="utf-8")
    _clean(tmp_path)


def test_a_module_of_awkward_names_is_clean(tmp_path: Path) -> None:
    f = ssmc.compile(SPEC)
    for form in ("recurrent", "scan"):
        (tmp_path / f"{form}.py").write_text(f.source(form=form), encoding="utf-8")
    _clean(tmp_path)


def _clean(folder: Path) -> None:
    python = [sys.executable, "-m"]
    settings = [
        "--isolated",
        "--select",
        RULES,
        "--line-length",
        str(WIDTH),
        "--output-format",
        "concise",
        "--no-cache",
    ]
    for command in (["ruff", "check", *settings], ["black", "--check", "-q", "-l", str(WIDTH)]):
        done = subprocess.run([*python, *command, str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    for path in folder.glob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = "" if line.lstrip().startswith("#") else line.split("  # ")[0]
            assert len(code) <= WIDTH, f"{path.name}:{number} has {len(code)} columns"


def test_names_that_mean_something_to_python_or_to_the_printer() -> None:
    """Inputs and states called `step`, `lambda`, `prefix`, `x` beside `x_t` compute what they should."""
    f = ssmc.compile(SPEC)
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(2, 6, 2)), "step": rng.normal(size=(2, 6, 2)), "prefix": rng.random((2, 6)) < 0.3}
    params = {"lambda": rng.normal(size=2), "w": rng.normal(size=(2, 4)), "steps": rng.normal()}
    wanted, _ = run(f.graph, inputs, params)
    for form in ("recurrent", "scan"):
        found = f(**{n: torch.as_tensor(np.asarray(x)) for n, x in (inputs | params).items()}, form=form)
        np.testing.assert_allclose(found.numpy(), wanted["y"], rtol=1e-9, atol=1e-9)


STANDALONE = """
import sys
sys.modules["ssmc"] = None  # an import of it is an error
import torch, {name} as generated
torch.manual_seed(0)
x, g = torch.randn(3, 1, 9, 2), torch.randn(4, 9, 2)
w, K = torch.randn(2, 3), torch.randn(2)
whole = generated.apply(x=x, g=g, w=w, K=K)
assert whole.shape == (3, 4, 9, 2), whole.shape
first, state = generated.apply(x=x[..., :5, :], g=g[..., :5, :], w=w, K=K, return_state=True)
assert state["t"] == 5 and state["h"].shape == (3, 4, 2)
rest = generated.apply(x=x[..., 5:, :], g=g[..., 5:, :], w=w, K=K, state=state)
torch.testing.assert_close(torch.cat([first, rest], -2), whole)
w.requires_grad_()
generated.apply(x=x, g=g, w=w, K=K).sum().backward()
assert w.grad.abs().sum() > 0
for wrong in ({{"w": torch.randn(3, 3)}}, {{"g": torch.randn(8, 2)}}):
    try:
        generated.apply(**({{"x": x, "g": g, "w": w, "K": K}} | wrong))
    except ValueError as error:
        print(error)
    else:
        raise AssertionError(wrong)
torch.save(whole.detach(), "whole.pt")
torch.save((x, g, w.detach(), K), "arguments.pt")
"""


def test_a_saved_module_needs_no_ssmc(tmp_path: Path) -> None:
    f = ssmc.compile(
        "ssm alone\naxis D, W\ninput x[D], g[D]\nparam w[D, W], K[D]\nstate h[D] = 0\n"
        "h = sigmoid(g)*h + conv(x, w)\noutput y[D] = K*h\n"
    )
    (path,) = f.save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", STANDALONE.format(name=path.stem)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "`w` is (3, 3), with D = 3 where 2 was found" in done.stdout
    x, g, w, gain = torch.load(tmp_path / "arguments.pt")
    torch.testing.assert_close(torch.load(tmp_path / "whole.pt"), f(x, g, w, gain))


def test_what_the_runtime_loads_has_no_apply() -> None:
    program = lower(ssmc.compile(SPEC).plan())
    assert "def apply(" not in build.source(program)
    assert "def apply(" in build.source(program, formatted=True)
