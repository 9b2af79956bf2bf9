"""The reference loops with matrix states against their quadratic and chunked forms."""

from __future__ import annotations

import numpy as np
import torch

from tests.examples.cases import BY_NAME
from tests.examples.independent import B, L, agree, arrays_of
from tests.examples.reference import common, matrix

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
    p = torch.softmax(torch.from_numpy(score), dim=-1).numpy()
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
