//: padded_to
// The power of two at which a convolution of so many steps does not wrap.
INLINE i64 padded_to(i64 steps) {
    i64 n = 2;
    while (n < 2 * steps) n *= 2;
    return n;
}

//: unit_roots
// turn[k] = exp(-2 pi i k / n) for k < n / 2.
static void unit_roots(cx<real> *turn, i64 n) {
    for (i64 k = 0; k < n / 2; k++) {
        const real angle = real(-6.283185307179586) * real(k) / real(n);
        turn[k] = {m_cos(angle), m_sin(angle)};
    }
}

//: transformed
// The discrete Fourier transform of n elements in place, its frequencies in the order of their bits reversed.
template <class T> static void transformed(cx<T> *x, const cx<real> *turn, i64 n) {
    for (i64 half = n / 2; half > 0; half /= 2)
        for (i64 first = 0; first < n; first += 2 * half)
            for (i64 k = 0; k < half; k++) {
                const cx<T> a = x[first + k], b = x[first + k + half];
                x[first + k] = a + b;
                x[first + k + half] = (a - b) * turn[k * (n / 2 / half)];
            }
}

//: untransformed
// Back from that order, n times as large.
template <class T> static void untransformed(cx<T> *x, const cx<real> *turn, i64 n) {
    for (i64 half = 1; half < n; half *= 2)
        for (i64 first = 0; first < n; first += 2 * half)
            for (i64 k = 0; k < half; k++) {
                const cx<real> w = turn[k * (n / 2 / half)];
                const cx<T> a = x[first + k], b = x[first + k + half] * cx<real>{w.re, -w.im};
                x[first + k] = a + b;
                x[first + k + half] = a - b;
            }
}
