// Sine, cosine, tangent and the angle of a point.

//: TWO_OVER_PI
// The bits of 2/pi, 64 a word, after a word of zeros.
static const std::uint64_t TWO_OVER_PI[] = {
    0x0000000000000000, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561,
    0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41,
    0x3991d639835339f4, 0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d, 0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab,
    0xf0cfbc209af4361d,
};

//: far_angle
// x = q pi/2 + r for any finite x, |r| <= pi/4; gives r and q mod 4. With x = m 2^e, only those bits of 2/pi count
// whose product with x is neither a multiple of 4 nor below rounding: 192 of them (Payne and Hanek 1983).
RARE double far_angle(double x, int &q) {
    std::uint64_t b = as<std::uint64_t>(x);
    int e = int(b >> 52 & 0x7ff) - 1075;
    q = 0;
    if (e == 972) return x - x;  // infinity and NaN
    std::uint64_t m = (b & ((std::uint64_t(1) << 52) - 1)) | std::uint64_t(1) << 52;
    int first = e - 2 + 64, word = first >> 6, shift = first & 63;  // the highest bit of weight 2^1 in the product
    std::uint64_t w[3];
    for (int i = 0; i < 3; i++) {
        std::uint64_t high = TWO_OVER_PI[word + i], low = TWO_OVER_PI[word + i + 1];
        w[i] = shift ? high << shift | low >> (64 - shift) : high;
    }
    typedef unsigned __int128 wide;
    wide last = wide(m) * w[2], middle = wide(m) * w[1] + std::uint64_t(last >> 64);
    wide turns = (wide(m * w[0]) << 64) + middle;  // modulo 4, with 126 bits after the point
    q = int(turns >> 126);
    __int128 fraction = __int128(turns << 2) >> 1;
    q += fraction < 0;  // past the middle: count down from the next quarter
    // times pi/2, both in two parts
    const double unit = 1 / 170141183460469231731687303715884105728.0;
    const double high = 1.5707963267948966, low = 6.123233995736766e-17;
    double f = double(fraction), g = double(fraction - __int128(f)) * unit;
    f *= unit;
    double product = f * high, lost = __builtin_fma(f, high, -product);
    double r = product + (lost + (f * low + g * high));
    if (b >> 63) { r = -r; q = -q; }
    q &= 3;
    return r;
}

//: near_angle (float)
// x = q pi/2 + r for |x| < 12000: pi/2 in three parts of 11 bits and the rest. q times each of the three is exact,
// and the first two differences are (Cody and Waite).
constexpr real NEAR_ANGLE = 12000.0f;
template <class V> INLINE V near_angle(V x, typename of<V>::ints &q) {
    V t = x * 0.636619772f + ROUNDER, n = t - ROUNDER;
    q = as<typename of<V>::ints>(t);
    V high = (x - n * 1.5703125f) - n * 0.000483751297f, r = high - n * 7.54953362e-08f;
    // and what the rounding of r lost, and the rest of pi/2
    return r + (((high - r) - n * 7.54953362e-08f) - n * 2.56334407e-12f);
}

//: near_angle (double)
// x = q pi/2 + r for |x| < 10^6: pi/2 in parts of 33, 19 and 33 bits and the rest. q times each of the three is
// exact, and the first two differences are (Cody and Waite).
constexpr real NEAR_ANGLE = 1.0e6;
template <class V> INLINE V near_angle(V x, typename of<V>::ints &q) {
    V t = x * 0.63661977236758134 + ROUNDER, n = t - ROUNDER;
    q = as<typename of<V>::ints>(t);
    V high = (x - n * 1.5707963267341256) - n * 6.077094383272197e-11, r = high - n * 6.12323399538461e-17;
    // and what the rounding of r lost, and the rest of pi/2
    return r + (((high - r) - n * 6.12323399538461e-17) - n * 3.5215598651832e-27);
}

//: far_angles
INLINE void far_angles(real x, real &r, bits &q) {
    int quarter;
    r = real(far_angle(x, quarter));
    q = quarter;
}
RARE void far_angles(const vreal &x, vreal &r, vmask &q) {
    for (int i = 0; i < LANES; i++) {
        if (__builtin_fabs(x[i]) < NEAR_ANGLE) continue;
        real near;
        bits quarter;
        far_angles(x[i], near, quarter);
        r[i] = near;
        q[i] = quarter;
    }
}

//: quarter_turns
// x = q pi/2 + r with |r| <= pi/4 (to rounding), q modulo 4.
template <class V> INLINE V quarter_turns(V x, typename of<V>::ints &q) {
    V r = near_angle(x, q);
    if (__builtin_expect(any_lane(magnitude(x) >= NEAR_ANGLE), 0)) far_angles(x, r, q);
    return r;
}

