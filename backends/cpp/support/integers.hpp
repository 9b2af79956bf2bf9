// Integers: i64, and LANES of them.

//: vint
typedef i64 vi64 __attribute__((vector_size(LANES * sizeof(i64))));
// A struct, so that it is another type than a mask of doubles, and so that its comparisons give a mask of reals.
struct vint {
    vi64 v;
    i64 operator[](int i) const { return v[i]; }
};
INLINE vint splat(i64 x) { return {x - vi64{}}; }
INLINE vint wide(vint x) { return x; }
INLINE vint wide(i64 x) { return splat(x); }
template <class M> INLINE vmask narrow(M m) { return __builtin_convertvector(m, vmask); }

INLINE vint operator-(vint a) { return {-a.v}; }
INLINE vint operator+(vint a, vint b) { return {a.v + b.v}; }
INLINE vint operator+(vint a, i64 b) { return {a.v + b}; }
INLINE vint operator+(i64 a, vint b) { return {a + b.v}; }
INLINE vint operator-(vint a, vint b) { return {a.v - b.v}; }
INLINE vint operator-(vint a, i64 b) { return {a.v - b}; }
INLINE vint operator-(i64 a, vint b) { return {a - b.v}; }
INLINE vint operator*(vint a, vint b) { return {a.v * b.v}; }
INLINE vint operator*(vint a, i64 b) { return {a.v * b}; }
INLINE vint operator*(i64 a, vint b) { return {a * b.v}; }
#define COMPARISON(OP) \
    INLINE vmask operator OP(vint a, vint b) { return narrow(a.v OP b.v); } \
    INLINE vmask operator OP(vint a, i64 b) { return narrow(a.v OP b); } \
    INLINE vmask operator OP(i64 a, vint b) { return narrow(a OP b.v); }
COMPARISON(<)
COMPARISON(<=)
COMPARISON(>)
COMPARISON(>=)
COMPARISON(==)
COMPARISON(!=)
#undef COMPARISON

//: each_integer
template <class F> INLINE i64 each_integer(F f, i64 a, i64 b) { return f(a, b); }
template <class F, class A, class B> INLINE vint each_integer(F f, A a, B b) {
    vint x = wide(a), y = wide(b);
    for (int i = 0; i < LANES; i++) x.v[i] = f(x.v[i], y.v[i]);
    return x;
}

//: m_real (vint)
INLINE real m_real(i64 x) { return real(x); }
INLINE vreal m_real(vint x) { return __builtin_convertvector(x.v, vreal); }

//: m_int
INLINE i64 m_int(i64 x) { return x; }
INLINE vint m_int(vint x) { return x; }

//: m_imag (vint)
INLINE i64 m_imag(i64) { return 0; }
INLINE vint m_imag(vint) { return splat(i64(0)); }

//: m_conj (vint)
INLINE i64 m_conj(i64 x) { return x; }
INLINE vint m_conj(vint x) { return x; }

//: m_abs (vint)
INLINE i64 m_abs(i64 x) { return x < 0 ? -x : x; }
INLINE vint m_abs(vint x) { return {x.v < 0 ? -x.v : x.v}; }

//: m_sign (vint)
INLINE i64 m_sign(i64 x) { return (x > 0) - (x < 0); }
INLINE vint m_sign(vint x) { return {(x.v < 0) - (x.v > 0)}; }

//: m_relu (vint)
INLINE i64 m_relu(i64 x) { return x < 0 ? 0 : x; }
INLINE vint m_relu(vint x) { return {x.v < 0 ? vi64{} : x.v}; }

//: m_floor (vint)
INLINE i64 m_floor(i64 x) { return x; }
INLINE vint m_floor(vint x) { return x; }

//: m_round (vint)
INLINE i64 m_round(i64 x) { return x; }
INLINE vint m_round(vint x) { return x; }

//: m_max (vint)
INLINE i64 m_max(i64 a, i64 b) { return a > b ? a : b; }
INLINE vint m_max(vint a, vint b) { return {a.v > b.v ? a.v : b.v}; }
INLINE vint m_max(vint a, i64 b) { return m_max(a, splat(b)); }
INLINE vint m_max(i64 a, vint b) { return m_max(splat(a), b); }

//: m_min (vint)
INLINE i64 m_min(i64 a, i64 b) { return a < b ? a : b; }
INLINE vint m_min(vint a, vint b) { return {a.v < b.v ? a.v : b.v}; }
INLINE vint m_min(vint a, i64 b) { return m_min(a, splat(b)); }
INLINE vint m_min(i64 a, vint b) { return m_min(splat(a), b); }

//: m_mod (vint)
// The remainder with the sign of b; 0 for b = 0. (The smallest integer by -1 overflows the division.)
INLINE i64 m_mod(i64 a, i64 b) {
    if (b == 0 || b == -1) return 0;
    i64 r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
INLINE vint m_mod(vint a, vint b) { return each_integer([](i64 x, i64 y) { return m_mod(x, y); }, a, b); }
INLINE vint m_mod(vint a, i64 b) { return m_mod(a, splat(b)); }
INLINE vint m_mod(i64 a, vint b) { return m_mod(splat(a), b); }

//: m_pow (vint)
// By squaring, modulo 2^64; a negative exponent gives the quotient rounded to zero.
INLINE i64 m_pow(i64 a, i64 n) {
    if (n < 0) return a == 1 ? 1 : a == -1 ? (n & 1 ? -1 : 1) : 0;
    std::uint64_t base = std::uint64_t(a), power = 1;
    for (; n; n >>= 1, base *= base)
        if (n & 1) power *= base;
    return i64(power);
}
INLINE vint m_pow(vint a, vint b) { return each_integer([](i64 x, i64 y) { return m_pow(x, y); }, a, b); }
INLINE vint m_pow(vint a, i64 b) { return m_pow(a, splat(b)); }
INLINE vint m_pow(i64 a, vint b) { return m_pow(splat(a), b); }

//: m_angle (vint)
INLINE real m_angle(i64 x) { return x < 0 ? real(3.14159265358979324) : real(0); }
INLINE vreal m_angle(vint x) { return pick<vreal>(x < 0, real(3.14159265358979324), real(0)); }

//: m_where (vint)
INLINE i64 m_where(bool c, i64 a, i64 b) { return c ? a : b; }
INLINE vint m_where(vmask c, vint a, vint b) { return {__builtin_convertvector(c, vi64) ? a.v : b.v}; }
INLINE vint m_where(vmask c, vint a, i64 b) { return m_where(c, a, splat(b)); }
INLINE vint m_where(vmask c, i64 a, vint b) { return m_where(c, splat(a), b); }
INLINE vint m_where(vmask c, i64 a, i64 b) { return m_where(c, splat(a), splat(b)); }
INLINE vint m_where(bool c, vint a, vint b) { return c ? a : b; }
INLINE vint m_where(bool c, vint a, i64 b) { return c ? a : splat(b); }
INLINE vint m_where(bool c, i64 a, vint b) { return c ? splat(a) : b; }

//: m_int_if
// A condition as a number: 1 or 0.
INLINE i64 m_int_if(bool c) { return c; }
INLINE vint m_int_if(vmask c) { return {-__builtin_convertvector(c, vi64)}; }

//: m_complex (vint)
INLINE cx<real> m_complex(i64 x) { return {real(x), 0}; }
INLINE cx<vreal> m_complex(vint x) { return {__builtin_convertvector(x.v, vreal), vreal{}}; }
