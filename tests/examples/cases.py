"""Every example with its reference, awkward small sizes, inputs in a sensible range, and the class it must be given.

A case declares its arrays in a small notation: `x[D]` is drawn from a standard normal, `a[D]:decay` from the named
distribution of `DRAWS`. Inputs get `(B, L)` in front, states `(B,)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.examples.reference import common, delta, diagonal, invariant, matrix, nonlinear

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Arrays = dict[str, np.ndarray]
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _complex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _companion(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Denominators of stable filters: the absolute values of the coefficients sum to less than one."""
    x = rng.standard_normal(shape)
    return 0.9 * x / (np.abs(x).sum(axis=-1, keepdims=True) + 0.1)


DRAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "small": lambda rng, shape: 0.4 * rng.standard_normal(shape),
    "near_one": lambda rng, shape: 1.0 + 0.2 * rng.standard_normal(shape),
    "decay": lambda rng, shape: rng.uniform(0.2, 0.98, shape),
    "fraction": lambda rng, shape: rng.uniform(0.05, 0.95, shape),
    "positive": lambda rng, shape: rng.uniform(0.2, 1.5, shape),
    "window": lambda rng, shape: rng.uniform(4.0, 20.0, shape),
    "step": lambda rng, shape: rng.uniform(0.02, 0.3, shape),
    "log_step": lambda rng, shape: np.log(rng.uniform(0.02, 0.3, shape)),
    "log_decay": lambda rng, shape: -rng.uniform(0.01, 1.0, shape),
    "complex": _complex,
    "small_complex": lambda rng, shape: 0.4 * _complex(rng, shape),
    "unit": _unit,
    "companion": _companion,
    "bool": lambda rng, shape: rng.random(shape) < 0.25,
    "legs": lambda rng, shape: common.hippo_legs(shape[-1])[0],
    "legs_B": lambda rng, shape: common.hippo_legs(shape[-1])[1],
    "legt": lambda rng, shape: common.hippo_legt(shape[-1])[0],
    "legt_B": lambda rng, shape: common.hippo_legt(shape[-1])[1],
    "lmu": lambda rng, shape: common.hippo_lmu(shape[-1])[0],
    "lmu_B": lambda rng, shape: common.hippo_lmu(shape[-1])[1],
    "fout": lambda rng, shape: common.hippo_fout(shape[-1])[0],
    "fout_B": lambda rng, shape: common.hippo_fout(shape[-1])[1],
    "theta_pairs": lambda rng, shape: np.repeat(rng.uniform(0.1, 1.5, (*shape[:-1], shape[-1] // 2)), 2, axis=-1),
}


@dataclass(frozen=True)
class Declared:
    """One array: its name, its axes, and how it is drawn."""

    name: str
    axes: tuple[str, ...]
    draw: str = "normal"

    def sample(self, rng: np.random.Generator, lead: tuple[int, ...], sizes: dict[str, int]) -> np.ndarray:
        return np.asarray(DRAWS[self.draw](rng, (*lead, *(sizes[axis] for axis in self.axes))))


@dataclass(frozen=True)
class Expect:
    """What `explain` must say of the component that holds `state`; `a|b` allows either word."""

    state: str
    algebra: str
    time: str
    structure: str
    kclass: str


@dataclass(frozen=True)
class Case:
    """One example.

    `expected_class` sums it up in the families K0 … K14; `expect` is what a program can compare.
    """

    name: str
    sizes: dict[str, int]
    inputs: tuple[Declared, ...]
    params: tuple[Declared, ...]
    states: tuple[Declared, ...]
    reference: Callable[..., Arrays]
    expected_class: str
    expect: tuple[Expect, ...]
    causal: bool = True
    length: int = 11
    extra_sizes: dict[str, int] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return EXAMPLES / f"{self.name}.ssm"

    def make_inputs(self, rng: np.random.Generator, B: int, L: int) -> Arrays:
        """The arrays of one call, inputs and params by name."""
        arrays = {d.name: d.sample(rng, (B, L), self.sizes) for d in self.inputs}
        return arrays | {d.name: d.sample(rng, (), self.sizes) for d in self.params}

    def make_state(self, rng: np.random.Generator, B: int) -> Arrays:
        """Initial states that are not the default."""
        return {d.name: d.sample(rng, (B,), self.sizes) for d in self.states}

    def run(self, arrays: Arrays, state: Arrays | None = None) -> Arrays:
        """The reference on these arrays."""
        initial = {f"state_{name}": value for name, value in (state or {}).items()}
        return self.reference(**arrays, **initial)


def _declared(text: str) -> tuple[Declared, ...]:
    """`x[D] a[D,N]:decay s` as declarations."""
    result = []
    for item in text.split():
        head, _, draw = item.partition(":")
        name, _, axes = head.partition("[")
        result.append(Declared(name, tuple(axes.rstrip("]").split(",")) if axes else (), draw or "normal"))
    return tuple(result)


def _expect(text: str) -> tuple[Expect, ...]:
    """`h affine data diagonal K3; …`."""
    return tuple(Expect(*part.split()) for part in text.split(";") if part.strip())


def _case(
    name: str,
    reference: Callable[..., Arrays],
    sizes: str,
    inputs: str,
    params: str,
    states: str,
    expected_class: str,
    expect: str,
    causal: bool = True,
) -> Case:
    values = {axis: int(size) for axis, size in (item.split("=") for item in sizes.split())}
    return Case(
        name,
        values,
        _declared(inputs),
        _declared(params),
        _declared(states),
        reference,
        expected_class,
        _expect(expect),
        causal,
    )


CASES: tuple[Case, ...] = (
    _case(
        "diagonal", diagonal.diagonal, "D=3", "a[D]:decay b[D]", "", "h[D]",
        "K3", "h affine data diagonal K3",
    ),
    _case(
        "ema", invariant.ema, "D=3", "x[D]", "a[D]:decay", "h[D]",
        "K1 scalar, K2 read-out", "h affine invariant scalar|diagonal K1",
    ),
    _case(
        "hippo_legs", invariant.hippo_legs, "N=5", "f", "A[N,N]:legs B[N]:legs_B", "c[N]",
        "K2", "c affine index dense K2",
    ),
    _case(
        "hippo_legt", invariant.hippo_legt, "D=2 N=5", "f[D]", "A[N,N]:legt B[N]:legt_B dt[D]:step", "c[D,N]",
        "K1 dense", "c affine invariant dense K1",
    ),
    _case(
        "hippo_fout", invariant.hippo_fout, "D=2 N=4", "f[D]", "A[N,N]:fout B[N]:fout_B dt[D]:step", "c[D,N]",
        "K1 dense", "c affine invariant dense K1",
    ),
    _case(
        "lmu", invariant.lmu, "D=2 N=5", "u[D]", "A[N,N]:lmu B[N]:lmu_B theta[D]:window", "m[D,N]",
        "K1 dense", "m affine invariant dense K1",
    ),
    _case(
        "lmu_cell", nonlinear.lmu_cell, "E=2 D=3 N=4", "x[E]",
        "A[N,N]:lmu B[N]:lmu_B theta:window e_x[E] e_h[D]:small e_m[N]:small W_x[D,E] W_h[D,D]:small W_m[D,N]:small",
        "m[N] h[D]", "K11", "m nonlinear data|invariant block|dense K11; h nonlinear data|invariant block|dense K11",
    ),
    _case(
        "lssl", invariant.lssl, "D=3 M=2 N=4", "u[D]",
        "A[N,N]:legs B[N]:legs_B C[D,M,N] skip[D,M] log_dt[D]:log_step", "h[D,N]",
        "K1 dense", "h affine invariant dense K1",
    ),
    _case(
        "s4", invariant.s4, "D=2 N=5", "u[D]",
        "lam_re[D,N]:small lam_im[D,N] P[D,N]:small_complex B[D,N]:complex C[D,N]:complex log_dt[D]:log_step skip[D]",
        "h[D,N]:complex", "K1 DPLR", "h affine invariant low_rank K1",
    ),
    _case(
        "s4d", invariant.s4d, "D=3 N=5", "u[D]", "A_re[D,N]:small A_im[D,N] C[D,N]:complex log_dt[D]:log_step skip[D]",
        "h[D,N]:complex", "K1 diag complex", "h affine invariant diagonal K1",
    ),
    _case(
        "s5", invariant.s5, "P=4 H=3", "u[H]",
        "lam_re[P]:log_decay lam_im[P] B[P,H]:complex C[H,P]:complex log_dt[P]:log_step skip[H]",
        "x[P]:complex", "K1 diag complex MIMO", "x affine invariant diagonal K1",
    ),
    _case(
        "lru", invariant.lru, "D=3 N=5", "x[D]",
        "nu_log[N]:small theta_log[N]:small gamma_log[N]:small B[N,D]:complex C[D,N]:complex skip[D]",
        "h[N]:complex", "K1 diag complex", "h affine invariant diagonal K1",
    ),
    _case(
        "h3", invariant.h3, "H=2 E=3 F=3 S=4 N=2", "q[H,E] k[H,E] v[H,F]",
        "B_shift[H,E,S] C_shift[H,E,S] skip_k[H,E] A_re[H,N]:small A_im[H,N] C[H,N]:complex log_dt[H]:log_step skip[H]",
        "s[H,E,S] h[H,E,F,N]:complex",
        "K1 (shift and diag) and gates", "s affine invariant shift K1; h affine invariant diagonal K1",
    ),
    _case(
        "mega", invariant.mega, "D=3 N=4", "x[D]", "delta[D,N] alpha[D,N] beta[D,N] gamma[D,N] omega[D]", "h[D,N]",
        "K1 diag real", "h affine invariant diagonal K1",
    ),
    _case(
        "rtf", invariant.rtf, "D=3 N=4", "u[D]", "b[D,N] a[D,N]:companion h0[D]", "",
        "K1 companion", "* affine invariant companion K1",
    ),
    _case(
        "mamba", diagonal.mamba, "D=3 N=5 R=2 W=4", "u[D] z[D]",
        "conv_weight[D,W] conv_bias[D] W_r[R,D] W_dt[D,R] dt_bias[D] W_B[N,D] W_C[N,D] A_log[D,N]:small skip[D]",
        "h[D,N]", "K3 (K5x) + K8 conv", "h affine data diagonal K3",
    ),
    _case(
        "selective_scan", diagonal.selective_scan, "D=3 N=5", "u[D] dt[D] B[N] C[N] z[D]",
        "A_log[D,N]:small skip[D] dt_bias[D]", "h[D,N]", "K3 (K5x)", "h affine data diagonal K3",
    ),
    _case(
        "longhorn", diagonal.longhorn, "D=3 N=5", "x[D] b[D] k[N] q[N] z[D]", "bias[D] skip[D]", "h[D,N]",
        "K3 (K5x)", "h affine data diagonal K3",
    ),
    _case(
        "hgrn", diagonal.hgrn, "D=3", "f[D] i[D] g[D]", "lower[D]:fraction weight[D]:near_one", "h[D]",
        "K3", "h affine data diagonal K3",
    ),
    _case(
        "qrnn", diagonal.qrnn, "D=3 E=2", "x[E]", "W_z[D,E] V_z[D,E] W_f[D,E] V_f[D,E] W_o[D,E] V_o[D,E]", "h[D]",
        "K3", "h affine data diagonal K3",
    ),
    _case(
        "sru", diagonal.sru, "D=3", "x[D] u[D] f[D] r[D]", "b_f[D] b_r[D] alpha:near_one", "c[D]",
        "K3", "c affine data diagonal K3",
    ),
    _case(
        "sru2", diagonal.sru2, "D=3", "x[D] u[D] f[D] r[D]", "b_f[D] b_r[D] v_f[D] v_r[D] alpha:near_one", "c[D]",
        "K10", "c nonlinear data elementwise K10",
    ),
    _case(
        "min_gru", diagonal.min_gru, "D=3", "z[D] c[D]", "", "h[D]:positive",
        "K3", "h affine data diagonal K3",
    ),
    _case(
        "min_lstm", diagonal.min_lstm, "D=3", "f[D] i[D] c[D]", "", "h[D]:positive",
        "K3", "h affine data diagonal K3",
    ),
    _case(
        "rg_lru", diagonal.rg_lru, "H=2 D=3 W=4", "u[H,D] gate[H,D] reset:bool",
        "conv_weight[H,D,W] conv_bias[H,D] W_x[H,D,D] b_x[H,D] W_a[H,D,D] b_a[H,D] Lambda[H,D]", "h[H,D]",
        "K3", "h affine data diagonal K3",
    ),
    _case(
        "linear_attention", matrix.linear_attention, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V]", "",
        "S[H,K,V] z[H,K]:positive",
        "K4 (a=1)", "S affine invariant identity|scalar K4; z affine invariant identity|scalar K1|K3|K4",
    ),
    _case(
        "linear_attention_unnormalised", matrix.linear_attention_unnormalised, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V]",
        "", "S[H,K,V]", "K4 (a=1)", "S affine invariant identity|scalar K4",
    ),
    _case(
        "retnet", matrix.retnet, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V] g[H,V]", "gamma[H]:decay theta[K]:theta_pairs",
        "S[H,K,V]", "K4", "S affine invariant scalar K4",
    ),
    _case(
        "lightning_attention", matrix.lightning_attention, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V] g[H,V]",
        "depth:fraction weight[H,V]:near_one bias[H,V]", "S[H,K,V]", "K4", "S affine invariant scalar K4",
    ),
    _case(
        "ssd", matrix.ssd, "H=2 P=3 N=5", "x[H,P] dt[H]:positive B[N] C[N]", "A_log[H]:small", "S[H,P,N]",
        "K4", "S affine data scalar K4",
    ),
    _case(
        "mamba2", matrix.mamba2, "G=2 R=3 P=2 N=5 W=4", "x[G,R,P] B[G,N] C[G,N] dt[G,R] z[G,R,P]",
        "w_x[G,R,P,W] b_x[G,R,P] w_B[G,N,W] b_B[G,N] w_C[G,N,W] b_C[G,N] A_log[G,R]:small dt_bias[G,R] skip[G,R] "
        "weight[G,R,P]:near_one",
        "S[G,R,P,N]", "K4 + K8 conv", "S affine data scalar K4",
    ),
    _case(
        "mamba3", matrix.mamba3, "H=2 P=3 M=3 J=2", "x[H,P] z[H,P] B[M,J] C[M,J] dt[H] a[H] trap[H] angle[M]",
        "dt_bias[H] w_B[M,J]:near_one w_C[M,J]:near_one b_B[H,M,J]:near_one b_C[H,M,J]:near_one skip[H]",
        "theta[H,M] S[H,P,M,J]", "K4 + K8",
        "theta affine invariant identity|scalar K1|K3|K4; S affine data scalar K4",
    ),
    _case(
        "mamba3_mimo", matrix.mamba3_mimo, "H=2 P=3 R=2 M=3 J=2",
        "x[H,P] z[H,P] B[R,M,J] C[R,M,J] dt[H] a[H] trap[H] angle[M]",
        "dt_bias[H] w_B[M,J]:near_one w_C[M,J]:near_one b_B[H,R,M,J]:near_one b_C[H,R,M,J]:near_one skip[H] "
        "mimo_x[H,R,P] mimo_z[H,R,P] mimo_o[H,R,P]",
        "theta[H,M] S[H,P,M,J]", "K4 + K8 (rank R)",
        "theta affine invariant identity|scalar K1|K3|K4; S affine data scalar K4",
    ),
    _case(
        "mlstm", nonlinear.mlstm, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V] i[H] f[H] x[H,V] z[H,V]",
        "weight[H,V]:near_one skip[H,V]", "m[H] C[H,K,V] n[H,K]", "K4 + K7",
        "m maxplus|stabilised data scalar|diagonal|block K7; C affine|stabilised data scalar|block K4|K7; "
        "n affine|stabilised data scalar|block K3|K4|K7",
    ),
    _case(
        "slstm", nonlinear.slstm, "H=2 D=3", "z[H,D] i[H,D] f[H,D] o[H,D]",
        "R_z[H,D,D]:small R_i[H,D,D]:small R_f[H,D,D]:small R_o[H,D,D]:small",
        "y[H,D]:small c[H,D] n[H,D]:positive m[H,D]", "K11",
        "y nonlinear data block|dense K11; c nonlinear data block|dense K11; n nonlinear data block|dense K11; "
        "m nonlinear data block|dense K11",
    ),
    _case(
        "gla", matrix.gla, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V] g[H,K] gate[H,V]", "weight[V]:near_one", "S[H,K,V]",
        "K5", "S affine data diagonal K5",
    ),
    _case(
        "hgrn2", matrix.hgrn2, "H=2 K=4 V=3", "q[H,K] f[H,K] v[H,V]", "lower[H,K]:fraction weight[H,V]:near_one",
        "S[H,K,V]", "K5", "S affine data diagonal K5",
    ),
    _case(
        "rwkv4", nonlinear.rwkv4, "D=3", "r[D] k[D] v[D]", "time_decay[D]:small u[D]", "aa[D] bb[D]:positive pp[D]",
        "K7",
        "aa affine|stabilised data diagonal|block K3|K7; bb affine|stabilised data diagonal|block K3|K7; "
        "pp maxplus|stabilised invariant|data diagonal|block K7",
    ),
    _case(
        "rwkv5", matrix.rwkv5, "H=2 K=4 V=3", "r[H,K] k[H,K] v[H,V] g[H,V]",
        "time_decay[H,K] u[H,K] weight[H,V]:near_one bias[H,V]", "S[H,K,V]",
        "K5 RBW", "S affine invariant diagonal K5",
    ),
    _case(
        "rwkv6", matrix.rwkv6, "H=2 K=4 V=3", "r[H,K] k[H,K] v[H,V] w[H,K] g[H,V]",
        "u[H,K] weight[H,V]:near_one bias[H,V]", "S[H,K,V]", "K5 RBW", "S affine data diagonal K5",
    ),
    _case(
        "rwkv7", delta.rwkv7, "H=2 V=3 K=4",
        "r[H,K] k[H,K] v[H,V] w[H,K] a[H,K] g[H,V] v_first[H,V] mix[H,V]",
        "w_0[H,K] a_0[H,K] mix_0[H,V] k_k[H,K] k_a[H,K] r_k[H,K] weight[H,V]:near_one bias[H,V]", "S[H,V,K]",
        "K6", "S affine data low_rank K6",
    ),
    _case(
        "deltanet", delta.deltanet, "H=2 K=4 V=3 W=4", "q[H,K] k[H,K] v[H,V] b[H]",
        "w_q[H,K,W] w_k[H,K,W] w_v[H,V,W] weight[V]:near_one", "S[H,K,V]", "K6", "S affine data low_rank K6",
    ),
    _case(
        "gated_deltanet", delta.gated_deltanet, "G=2 R=3 K=4 V=3 W=4",
        "q[G,K] k[G,K] v[G,R,V] a[G,R] b[G,R] gate[G,R,V]",
        "w_q[G,K,W] w_k[G,K,W] w_v[G,R,V,W] A_log[G,R]:small dt_bias[G,R] weight[V]:near_one", "S[G,R,K,V]",
        "K6", "S affine data low_rank K6",
    ),
    _case(
        "kda", delta.kda, "H=2 K=4 V=3", "q[H,K] k[H,K] v[H,V] a[H,K] b[H] gate[H,V]",
        "A_log[H]:small dt_bias[H,K] weight[V]:near_one", "S[H,K,V]", "K6", "S affine data low_rank K6",
    ),
    _case(
        "delta_product", delta.delta_product, "H=2 J=2 K=4 V=3", "q[H,K] k[H,J,K] v[H,J,V] a[H] b[H,J]",
        "A_log[H]:small dt_bias[H]", "S[H,K,V]", "K6", "S affine data low_rank K6",
    ),
    _case(
        "comba", delta.comba, "H=2 K=4 V=3",
        "q[H,K]:unit k[H,K]:unit p[H,K]:unit v[H,V] g[H]:log_decay beta[H]:fraction",
        "", "S[H,K,V]", "K6", "S affine data low_rank K6",
    ),
    _case(
        "gsa", matrix.gsa, "H=2 K=4 V=3 M=5", "q[H,K] k[H,K] v[H,V] f[H,M]", "weight[H,V]:near_one",
        "keys[H,K,M] values[H,M,V]", "2 x K5", "keys affine data diagonal K5; values affine data diagonal K5",
    ),
    _case(
        "titans", nonlinear.titans, "H=2 F=3 E=3",
        "q[H,F] k[H,F]:unit v[H,E] alpha[H]:fraction eta[H]:fraction theta[H]:step", "gamma[H,E]:near_one beta[H,E]",
        "M[H,F,E] S[H,F,E]", "K9 (mini-batch 1: nonlinear)",
        "M nonlinear data block|dense K9|K11; S nonlinear data block|dense K9|K11",
    ),
    _case(
        "ttt_linear", nonlinear.ttt_linear, "H=2 F=3 E=3", "q[H,F] k[H,F]:unit v[H,E] lr[H]",
        "W_0[H,F,E] b_0[H,E] gamma[H,E]:near_one beta[H,E] base_lr:near_one delta:step post_weight[H,E]:near_one "
        "post_bias[H,E]",
        "W[H,F,E] b[H,E]", "K9 (mini-batch 1: nonlinear)",
        "W nonlinear data block|dense K9|K11; b nonlinear data block|dense K9|K11",
    ),
    _case(
        "elman", nonlinear.elman, "D=3", "x[D]", "U[D,D]:small b[D]", "h[D]:small",
        "K11", "h nonlinear data dense K11",
    ),
    _case(
        "gru", nonlinear.gru, "D=3", "r[D] z[D] n[D]",
        "U_r[D,D]:small U_z[D,D]:small U_n[D,D]:small b_r[D] b_z[D] b_n[D]", "h[D]:small",
        "K11", "h nonlinear data dense K11",
    ),
    _case(
        "lstm", nonlinear.lstm, "D=3", "i[D] f[D] g[D] o[D]",
        "U_i[D,D]:small U_f[D,D]:small U_g[D,D]:small U_o[D,D]:small",
        "h[D]:small c[D]", "K11", "h nonlinear data block|dense K11; c nonlinear data block|dense K11",
    ),
    _case(
        "based", matrix.based, "H=2 K=3 V=2", "q[H,K] k[H,K] v[H,V]", "",
        "S0[H,V]:positive S1[H,K,V] S2[H,K,K,V] z0[H]:window z1[H,K]:small z2[H,K,K]:small", "K4 (a=1)",
        "S0 affine invariant identity|scalar K1|K3|K4; S1 affine invariant identity|scalar K4; "
        "S2 affine invariant identity|scalar K4; z0 affine invariant identity|scalar K1|K3|K4; "
        "z1 affine invariant identity|scalar K1|K3|K4; z2 affine invariant identity|scalar K1|K3|K4",
    ),
    _case(
        "hydra", matrix.hydra, "H=2 P=3 N=4 W=7", "x[H,P] z[H,P] B_f[N] C_f[N] B_b[N] C_b[N] dt_f[H] dt_b[H]",
        "w_x[H,P,W] b_x[H,P] w_Bf[N,W] b_Bf[N] w_Cf[N,W] b_Cf[N] w_Bb[N,W] b_Bb[N] w_Cb[N,W] b_Cb[N] "
        "A_log[H]:small dt_bias[H] skip[H] W_skip[H,H,P]:small weight[H,P]:near_one",
        "S[H,P,N] T[H,P,N]", "K14 (2 x K4 + diagonal)", "S affine data scalar K4; T affine data scalar K4",
        causal=False,
    ),
)  # fmt: skip

BY_NAME = {case.name: case for case in CASES}
