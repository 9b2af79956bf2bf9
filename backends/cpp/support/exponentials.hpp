// Exponentials and logarithms. Polynomials are minimax fits (Remez), the error given relative to what they stand for.

//: clamped
#if defined(__AVX512F__) && !defined(__clang__)
// Where AVX-512 is, g++ makes one instruction of a minimum only if it does not know the operands.
template <class V> INLINE V unknown(V x) { __asm__("" : "+v"(x)); return x; }
#else
template <class V> INLINE V unknown(V x) { return x; }
#endif
// x between two bounds; NaN stays (both comparisons take their second operand then).
template <class V> INLINE V clamped(V x, real low, real high) {
    return smaller(unknown(lift<V>(high)), larger(unknown(lift<V>(low)), x));
}

//: exp2_poly (float)
// 2^f for |f| <= 1/2; error 2^-26.
template <class V> INLINE V exp2_poly(V f) {
    return horner(f, 1.0f, 0.6931472f, 0.24022594f, 0.055503663f, 0.009625321f, 0.001338734f, 0.00013398084f);
}

//: exp2_poly (double)
// 2^f for |f| <= 1/2; error 2^-57.
template <class V> INLINE V exp2_poly(V f) {
    return horner(f, 1.0, 0.6931471805599453, 0.24022650695909997, 0.05550410866482377, 0.009618129107670867,
                  0.0013333558145896926, 0.00015403530314688537, 1.5252734322720188e-05, 1.321555043937587e-06,
                  1.0177860753854171e-07, 7.0315691120073816e-09, 4.48475657978466e-10, 5.7513893577689584e-11);
}

//: m_exp2
// 2^x = 2^n 2^f with |f| <= 1/2
template <class V> INLINE V m_exp2(V x) {
    x = clamped(x, -BIAS - MANTISSA - 1, BIAS + 2);
    V t = x + ROUNDER;
    return scaled(exp2_poly(x - (t - ROUNDER)), t);
}
#ifdef AVX512_POWERS
INLINE vreal m_exp2(vreal x) {
    vreal f = fraction(x);
    return times_power(exp2_poly(f), x - f);
}
#endif

//: LOWEST_EXPONENT (float)
constexpr real LOWEST_EXPONENT = -104.5f;  // e^x is 0 below

//: LOWEST_EXPONENT (double)
constexpr real LOWEST_EXPONENT = -746.0;  // e^x is 0 below

//: exp_parts (float)
// e^x = 2^n (1 + p), with n in t (see `scaled`); |x| up to 2^16. p has full relative accuracy: 2^-26.
template <class V> INLINE V exp_parts(V x, V &t) {
    t = x * 1.442695041f + ROUNDER;
    V n = t - ROUNDER;
    // log 2 in two parts, the first of 15 bits, so that n * it is exact
    V r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    return r + r * r * horner(r, 0.5f, 0.16666539f, 0.041666612f, 0.008367103f, 0.0013916893f);
}

//: exp_parts (double)
// e^x = 2^n (1 + p), with n in t (see `scaled`); |x| up to 2^20. p has full relative accuracy: 2^-60.
template <class V> INLINE V exp_parts(V x, V &t) {
    t = x * 1.4426950408889634 + ROUNDER;
    V n = t - ROUNDER;
    // log 2 in two parts, the first of 32 bits, so that n * it is exact
    V r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    return r + r * r * horner(r, 0.5, 0.16666666666666677, 0.04166666666666667, 0.008333333333321506,
                              0.0013888888888878546, 0.0001984126988607297, 2.480158735361132e-05,
                              2.7557244727007855e-06, 2.7557227319278667e-07, 2.5108705369488512e-08,
                              2.093684202630785e-09);
}

//: m_exp (float)
template <class V> INLINE V m_exp(V x) {
    V t, p = exp_parts(clamped(x, LOWEST_EXPONENT, 89.5f), t);
    return scaled(1.0f + p, t);
}

//: m_exp (double)
template <class V> INLINE V m_exp(V x) {
    V t, p = exp_parts(clamped(x, LOWEST_EXPONENT, 710.5), t);
    return scaled(1.0 + p, t);
}

//: m_expm1
// 2^n p + (2^n - 1), from half of each so that 2^n does not overflow before the result does; the sign is for -0.
template <class V> INLINE V m_expm1(V x) {
    const real low = sizeof(real) == 4 ? -20 : -40, high = sizeof(real) == 4 ? 89 : 710;
    V t, p = exp_parts(clamped(x, low, high), t);
    V half = power_of_two<V>(as<typename of<V>::ints>(t) - as<bits>(real(ROUNDER)) - 1);
    return with_sign(2 * (half * p + (half - real(0.5))), x);
}

