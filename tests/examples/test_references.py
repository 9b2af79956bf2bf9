"""The reference loops against something independent: library layers, other published forms, closed formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from tests.examples.cases import BY_NAME, CASES, EXAMPLES, Arrays, Case
from tests.examples.reference import common, invariant, matrix, nonlinear

B, L = 2, 9
TOLERANCE = 1e-10


def arrays_of(name: str, length: int = L) -> Arrays:
    return BY_NAME[name].make_inputs(np.random.default_rng(sum(map(ord, name))), B, length)


def agree(actual: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(expected).max())))


def convolve(kernel: np.ndarray, u: np.ndarray) -> np.ndarray:
    """y_t = sum_l kernel[l] u_{t-l}, kernel (L, …), u (B, L, …)."""
    y = np.zeros(np.broadcast_shapes(u.shape, (1, *kernel.shape)), np.result_type(kernel, u))
    for t in range(u.shape[1]):
        for j in range(t + 1):
            y[:, t] += kernel[j] * u[:, t - j]
    return y


def test_every_example_has_a_case() -> None:
    written = {path.stem for path in EXAMPLES.glob("*.ssm")} - {"pulse"}  # the demonstration's own spec
    assert written == set(BY_NAME)


# Filters, delays and the step number are memory beyond the declared states.
REMEMBER_MORE = {
    "deltanet", "ema", "gated_deltanet", "hippo_legs", "hydra", "mamba", "mamba2", "mamba3", "mamba3_mimo", "qrnn",
    "retnet", "rg_lru", "rtf",
}  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in REMEMBER_MORE], ids=lambda case: case.name)
def test_two_pieces_give_the_state_of_the_whole(case: Case) -> None:
    rng = np.random.default_rng(3)
    arrays, state = case.make_inputs(rng, B, L), case.make_state(rng, B)
    whole = case.run(arrays, state)
    inputs = {d.name for d in case.inputs}
    first = case.run({n: a[:, :4] if n in inputs else a for n, a in arrays.items()}, state)
    carried = {d.name: first[f"state.{d.name}"] for d in case.states}
    second = case.run({n: a[:, 4:] if n in inputs else a for n, a in arrays.items()}, carried)
    for name, value in whole.items():
        joined = second[name] if name.startswith("state.") else np.concatenate([first[name], second[name]], axis=1)
        agree(joined, value)


# --- library layers -----------------------------------------------------------------------------------------------


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def recurrent_layer(kind: type, gates: list[str], a: Arrays, biases: list[np.ndarray] | None) -> np.ndarray:
    """torch's layer on concatenated gate inputs: its input matrix is the identity, its input bias zero."""
    D = a[gates[0]].shape[-1]
    layer = kind(len(gates) * D, D, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.eye(len(gates) * D))
        layer.bias_ih_l0.zero_()
        names = ["U"] if len(gates) == 1 else [f"U_{g}" for g in gates]
        layer.weight_hh_l0.copy_(torch.cat([tensor(a[n]) for n in names]))
        layer.bias_hh_l0.copy_(tensor(np.concatenate(biases)) if biases else torch.zeros(len(gates) * D))
        return layer(tensor(np.concatenate([a[g] for g in gates], axis=-1)))[0].numpy()


def test_elman_is_torch_rnn() -> None:
    a = arrays_of("elman")
    agree(nonlinear.elman(**a)["h"], recurrent_layer(torch.nn.RNN, ["x"], a, [a["b"]]))


def test_gru_is_torch_gru() -> None:
    a = arrays_of("gru")
    agree(nonlinear.gru(**a)["h"], recurrent_layer(torch.nn.GRU, ["r", "z", "n"], a, [a["b_r"], a["b_z"], a["b_n"]]))


def test_lstm_is_torch_lstm() -> None:
    a = arrays_of("lstm")
    agree(nonlinear.lstm(**a)["h"], recurrent_layer(torch.nn.LSTM, ["i", "f", "g", "o"], a, None))


def test_scalar_functions_are_those_of_torch() -> None:
    x = np.linspace(-9, 9, 41)
    F = torch.nn.functional
    pairs = [
        (common.sigmoid, torch.sigmoid), (common.softplus, F.softplus), (common.logsigmoid, F.logsigmoid),
        (common.silu, F.silu), (common.gelu, F.gelu), (common.elu, F.elu),
    ]  # fmt: skip
    for ours, theirs in pairs:
        agree(ours(x), theirs(tensor(x)).numpy(), 1e-7)


def test_filters_are_torch_convolutions() -> None:
    rng = np.random.default_rng(0)
    x, taps = rng.standard_normal((B, L, 3)), rng.standard_normal((3, 5))
    flipped = tensor(taps[:, None, ::-1])
    channels_first = tensor(x.transpose(0, 2, 1))
    causal = torch.nn.functional.conv1d(channels_first, flipped, padding=4, groups=3)[..., :L]
    agree(common.causal_filter(x, taps), causal.numpy().transpose(0, 2, 1))
    same = torch.nn.functional.conv1d(channels_first, tensor(taps[:, None]), padding=2, groups=3)
    agree(common.centred_filter(x, taps), same.numpy().transpose(0, 2, 1))


