// Small matrices, row by row.

//: unit
template <class T> struct unit_of { static T one() { return T(1); } };
template <class T> INLINE T unit() { return unit_of<T>::one(); }

//: unit (cx)
template <> struct unit_of<cx<real>> { static cx<real> one() { return {real(1), real(0)}; } };

//: solve
// b = inverse(a) b, by elimination with row pivots; a is overwritten.
template <class T> static void solve(T *a, T *b, i64 n) {
    for (i64 k = 0; k < n; k++) {
        i64 p = k;
        for (i64 i = k + 1; i < n; i++)
            if (m_abs(a[i * n + k]) > m_abs(a[p * n + k])) p = i;
        if (p != k) {
            for (i64 j = 0; j < n; j++) {
                T x = a[k * n + j];
                a[k * n + j] = a[p * n + j];
                a[p * n + j] = x;
            }
            T x = b[k];
            b[k] = b[p];
            b[p] = x;
        }
        for (i64 i = k + 1; i < n; i++) {
            const T f = a[i * n + k] / a[k * n + k];
            for (i64 j = k + 1; j < n; j++) a[i * n + j] = a[i * n + j] - f * a[k * n + j];
            b[i] = b[i] - f * b[k];
        }
    }
    for (i64 i = n - 1; i >= 0; i--) {
        T x = b[i];
        for (i64 j = i + 1; j < n; j++) x = x - a[i * n + j] * b[j];
        b[i] = x / a[i * n + i];
    }
}

//: exponential
// phi_k(a) = sum of a^j / (j + k)!, phi_0 = exp. The exponential of a with k shift blocks beside it,
//     [a 1 0; 0 0 1; 0 0 0],
// has it in its last block; that by Taylor's series of a / 2^s, squared s times.
template <int K, class T> static void exponential(const T *a, T *out, i64 n) {
    const i64 m = n * (K + 1), size = m * m;
    T *const x = (T *)allocated(4 * size * i64(sizeof(T))), *const term = x + size, *const sum = term + size;
    T *const next = sum + size;
    for (i64 i = 0; i < size; i++) x[i] = T{};
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < n; j++) x[i * m + j] = a[i * n + j];
    for (i64 i = 0; i < m - n; i++) x[i * m + n + i] = unit<T>();
    real norm = 0;
    for (i64 i = 0; i < m; i++) {
        real row = 0;
        for (i64 j = 0; j < m; j++) row += m_abs(x[i * m + j]);
        norm = row > norm ? row : norm;
    }
    int squarings = 0;
    real scale = 1;
    for (; norm * scale > real(0.5) && squarings < 1100; squarings++) scale *= real(0.5);
    for (i64 i = 0; i < size; i++) x[i] = x[i] * scale, term[i] = sum[i] = T{};
    for (i64 i = 0; i < m; i++) term[i * m + i] = sum[i * m + i] = unit<T>();
    const auto product = [&](const T *p, const T *q, T *r, real factor) {
        for (i64 i = 0; i < m; i++)
            for (i64 j = 0; j < m; j++) {
                T s = T{};
                for (i64 l = 0; l < m; l++) s = s + p[i * m + l] * q[l * m + j];
                r[i * m + j] = s * factor;
            }
    };
    for (int k = 1; k <= 18; k++) {
        product(term, x, next, real(1) / k);
        for (i64 i = 0; i < size; i++) term[i] = next[i], sum[i] = sum[i] + next[i];
    }
    for (int k = 0; k < squarings; k++) {
        product(sum, sum, next, real(1));
        for (i64 i = 0; i < size; i++) sum[i] = next[i];
    }
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < n; j++) out[i * n + j] = sum[i * m + (m - n) + j];
    free(x);
}
