"""Strangers' recurrences that are affine in their states: filters, memories, oscillators, statistics."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from tests.strangers.case import Array, Steps, case, sigmoid, softplus


@case(
    """ssm oscillators
axis D
input force[D]
param K[D, D], damping
state x[D], v[D]
v = v + 0.1 * (force - K @ x - damping * v)
x = x + 0.1 * v
output x, v
""",
    D=3,
)
def oscillators(length: int, force: Array, K: Array, damping: Array) -> Steps:
    x = np.zeros(3)
    v = np.zeros(3)
    for n in range(length):
        v = v + 0.1 * (force[n] - K @ x - damping * v)
        x = x + 0.1 * v
        yield {"x": x, "v": v}


@case(
    """ssm heavy_ball
axis D
input g[D]
param lr, beta
state w[D] = 1, m[D]
m = sigmoid(beta)*m + g
w = w - lr*m
output w
""",
    D=3,
)
def heavy_ball(length: int, g: Array, lr: Array, beta: Array) -> Steps:
    w = np.ones(3)
    m = np.zeros(3)
    for n in range(length):
        m = sigmoid(beta) * m + g[n]
        w = w - lr * m
        yield {"w": w}


@case(
    """ssm rotation
axis H, N
each H
input u[H, N], angle[H], g[H]
param c[H, N] complex
state z[H, N] complex
z = exp(-softplus(g) + 1j*angle)*z + u
output y[H] = real(c · z), size_of = abs(z)
""",
    H=2,
    N=3,
)
def rotation(length: int, u: Array, angle: Array, g: Array, c: Array) -> Steps:
    z = np.zeros((2, 3), complex)
    for n in range(length):
        z = np.exp(-softplus(g[n]) + 1j * angle[n])[:, None] * z + u[n]
        yield {"y": (c * z).sum(1).real, "size_of": abs(z)}


@case(
    """ssm value_decay
axis K, V
input q[K], k[K], v[V], f[V]
state S[K, V]
S = S * sigmoid(f) + k * v
output y = q · S
""",
    K=3,
    V=4,
)
def value_decay(length: int, q: Array, k: Array, v: Array, f: Array) -> Steps:
    S = np.zeros((3, 4))
    for n in range(length):
        S = S * sigmoid(f[n]) + np.outer(k[n], v[n])
        yield {"y": q[n] @ S}


@case(
    """ssm two_speeds
axis K, V
input q[K], k[K], v[V], mix
param fast = 0.5, slow = 0.99
state F[K, V], S[K, V]
F = fast*F + k ⊗ v
S = slow*S + (1 - slow)*F
output y = q · (sigmoid(mix)*F + (1 - sigmoid(mix))*S)
""",
    K=3,
    V=4,
)
def two_speeds(length: int, q: Array, k: Array, v: Array, mix: Array, fast: float = 0.5, slow: float = 0.99) -> Steps:
    F = np.zeros((3, 4))
    S = F
    for n in range(length):
        F = fast * F + np.outer(k[n], v[n])
        S = slow * S + (1 - slow) * F
        m = sigmoid(mix[n])
        yield {"y": q[n] @ (m * F + (1 - m) * S)}


@case(
    """ssm delta_vector
axis H, K, V
each H
input q[H, K], k[H, K], v[H, V], beta[H, V], alpha[H, K]
state S[H, K, V]
kn = k / sqrt(sum[K](k**2) + 1e-6)
D = sigmoid(alpha) * S
S = D + kn * sigmoid(beta) * (v - kn · D)
output o = q · S
""",
    H=2,
    K=3,
    V=4,
)
def delta_vector(length: int, q: Array, k: Array, v: Array, beta: Array, alpha: Array) -> Steps:
    S = np.zeros((2, 3, 4))
    for n in range(length):
        kn = k[n] / np.sqrt((k[n] ** 2).sum(-1, keepdims=True) + 1e-6)
        D = sigmoid(alpha[n])[:, :, None] * S
        S = D + kn[:, :, None] * (sigmoid(beta[n]) * (v[n] - np.einsum("hk,hkv->hv", kn, D)))[:, None]
        yield {"o": np.einsum("hk,hkv->hv", q[n], S)}


@case(
    """ssm biquads
axis C
input x[C]
param b0[C], b1[C], b2[C], a1[C], a2[C]
state s1[C], s2[C], r1[C], r2[C]
y1 = b0*x + s1
s1 = b1*x - 0.3*tanh(a1)*y1 + s2
s2 = b2*x - 0.3*tanh(a2)*y1
y2 = b0*y1 + r1
r1 = b1*y1 - 0.3*tanh(a1)*y2 + r2
r2 = b2*y1 - 0.3*tanh(a2)*y2
output y[C] = y2
""",
    C=2,
)
def biquads(length: int, x: Array, b0: Array, b1: Array, b2: Array, a1: Array, a2: Array) -> Steps:
    s1 = s2 = r1 = r2 = np.zeros(2)
    A1 = 0.3 * np.tanh(a1)
    A2 = 0.3 * np.tanh(a2)
    for n in range(length):
        y1 = b0 * x[n] + s1
        s1 = b1 * x[n] - A1 * y1 + s2
        s2 = b2 * x[n] - A2 * y1
        y2 = b0 * y1 + r1
        r1 = b1 * y1 - A1 * y2 + r2
        r2 = b2 * y1 - A2 * y2
        yield {"y": y2}


@case(
    """ssm ring
