// Activations and other functions of real numbers.

//: m_sigmoid
// 1 / (1 + e^-x) with e^-x = 2^n (1 + p) and 2^-h, h = n/2, taken out of both sides, so that nothing overflows and a
// denormal result is rounded once: v = 2^(n - h), and (u + v) + v p is rounded once where a bit of u + v is not lost.
template <class V> INLINE V m_sigmoid(V x) {
    typedef typename of<V>::ints I;
    V t, p = exp_parts(clamped(-x, LOWEST_EXPONENT, -real(LOWEST_EXPONENT)), t);
    I n = as<I>(t) - as<bits>(real(ROUNDER)), h = n >> 1;
    V u = power_of_two<V>(-h), v = power_of_two<V>(n - h), sum = u + v;
    return u / (sum + (v * p + pick<V>(sum == v, u, real(0))));
}

//: tanh_small (float)
// (tanh a - a) / a^3 for a <= 0.625, as a quotient in z = a^2 (rational interpolation); error 2^-26 of tanh.
template <class V> INLINE V tanh_small(V z, V &below) {
    below = horner(z, 1.0f, 0.4046468f);
    return horner(z, -0.33333328f, -0.0015510664f);
}

//: tanh_small (double)
// (tanh a - a) / a^3 for a <= 0.625, as a quotient in z = a^2 (rational interpolation); error 2^-57 of tanh.
template <class V> INLINE V tanh_small(V z, V &below) {
    below = horner(z, 1.0, 0.4614963991254931, 0.02329133187629886, 0.0002065337374875025);
    return horner(z, -0.3333333333333333, -0.020498799708498872, -0.0001991780435861287);
}

//: m_tanh
// With a = |x|: a + a^3 P / Q where it is small, else 1 - 2 / (e^2a + 1); one quotient serves both.
template <class V> INLINE V m_tanh(V x) {
    V a = magnitude(x), q, z = a * a, p = tanh_small(z, q);
    typename of<V>::mask small = a < real(0.625);
    V above = pick<V>(small, a * z * p, real(-2)), below = pick<V>(small, q, m_exp(2 * a) + 1);
    return with_sign(pick<V>(small, a, real(1)) + above / below, x);
}

//: log1p_unit (float)
// log(1 + t) for t in [0, 1]: of (1 + t) / 2 plus log 2 where t is large. f is exact, or log 2 outweighs its error.
template <class V> INLINE V log1p_unit(V t) {
    typename of<V>::mask big = t > 0.41421356f;
    V f = pick<V>(big, (t - 1) * 0.5f, t);
    return pick<V>(big, 0.693147181f, real(0)) + (f + log1p_rest(f));
}

//: log1p_unit (double)
// log(1 + t) for t in [0, 1]: of (1 + t) / 2 plus log 2 where t is large. f is exact, or log 2 outweighs its error.
template <class V> INLINE V log1p_unit(V t) {
    typename of<V>::mask big = t > 0.41421356237309503;
    V f = pick<V>(big, (t - 1) * 0.5, t);
    return pick<V>(big, 0.6931471805599453, real(0)) + (f + log1p_rest(f));
}

//: m_softplus
// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)
template <class V> INLINE V m_softplus(V x) {
    return larger(x, lift<V>(0)) + log1p_unit(m_exp(-magnitude(x)));
}

//: m_logsigmoid
template <class V> INLINE V m_logsigmoid(V x) { return -m_softplus(-x); }

//: m_logaddexp
// max + log(1 + e^-|a - b|); the difference of equal infinities counts as 0.
template <class A, class B> INLINE join<A, B> m_logaddexp(A a, B b) {
    typedef join<A, B> V;
    V x = lift<V>(a), y = lift<V>(b);
    V d = pick<V>(x == y, real(0), magnitude(x - y));
    return larger(x, y) + log1p_unit(m_exp(-d));
}

//: m_silu
template <class V> INLINE V m_silu(V x) { return x * m_sigmoid(x); }

//: m_relu
template <class V> INLINE V m_relu(V x) { return pick<V>(x <= 0, real(0), x); }

//: m_elu
template <class V> INLINE V m_elu(V x) { return pick<V>(x > 0, x, m_expm1(smaller(lift<V>(0), x))); }