# --- time-invariant systems: filters and kernels --------------------------------------------------------------------


def test_ema_is_a_first_order_filter() -> None:
    a = arrays_of("ema")
    result = invariant.ema(**a)
    for d, decay in enumerate(a["a"]):
        agree(result["y"][..., d], lfilter([1 - decay], [1, -decay], a["x"][..., d], axis=1))
    weights = np.stack([(1 - a["a"]) * a["a"] ** j for j in range(L)])
    for t in range(L):  # the corrected average is a weighted mean: its weights sum to one
        total = np.einsum("jd,bjd->bd", weights[: t + 1][::-1], a["x"][:, : t + 1]) / weights[: t + 1].sum(axis=0)
        agree(result["corrected"][:, t], total)


def test_rtf_is_a_rational_filter() -> None:
    a = arrays_of("rtf")
    y = invariant.rtf(**a)["y"]
    for d in range(y.shape[-1]):
        denominator = np.concatenate([[1.0], a["a"][d]])
        numerator = a["h0"][d] * denominator + np.concatenate([[0.0], a["b"][d]])
        agree(y[..., d], lfilter(numerator, denominator, a["u"][..., d], axis=1))


def test_s4d_is_its_convolution_kernel() -> None:
    a = arrays_of("s4d")
    lam = -np.exp(a["A_re"]) + 1j * a["A_im"]
    step = np.exp(a["log_dt"])[:, None]
    weight = a["C"] * (np.exp(step * lam) - 1) / lam
    kernel = np.stack([2 * np.sum(weight * np.exp(j * step * lam), axis=-1).real for j in range(L)])
    agree(invariant.s4d(**a)["y"], convolve(kernel, a["u"]) + a["skip"] * a["u"])


def test_mega_is_its_convolution_kernel() -> None:
    a = arrays_of("mega")
    p, alpha = common.sigmoid(a["delta"]), common.sigmoid(a["alpha"])
    weight = p * a["beta"] * a["gamma"] / np.sqrt(p.shape[-1])
    kernel = np.stack([np.sum(weight * np.exp(j * np.log(1 - p * alpha)), axis=-1) for j in range(L)])
    agree(invariant.mega(**a)["y"], common.silu(convolve(kernel, a["x"]) + a["omega"] * a["x"]))


def test_s5_and_lru_are_matrix_kernels() -> None:
    a = arrays_of("s5")
    lam, step = a["lam_re"] + 1j * a["lam_im"], np.exp(a["log_dt"])
    weight = (np.exp(lam * step) - 1) / lam
    taps = [2 * ((a["C"] * (weight * np.exp(j * lam * step))) @ a["B"]).real for j in range(L)]
    y = np.stack([sum(a["u"][:, t - j] @ taps[j].T for j in range(t + 1)) for t in range(L)], axis=1)
    agree(invariant.s5(**a)["y"], y + a["skip"] * a["u"])
    a = arrays_of("lru")
    lam = np.exp(-np.exp(a["nu_log"])) * np.exp(1j * np.exp(a["theta_log"]))
    taps = [((a["C"] * (np.exp(a["gamma_log"]) * lam**j)) @ a["B"]).real for j in range(L)]
    y = np.stack([sum(a["x"][:, t - j] @ taps[j].T for j in range(t + 1)) for t in range(L)], axis=1)
    agree(invariant.lru(**a)["y"], y + a["skip"] * a["x"])


def test_s4_step_is_the_woodbury_form() -> None:
    """x <- D [(2/step + lam) x - P (P* x) + 2 B u], then - D P (1 + P* D P)^-1 P* D of the bracket."""
    a = arrays_of("s4")
    lam, P = -np.exp(a["lam_re"]) + 1j * a["lam_im"], a["P"]
    half = 2 / np.exp(a["log_dt"])[:, None]
    D = 1 / (half - lam)
    inner = 1 + np.sum(P.conj() * D * P, axis=-1, keepdims=True)
    x, y = np.zeros((B, *P.shape), np.complex128), np.zeros_like(a["u"])
    for t in range(L):
        bracket = (
            (half + lam) * x - P * np.sum(P.conj() * x, axis=-1, keepdims=True) + 2 * a["B"] * a["u"][:, t, :, None]
        )
        x = D * bracket - D * P / inner * np.sum(P.conj() * D * bracket, axis=-1, keepdims=True)
        y[:, t] = np.sum(a["C"] * x, axis=-1).real
    agree(invariant.s4(**a)["y"], y + a["skip"] * a["u"])