axis N
input x, w[N]
state buf[N]
here = index[N] == mod(t - 1, size[N])
buf = where(here, x, buf)
output mean_ = mean[N](buf), weighted = w · buf
""",
    N=5,
)
def ring(length: int, x: Array, w: Array) -> Steps:
    b = np.zeros(5)
    for n in range(length):
        b = b.copy()
        b[n % 5] = x[n]
        yield {"mean_": b.mean(), "weighted": w[n] @ b}


@case(
    """ssm dropout_reset
axis D
input x[D], a[D], reset bool
state h[D]
h = where(reset, 0, sigmoid(a)*h + x)
output y[D] = h
""",
    D=3,
)
def dropout_reset(length: int, x: Array, a: Array, reset: Array) -> Steps:
    h = np.zeros(3)
    for n in range(length):
        h = np.where(reset[n], 0, sigmoid(a[n]) * h + x[n])
        yield {"y": h}


@case(
    """ssm bidirectional
axis D
input x[D], f[D], b[D], mix[D]
state left[D], right[D] reverse
left = sigmoid(f)*left + (1 - sigmoid(f))*x
right = sigmoid(b)*right + (1 - sigmoid(b))*x
m = sigmoid(mix)
output y[D] = m*left + (1 - m)*right
""",
    D=3,
)
def bidirectional(length: int, x: Array, f: Array, b: Array, mix: Array) -> Steps:
    left = np.zeros(3)
    r = np.zeros(3)
    R = [None] * length
    for n in reversed(range(length)):
        r = sigmoid(b[n]) * r + (1 - sigmoid(b[n])) * x[n]
        R[n] = r
    for n in range(length):
        left = sigmoid(f[n]) * left + (1 - sigmoid(f[n])) * x[n]
        m = sigmoid(mix[n])
        yield {"y": m * left + (1 - m) * R[n]}


@case(
    """ssm square_zoh
axis D, N
input u[D]
param A[N, N], B[N], log_dt[D], C[N]
state h[D, N]
h' = A @ h + B*u using zoh(step = exp(log_dt))
output y[D] = C · h
""",
    D=2,
    N=3,
)
def square_zoh(length: int, u: Array, A: Array, B: Array, log_dt: Array, C: Array) -> Steps:
    h = np.zeros((2, 3))
    M = []
    for d in range(2):
        X = np.zeros((4, 4))
        X[:3, :3] = A
        X[:3, 3] = B
        M.append(expm(X * np.exp(log_dt[d])))
    for n in range(length):
        h = np.stack([M[d][:3, :3] @ h[d] + M[d][:3, 3] * u[n, d] for d in range(2)])
        yield {"y": h @ C}


@case(
    """ssm low_rank
axis N, R
input x[N]
param d[N], U[N, R], W[R, N]
state h[N]
h = sigmoid(d)*h + U @ (W @ h) + x
output y[N] = h
""",
    N=4,
    R=2,
)
def low_rank(length: int, x: Array, d: Array, U: Array, W: Array) -> Steps:
    h = np.zeros(4)
    for n in range(length):
        h = sigmoid(d) * h + U @ (W @ h) + x[n]
        yield {"y": h}


@case(
    """ssm normaliser
axis D
input k[D], v[D]
param w[D], bonus[D]
state num[D], den[D]
decay = exp(-exp(w))
y = (num + exp(bonus + k)*v) / (den + exp(bonus + k))
num = decay*num + exp(k)*v
den = decay*den + exp(k)
output y
""",
    D=3,
)
def normaliser(length: int, k: Array, v: Array, w: Array, bonus: Array) -> Steps:
    a = b = np.zeros(3)
    d = np.exp(-np.exp(w))
    for n in range(length):
        e = np.exp(bonus + k[n])
        yield {"y": (a + e * v[n]) / (b + e)}
        a = d * a + np.exp(k[n]) * v[n]
        b = d * b + np.exp(k[n])


@case(
    """ssm conv_gate_scan