//: erfc_scaled (float)
// e^(x^2) erfc(x) for x >= 1, as a polynomial in (x - 2) / (x + 2) over x + 2; error 2^-24.
template <class V> INLINE V erfc_scaled(V x) {
    V w = 1 / (x + 2);
    return w * horner((x - 2) * w, 1.0215827f, -0.6871606f, 0.2794697f, -0.036442924f, -0.02145942f, 0.006435712f,
                      0.0028205002f, -0.00041882758f, -0.00067346136f);
}

//: erfc_scaled (double)
// e^(x^2) erfc(x) for x >= 1, as a polynomial in (x - 3) / (x + 3) over x + 3; error 2^-51.
template <class V> INLINE V erfc_scaled(V x) {
    V w = 1 / (x + 3);
    return w * horner((x - 3) * w, 1.0740069070883398, -0.8833944531698964, 0.5902283571040794, -0.31046726189886653,
                      0.11952776128732658, -0.02682723469008605, -0.001212416575947321, 0.0030340631064684053,
                      -0.000548311196130835, -0.00027678707297403775, 0.00010757924271481051, 3.0435056142677746e-05,
                      -1.7573061225670783e-05, -4.792040508562236e-06, 3.050746624346937e-06, 8.696199362417828e-07,
                      -7.016116888970313e-07, 9.15596345049407e-08);
}

//: erf_small (float)
// erf(x) / x - 1 from z = x^2 <= 1; error 2^-29.
template <class V> INLINE V erf_small(V z) {
    return horner(z, 0.12837917f, -0.37612626f, 0.11283579f, -0.026853347f, 0.005187162f, -0.0007997852f,
                  7.806891e-05f);
}

//: erf_small (double)
// erf(x) / x - 1 from z = x^2 <= 1; error 2^-56.
template <class V> INLINE V erf_small(V z) {
    return horner(z, 0.1283791670955126, -0.376126389031841, 0.11283791670971179, -0.026866170648061648,
                  0.005223977653132339, -0.0008548328568859321, 0.00012055387667750522, -1.4926922998391702e-05,
                  1.6481817847021405e-06, -1.656610682782739e-07, 1.607954642550223e-08, -1.6742844578118735e-09,
                  1.4848922356526578e-10);
}

//: m_erf
template <class V> INLINE V m_erf(V x) {
    V a = clamped(magnitude(x), 0, 6);
    V far = 1 - m_exp(-a * a) * erfc_scaled(a);
    return pick<V>(magnitude(x) < 1, x + x * erf_small(x * x), with_sign(far, x));
}

//: m_gelu
// x/2 (1 + erf(x / sqrt 2)); on the negative side from erfc, which does not cancel, with what the rounding of x^2 lost
// put back (the square of the upper half of a number's digits is exact).
template <class V> INLINE V m_gelu(V x) {
    typedef typename of<V>::uints U;
    V a = clamped(magnitude(x), 0, sizeof(real) == 4 ? 15 : 40);
    V upper = as<V>(as<U>(a) & (~ubits(0) << (MANTISSA / 2 + 1))), lower = a - upper, square = a * a;
    V lost = ((upper * upper - square) + 2 * upper * lower) + lower * lower;
    V e = m_exp(real(-0.5) * square), tail = (e - e * (real(0.5) * lost)) * erfc_scaled(a * real(0.70710678118654752));
    V z = x * real(0.70710678118654752), near = 1 + (z + z * erf_small(z * z));
    return real(0.5) * x * pick<V>(magnitude(z) < 1, near, pick<V>(z < 0, tail, 2 - tail));
}

//: m_sqrt
INLINE float sqrt_of(float x) { return __builtin_sqrtf(x); }
INLINE double sqrt_of(double x) { return __builtin_sqrt(x); }
template <class V> INLINE V m_sqrt(V x) {
    return each_lane([](real y) { return sqrt_of(y); }, x);
}

//: m_rsqrt
template <class V> INLINE V m_rsqrt(V x) { return 1 / m_sqrt(x); }

//: m_abs
template <class V> INLINE V m_abs(V x) { return magnitude(x); }

//: m_sign
// -1, 0, 1, or NaN
template <class V> INLINE V m_sign(V x) {
    return pick<V>(x > 0, real(1), pick<V>(x < 0, real(-1), pick<V>(x == 0, real(0), x)));
}