def test_h3_is_two_convolutions_and_two_products() -> None:
    a = arrays_of("h3")
    S = a["B_shift"].shape[-1]
    shift_kernel = np.zeros((L, *a["skip_k"].shape))
    for j in range(min(L, S)):
        shift_kernel[j] = np.sum(a["B_shift"][..., : S - j] * a["C_shift"][..., j:], axis=-1)
    shift_kernel[0] += a["skip_k"]
    kv = convolve(shift_kernel, a["k"])[..., :, None] * a["v"][..., None, :]
    lam, step = -np.exp(a["A_re"]) + 1j * a["A_im"], np.exp(a["log_dt"])[:, None]
    weight = a["C"] * (np.exp(step * lam) - 1) / lam
    kernel = np.stack([2 * np.sum(weight * np.exp(j * step * lam), axis=-1).real for j in range(L)])
    kernel[0] += a["skip"]
    z = convolve(np.broadcast_to(kernel[..., None, None], (*kernel.shape, *kv.shape[-2:])), kv)
    agree(invariant.h3(**a)["y"], np.einsum("blhe,blhef->blhf", a["q"], z))


# --- HiPPO ----------------------------------------------------------------------------------------------------------


def test_hippo_matrices_have_their_normal_parts() -> None:
    N = 8
    A, b = common.hippo_legs(N)
    assert_allclose(np.sort(np.linalg.eigvals(A).real), -np.arange(N, 0, -1.0), atol=1e-6)
    P = np.sqrt(np.arange(N) + 0.5)
    skew = A + np.outer(P, P) + 0.5 * np.eye(N)
    assert_allclose(skew, -skew.T, atol=1e-12)
    A, b = common.hippo_fout(N)
    skew = A + np.outer(b, b)
    assert_allclose(skew, -skew.T, atol=1e-12)
    assert np.linalg.svd(A)[1].min() < 1e-12  # the eigenvalue at zero
    A, b = common.hippo_legt(N)
    assert np.linalg.matrix_rank(A + A.T, tol=1e-9) == 2  # skew plus rank two


def test_hippo_legs_remembers_a_polynomial() -> None:
    """The coefficients of f(s) = s on [0, t] in the normalised Legendre basis are t (1/2, 1/(2 sqrt 3), 0, …)."""
    length = 400
    A, b = common.hippo_legs(5)
    f = np.broadcast_to(np.arange(length) + 0.5, (1, length))
    c = invariant.hippo_legs(f, A, b)["c"][0, -1] / length
    assert_allclose(c, [0.5, 0.5 / np.sqrt(3), 0, 0, 0], atol=2e-2)


def test_sliding_window_matrices_forget_a_step_after_the_window() -> None:
    """A delta leaves the memory once the window has passed: the LegT state is then far smaller than at its largest."""
    A, b = common.hippo_legt(12)
    f = np.zeros((1, 300, 1))
    f[0, 0, 0] = 1.0
    c = np.linalg.norm(invariant.hippo_legt(f, A, b, np.array([0.01]))["c"][0, :, 0], axis=-1)
    assert c[250] < 0.1 * c[:80].max()


def test_lmu_is_legt_rescaled() -> None:
    """Both project on Legendre polynomials over the window: diag(sign sqrt) maps one to the other."""
    N = 6
    A_t, b_t = common.hippo_legt(N)
    A_m, b_m = common.hippo_lmu(N)
    scale = np.array([(-1.0) ** n * np.sqrt(2 * n + 1) for n in range(N)])
    assert_allclose(np.diag(scale) @ (2 * A_t) @ np.diag(1 / scale), A_m, atol=1e-9)
    assert_allclose(scale * 2 * b_t, b_m, atol=1e-9)


def test_zero_order_hold_integrates_the_equation() -> None:
    A, b = common.hippo_fout(4)
    A_bar, b_bar = common.zero_order_hold(A, b, 0.3)
    x, pieces = np.array([0.3, -1.0, 0.5, 2.0]), 20000
    held = x.copy()
    for _ in range(pieces):
        middle = held + 0.5 * 0.3 / pieces * (A @ held + b)
        held = held + 0.3 / pieces * (A @ middle + b)
    assert_allclose(A_bar @ x + b_bar, held, rtol=1e-8)


# --- matrix states: the quadratic forms -----------------------------------------------------------------------------


def masked(q: np.ndarray, k: np.ndarray, v: np.ndarray, log_decay: np.ndarray, strict: bool = False) -> np.ndarray:
    """sum_{j<=i} (sum_k q_i k_j e^{G_i - G_j}) v_j, by a double loop; log_decay (B, L, H, K) or (B, L, H, 1)."""
    G = np.cumsum(log_decay, axis=1)
    o = np.zeros_like(v)
    for i in range(v.shape[1]):
        for j in range(i if strict else i + 1):
            reach = (G[:, i - 1] if strict else G[:, i]) - G[:, j]
            o[:, i] += np.sum(q[:, i] * k[:, j] * np.exp(reach), axis=-1, keepdims=True) * v[:, j]
    return o


def test_linear_attention_is_its_quadratic_form() -> None:
    a = arrays_of("linear_attention")
    q, k = common.elu(a["q"]) + 1, common.elu(a["k"]) + 1
    none = np.zeros((*k.shape[:-1], 1))
    top, bottom = masked(q, k, a["v"], none), masked(q, k, np.ones((*k.shape[:-1], 1)), none)
    agree(matrix.linear_attention(**a)["o"], top / (bottom + 1e-6))


