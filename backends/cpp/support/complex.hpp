// Complex numbers, of one real or of vectors of them. Products and quotients are those of numpy and torch: a product is
// the plain formula; a quotient is scaled by the larger part of the divisor (Smith 1962), so that it does not overflow
// where the result does not.

//: cx
template <class T> struct cx { T re, im; };
template <class V, class T> INLINE cx<V> lift_cx(cx<T> z) { return {lift<V>(z.re), lift<V>(z.im)}; }
INLINE cx<vreal> splat(cx<real> z) { return {splat(z.re), splat(z.im)}; }

template <class T> INLINE cx<T> operator-(cx<T> a) { return {-a.re, -a.im}; }
template <class A, class B> INLINE cx<join<A, B>> operator+(cx<A> a, cx<B> b) { return {a.re + b.re, a.im + b.im}; }
template <class A, class B> INLINE cx<join<A, B>> operator-(cx<A> a, cx<B> b) { return {a.re - b.re, a.im - b.im}; }
template <class A, class B> INLINE cx<join<A, B>> operator*(cx<A> a, cx<B> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class A, class B> INLINE cx<join<A, B>> operator/(cx<A> a, cx<B> b) {
    typedef join<A, B> V;
    typename of<B>::mask steep = magnitude(b.re) < magnitude(b.im);
    B large = pick<B>(steep, b.im, b.re), small = pick<B>(steep, b.re, b.im);
    B ratio = pick<B>(large == 0, real(0), small / large);
    B scale = 1 / (large + small * ratio);
    cx<V> x = lift_cx<V>(a);
    V r = lift<V>(ratio), s = lift<V>(scale);
    typename of<V>::mask turned = lift<V>(magnitude(b.re)) < lift<V>(magnitude(b.im));
    V re = pick<V>(turned, x.re * r + x.im, x.re + x.im * r);
    V im = pick<V>(turned, x.im * r - x.re, x.im - x.re * r);
    return {re * s, im * s};
}

// A real beside a complex number has no imaginary part, not one of 0.
template <class A, class B> INLINE cx<join<A, B>> operator+(cx<A> a, B b) { return {a.re + b, lift<join<A, B>>(a.im)}; }
template <class A, class B> INLINE cx<join<A, B>> operator+(A a, cx<B> b) { return b + a; }
template <class A, class B> INLINE cx<join<A, B>> operator-(cx<A> a, B b) { return {a.re - b, lift<join<A, B>>(a.im)}; }
template <class A, class B> INLINE cx<join<A, B>> operator-(A a, cx<B> b) { return a + -b; }
template <class A, class B> INLINE cx<join<A, B>> operator*(cx<A> a, B b) { return {a.re * b, a.im * b}; }
template <class A, class B> INLINE cx<join<A, B>> operator*(A a, cx<B> b) { return {a * b.re, a * b.im}; }
template <class A, class B> INLINE cx<join<A, B>> operator/(cx<A> a, B b) { return {a.re / b, a.im / b}; }
template <class A, class B> INLINE cx<join<A, B>> operator/(A a, cx<B> b) { return cx<A>{a, A{}} / b; }

template <class T, class X> INLINE cx<T> &operator+=(cx<T> &a, X b) { return a = a + b; }
template <class T, class X> INLINE cx<T> &operator-=(cx<T> &a, X b) { return a = a - b; }
template <class T, class X> INLINE cx<T> &operator*=(cx<T> &a, X b) { return a = a * b; }
template <class T, class X> INLINE cx<T> &operator/=(cx<T> &a, X b) { return a = a / b; }

template <class A, class B> INLINE auto operator==(cx<A> a, cx<B> b) { return (a.re == b.re) & (a.im == b.im); }
template <class A, class B> INLINE auto operator!=(cx<A> a, cx<B> b) { return (a.re != b.re) | (a.im != b.im); }
template <class A, class B> INLINE auto operator==(cx<A> a, B b) { return (a.re == b) & (a.im == 0); }
template <class A, class B> INLINE auto operator!=(cx<A> a, B b) { return (a.re != b) | (a.im != 0); }
template <class A, class B> INLINE auto operator==(A a, cx<B> b) { return b == a; }
template <class A, class B> INLINE auto operator!=(A a, cx<B> b) { return b != a; }

//: fused
// a b + c, and the real part of it, with one rounding where there are fused operations: a product and a sum take three.
template <class A, class B, class C> INLINE auto fused(cx<A> a, cx<B> b, cx<C> c) {
    typedef join<join<A, B>, C> V;
    return cx<V>{c.re + a.re * b.re - a.im * b.im, c.im + a.re * b.im + a.im * b.re};
}

//: fused_real
template <class A, class B, class C> INLINE auto fused_real(cx<A> a, cx<B> b, C c) {
    return c + a.re * b.re - a.im * b.im;
}

//: m_complex
template <class V> INLINE cx<V> m_complex(V x) { return {x, V{}}; }
template <class V> INLINE cx<V> m_complex(cx<V> z) { return z; }

//: m_complex_if
INLINE cx<real> m_complex_if(bool c) { return {real(c), 0}; }
INLINE cx<vreal> m_complex_if(vmask c) { return {m_real_if(c), vreal{}}; }

//: m_real (cx)
template <class V> INLINE V m_real(cx<V> z) { return z.re; }

//: m_imag (cx)
template <class V> INLINE V m_imag(cx<V> z) { return z.im; }

//: m_conj (cx)
template <class V> INLINE cx<V> m_conj(cx<V> z) { return {z.re, -z.im}; }

//: m_where (cx)
template <class M, class A, class B> INLINE auto m_where(M c, cx<A> a, cx<B> b) {
    auto re = m_where(c, a.re, b.re);
    return cx<decltype(re)>{re, m_where(c, a.im, b.im)};
}
template <class M, class A, class B> INLINE auto m_where(M c, cx<A> a, B b) { return m_where(c, a, m_complex(b)); }
template <class M, class A, class B> INLINE auto m_where(M c, A a, cx<B> b) { return m_where(c, m_complex(a), b); }

//: m_abs (cx)
// The length, both parts scaled by a power of two near the larger, so that no square overflows or underflows.
template <class V> INLINE V m_abs(cx<V> z) {
    typedef typename of<V>::uints U;
    V x = magnitude(z.re), y = magnitude(z.im), high = larger(x, y);
    V size = clamped(as<V>(as<U>(high) >> MANTISSA << MANTISSA), SMALLEST, 1 / SMALLEST);
    V down = 1 / size, length = size * m_sqrt(x * down * (x * down) + y * down * (y * down));
    length = pick<V>((x < INFINITE) & (y < INFINITE), length, x + y);
    return pick<V>((x == INFINITE) | (y == INFINITE), INFINITE, length);
}

//: m_sign (cx)
// z / |z|, and 0 at 0.
template <class V> INLINE cx<V> m_sign(cx<V> z) {
    V length = m_abs(z);
    length = pick<V>(length == 0, real(1), length);
    return {z.re / length, z.im / length};
}

//: m_angle (cx)
template <class V> INLINE V m_angle(cx<V> z) { return angle_of(z.im, z.re); }

//: m_sqrt (cx)
// The root with real part >= 0: t = sqrt((|re| + |z|) / 2) is its larger part, im / 2t the other. Numbers of extreme
// size are scaled by a power of 4 first.
template <class V> INLINE cx<V> m_sqrt(cx<V> z) {
    const real far = real(i64(1) << 60), near = 1 / far, root = real(i64(1) << 30);
    V size = larger(magnitude(z.re), magnitude(z.im));
    typename of<V>::mask big = size > 1 / (SMALLEST * far), small = size < SMALLEST * far;
    V by = pick<V>(big, near, pick<V>(small, far, real(1)));
    V back = pick<V>(big, root, pick<V>(small, 1 / root, real(1)));
    cx<V> w = {z.re * by, z.im * by};
    V t = m_sqrt((magnitude(w.re) + m_abs(w)) * real(0.5));
    V other = pick<V>(t == 0, t, magnitude(w.im) / (2 * t));
    typename of<V>::mask right = w.re >= 0;
    V re = pick<V>(right, t, other) * back, im = pick<V>(right, other, t) * back;
    // x + inf i has an infinite root, -inf + i y the root 0 + inf i
    typename of<V>::mask tall = magnitude(z.im) == INFINITE;
    re = pick<V>(tall, INFINITE, pick<V>((z.re == -INFINITE) & (z.im == z.im), real(0), re));
    im = pick<V>(tall | (z.re == -INFINITE), INFINITE, pick<V>((z.re == INFINITE) & (z.im == z.im), real(0), im));
    return {re, with_sign(im, z.im)};
}

//: m_rsqrt (cx)
template <class V> INLINE cx<V> m_rsqrt(cx<V> z) { return real(1) / m_sqrt(z); }

//: m_exp (cx)
// e^re (cos im + i sin im). What overflows only before the cosine is taken is made of e^(re - shift) and e^shift.
template <class V> INLINE cx<V> m_exp(cx<V> z) {
    const real limit = sizeof(real) == 4 ? 88 : 709, shift = sizeof(real) == 4 ? 16 : 64;
    typename of<V>::mask high = z.re > limit;
    V size = m_exp(pick<V>(high, z.re - shift, z.re));
    V back = pick<V>(high, sizeof(real) == 4 ? real(8886110.520507872) : real(6.235149080811617e27), real(1));
    V s, c;
    sin_cos(z.im, s, c);
    V re = size * c * back, im = pick<V>(z.im == 0, z.im, size * s * back);
    return {pick<V>(size == 0, size, re), pick<V>(size == 0, with_sign(size, im), im)};
}

//: m_log (cx)
// log|z| + i angle; near the unit circle log|z| = log1p(|z|^2 - 1) / 2, which does not cancel as much.
template <class V> INLINE cx<V> m_log(cx<V> z) {
    V x = magnitude(z.re), y = magnitude(z.im), a = larger(x, y), b = smaller(x, y), length = m_abs(z);
    V close = real(0.5) * m_log1p((a - 1) * (a + 1) + b * b);
    typename of<V>::mask circle = (length > real(0.5)) & (length < 2);
    return {pick<V>(circle, close, m_log(length)), angle_of(z.im, z.re)};
}

//: m_log1p (cx)
// log(1 + z); |1 + z|^2 = 1 + x (2 + x) + y^2.
template <class V> INLINE cx<V> m_log1p(cx<V> z) {
    cx<V> u = {1 + z.re, z.im};
    V close = real(0.5) * m_log1p(z.re * (2 + z.re) + z.im * z.im);
    V size = larger(magnitude(z.re), magnitude(z.im));
    return {pick<V>(size < real(0.5), close, m_log(u).re), angle_of(u.im, u.re)};
}

//: m_expm1 (cx)
// (e^x - 1) cos y - 2 sin^2(y/2) + i e^x sin y
template <class V> INLINE cx<V> m_expm1(cx<V> z) {
    V s, c, h = m_sin(z.im * real(0.5));
    sin_cos(z.im, s, c);
    cx<V> e = m_exp(z);
    V near = m_expm1(z.re) * c - 2 * h * h;
    return {pick<V>(magnitude(z.re) < 1, near, e.re - 1), e.im};
}

//: sinh_cosh
// From m = e^|x| - 1: sinh = (m + m / (m + 1)) / 2, cosh = 1 + m^2 / 2 (m + 1). Where e^|x| overflows and half of it
// does not, both are e^(|x|/2) / 2 * e^(|x|/2).
template <class V> INLINE void sinh_cosh(V x, V &s, V &c) {
    const real limit = sizeof(real) == 4 ? 80 : 700;
    V a = magnitude(x), m = m_expm1(a), q = m / (m + 1), root = m_exp(a * real(0.5));
    V large = real(0.5) * root * root;
    typename of<V>::mask far = a > limit;
    s = with_sign(pick<V>(far, large, real(0.5) * (m + q)), x);
    c = pick<V>(far, large, 1 + real(0.5) * m * q);
}

//: m_sin (cx)
// sin x cosh y + i cos x sinh y
template <class V> INLINE cx<V> m_sin(cx<V> z) {
    V s, c, sh, ch;
    sin_cos(z.re, s, c);
    sinh_cosh(z.im, sh, ch);
    return {pick<V>(z.re == 0, z.re, s * ch), pick<V>(z.im == 0, z.im * c, c * sh)};
}

//: m_cos (cx)
// cos x cosh y - i sin x sinh y
template <class V> INLINE cx<V> m_cos(cx<V> z) {
    V s, c, sh, ch;
    sin_cos(z.re, s, c);
    sinh_cosh(z.im, sh, ch);
    return {c * ch, pick<V>((z.re == 0) | (z.im == 0), -(z.re * with_sign(lift<V>(0), z.im)), -(s * sh))};
}

//: m_tanh (cx)
// With s = sinh x, c = cosh x: (s c + i sin y cos y) / (s^2 + cos^2 y), which has no pole to come near to. For large
// |x| it is +-1 and 4 e^(-2|x|) sin y cos y.
template <class V> INLINE cx<V> m_tanh(cx<V> z) {
    const real limit = sizeof(real) == 4 ? 12 : 20;
    V a = magnitude(z.re), s, c, sine, cosine;
    sinh_cosh(clamped(z.re, -limit, limit), s, c);
    sin_cos(z.im, sine, cosine);
    V below = cosine * cosine + s * s;
    typename of<V>::mask far = a > limit;
    V re = pick<V>(far, with_sign(m_tanh(a), z.re), s * c / below);
    V im = pick<V>(far, 4 * sine * cosine * m_exp(-2 * a), sine * cosine / below);
    im = pick<V>(a == INFINITE, with_sign(lift<V>(0), z.im), im);
    return {re, pick<V>(z.im == 0, z.im, im)};
}

//: m_tan (cx)
template <class V> INLINE cx<V> m_tan(cx<V> z) {
    cx<V> w = m_tanh(cx<V>{-z.im, z.re});
    return {w.im, -w.re};
}

//: m_pow (cx)
// e^(b log a); 0^b is 0 for a real part above 0, and z^0 is 1.
template <class A, class B> INLINE cx<join<A, B>> m_pow(cx<A> a, cx<B> b) {
    typedef join<A, B> V;
    if constexpr (sizeof(B) == sizeof(real)) {
        if (b.im == 0 && b.re == 0) return {lift<V>(1), lift<V>(0)};
        if (b.im == 0 && is_small(b.re)) return lift_cx<V>(small_power(a, int(b.re)));
    }
    cx<V> x = lift_cx<V>(a), p = lift_cx<V>(b), e = m_exp(p * m_log(x));
    typename of<V>::mask zero = (x.re == 0) & (x.im == 0), falls = zero & (p.re > 0);
    V nan = lift<V>(NOT_A_NUMBER);
    e = {pick<V>(falls, real(0), pick<V>(zero, nan, e.re)), pick<V>(falls, real(0), pick<V>(zero, nan, e.im))};
    typename of<V>::mask one = (p.re == 0) & (p.im == 0);
    return {pick<V>(one, real(1), e.re), pick<V>(one, real(0), e.im)};
}

//: m_phi (cx)
template <int K, class V> INLINE cx<V> m_phi(cx<V> z) {
    if constexpr (K == 0) {
        return m_exp(z);
    } else {
        typename of<V>::mask small = z.re * z.re + z.im * z.im < 4;
        cx<V> near = {pick<V>(small, z.re, real(0)), pick<V>(small, z.im, real(0))};
        cx<V> far = {pick<V>(small, real(3), z.re), pick<V>(small, real(0), z.im)};
        cx<V> series = {lift<V>(0), lift<V>(0)};
        for (int j = sizeof(real) == 4 ? 15 : 26; j > 0; j--) series = near * (1 / real(j + K)) * (real(1) + series);
        cx<V> phi = m_expm1(far) / far;
        real factorial = 1;
        for (int k = 2; k <= K; k++) {
            factorial *= k - 1;
            phi = (phi - 1 / factorial) / far;
        }
        factorial *= K;
        cx<V> one = (real(1) + series) * (1 / factorial);
        return {pick<V>(small, one.re, phi.re), pick<V>(small, one.im, phi.im)};
    }
}