//: m_real
template <class V> INLINE V m_real(V x) { return x; }

//: m_imag
template <class V> INLINE V m_imag(V x) { return x * 0; }

//: m_conj
template <class V> INLINE V m_conj(V x) { return x; }

//: nearest
// The nearest integer, halves to the even one. Adding 2^MANTISSA drops the fraction; what is larger has none.
template <class V> INLINE V nearest(V x) {
    const real whole = real(i64(1) << MANTISSA);
    V a = magnitude(x);
    return pick<V>(a < whole, with_sign((a + whole) - whole, x), x);
}

//: m_round
template <class V> INLINE V m_round(V x) { return nearest(x); }

//: m_floor
template <class V> INLINE V m_floor(V x) {
    V n = nearest(x);
    return with_sign(n - pick<V>(n > x, real(1), real(0)), x);
}

//: m_max
// The larger of two; NaN where one is.
template <class A, class B> INLINE join<A, B> m_max(A a, B b) {
    typedef join<A, B> V;
    V x = lift<V>(a), y = lift<V>(b);
    return pick<V>(x != x, x, larger(x, y));
}

//: m_min
// The smaller of two; NaN where one is.
template <class A, class B> INLINE join<A, B> m_min(A a, B b) {
    typedef join<A, B> V;
    V x = lift<V>(a), y = lift<V>(b);
    return pick<V>(x != x, x, smaller(x, y));
}

//: m_mod
// The remainder with the sign of b (Python's), exact; 0 has b's sign too.
INLINE float fmod_of(float a, float b) { return __builtin_fmodf(a, b); }
INLINE double fmod_of(double a, double b) { return __builtin_fmod(a, b); }
template <class A, class B> INLINE join<A, B> m_mod(A a, B b) {
    typedef join<A, B> V;
    V x = lift<V>(a), y = lift<V>(b);
    V r = each_lane([](real p, real q) { return fmod_of(p, q); }, x, y);
    return pick<V>(r == 0, with_sign(r, y), pick<V>((r < 0) != (y < 0), r + y, r));
}

//: is_small
INLINE bool is_small(real n) { return n >= -2 && n <= 4 && n == real(int(n)); }

//: small_power
// x^n by products; for negative n of 1/x, which is right where x^-n underflows.
template <class T> INLINE T small_power(T x, int n) {
    T r = n < 0 ? real(1) / x : x, s = r * r;
    switch (n < 0 ? -n : n) {
        case 1: return r;
        case 2: return s;
        case 3: return s * r;
        default: return s * s;
    }
}

//: m_pow
// A number as the exponent is most often a small integer or a root, and known to the compiler.
INLINE float pow_of(float a, float b) { return __builtin_powf(a, b); }
INLINE double pow_of(double a, double b) { return __builtin_pow(a, b); }
template <class A, class B> INLINE join<A, B> m_pow(A a, B b) {
    typedef join<A, B> V;
    if constexpr (sizeof(B) == sizeof(real)) {
        if (b == 0) return lift<V>(1);
        if (is_small(b)) return lift<V>(small_power(a, int(b)));
        if (b == real(0.5)) return lift<V>(m_sqrt(a));
        if (b == real(-0.5)) return lift<V>(1 / m_sqrt(a));
    }
    return each_lane([](real p, real q) { return pow_of(p, q); }, lift<V>(a), lift<V>(b));
}

//: m_angle
// 0, and pi on the negative side, which -0 belongs to.
template <class V> INLINE V m_angle(V x) {
    V side = with_sign(lift<V>(1), x);
    return pick<V>(x == x, pick<V>(side < 0, real(3.14159265358979324), real(0)), x);
}

//: m_where
template <class A, class B> INLINE join<A, B> m_where(bool c, A a, B b) {
    typedef join<A, B> V;
    return c ? lift<V>(a) : lift<V>(b);
}
template <class A, class B> INLINE join<vreal, join<A, B>> m_where(vmask c, A a, B b) { return pick<vreal>(c, a, b); }
INLINE bool m_where(bool c, bool a, bool b) { return c ? a : b; }
INLINE vmask m_where(vmask c, vmask a, vmask b) { return (c & a) | (~c & b); }
INLINE vmask m_where(bool c, vmask a, vmask b) { return c ? a : b; }
INLINE vmask m_where(vmask c, bool a, bool b) { return m_where(c, splat(a), splat(b)); }
INLINE vmask m_where(vmask c, vmask a, bool b) { return m_where(c, a, splat(b)); }
INLINE vmask m_where(vmask c, bool a, vmask b) { return m_where(c, splat(a), b); }