def test_retnet_is_its_quadratic_form() -> None:
    """Rotation acts as e^{i theta (i - j)} on complex pairs, decay as gamma^{i - j}."""
    a = arrays_of("retnet")
    theta = a["theta"][0::2]
    q, k = (a[n][..., 0::2] + 1j * a[n][..., 1::2] for n in ("q", "k"))
    o = np.zeros_like(a["v"])
    for i in range(L):
        for j in range(i + 1):
            score = np.sum(q[:, i].conj() * k[:, j] * np.exp(1j * theta * (j - i)), axis=-1).real
            o[:, i] += (score * a["gamma"] ** (i - j))[..., None] * a["v"][:, j] / np.sqrt(a["k"].shape[-1])
    agree(matrix.retnet(**a)["o"], common.silu(a["g"]) * common.rms_norm(o))


def test_mamba2_is_its_quadratic_form() -> None:
    a = arrays_of("ssd")
    log_decay = (-a["dt"] * np.exp(a["A_log"]))[..., None]
    H = a["dt"].shape[-1]
    C, B_ = (np.repeat(a[n][:, :, None], H, axis=2) for n in ("C", "B"))
    agree(matrix.ssd(**a)["y"], masked(C, B_ * a["dt"][..., None], a["x"], log_decay))
    m = arrays_of("mamba2")
    x, k, q = (common.silu(common.causal_filter(m[n], m[f"w_{n}"]) + m[f"b_{n}"]) for n in ("x", "B", "C"))
    dt = common.softplus(m["dt"] + m["dt_bias"])
    G, R = x.shape[2:4]
    y = np.zeros_like(x)  # the groups are only a view: run every head alone
    for g in range(G):
        for r in range(R):
            one = {"x": x[:, :, g, r][:, :, None], "dt": dt[:, :, g, r][:, :, None], "B": k[:, :, g], "C": q[:, :, g]}
            y[:, :, g, r] = matrix.ssd(**one, A_log=m["A_log"][g, r][None])["y"][:, :, 0]
            y[:, :, g, r] += m["skip"][g, r] * x[:, :, g, r]
    agree(matrix.mamba2(**m)["o"], m["weight"] * common.rms_norm(y * common.silu(m["z"]), (-3, -2, -1)))


def test_mamba3_is_the_shifted_scale_form() -> None:
    """Key scale gamma_t + (1 - lam_{t+1}) delta_{t+1}, less a correction on the diagonal."""
    a = arrays_of("mamba3")
    delta = common.softplus(a["dt"] + a["dt_bias"])
    lam = common.sigmoid(a["trap"])
    theta = np.cumsum(np.pi * np.tanh(a["angle"])[:, :, None] * delta[..., None], axis=1)
    phase = np.exp(1j * theta)

    def key(name: str) -> np.ndarray:
        u = (a[f"w_{name}"] * common.rms_norm(a[name], (-2, -1)))[:, :, None] + a[f"b_{name}"]
        return (u[..., 0] + 1j * u[..., 1]) * phase

    k, q = key("B"), key("C")
    ahead = np.zeros_like(delta)
    ahead[:, :-1] = ((1 - lam) * delta)[:, 1:]
    scale = lam * delta + ahead
    log_decay = (delta * np.minimum(-common.softplus(a["a"]), -1e-4))[..., None]
    pair = lambda u: np.concatenate([u.real, u.imag], axis=-1)  # noqa: E731
    y = masked(pair(q), pair(k) * scale[..., None], a["x"], log_decay)
    y -= np.sum(pair(q) * pair(k), axis=-1, keepdims=True) * ahead[..., None] * a["x"]
    y += a["skip"][:, None] * a["x"]
    agree(matrix.mamba3(**a)["y"], y * common.silu(a["z"]))


def test_gla_hgrn2_and_rwkv6_are_their_quadratic_forms() -> None:
    a = arrays_of("gla")
    o = masked(a["q"] / np.sqrt(a["q"].shape[-1]), a["k"], a["v"], common.logsigmoid(a["g"]) / 16)
    agree(matrix.gla(**a)["o"], a["weight"] * common.rms_norm(o) * common.silu(a["gate"]))
    a = arrays_of("hgrn2")
    g = np.logaddexp(np.log(a["lower"]), np.log1p(-a["lower"]) + common.logsigmoid(a["f"]))
    o = masked(common.silu(a["q"]), -np.expm1(g), a["v"], g)
    agree(matrix.hgrn2(**a)["o"], a["weight"] * common.rms_norm(o, (-2, -1)))
    a = arrays_of("rwkv6")
    o = masked(a["r"], a["k"], a["v"], -np.exp(a["w"]), strict=True)
    o += np.sum(a["r"] * a["u"] * a["k"], axis=-1, keepdims=True) * a["v"]
    o = a["weight"] * common.layer_norm(o, eps=64e-5) + a["bias"]
    agree(matrix.rwkv6(**a)["o"], o * common.silu(a["g"]))


