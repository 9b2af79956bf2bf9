"""`ssmc explain --adjoint`: the derived backward is a spec, and a right one."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import ssmc as package
from tests.cli.test_commands import ssmc

GATED = """ssm gated
axis D, N
input x[D], g[D]
param a[D, N], c[N]
state h[D, N] = 0
h = sigmoid(g) * exp(-exp(a)) * h + x
output y[D] = h · c
"""


def _spec(folder: Path, text: str = GATED) -> Path:
    path = folder / "gated.ssm"
    path.write_text(text)
    return path


def test_its_text_compiles_and_gives_the_gradients(tmp_path: Path) -> None:
    done = ssmc("explain", _spec(tmp_path), "--adjoint")
    assert done.exit_code == 0
    assert "# exp_exp_a is exp(-exp(a))" in done.stdout
    backward, forward = package.compile(done.stdout), package.compile(GATED)
    g = torch.Generator().manual_seed(0)
    x, gate, dy = (torch.randn(2, 7, 3, generator=g, dtype=torch.float64) for _ in range(3))
    a, c = torch.randn(3, 4, generator=g, dtype=torch.float64), torch.randn(4, generator=g, dtype=torch.float64)
    leaves = [v.requires_grad_() for v in (x, gate, a, c)]
    wanted = torch.autograd.grad(forward(x=x, g=gate, a=a, c=c), leaves, dy)
    with torch.no_grad():
        decay = torch.exp(-torch.exp(a))
        (d_x, d_g), state = backward(x=x, g=gate, c=c, exp_exp_a=decay, d_y=dy, return_state=True)
    found = (d_x, d_g, -state["d_exp_exp_a"].sum(0) * decay * torch.exp(a), state["d_c"].sum(0))
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want)


def test_for_a_program(tmp_path: Path) -> None:
    told = json.loads(ssmc("explain", _spec(tmp_path), "--adjoint", "--json").stdout)
    assert told["spec"] == "gated"
    assert told["adjoint"].count("ssm gated_adjoint") == 1


def test_a_whole_past_has_none(tmp_path: Path) -> None:
    text = "ssm all\naxis T\ninput x\noutput y = sum[T](past[T](x))\n"
    done = ssmc("explain", _spec(tmp_path, text), "--adjoint")
    assert done.exit_code == 1
    assert "E831" in done.stderr
    assert "axis T = 64" in done.stderr


def test_a_matrix_exponential_has_no_word(tmp_path: Path) -> None:
    text = "ssm dense\naxis N\ninput u, d\nparam A[N, N], B[N]\nstate h[N]\nh' = A @ h + B*u using zoh(step = exp(d))\n"
    path = _spec(tmp_path, text + "output y = sum[N](h)\n")
    done = ssmc("explain", path, "--adjoint")
    assert done.exit_code == 1
    assert "E832" in done.stderr
    assert "expm" in ssmc("explain", path, "--after", "adjoint").stdout


def test_one_thing_at_a_time(tmp_path: Path) -> None:
    assert ssmc("explain", _spec(tmp_path), "--adjoint", "--after", "build").exit_code == 2