//: m_real_if
// A condition as a number: 1 or 0.
INLINE real m_real_if(bool c) { return c; }
INLINE vreal m_real_if(vmask c) { return pick<vreal>(c, real(1), real(0)); }

//: m_not m_and m_or m_eq m_ne m_lt m_le m_gt m_ge
// Logic of conditions: of one number a bool, of lanes a mask. False comes before true.
INLINE bool m_not(bool a) { return !a; }
INLINE vmask m_not(vmask a) { return ~a; }
INLINE bool m_and(bool a, bool b) { return a && b; }
INLINE vmask m_and(vmask a, vmask b) { return a & b; }
INLINE bool m_or(bool a, bool b) { return a || b; }
INLINE vmask m_or(vmask a, vmask b) { return a | b; }
INLINE bool m_ne(bool a, bool b) { return a != b; }
INLINE vmask m_ne(vmask a, vmask b) { return a ^ b; }
template <class A> INLINE A m_eq(A a, A b) { return m_not(m_ne(a, b)); }
template <class A> INLINE A m_lt(A a, A b) { return m_and(m_not(a), b); }
template <class A> INLINE A m_gt(A a, A b) { return m_and(a, m_not(b)); }
template <class A> INLINE A m_le(A a, A b) { return m_or(m_not(a), b); }
template <class A> INLINE A m_ge(A a, A b) { return m_or(a, m_not(b)); }
#define BOTH_WAYS(NAME) \
    INLINE vmask NAME(bool a, vmask b) { return NAME(splat(a), b); } \
    INLINE vmask NAME(vmask a, bool b) { return NAME(a, splat(b)); }
BOTH_WAYS(m_and)
BOTH_WAYS(m_or)
BOTH_WAYS(m_eq)
BOTH_WAYS(m_ne)
BOTH_WAYS(m_lt)
BOTH_WAYS(m_le)
BOTH_WAYS(m_gt)
BOTH_WAYS(m_ge)
#undef BOTH_WAYS

//: phi_one
// (e^x - 1) / x, which overflows later than e^x: so 2^-k of both sides is divided; e^x = 2^n (1 + p).
template <class V> INLINE V phi_one(V x) {
    constexpr int k = sizeof(real) == 4 ? 8 : 11;
    constexpr real up = 1 << k, low = sizeof(real) == 4 ? -20 : -40, high = sizeof(real) == 4 ? 93.6 : 716.8;
    V t, p = exp_parts(clamped(x, low, high), t);
    V s = power_of_two<V>(as<typename of<V>::ints>(t) - as<bits>(real(ROUNDER)) - k);
    V phi = (s * p + (s - 1 / up)) / (x * (1 / up));
    phi = pick<V>(magnitude(x) < (sizeof(real) == 4 ? real(1e-9) : real(1e-17)), real(1), phi);
    return pick<V>(x > high, INFINITE, phi);
}

//: m_phi
// phi_K(x) = sum over j of x^j / (j + K)!, for K > 1 by this series where the recurrence
// phi_k = (phi_(k-1) - 1/(k-1)!) / x cancels.
template <int K, class V> INLINE V m_phi(V x) {
    if constexpr (K == 0) {
        return m_exp(x);
    } else if constexpr (K == 1) {
        return phi_one(x);
    } else {
        V near = clamped(x, -2, 2), series = lift<V>(0), phi = phi_one(x);
        for (int j = sizeof(real) == 4 ? 15 : 26; j > 0; j--) series = near * (1 / real(j + K)) * (1 + series);
        real factorial = 1;
        for (int k = 2; k <= K; k++) {
            factorial *= k - 1;
            phi = (phi - 1 / factorial) / x;
        }
        factorial *= K;
        return pick<V>(magnitude(x) < 2, (1 + series) / factorial, phi);
    }
}