def test_gsa_is_two_quadratic_forms() -> None:
    a = arrays_of("gsa")
    g = common.logsigmoid(a["f"]) / 8
    s = 1 - np.exp(g)
    q, k, v = common.silu(a["q"]), common.silu(a["k"]), common.silu(a["v"])
    G = np.cumsum(g, axis=1)
    score = np.zeros_like(s)
    for i in range(L):
        for j in range(i + 1):
            dot = np.sum(q[:, i] * k[:, j], axis=-1, keepdims=True) / np.sqrt(q.shape[-1])
            score[:, i] += dot * np.exp(G[:, i] - G[:, j]) * s[:, j]
    p = torch.softmax(tensor(score), dim=-1).numpy()
    o = masked(p, s, v, g)
    agree(matrix.gsa(**a)["o"], a["weight"] * common.rms_norm(common.silu(o), (-2, -1)))


def test_based_is_the_taylor_series_of_softmax_attention() -> None:
    a = arrays_of("based")
    o = np.zeros_like(a["v"])
    for i in range(L):
        s = np.einsum("bhk,bjhk->bjh", a["q"][:, i], a["k"][:, : i + 1]) / np.sqrt(a["q"].shape[-1])
        weight = 1 + s + s**2 / 2
        o[:, i] = np.einsum("bjh,bjhv->bhv", weight, a["v"][:, : i + 1]) / weight.sum(axis=1)[..., None]
    agree(matrix.based(**a)["o"], o)


def test_hydra_is_a_matrix_with_a_free_diagonal() -> None:
    a = arrays_of("hydra")
    u = common.silu(common.centred_filter(a["x"], a["w_x"]) + a["b_x"])

    def mixed(name: str) -> np.ndarray:
        short = name.replace("_", "")
        return common.silu(common.centred_filter(a[name], a[f"w_{short}"]) + a[f"b_{short}"])

    M = np.zeros((B, L, L, u.shape[2]))
    for dt_name, key_name, query_name, sign in (("dt_f", "B_f", "C_f", 1), ("dt_b", "B_b", "C_b", -1)):
        dt = common.softplus(a[dt_name] + a["dt_bias"])
        key, query = mixed(key_name), mixed(query_name)
        for i in range(L):
            for j in range(L):
                if (i - j) * sign <= 0:
                    continue
                row = i - sign  # the read-out is that of the neighbour
                between = range(j + 1, row + 1) if sign > 0 else range(row, j)
                decay = np.exp(sum((-dt[:, r] * np.exp(a["A_log"]) for r in between), np.zeros_like(dt[:, 0])))
                M[:, i, j] += np.sum(query[:, row] * key[:, j], axis=-1, keepdims=True) * dt[:, j] * decay
    free = np.einsum("hip,blip->blh", a["W_skip"], u) + a["skip"]
    y = np.einsum("bijh,bjhp->bihp", M, u) + free[..., None] * u
    agree(matrix.hydra(**a)["o"], a["weight"] * common.rms_norm(y, (-2, -1)) * common.silu(a["z"]))


# --- delta rules ----------------------------------------------------------------------------------------------------


def correct(S: np.ndarray, k: np.ndarray, v: np.ndarray, beta: np.ndarray, erase: np.ndarray) -> np.ndarray:
    """S + beta k (v - erase^T S)^T: the same update by its prediction error."""
    error = v - np.einsum("bhk,bhkv->bhv", erase, S)
    return S + beta[..., None, None] * k[..., :, None] * error[..., None, :]


def test_deltanet_is_the_chunked_form_with_a_triangular_solve() -> None:
    """T = (I + tril(beta k k^T, -1))^-1 diag(beta), o = tril(q k^T) T v (no initial state, no decay)."""
    a = arrays_of("deltanet")
    q, k = (common.unit(common.silu(common.causal_filter(a[n], a[f"w_{n}"]))) for n in ("q", "k"))
    v, beta = common.silu(common.causal_filter(a["v"], a["w_v"])), common.sigmoid(a["b"])
    gram = np.einsum("bihk,bjhk->bhij", k, k) * beta.transpose(0, 2, 1)[..., None]
    T = np.linalg.inv(np.eye(L) + np.tril(gram, -1)) * beta.transpose(0, 2, 1)[..., None, :]
    attention = np.tril(np.einsum("bihk,bjhk->bhij", q, k)) / np.sqrt(q.shape[-1])
    o = np.einsum("bhij,bhjm,bmhv->bihv", attention, T, v)
    agree(BY_NAME["deltanet"].run(a)["o"], a["weight"] * common.rms_norm(o))


