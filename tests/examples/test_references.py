"""The reference loops against something independent: library layers, filters, kernels, closed formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from tests.examples.cases import BY_NAME, CASES, EXAMPLES, Arrays, Case
from tests.examples.independent import B, L, agree, arrays_of, convolve
from tests.examples.reference import common, invariant, nonlinear


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
