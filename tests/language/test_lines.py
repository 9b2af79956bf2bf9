"""Language reference, "Lines and names": a case a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ssmc
from tests.language.support import Case, agrees, cases, compiled, refused, run


def ema(a):
    return run(a.L, lambda t, h: (0.5 * h + a.x[t], 0.5 * h + a.x[t]), 0.0)


def _gbt(a):
    h, found = 0.0, []
    for t in range(a.L):
        s = a.step[t] ** 2
        h = ((1 - (1 - a.alpha) * s) * h + s * a.zoh[t]) / (1 + a.alpha * s)
        found.append(h)
    return np.array(found)


TABLE = {
    "semicolons": Case(
        "A newline or `;` ends a statement",
        "input x; state h; h = 0.5*h + x; output y = h",
        ema,
        {"x": ()},
    ),
    "inside_brackets": Case(
        "… except inside `( )` or `[ ]`",
        """
        axis D
        input x[
          D
        ]
        output y = (
          2
          * x
          + sum[
            D
          ](x
          )
        )
        """,
        lambda a: 2 * a.x + a.x.sum(-1, keepdims=True),
        {"x": (3,)},
    ),
    "after_an_operator": Case(
        "… or after an operator, `=` or `,`",
        """
        axis D,
             E
        input x[D,
                E],
              u
        v =
          x *
          2 -

          u +   # a comment between
          # and another
          x /
          4
        w = u > 0 and
            u < 1 or
            not
            u > -1
        output y = where(w, v,
          -
          v)
        """,
        lambda a: (
            np.where(((a.u > 0) & (a.u < 1)) | ~(a.u > -1), 1, -1)[:, None, None]
            * (2 * a.x - a.u[:, None, None] + a.x / 4)
        ),
        {"x": (2, 3), "u": ()},
    ),
    "dot_at_the_end": Case(
        "… or after an operator",
        "axis D\ninput x[D], k[D]\noutput y = x ·\n  k",
        lambda a: (a.x * a.k).sum(-1),
        {"x": (3,), "k": (3,)},
    ),
    "comment": Case(
        "`#` starts a comment", "# one\ninput x # two ; output z = 3\noutput y = x#three", lambda a: a.x, {"x": ()}
    ),
    "identifiers": Case(
        "letters A-Z a-z, `_`, Greek, then digits too",
        "input α, Δ1, _x, ω_2, Zz9\nλ = α*Δ1\noutput y = λ + _x*ω_2*Zz9",
        lambda a: a["α"] * a["Δ1"] + a._x * a["ω_2"] * a.Zz9,
        dict.fromkeys(("α", "Δ1", "_x", "ω_2", "Zz9"), ()),
    ),
    "nfkc": Case(
        "text is NFKC-normalised",
        "input x₁, µ, ϕ\noutput y = x1 + 2*μ*φ",
        lambda a: a.x1 + 2 * a["μ"] * a["φ"],
        {"x1": (), "μ": (), "φ": ()},
    ),
    "middle_dots": Case(
        "`·` is also U+22C5 and U+0387",
        "axis D\ninput x[D], k[D]\noutput y = (x \u22c5 k) + 2*(x \u0387 k) + 4*(x \u00b7 k)",
        lambda a: 7 * (a.x * a.k).sum(-1),
        {"x": (3,), "k": (3,)},
    ),
    "axes_and_values": Case(
        "Four namespaces that never clash: axes, values",
        "axis D, x\ninput D[D], x[x]\noutput y = D*x + sum[x](x) + sum[D](D)*0",
        lambda a: a.D[:, :, None] * a.x[:, None, :] + a.x.sum(-1)[:, None, None],
        {"D": (2,), "x": (3,)},
    ),
    "functions_and_values": Case(
        "Four namespaces that never clash: functions, values",
        "axis sum\ninput exp, f[sum]\nf(x) = 3*x\nlog = exp(exp)\noutput y = f(log) + sum[sum](f)",
        lambda a: 3 * np.exp(a.exp) + a.f.sum(-1),
        {"exp": (), "f": (3,)},
    ),
    "options_and_values": Case(
        "Four namespaces that never clash: options and methods, values",
        """
        input step, zoh, reverse, complex
        param alpha
        state h = 0
        h' = -h + zoh using gbt(alpha = alpha, step = step*step)
        output y = h + reverse*complex
        """,
        lambda a: _gbt(a) + a.reverse * a.complex,
        {"step": (), "zoh": (), "reverse": (), "complex": ()},
        {"alpha": np.array(0.3)},
    ),
    "later_functions_as_values": Case(
        "Four namespaces that never clash: functions, values",
        "input prev, conv, past, size, index\noutput y = prev(prev) + conv*past + size*index",
        lambda a: np.concatenate([[0.0], a.prev[:-1]])[: a.L] + a.conv * a.past + a.size * a.index,
        dict.fromkeys(("prev", "conv", "past", "size", "index"), ()),
    ),
    "reserved_only_as_values": Case(
        "Reserved as values",
        "axis t, pi, state\ninput x[t, pi, state]\nform(a) = 2*a\noutput y = form(x)",
        lambda a: 2 * a.x,
        {"x": (2, 1, 3)},
    ),
    "each_name_once_and_prev": Case(
        "Reading a name above its assignment is an error, outside `prev`/`next`",
        "input x\nb = prev(c)\nc = 2*x\noutput y = b + next(c)",
        lambda a: np.concatenate([[0.0], 2 * a.x[:-1]])[: a.L] + np.concatenate([2 * a.x[1:], [0.0]])[: a.L],
        {"x": ()},
    ),
    "macro_formals_shadow": Case(
        "formals shadow, every other name is the spec's",
        "input x, u, k\nf(x, y) = x - 2*y + k*u\noutput y = f(u, x)",
        lambda a: a.u - 2 * a.x + a.k * a.u,
        {"x": (), "u": (), "k": ()},
    ),
    "macro_reads_an_assigned_name": Case(
        "every other name is the spec's",
        "input x\nf(v) = v*g\ng = x + 1\noutput y = f(x)",
        lambda a: a.x * (a.x + 1),
        {"x": ()},
    ),
    "macro_state": Case(
        "a state has the value it has at the call",
        "input x\nstate h\nf(v) = v + h\na = f(x)\nh = 0.5*h + x\noutput y = a + 10*f(x)",
        lambda a: run(a.L, lambda t, h: (0.5 * h + a.x[t], a.x[t] + h + 10 * (a.x[t] + 0.5 * h + a.x[t])), 0.0),
        {"x": ()},
    ),
    "macro_of_macros": Case(
        "defined anywhere",
        "input x\noutput y = f(x)\nf(a) = g(a, a + 1)\ng(a, b) = a*b",
        lambda a: a.x * (a.x + 1),
        {"x": ()},
    ),
    "macro_over_an_axis": Case(
        "`l2[K](x) = …` is a macro over an axis",
        "axis K, V\ninput k[K], v[V]\nl2[K](x) = x*rsqrt(sum[K](x*x) + 1e-6)\noutput y = l2[K](k)*l2[V](v)",
        lambda a: (
            (a.k / np.sqrt((a.k**2).sum(-1, keepdims=True) + 1e-6))[:, :, None]
            * (a.v / np.sqrt((a.v**2).sum(-1, keepdims=True) + 1e-6))[:, None, :]
        ),
        {"k": (3,), "v": (2,)},
    ),
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)


RESERVED = "ssm axis each input param state output using and or not true false t pi inf"
KEYWORDS = "backend form lengths cu_seqlens return_state sizes out"


@pytest.mark.parametrize("name", [*RESERVED.split(), *KEYWORDS.split()])
def test_reserved(name):
    """Reserved as values: … and the call's own keywords."""
    refused(f"input {name}\noutput y = {name}", name)