def test_kda_comba_and_delta_product_correct_a_prediction() -> None:
    a = arrays_of("kda")
    k, beta = common.unit(a["k"]), common.sigmoid(a["b"])
    g = -np.exp(a["A_log"])[:, None] * common.softplus(a["a"] + a["dt_bias"])
    S = np.zeros((B, *k.shape[2:], a["v"].shape[-1]))
    for t in range(L):
        S = correct(np.exp(g[:, t])[..., None] * S, k[:, t], a["v"][:, t], beta[:, t], k[:, t])
    agree(BY_NAME["kda"].run(a)["state.S"], S)
    a = arrays_of("comba")
    S = np.zeros_like(S)
    for t in range(L):
        S = correct(
            np.exp(a["g"][:, t])[..., None, None] * S, a["k"][:, t], a["v"][:, t], a["beta"][:, t], a["p"][:, t]
        )
    agree(BY_NAME["comba"].run(a)["state.S"], S)
    a = arrays_of("delta_product")
    k, beta = common.unit(a["k"]), common.sigmoid(a["b"])
    g = -np.exp(a["A_log"]) * common.softplus(a["a"] + a["dt_bias"])
    S = np.zeros_like(S)
    for t in range(L):
        S = np.exp(g[:, t])[..., None, None] * S
        for j in range(2):
            S = correct(S, k[:, t, :, j], a["v"][:, t, :, j], beta[:, t, :, j], k[:, t, :, j])
    agree(BY_NAME["delta_product"].run(a)["state.S"], S)


def test_gated_deltanet_without_decay_is_deltanet() -> None:
    a = arrays_of("gated_deltanet")
    a["dt_bias"] = a["dt_bias"] - 800.0  # softplus gives exactly no decay
    grouped = BY_NAME["gated_deltanet"].run(a)["state.S"]
    for r in range(a["v"].shape[3]):
        plain = BY_NAME["deltanet"].run(
            {n: a[n] for n in ("q", "k", "w_q", "w_k", "weight")}
            | {"v": a["v"][:, :, :, r], "b": a["b"][..., r], "w_v": a["w_v"][:, r]}
        )
        agree(grouped[:, :, r], plain["state.S"])


def test_rwkv7_erases_from_the_state_before_the_decay() -> None:
    """In its three-term form, S diag(w) - (S kappa)(kappa a)^T + v k^T."""
    a = arrays_of("rwkv7")
    w = np.exp(-0.606530659712633 / (1 + np.exp(-(a["w_0"] + a["w"]))))
    rate = common.sigmoid(a["a_0"] + a["a"])
    kappa = a["k"] * a["k_k"] / np.linalg.norm(a["k"] * a["k_k"], axis=-1, keepdims=True)
    key, gate = a["k"] * (1 + (rate - 1) * a["k_a"]), common.sigmoid(a["mix_0"] + a["mix"])
    value = (1 - gate) * a["v"] + gate * a["v_first"]
    S = np.zeros((B, *a["v"].shape[2:], a["k"].shape[-1]))
    for t in range(L):
        erased = np.einsum("bhvk,bhk->bhv", S, kappa[:, t])
        S = S * w[:, t, :, None, :] - erased[..., None] * (kappa * rate)[:, t, :, None, :]
        S = S + value[:, t, :, :, None] * key[:, t, :, None, :]
    agree(BY_NAME["rwkv7"].run(a)["state.S"], S)


# --- stabilised pairs -------------------------------------------------------------------------------------------------


def test_rwkv4_is_its_sum() -> None:
    a = arrays_of("rwkv4")
    w = -np.exp(a["time_decay"])
    y = np.zeros_like(a["v"])
    for t in range(L):
        weights = [np.exp((t - 1 - i) * w + a["k"][:, i]) for i in range(t)] + [np.exp(a["u"] + a["k"][:, t])]
        y[:, t] = sum(weights[i] * a["v"][:, i] for i in range(t + 1)) / sum(weights)
    agree(nonlinear.rwkv4(**a)["y"], common.sigmoid(a["r"]) * y)


def test_mlstm_is_the_unstabilised_form() -> None:
    """Floor 1 on |q n| without the stabiliser; epsilon is what e^-m turns it into."""
    a = arrays_of("mlstm")
    G = np.cumsum(common.logsigmoid(a["f"]), axis=1)
    K = a["k"].shape[-1]
    result = nonlinear.mlstm(**a)
    h, m = np.zeros_like(a["v"]), np.zeros_like(G[:, 0])
    for t in range(L):
        m = np.maximum(common.logsigmoid(a["f"][:, t]) + m, a["i"][:, t])
        top, bottom = np.zeros_like(a["v"][:, 0]), np.zeros_like(m)
        for j in range(t + 1):
            score = np.sum(a["q"][:, t] * a["k"][:, j], axis=-1) / np.sqrt(K) * np.exp(G[:, t] - G[:, j] + a["i"][:, j])
            top, bottom = top + score[..., None] * a["v"][:, j], bottom + score
        h[:, t] = top / (np.maximum(np.abs(bottom), 1) + 1e-6 * np.exp(m))[..., None]
    expected = (a["weight"] * common.layer_norm(h) + a["skip"] * a["x"]) * common.silu(a["z"])
    agree(result["y"], expected)