//: sin_poly (float)
// sin r for |r| <= pi/4; error 2^-28.
template <class V> INLINE V sin_poly(V r) {
    V z = r * r;
    return r + r * z * horner(z, -0.16666655f, 0.008332191f, -0.00019518605f);
}

//: sin_poly (double)
// sin r for |r| <= pi/4; error 2^-58.
template <class V> INLINE V sin_poly(V r) {
    V z = r * r;
    return r + r * z * horner(z, -0.16666666666666632, 0.008333333333322472, -0.0001984126982983418,
                              2.7557313696253885e-06, -2.5050758237543947e-08, 1.5896777496113904e-10);
}

//: cos_poly (float)
// cos r for |r| <= pi/4; error 2^-33.
template <class V> INLINE V cos_poly(V r) {
    V z = r * r;
    return 1 - (z * 0.5f - z * z * horner(z, 0.041666646f, -0.0013887301f, 2.4430685e-05f));
}

//: cos_poly (double)
// cos r for |r| <= pi/4; error 2^-64.
template <class V> INLINE V cos_poly(V r) {
    V z = r * r;
    return 1 - (z * 0.5 - z * z * horner(z, 0.0416666666666666, -0.0013888888888874457, 2.4801587289652845e-05,
                                         -2.7557314393795166e-07, 2.08757280841364e-09, -1.1359862466124144e-11));
}

//: sin_cos
// Both at once: in odd quarters they change places, and bit 1 of a quarter's number, or of the next one's, is the sign.
template <class V> INLINE void sin_cos(V x, V &sine, V &cosine) {
    typedef typename of<V>::uints U;
    typename of<V>::ints q;
    V r = quarter_turns(x, q);
    V s = sin_poly(r), c = cos_poly(r);
    typename of<V>::mask odd = (q & 1) != 0;
    constexpr int up = 8 * sizeof(real) - 2;
    U turn = as<U>(q);
    sine = as<V>(as<U>(pick<V>(odd, c, s)) ^ ((turn & 2) << up));
    cosine = as<V>(as<U>(pick<V>(odd, s, c)) ^ (((turn + 1) & 2) << up));
}

//: m_sin
template <class V> INLINE V m_sin(V x) {
    V s, c;
    sin_cos(x, s, c);
    return pick<V>(x == 0, x, s);  // -0
}

//: m_cos
template <class V> INLINE V m_cos(V x) {
    V s, c;
    sin_cos(x, s, c);
    return c;
}

//: m_tan
template <class V> INLINE V m_tan(V x) {
    V s, c;
    sin_cos(x, s, c);
    return pick<V>(x == 0, x, s / c);  // -0
}

//: atan_poly (float)
// arctan u for |u| <= tan(pi/8); error 2^-30.
template <class V> INLINE V atan_poly(V u) {
    V z = u * u;
    return u + u * z * horner(z, -0.33333316f, 0.19998528f, -0.14244373f, 0.1059887f, -0.060888644f);
}

//: atan_poly (double)
// arctan u for |u| <= tan(pi/8); error 2^-59.
template <class V> INLINE V atan_poly(V u) {
    V z = u * u;
    return u + u * z * horner(z, -0.33333333333333204, 0.19999999999954685, -0.14285714280266038, 0.11111110785586713,
                              -0.09090897790789576, 0.07692060415379381, -0.06663102742550228, 0.05847857819486498,
                              -0.05039077344405713, 0.03805687539332865, -0.01789693018487117);
}

//: angle_of
// The angle of the point (x, y), as atan2. In the first octant arctan(low / high), by its distance from pi/4
// (tan(a - pi/4) = (low - high) / (low + high)) where that is above pi/8; the other octants by reflection.
template <class V> INLINE V angle_of(V y, V x) {
    V ax = magnitude(x), ay = magnitude(y);
    V high = larger(ax, ay), low = smaller(ax, ay);
    typename of<V>::mask steep = low > high * real(0.41421356237309503);
    V u = pick<V>(steep, low - high, low) / pick<V>(steep, low + high, high);
    u = pick<V>(low == high, real(0), u);  // 0 / 0 and infinities; for others it is 0
    V a = atan_poly(u) + pick<V>(steep, real(0.78539816339744831), real(0));
    a = pick<V>(ay > ax, real(1.57079632679489662) - a, a);
    a = pick<V>(with_sign(lift<V>(1), x) < 0, real(3.14159265358979324) - a, a);
    a = pick<V>(x == x, a, x);
    return with_sign(pick<V>(y == y, a, y), y);
}