//: as_real
// The real with an integer's value, |k| < 2^22.
template <class V> INLINE V as_real(typename of<V>::ints k) {
    return as<V>(k + as<bits>(real(ROUNDER))) - ROUNDER;
}

//: log_parts
// A normal x is 2^k m with m in [sqrt(1/2), sqrt(2)); gives m - 1 and k.
template <class V> INLINE V log_parts(V x, typename of<V>::ints &k) {
    typedef typename of<V>::ints I;
    typedef typename of<V>::uints U;
    k = as<I>(as<U>(x) - as<ubits>(real(0.70710678118654752))) >> MANTISSA;
    return as<V>(as<U>(x) - (as<U>(k) << MANTISSA)) - 1;
}

//: log1p_rest (float)
// log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)]: relative to the logarithm, error 2^-27.
template <class V> INLINE V log1p_rest(V f) {
    return f * f * (f * horner(f, 0.3333333f, -0.25000826f, 0.20001265f, -0.16623226f, 0.14200675f, -0.13160275f,
                               0.12769759f, -0.07644997f) - 0.5f);
}

//: log1p_rest (double)
// log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)], by s = f / (2 + f): log(1 + f) = 2 artanh(s) = 2 s + s R(s^2) and
// 2 s = f - s f; so f itself, which is exact, is left out of the rounding. Error of R: 2^-65 of the logarithm.
template <class V> INLINE V log1p_rest(V f) {
    V s = f / (2.0 + f), z = s * s, h = 0.5 * f * f;
    V r = z * horner(z, 0.6666666666666666, 0.40000000000004937, 0.28571428569404267, 0.2222222260826301,
                     0.18181778236522927, 0.1538699455785298, 0.13252010353615168, 0.1323609637601818);
    return s * (h + r) - h;
}

//: log_ends
// What a logarithm is where its polynomial is not asked: 0, negative numbers, infinity and NaN.
template <class V> INLINE V log_ends(V x, V y) {
    y = pick<V>(x == 0, -INFINITE, y);
    y = pick<V>(x < INFINITE, y, x);
    return pick<V>(x >= 0, y, NOT_A_NUMBER);
}

//: LOG2_HIGH LOG2_LOW (float)
// log 2 in two parts; an exponent times the first is exact.
constexpr real LOG2_HIGH = 0.693359375f;
constexpr real LOG2_LOW = -2.12194440e-4f;

//: LOG2_HIGH LOG2_LOW (double)
// log 2 in two parts; an exponent times the first is exact.
constexpr real LOG2_HIGH = 6.93147180369123816490e-01;
constexpr real LOG2_LOW = 1.90821492927058770002e-10;

//: LOG2E_HIGH LOG2E_LOW (float)
// 1 / log 2 in two parts
constexpr real LOG2E_HIGH = 1.44269502f;
constexpr real LOG2E_LOW = 1.92596303e-8f;

//: LOG2E_HIGH LOG2E_LOW (double)
// 1 / log 2 in two parts
constexpr real LOG2E_HIGH = 1.4426950408889634;
constexpr real LOG2E_LOW = 2.0355273740931033e-17;

//: log_parts_any
// `log_parts` of denormal numbers too, k as a real.
template <class V> INLINE V log_parts_any(V x, V &e) {
    typename of<V>::mask tiny = x < SMALLEST;
    typename of<V>::ints k;
    V f = log_parts(pick<V>(tiny, x * real(i64(1) << (MANTISSA + 2)), x), k);
    e = as_real<V>(k) - pick<V>(tiny, real(MANTISSA + 2), real(0));
    return f;
}

//: m_log
template <class V> INLINE V m_log(V x) {
    V e, f = log_parts_any(x, e);
    return log_ends(x, e * LOG2_HIGH + (f + (log1p_rest(f) + e * LOG2_LOW)));
}

//: m_log2
template <class V> INLINE V m_log2(V x) {
    V e, f = log_parts_any(x, e), rest = log1p_rest(f);
    return log_ends(x, e + (f * LOG2E_HIGH + (f * LOG2E_LOW + rest * LOG2E_HIGH)));
}

//: m_log1p
// log(u) with u = 1 + x rounded, and what the rounding lost put back; the sign is for -0.
template <class V> INLINE V m_log1p(V x) {
    V u = 1 + x;
    typename of<V>::ints k;
    V f = log_parts(u, k), e = as_real<V>(k);
    V lost = pick<V>(x < 1, x - (u - 1), 1 - (u - x));
    f = f + lost * (power_of_two<V>(1 - k) * real(0.5));
    return with_sign(log_ends(u, e * LOG2_HIGH + (f + (log1p_rest(f) + e * LOG2_LOW))), x);
}