def test_slstm_without_feedback_is_a_weighted_mean() -> None:
    a = arrays_of("slstm")
    for name in ("R_z", "R_i", "R_f", "R_o"):
        a[name] = np.zeros_like(a[name])
    G = np.cumsum(common.logsigmoid(a["f"]), axis=1)
    y = np.zeros_like(a["z"])
    for t in range(L):
        weights = np.exp(G[:, t, None] - G[:, : t + 1] + a["i"][:, : t + 1])
        mean = np.sum(weights * np.tanh(a["z"][:, : t + 1]), axis=1) / weights.sum(axis=1)
        y[:, t] = common.sigmoid(a["o"][:, t]) * mean
    agree(nonlinear.slstm(**a)["y"], y)


# --- learning at test time --------------------------------------------------------------------------------------------


def inner_loss(z: torch.Tensor, target: torch.Tensor, a: Arrays) -> torch.Tensor:
    centred = z - z.mean(-1, keepdim=True)
    hat = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)
    return 0.5 * ((tensor(a["gamma"]) * hat + tensor(a["beta"]) - target) ** 2).sum()


def test_ttt_linear_descends_its_loss() -> None:
    """The primal form with autograd for the gradient of the inner loss."""
    a = arrays_of("ttt_linear")
    result = nonlinear.ttt_linear(**a)
    W = tensor(np.broadcast_to(a["W_0"], (B, *a["W_0"].shape)).copy())
    b = tensor(np.broadcast_to(a["b_0"], (B, *a["b_0"].shape)).copy())
    for t in range(L):
        q, k, v, lr = (tensor(a[n][:, t]) for n in ("q", "k", "v", "lr"))
        W.requires_grad_(True), b.requires_grad_(True)
        z = torch.einsum("bhf,bhfe->bhe", k, W) + b
        dW, db = torch.autograd.grad(inner_loss(z, v - k, a), (W, b))
        rate = (1 + float(a["delta"])) * float(a["base_lr"]) * torch.sigmoid(lr) / k.shape[-1]
        W = (W - rate[..., None, None] * dW).detach()
        b = (b - rate[..., None] * db).detach()
        z = (torch.einsum("bhf,bhfe->bhe", q, W) + b).numpy()
        o = q.numpy() + a["gamma"] * common.layer_norm(z, eps=1e-6) + a["beta"]
        agree(result["o"][:, t], a["post_weight"] * common.layer_norm(o, (-2, -1), 1e-6) + a["post_bias"])
    agree(result["state.W"], W.numpy())
    agree(result["state.b"], b.numpy())


def test_titans_descends_its_loss_with_momentum() -> None:
    a = arrays_of("titans")
    M = torch.zeros(B, *a["q"].shape[2:], a["v"].shape[-1], dtype=torch.float64)
    S = torch.zeros_like(M)
    for t in range(L):
        k, v, alpha, eta, theta = (tensor(a[n][:, t]) for n in ("k", "v", "alpha", "eta", "theta"))
        M.requires_grad_(True)
        (grad,) = torch.autograd.grad(inner_loss(torch.einsum("bhf,bhfe->bhe", k, M), v - k, a), (M,))
        S = eta[..., None, None] * S - 2 * theta[..., None, None] * grad
        M = ((1 - alpha[..., None, None]) * M + S).detach()
    result = nonlinear.titans(**a)
    agree(result["state.M"], M.numpy())
    agree(result["state.S"], S.numpy())


# --- diagonal systems -------------------------------------------------------------------------------------------------


def unrolled(decay: np.ndarray, write: np.ndarray) -> np.ndarray:
    """h_t = sum_j (prod_{j < r <= t} decay_r) write_j, all (B, L, …)."""
    h = np.zeros_like(write)
    for t in range(write.shape[1]):
        for j in range(t + 1):
            h[:, t] += np.prod(decay[:, j + 1 : t + 1], axis=1) * write[:, j]
    return h


def test_selective_scan_is_its_unrolled_sum() -> None:
    a = arrays_of("selective_scan")
    delta = common.softplus(a["dt"] + a["dt_bias"])[..., None]
    h = unrolled(np.exp(-delta * np.exp(a["A_log"])), delta * a["B"][:, :, None] * a["u"][..., None])
    y = np.einsum("bln,bldn->bld", a["C"], h) + a["skip"] * a["u"]
    agree(BY_NAME["selective_scan"].run(a)["y"], y * common.silu(a["z"]))


def test_longhorn_takes_the_diagonal_of_the_online_regression() -> None:
    """The exact step is (I + beta k k^T)^-1 (s + beta x k); its linear part I - delta k k^T has that diagonal."""
    a = arrays_of("longhorn", length=1)
    beta, k = common.sigmoid(a["b"] + a["bias"])[0, 0], a["k"][0, 0]
    state = np.random.default_rng(5).standard_normal((B, len(beta), len(k)))
    h = BY_NAME["longhorn"].run(a, {"h": state})["state.h"][0]
    for d, rate in enumerate(beta):
        exact = np.linalg.inv(np.eye(len(k)) + rate * np.outer(k, k))
        agree(h[d], np.diag(exact) * state[0, d] + exact @ (rate * a["x"][0, 0, d] * k))