axis D, W = 3
input x[D], z[D]
param w[D, W], a[D]
state h[D]
c = silu(conv(x, w))
g = sigmoid(z + a)
h = g*h + (1 - g)*c
output y[D] = h * silu(z) + x
""",
    D=3,
)
def conv_gate_scan(length: int, x: Array, z: Array, w: Array, a: Array) -> Steps:
    h = np.zeros(3)
    for n in range(length):
        c = sum(w[:, j] * x[n - j] for j in range(3) if n - j >= 0)
        c = c * sigmoid(c)
        g = sigmoid(z[n] + a)
        h = g * h + (1 - g) * c
        yield {"y": h * z[n] * sigmoid(z[n]) + x[n]}


@case(
    """ssm covariance
axis D, E = D
input x[D], a
state mu[D], S[D, E]
g = sigmoid(a)
mu = g*mu + (1 - g)*x
e = x - mu
S = g*S + (1 - g)*e*e[D -> E]
output S, whitened = sum[E](S * x[D -> E])
""",
    D=3,
)
def covariance(length: int, x: Array, a: Array) -> Steps:
    mu = np.zeros(3)
    S = np.zeros((3, 3))
    for n in range(length):
        g = sigmoid(a[n])
        mu = g * mu + (1 - g) * x[n]
        e = x[n] - mu
        S = g * S + (1 - g) * np.outer(e, e)
        yield {"S": S, "whitened": S @ x[n]}


@case("""ssm holt_winters
input y
param a, b, g
state level, trend
alpha = sigmoid(a)
season = prev(s, 4)
before = level
level = alpha*(y - season) + (1 - alpha)*(level + trend)
trend = sigmoid(b)*(level - before) + (1 - sigmoid(b))*trend
s = sigmoid(g)*(y - level) + (1 - sigmoid(g))*season
output forecast = level + trend + season
""")
def holt_winters(length: int, y: Array, a: Array, b: Array, g: Array) -> Steps:
    level = t = 0.0
    S = [0.0] * 4
    for n in range(length):
        se = S[-4]
        before = level
        level = sigmoid(a) * (y[n] - se) + (1 - sigmoid(a)) * (level + t)
        t = sigmoid(b) * (level - before) + (1 - sigmoid(b)) * t
        S.append(sigmoid(g) * (y[n] - level) + (1 - sigmoid(g)) * se)
        yield {"forecast": level + t + se}


@case(
    """ssm orientation
axis I, J, K = J
input w[J, K]
state R[I, J] = index[I] == index[J]
R = sum[K](R[J -> K] * (w[J -> K, K -> J]))
output R
""",
    I=2,
    J=2,
)
def orientation(length: int, w: Array) -> Steps:
    R = np.eye(2)
    for n in range(length):
        R = R @ w[n]
        yield {"R": R}


@case(
    """ssm welford
axis D
input x[D]
state mean_[D], m2[D]
old = mean_
mean_ = old + (x - old)/t
m2 = m2 + (x - old)*(x - mean_)
output mu[D] = mean_, var[D] = m2/t
""",
    D=3,
)
def welford(length: int, x: Array) -> Steps:
    for n in range(length):
        yield {"mu": x[: n + 1].mean(0), "var": x[: n + 1].var(0)}


@case("""ssm lattice
input x
param k1, k2
state b1, b2
f1 = x - tanh(k2)*b2
f0 = f1 - tanh(k1)*b1
b2 = b1 + tanh(k1)*f0
b1 = f0
output y = f0
""")
def lattice(length: int, x: Array, k1: Array, k2: Array) -> Steps:
    b1 = b2 = 0.0
    a = np.tanh(k1)
    b = np.tanh(k2)
    for n in range(length):
        f1 = x[n] - b * b2
        f0 = f1 - a * b1
        b2 = b1 + a * f0
        b1 = f0
        yield {"y": f0}


@case(
    """ssm stack_like
axis N
input x, push
state s[N]
p = sigmoid(push)
s = p*where(index[N] == 0, x, shift[N](s)) + (1 - p)*shift[N](s, -1)
output top = s[N = 0], s
""",
    N=4,
)
def stack_like(length: int, x: Array, push: Array) -> Steps:
    s = np.zeros(4)
    for n in range(length):
        p = sigmoid(push[n])
        s = p * np.r_[x[n], s[:-1]] + (1 - p) * np.r_[s[1:], 0]
        yield {"top": s[0], "s": s}


@case(
    """ssm two_sided
axis D, E
input u[D, E]
param A[D, D], B[E, E]
state h[D, E]
h' = A @ h + h @ B + u using zoh(step = 0.1)
output h
""",
    D=2,
    E=3,
)
def two_sided(length: int, u: Array, A: Array, B: Array) -> Steps:
    h = np.zeros(6)
    generator = np.kron(A, np.eye(3)) + np.kron(np.eye(2), B.T)
    both = expm(0.1 * np.block([[generator, np.eye(6)], [np.zeros((6, 12))]]))
    for n in range(length):
        h = both[:6, :6] @ h + both[:6, 6:] @ u[n].ravel()
        yield {"h": h.reshape(2, 3)}
