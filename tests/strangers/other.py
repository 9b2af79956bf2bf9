"""Strangers' recurrences of other kinds: extremes, probabilities, counters, cells, attention."""

from __future__ import annotations

import numpy as np

from tests.strangers.case import Array, Steps, case, sigmoid


@case("""ssm kalman
input z
param q = 0.1, r = 1, a = 0.9
state x = 0, P = 1
predicted = a*x
p = a**2*P + q**2
gain = p/(p + r**2)
x = predicted + gain*(z - predicted)
P = (1 - gain)*p
output estimate = x, gain
""")
def kalman(length: int, z: Array, q: float = 0.1, r: float = 1, a: float = 0.9) -> Steps:
    x, P = 0.0, 1.0
    for n in range(length):
        pr = a * x
        p = a * a * P + q * q
        g = p / (p + r * r)
        x = pr + g * (z[n] - pr)
        P = (1 - g) * p
        yield {"estimate": x, "gain": g}


@case(
    """ssm viterbi
axis S, R = S
input emission[S]
param trans[S, R]      # from R to S
state score[S] = 0
score = emission + max[R](trans + score[S -> R])
output score
output best = max[S](score)
""",
    S=4,
)
def viterbi(length: int, emission: Array, trans: Array) -> Steps:
    s = np.zeros(4)
    for n in range(length):
        s = emission[n] + (trans + s[None]).max(1)
        yield {"score": s, "best": s.max()}


@case(
    """ssm lif
axis D
input current[D]
param tau[D], threshold = 0.3
state v[D] = 0
charged = v + (current - v) / (1 + exp(tau))
spike = charged > threshold
v = where(spike, 0, charged)
output spike, v
""",
    D=3,
)
def lif(length: int, current: Array, tau: Array, threshold: float = 0.3) -> Steps:
    v = np.zeros(3)
    for n in range(length):
        c = v + (current[n] - v) / (1 + np.exp(tau))
        s = c > threshold
        v = np.where(s, 0, c)
        yield {"spike": s, "v": v}


@case(
    """ssm counters
axis D
input event[D] bool, amount[D] int
state run[D] int = 0, total[D] int = 0, longest[D] int = 0
run = where(event, run + 1, 0)
total = total + amount
longest = max(longest, run)
output run, total, longest
""",
    D=3,
)
def counters(length: int, event: Array, amount: Array) -> Steps:
    run = tot = lon = np.zeros(3, int)
    for n in range(length):
        run = np.where(event[n], run + 1, 0)
        tot = tot + amount[n]
        lon = np.maximum(lon, run)
        yield {"run": run, "total": tot, "longest": lon}


@case(
    """ssm window_attention
axis H, K, V, T = 4
each H
input q[H, K], k[H, K], v[H, V]
param bias[H, T]
p = softmax[T](q · past[T](k) + bias)
output y[H, V] = sum[T](p * past[T](v))
""",
    H=2,
    K=3,
    V=4,
)
def window_attention(length: int, q: Array, k: Array, v: Array, bias: Array) -> Steps:
    for n in range(length):
        idx = [n - 3 + j for j in range(4)]
        s = np.stack(
            [(q[n] * k[i]).sum(-1) + bias[:, j] if i >= 0 else np.full(2, -np.inf) for j, i in enumerate(idx)], 1
        )
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        yield {"y": sum(p[:, j, None] * v[i] for j, i in enumerate(idx) if i >= 0)}


@case(
    """ssm hmm
axis S, R = S
input obs[S]
param trans[R, S], start[S]
state alpha[S] = start
alpha = logsumexp[R](alpha[S -> R] + trans) + obs
output loglik = logsumexp[S](alpha)
output posterior = softmax[S](alpha)
""",
    S=3,
)
def hmm(length: int, obs: Array, trans: Array, start: Array) -> Steps:
    a = start

    def lse(x, ax):
        return np.log(np.exp(x - x.max(ax, keepdims=True)).sum(ax)) + x.max(ax)

    for n in range(length):
        a = lse(a[:, None] + trans, 0) + obs[n]
        p = np.exp(a - a.max())
        yield {"loglik": lse(a, 0), "posterior": p / p.sum()}