def test_gated_averages_are_their_unrolled_sums() -> None:
    a = arrays_of("hgrn")
    keep = a["lower"] + (1 - a["lower"]) * common.sigmoid(a["f"])
    h = unrolled(keep, (1 - keep) * common.silu(a["i"]))
    agree(BY_NAME["hgrn"].run(a)["y"], a["weight"] * common.rms_norm(h) * common.silu(a["g"]))
    a = arrays_of("min_lstm")
    f, i = common.sigmoid(a["f"]), common.sigmoid(a["i"])
    g = np.where(a["c"] >= 0, a["c"] + 0.5, common.sigmoid(a["c"]))
    agree(BY_NAME["min_lstm"].run(a)["h"], unrolled(f / (f + i), i / (f + i) * g))
    a = arrays_of("min_gru")
    g = np.where(a["c"] >= 0, a["c"] + 0.5, common.sigmoid(a["c"]))
    agree(BY_NAME["min_gru"].run(a)["h"], unrolled(1 - common.sigmoid(a["z"]), common.sigmoid(a["z"]) * g))
    a = arrays_of("sru")
    f, r = common.sigmoid(a["f"] + a["b_f"]), common.sigmoid(a["r"] + a["b_r"])
    y = r * np.tanh(unrolled(f, (1 - f) * a["u"])) + (1 - r) * a["alpha"] * a["x"]
    agree(BY_NAME["sru"].run(a)["y"], y)
    agree(BY_NAME["sru2"].run(a | {"v_f": 0 * a["b_f"], "v_r": 0 * a["b_r"]})["y"], y)


def test_rg_lru_starts_anew_at_a_reset() -> None:
    a = arrays_of("rg_lru")
    a["reset"] = np.zeros_like(a["reset"])
    a["reset"][:, 5] = True
    a["u"][:, 2:5] = 0.0  # the convolution reaches three steps back, and is not reset
    with_past = BY_NAME["rg_lru"].run(a, {"h": np.full((B, 2, 3), 7.0)})["y"][:, 5:]
    inputs = {d.name for d in BY_NAME["rg_lru"].inputs}
    alone = BY_NAME["rg_lru"].run({n: x[:, 5:] if n in inputs else x for n, x in a.items()})["y"]
    agree(with_past, alone)
    a["reset"] = np.zeros_like(a["reset"])
    x = common.causal_filter(a["u"], a["conv_weight"]) + a["conv_bias"]
    r = common.sigmoid(np.einsum("hij,blhj->blhi", a["W_a"], x) + a["b_a"])
    i = common.sigmoid(np.einsum("hij,blhj->blhi", a["W_x"], x) + a["b_x"])
    log_a = -8 * r * common.softplus(a["Lambda"])
    h = unrolled(np.exp(log_a), np.sqrt(-np.expm1(2 * log_a)) * i * x)
    agree(BY_NAME["rg_lru"].run(a)["y"], h * common.gelu(a["gate"]))


def test_qrnn_matches_the_forget_multiply() -> None:
    a = arrays_of("qrnn")
    pad = np.concatenate([np.zeros_like(a["x"][:, :1]), a["x"]], axis=1)
    gates = [pad[:, 1:] @ a[f"W_{n}"].T + pad[:, :-1] @ a[f"V_{n}"].T for n in "zfo"]
    f = common.sigmoid(gates[1])
    h = unrolled(1 - f, f * np.tanh(gates[0]))
    agree(BY_NAME["qrnn"].run(a)["y"], common.sigmoid(gates[2]) * h)


def test_mamba_is_a_filter_and_the_selective_scan() -> None:
    a = arrays_of("mamba")
    x = common.silu(common.causal_filter(a["u"], a["conv_weight"]) + a["conv_bias"])
    scan = {
        "u": x, "dt": (x @ a["W_r"].T) @ a["W_dt"].T, "B": x @ a["W_B"].T, "C": x @ a["W_C"].T, "z": a["z"],
        "A_log": a["A_log"], "skip": a["skip"], "dt_bias": a["dt_bias"],
    }  # fmt: skip
    agree(BY_NAME["mamba"].run(a)["y"], BY_NAME["selective_scan"].run(scan)["y"])


def test_lmu_cell_without_feedback_is_the_lmu() -> None:
    a = arrays_of("lmu_cell")
    a["e_h"], a["e_m"] = 0 * a["e_h"], 0 * a["e_m"]
    memory = invariant.lmu((a["x"] @ a["e_x"])[..., None], a["A"], a["B"], a["theta"][None])["m"][:, :, 0]
    drive = {"x": a["x"] @ a["W_x"].T + memory @ a["W_m"].T, "U": a["W_h"], "b": np.zeros(len(a["W_h"]))}
    agree(nonlinear.lmu_cell(**a)["h"], nonlinear.elman(**drive)["h"])
