"""What the generator makes rarely or never, each as small as it gets: all the checks of a generated spec."""

from __future__ import annotations

import warnings

import pytest

from tests.differential.check import check_spec
from tests.differential.written import written

SPECS = {
    "a convolution of an empty batch": (
        "axis D, N; input x[D]; param a[D, N], c[D, N]; state h[D, N]; h = sigmoid(a)*h + x; output y = sum[N](c*h)"
    ),
    "no inputs": "axis N; param a[N]; state h[N] = 1; h = sigmoid(a)*h + 0.1; output y = h",
    "a param alone": "axis N; param a[N]; output y = 2*a",
    "no ports": "axis N; output y[N] = index[N] + t*0.5",
    "a param beside an unused input": "axis N; input x; param a[N]; output y = 2*a",
    "integers only": "axis N; axis T = 3; input x[N] int; output y = mean[T](past[T](x)); output z int = x",
    "integers into complex": "axis N; input x[N] int; state h[N] complex; h = 0.5j*h + x; output y = real(h)",
    "a state that decays by nothing": "axis N; input x[N], g[N]; state h[N]; h = g*h + x; output y = h",
    # along one axis, what grows in the cycle and what is there already
    "a past in a cycle, and one outside": (
        "axis D, T; input x[D], q[D]; state h[D]; "
        "h = tanh(0.5*sum[T](softmax[T](q * past[T](prev(h))) * past[T](x)) + x); output y = h"
    ),
    "a window in a cycle": "axis D; axis T = 3; input x[D]; z = x + 0.2*sum[T](past[T](prev(z))); output y = z",
    "a reverse state after a past": (
        "axis T; input x, a; state h reverse; h = 0.5*h + sum[T](softmax[T](past[T](x)) * past[T](a)); output y = h"
    ),
    "a complex decay of one axis": (
        "axis N, K; input x, q[K], w[K], v[N]; param k[K]; state h[N, K] complex; "
        "h = sigmoid(x)*exp(1j*w)*h + v*k; output y = real(sum[K](q*h))"
    ),
    "a complex decay of no axis": (
        "axis N, K; input x, q[K], w, v[N]; param k[K]; state h[N, K] complex; "
        "h = sigmoid(x)*exp(1j*w)*h + v*k; output y = real(sum[K](q*h))"
    ),
    "maxtimes under a reset": (
        "input x, g, c bool, z; state h; h = where(c, z, max(sigmoid(g)*h, softplus(x))); output y = h"
    ),
    # after a reset the state equals the bounds of another reset exactly, and still has no part in the derivative
    "minus infinity at the start": "axis D; input x[D]; state m[D] = -inf; m = max(m, x); output y = m",
    "a truth value that counts on a number": (
        "axis D; input x[D]; state b[D] bool, m[D]; m = where(b, 0, 0.9*m) + x; b = m > 0.7; "
        "output y = m; output k bool = b"
    ),
    # the filter's line has run, and is read in a loop over the steps all the same, because its input is made in one
    "a filter of a whole past": (
        "axis T; axis W = 2; input x, g; param b[W], a[W]; state h; v = max[T](past[T](x))*tanh(x); "
        "h = logaddexp(h + logsigmoid(g), transfer(b, a, v)); output y = h + prev(v, 2)"
    ),
    "relu at zero": "input x; state h; h = 0.5*h; output y = relu(h)*x",
    "a clamp under a reset": "input x, c bool; state h; h = where(c, 0, clamp(h + x, -1, 1)); output y = h",
}
LAWS = {"a filter of a whole past": {"a": "small"}, "a state that decays by nothing": {"g": "bits"}}


@pytest.mark.parametrize("name", SPECS)
def test_every_form_is_the_oracle(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_spec(written(f"ssm written; {SPECS[name]}", LAWS.get(name)), 0)