@case(
    """ssm dtw
axis N
input x
param y[N]
state up[N] = where(index[N] == 0, 0, inf)
d = abs(x - y)
c = cumsum[N](d)
left = where(index[N] == 0, inf, shift[N](up))
m = min(up, left)
up = d + m
output cost = min[N](up), up
""",
    N=4,
)
def dtw(length: int, x: Array, y: Array) -> Steps:
    up = np.array([0.0] + [np.inf] * 3)
    for n in range(length):
        d = abs(x[n] - y)
        left = np.r_[np.inf, up[:-1]]
        up = d + np.minimum(up, left)
        yield {"cost": up.min(), "up": up}


@case(
    """ssm windup
axis D
input e[D]
param kp, ki
state i[D]
i = clamp(i + ki*e, -1, 1)
output u[D] = kp*e + i
""",
    D=3,
)
def windup(length: int, e: Array, kp: Array, ki: Array) -> Steps:
    i = np.zeros(3)
    for n in range(length):
        i = np.clip(i + ki * e[n], -1, 1)
        yield {"u": kp * e[n] + i}


@case(
    """ssm liquid
axis N, I
input x[I]
param W[N, I], U[N, N], A[N], tau[N]
state h[N]
f = sigmoid(W @ x + U @ h)
h = (h + 0.1*f*A) / (1 + 0.1*(exp(-tau) + f))
output h
""",
    N=3,
    I=2,
)
def liquid(length: int, x: Array, W: Array, U: Array, A: Array, tau: Array) -> Steps:
    h = np.zeros(3)
    for n in range(length):
        f = sigmoid(W @ x[n] + U @ h)
        h = (h + 0.1 * f * A) / (1 + 0.1 * (np.exp(-tau) + f))
        yield {"h": h}


@case(
    """ssm latch
axis D
input on[D] bool, off[D] bool
state q[D] bool = false
q = (q or on) and not off
rising = q and not prev(q)
output q, rising
""",
    D=3,
)
def latch(length: int, on: Array, off: Array) -> Steps:
    q = np.zeros(3, bool)
    for n in range(length):
        o = q
        q = (q | on[n]) & ~off[n]
        yield {"q": q, "rising": q & ~o}


@case(
    """ssm peak_hold
axis D
input x[D]
param d[D]
state p[D]
p = max(sigmoid(d)*p, abs(x))
output p
""",
    D=3,
)
def peak_hold(length: int, x: Array, d: Array) -> Steps:
    p = np.zeros(3)
    for n in range(length):
        p = np.maximum(sigmoid(d) * p, abs(x[n]))
        yield {"p": p}


@case("""ssm lcg
input x int
state s int = 1
s = mod(5*s + x, 17)
output s
""")
def lcg(length: int, x: Array) -> Steps:
    s = 1
    for n in range(length):
        s = (5 * s + x[n]) % 17
        yield {"s": s}


@case(
    """ssm online_softmax
axis K, V
input q[K], k[K], v[V]
param query[K]
state m = -inf, l, o[V]
s = query · k
m = max(m, s)
c = exp(prev(m) - m)
p = exp(s - m)
l = c*l + p
o = c*o + p*v
output y[V] = o/l
""",
    K=2,
    V=3,
)
def online_softmax(length: int, q: Array, k: Array, v: Array, query: Array) -> Steps:
    for n in range(length):
        s = k[: n + 1] @ query
        p = np.exp(s - s.max())
        p /= p.sum()
        yield {"y": p @ v[: n + 1]}


@case(
    """ssm argmax_track
axis D
input x[D]
state best[D] = -inf, when[D] int = 0
better = x > best
best = where(better, x, best)
when = where(better, t, when)
output best, when
""",
    D=2,
)
def argmax_track(length: int, x: Array) -> Steps:
    for n in range(length):
        yield {"best": x[: n + 1].max(0), "when": x[: n + 1].argmax(0) + 1}


@case(
    """ssm expiring
axis D
input x[D], ttl[D]
state value[D], left[D]
fresh = abs(x) > 0.8
left = where(fresh, 3, max(left - 1, 0))
value = where(fresh, x, where(left > 0, value, 0))
output value, left
""",
    D=2,
)
def expiring(length: int, x: Array, ttl: Array) -> Steps:
    v = np.zeros(2)
    left = np.zeros(2)
    for n in range(length):
        f = abs(x[n]) > 0.8
        left = np.where(f, 3, np.maximum(left - 1, 0))
        v = np.where(f, x[n], np.where(left > 0, v, 0))
        yield {"value": v, "left": left}
