//: prelude
#include <cstdint>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors cross only inline functions, so no ABI is at stake
#endif
#define INLINE static inline __attribute__((always_inline))
#define RARE static __attribute__((noinline))

typedef std::int64_t i64;

//: prelude (float)
typedef float real;
typedef std::int32_t bits;  // the integer as wide as a real
typedef std::uint32_t ubits;
constexpr int MANTISSA = 23;
constexpr int BIAS = 127;
constexpr real ROUNDER = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, then in the low bits
constexpr real SMALLEST = 1.17549435e-38f;  // normal number
constexpr real INFINITE = __builtin_inff();
constexpr real NOT_A_NUMBER = __builtin_nanf("");

//: prelude (double)
typedef double real;
typedef std::int64_t bits;  // the integer as wide as a real
typedef std::uint64_t ubits;
constexpr int MANTISSA = 52;
constexpr int BIAS = 1023;
constexpr real ROUNDER = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, then in the low bits
constexpr real SMALLEST = 2.2250738585072014e-308;  // normal number
constexpr real INFINITE = __builtin_inf();
constexpr real NOT_A_NUMBER = __builtin_nan("");

//: prelude
// LANES reals side by side; a comparison of two gives a mask, whose lanes are 0 or -1.
typedef real vreal __attribute__((vector_size(LANES * sizeof(real))));
typedef decltype(vreal{} < vreal{}) vmask;
typedef ubits vubits __attribute__((vector_size(LANES * sizeof(real))));

// What goes with a number `V`, which is one real or a vector of them; most functions are written once for both.
template <class V> struct of;
template <> struct of<real> { typedef bits ints; typedef ubits uints; typedef bool mask; };
template <> struct of<vreal> { typedef vmask ints; typedef vubits uints; typedef vmask mask; };

template <class A, class B> struct joined;
template <> struct joined<real, real> { typedef real type; };
template <> struct joined<real, vreal> { typedef vreal type; };
template <> struct joined<vreal, real> { typedef vreal type; };
template <> struct joined<vreal, vreal> { typedef vreal type; };
template <class A, class B> using join = typename joined<A, B>::type;

template <class V> struct lifted { INLINE V from(V x) { return x; } };
template <> struct lifted<vreal> {
    INLINE vreal from(vreal x) { return x; }
    INLINE vreal from(real x) { return x - vreal{}; }  // minus zero keeps the sign of -0
};
// x as a V: copied to all lanes where V is a vector.
template <class V, class X> INLINE V lift(X x) { return lifted<V>::from(x); }
INLINE vreal splat(real x) { return lift<vreal>(x); }
INLINE vmask splat(bool x) { return -bits(x) - vmask{}; }

template <class To, class From> INLINE To as(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits, read as another type");
    To y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}

// mask ? a : b, for one number and for lanes.
template <class V, class A, class B> INLINE V pick(typename of<V>::mask m, A a, B b) {
    return m ? lift<V>(a) : lift<V>(b);
}

//: any_lane
// Is the condition true anywhere? For what is rare enough to be done a lane at a time.
INLINE bool any_lane(bool m) { return m; }
INLINE bool any_lane(vmask m) {
    typedef signed char bytes __attribute__((vector_size(LANES)));
    bytes narrow = __builtin_convertvector(m, bytes);
    std::uint64_t words[(LANES + 7) / 8] = {}, found = 0;
    __builtin_memcpy(words, &narrow, LANES);
    for (std::uint64_t word : words) found |= word;
    return found != 0;
}

//: each_lane
template <class F> INLINE real each_lane(F f, real x) { return f(x); }
template <class F> INLINE real each_lane(F f, real x, real y) { return f(x, y); }
// A function of one number in every lane, for what has no vector code.
template <class F> INLINE vreal each_lane(F f, vreal x) {
    for (int i = 0; i < LANES; i++) x[i] = f(x[i]);
    return x;
}
template <class F> INLINE vreal each_lane(F f, vreal x, vreal y) {
    for (int i = 0; i < LANES; i++) x[i] = f(x[i], y[i]);
    return x;
}

//: horner
// c0 + c1 x + c2 x^2 + …
template <class V> INLINE V horner(V, real c) { return lift<V>(c); }
template <class V, class... C> INLINE V horner(V x, real c, C... rest) { return horner(x, rest...) * x + c; }

//: power_of_two
// 2^k for an exponent of a normal number, from its bits.
template <class V> INLINE V power_of_two(typename of<V>::ints k) {
    return as<V>((as<typename of<V>::uints>(k) + BIAS) << MANTISSA);
}

//: AVX512_POWERS times_power fraction (float)
#if defined(__AVX512DQ__) && LANES == 16
// p * 2^n for a whole n, and x less the nearest integer: one instruction each, infinities and denormals included.
INLINE vreal times_power(vreal p, vreal n) {
    __asm__("vscalefps %2, %1, %0" : "=v"(p) : "v"(p), "v"(n));
    return p;
}
INLINE vreal fraction(vreal x) {
    __asm__("vreduceps $0, %1, %0" : "=v"(x) : "v"(x));
    return x;
}
#define AVX512_POWERS
#endif

//: AVX512_POWERS times_power fraction (double)
#if defined(__AVX512DQ__) && LANES == 8
// p * 2^n for a whole n, and x less the nearest integer: one instruction each, infinities and denormals included.
INLINE vreal times_power(vreal p, vreal n) {
    __asm__("vscalefpd %2, %1, %0" : "=v"(p) : "v"(p), "v"(n));
    return p;
}
INLINE vreal fraction(vreal x) {
    __asm__("vreducepd $0, %1, %0" : "=v"(x) : "v"(x));
    return x;
}
#define AVX512_POWERS
#endif

//: scaled
// p * 2^n for |n| up to twice the largest exponent, where t = ROUNDER + n: two factors, so that what underflows
// is rounded once and what overflows is infinite.
template <class V> INLINE V scaled(V p, V t) {
    typename of<V>::ints n = as<typename of<V>::ints>(t) - as<bits>(real(ROUNDER));
    typename of<V>::ints half = n >> 1;
    return p * power_of_two<V>(half) * power_of_two<V>(n - half);
}
#ifdef AVX512_POWERS
INLINE vreal scaled(vreal p, vreal t) { return times_power(p, t - ROUNDER); }
#endif

//: with_sign
// |x| with the sign of y, also of zeros and NaN.
template <class V> INLINE V with_sign(V x, V y) {
    typedef typename of<V>::uints U;
    const ubits sign = ~(~ubits(0) >> 1);
    return as<V>((as<U>(x) & ~sign) | (as<U>(y) & sign));
}

//: magnitude
template <class V> INLINE V magnitude(V x) {
    typedef typename of<V>::uints U;
    return as<V>(as<U>(x) & (~ubits(0) >> 1));
}

//: larger
// The larger of two numbers, the second where one is NaN: one instruction on most machines.
template <class V> INLINE V larger(V a, V b) { return a > b ? a : b; }

//: smaller
template <class V> INLINE V smaller(V a, V b) { return a < b ? a : b; }