REFUSED = {
    "begins_with_plus": ("input x\na = x\n  + 1\noutput y = a", "+"),
    "begins_with_dot": ("axis D\ninput x[D]\na = x\n  · x\noutput y = a", "·"),
    "begins_with_and": ("input x bool\na = x\n  and x\noutput y bool = a", "and"),
    "minus": ("input x\noutput y = x − 1", "−", "`-`"),
    "times": ("input x\noutput y = x × x", "×", "`*`"),
    "circled": ("input x\noutput y = x ⊙ x", "⊙", "`*`"),
    "prime": ("input x\nstate h\nh′ = -h + x using euler(step = 1)\noutput y = h", "′", "`'`"),
    "greek_question_mark": ("input x\u037e output y = x", "037E", ";"),
    "twice": ("input x\na = x\na = 2*x\noutput y = a", "`a`"),
    "assigned_input": ("input x\nx = 2\noutput y = x", "`x`"),
    "above": ("input x\na = b\nb = x\noutput y = a", "`b`"),
    "no_formal": ("input x\nf() = x\noutput y = f()", "f"),
    "recursive": ("input x\nf(a) = f(a - 1)\noutput y = f(x)", "`f`"),
    "mutually_recursive": ("input x\nf(a) = g(a)\ng(a) = f(a)\noutput y = f(x)", "`g`"),
    "output_keyword": ("input x\noutput lambda = x", "lambda"),
    "output_None": ("input x\noutput None = x", "None"),
    "output_underscore": ("input x\noutput _y = x", "_y"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    spec, *words = REFUSED[name]
    refused(spec, *words)


def test_several_specs(tmp_path: Path):
    """A file holds one spec or several (`file.ssm:name`)."""
    file = tmp_path / "two.ssm"
    file.write_text("ssm one\ninput x\noutput y = x\n\nssm two; input x; output y = 2*x", encoding="utf-8")
    x = torch.arange(3.0)
    assert ssmc.load(f"{file}:one")(x).tolist() == [0, 1, 2]
    assert ssmc.load(f"{file}:two")(x).tolist() == [0, 2, 4]
    assert ssmc.load(file, "two")(x).tolist() == [0, 2, 4]
    with pytest.raises(ssmc.SpecError, match="two"):
        ssmc.load(file)


def test_crlf():
    """A newline ends a statement, whatever the system's."""
    f = compiled("ssm a\r\ninput x\r\noutput y = x +\r\n  1\r\n")
    assert f(torch.zeros(2)).tolist() == [1, 1]
