// Loads and stores. The element in memory decides what comes out of it: float, double, bf16 and f16 give reals, bool
// a condition, integers an i64, cx<T> a complex number. `load` takes LANES neighbours; `load_n` only the first n and
// `fill` in the other lanes; `load_strided` every stride-th; `load1` one. None touches memory beyond that.

//: bf16
struct bf16 { std::uint16_t bits; };  // the upper half of a float

//: f16
struct f16 { std::uint16_t bits; };  // IEEE binary16

//: shuffled
// A vector made of lanes of two others; lane numbers from LANES on mean the second.
template <int... I> struct lane_list {};
template <int N, int... I> struct counted : counted<N - 1, N - 1, I...> {};
template <int... I> struct counted<0, I...> { typedef lane_list<I...> type; };
typedef counted<LANES>::type all_lanes;
#ifdef __clang__
template <int... I> INLINE vreal shuffled(vreal a, vreal b) { return __builtin_shufflevector(a, b, I...); }
#else
template <int... I> INLINE vreal shuffled(vreal a, vreal b) { return __builtin_shuffle(a, b, vmask{I...}); }
#endif

//: memory_real
typedef real memory_real __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));

//: memory_i64
typedef std::int64_t memory_i64 __attribute__((vector_size(LANES * 8), aligned(8), may_alias));

//: memory_i32
typedef std::int32_t memory_i32 __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

//: memory_i16
typedef std::int16_t memory_i16 __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

//: memory_i8
typedef std::int8_t memory_i8 __attribute__((vector_size(LANES), aligned(1), may_alias));

//: memory_u16
typedef std::uint16_t memory_u16 __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

//: memory_u8
typedef std::uint8_t memory_u8 __attribute__((vector_size(LANES), aligned(1), may_alias));

//: words
typedef std::uint32_t words __attribute__((vector_size(LANES * 4)));

//: floats
typedef float floats __attribute__((vector_size(LANES * 4)));

//: load1 store1 load store
INLINE real load1(const real *p) { return *p; }
INLINE void store1(real *p, real x) { *p = x; }
INLINE vreal load(const real *p) { return *(const memory_real *)p; }
INLINE void store(real *p, vreal x) { *(memory_real *)p = x; }

//: load1 store1 load store (bool)
INLINE bool load1(const bool *p) { return *p; }
INLINE void store1(bool *p, bool x) { *p = x; }
INLINE vmask load(const bool *p) { return -__builtin_convertvector(*(const memory_u8 *)p, vmask); }
INLINE void store(bool *p, vmask x) { *(memory_u8 *)p = __builtin_convertvector(-x, memory_u8); }

//: load1 store1 load store (float other_precision)
typedef double memory_double __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
INLINE real load1(const double *p) { return real(*p); }
INLINE void store1(double *p, real x) { *p = double(x); }
INLINE vreal load(const double *p) { return __builtin_convertvector(*(const memory_double *)p, vreal); }
INLINE void store(double *p, vreal x) { *(memory_double *)p = __builtin_convertvector(x, memory_double); }

//: load1 store1 load store (double other_precision)
typedef float memory_float __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
INLINE real load1(const float *p) { return real(*p); }
INLINE void store1(float *p, real x) { *p = float(x); }
INLINE vreal load(const float *p) { return __builtin_convertvector(*(const memory_float *)p, vreal); }
INLINE void store(float *p, vreal x) { *(memory_float *)p = __builtin_convertvector(x, memory_float); }

//: load1 store1 load store (cx)
template <class T> INLINE cx<real> load1(const cx<T> *p) { return {real(p->re), real(p->im)}; }
template <class T> INLINE void store1(cx<T> *p, cx<real> z) { *p = {T(z.re), T(z.im)}; }
// re and im alternate in memory
template <int... I> INLINE cx<vreal> apart(vreal a, vreal b, lane_list<I...>) {
    return {shuffled<(2 * I)...>(a, b), shuffled<(2 * I + 1)...>(a, b)};
}
template <class T> INLINE cx<vreal> load(const cx<T> *p) {
    const T *q = (const T *)p;
    return apart(load(q), load(q + LANES), all_lanes());
}
template <int FIRST, int... I> INLINE vreal together(cx<vreal> z, lane_list<I...>) {
    return shuffled<((FIRST + I) / 2 + (I % 2) * LANES)...>(z.re, z.im);
}
template <class T> INLINE void store(cx<T> *p, cx<vreal> z) {
    T *q = (T *)p;
    store(q, together<0>(z, all_lanes()));
    store(q + LANES, together<LANES>(z, all_lanes()));
}

//: load1 store1 load store (vint)
#define INTEGER_IN_MEMORY(TYPE, VECTOR) \
    INLINE i64 load1(const TYPE *p) { return *p; } \
    INLINE void store1(TYPE *p, i64 x) { *p = TYPE(x); } \
    INLINE vint load(const TYPE *p) { return {__builtin_convertvector(*(const VECTOR *)p, vi64)}; } \
    INLINE void store(TYPE *p, vint x) { *(VECTOR *)p = __builtin_convertvector(x.v, VECTOR); }
INTEGER_IN_MEMORY(std::int64_t, memory_i64)
INTEGER_IN_MEMORY(std::int32_t, memory_i32)
INTEGER_IN_MEMORY(std::int16_t, memory_i16)
INTEGER_IN_MEMORY(std::int8_t, memory_i8)
INTEGER_IN_MEMORY(std::uint8_t, memory_u8)
#undef INTEGER_IN_MEMORY

//: load1 store1 load store (bf16)
// Rounded to nearest, halves to even; a NaN keeps its sign and is made quiet. U is one word or a vector of them.
template <class U> INLINE U bf16_of(U b) {
    U rounded = (b + 0x7fff + (b >> 16 & 1)) >> 16, nan = (b >> 16) | 0x40;
    return (b & 0x7fffffff) > 0x7f800000 ? nan : rounded;
}
INLINE real load1(const bf16 *p) { return as<float>(std::uint32_t(p->bits) << 16); }
INLINE void store1(bf16 *p, real x) { p->bits = std::uint16_t(bf16_of(as<std::uint32_t>(float(x)))); }
INLINE vreal load(const bf16 *p) {
    words w = __builtin_convertvector(*(const memory_u16 *)p, words) << 16;
    return __builtin_convertvector(as<floats>(w), vreal);
}
INLINE void store(bf16 *p, vreal x) {
    words w = as<words>(__builtin_convertvector(x, floats));
    *(memory_u16 *)p = __builtin_convertvector(bf16_of(w), memory_u16);
}

//: load1 store1 load store (f16)
// Shifted into place, the exponent is 112 too small: a product with 2^112 puts it right, of denormal numbers too.
template <class F, class U> INLINE F float_of_f16(U h) {
    U shifted = (h & 0x7fff) << 13, sign = (h & 0x8000) << 16;
    U magnitude = as<U>(as<F>(shifted) * 5.19229686e33f);
    magnitude = shifted >= 0x0f800000 ? shifted | 0x7f800000 : magnitude;  // infinity and NaN
    return as<F>(magnitude | sign);
}
// Rounded to nearest, halves to even: a normal result by the carry of an integer addition, a denormal one by the
// floating-point addition of 1/2, which leaves multiples of 2^-24.
template <class F, class U> INLINE U f16_of_float(F x) {
    U b = as<U>(x), sign = b >> 16 & 0x8000;
    b = b & 0x7fffffff;
    U normal = (b - 0x38000000 + 0xfff + (b >> 13 & 1)) >> 13;
    U small = as<U>(as<F>(b) + 0.5f) - 0x3f000000;
    U h = b < 0x38800000 ? small : normal;
    h = b >= 0x47800000 ? U(b - b + 0x7c00) : h;
    h = b > 0x7f800000 ? (b >> 13 & 0x1ff) | 0x7e00 : h;
    return h | sign;
}
INLINE real load1(const f16 *p) { return float_of_f16<float>(std::uint32_t(p->bits)); }
INLINE void store1(f16 *p, real x) { p->bits = std::uint16_t(f16_of_float<float, std::uint32_t>(float(x))); }
INLINE vreal load(const f16 *p) {
    words w = __builtin_convertvector(*(const memory_u16 *)p, words);
    return __builtin_convertvector(float_of_f16<floats>(w), vreal);
}
INLINE void store(f16 *p, vreal x) {
    words w = f16_of_float<floats, words>(__builtin_convertvector(x, floats));
    *(memory_u16 *)p = __builtin_convertvector(w, memory_u16);
}

//: load_strided
// Elements stride apart, the first n of them.
template <class T, class X> INLINE auto load_strided(const T *p, i64 stride, i64 n, X fill) {
    T row[LANES];
    for (int i = 0; i < LANES; i++) {
        if (i < n) row[i] = p[i * stride];
        else store1(row + i, fill);
    }
    return load(row);
}

//: load_n
template <class T, class X> INLINE auto load_n(const T *p, i64 n, X fill) { return load_strided(p, 1, n, fill); }

//: store_strided
template <class T, class X> INLINE void store_strided(T *p, i64 stride, X x, i64 n) {
    T row[LANES];
    store(row, x);
    for (int i = 0; i < LANES; i++)
        if (i < n) p[i * stride] = row[i];
}

//: store_n
template <class T, class X> INLINE void store_n(T *p, X x, i64 n) { store_strided(p, 1, x, n); }

//: stream_vector
// A vector of any kind past the caches.
template <class V> INLINE void stream_vector(void *p, V x) {
    typedef V memory __attribute__((may_alias));
#if defined(__clang__)
    __builtin_nontemporal_store(x, (memory *)p);
#else
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {
        __asm__ volatile("vmovntps %1, %0" : "=m"(*(memory *)p) : "v"(x));
        return;
    }
#endif
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32 || sizeof(V) == 16) {
        __asm__ volatile("vmovntps %1, %0" : "=m"(*(memory *)p) : "x"(x));
        return;
    }
#endif
    *(memory *)p = x;
#endif
}

//: stream
// A store past the caches, for what is larger than they are; p is a multiple of the vector's size.
template <class T, class V> INLINE void stream(T *p, V x) { store(p, x); }
INLINE void stream(real *p, vreal x) { stream_vector(p, x); }

//: stream (cx)
INLINE void stream(cx<real> *p, cx<vreal> z) {
    stream_vector(p, together<0>(z, all_lanes()));
    stream_vector((real *)p + LANES, together<LANES>(z, all_lanes()));
}

//: stream (bf16)
INLINE void stream(bf16 *p, vreal x) {
    words w = as<words>(__builtin_convertvector(x, floats));
    stream_vector(p, __builtin_convertvector(bf16_of(w), memory_u16));
}

//: stream (f16)
INLINE void stream(f16 *p, vreal x) {
    words w = f16_of_float<floats, words>(__builtin_convertvector(x, floats));
    stream_vector(p, __builtin_convertvector(w, memory_u16));
}

//: stream_end
// What a thread streamed is there for others after this.
INLINE void stream_end() {
#ifdef __SSE__
    __builtin_ia32_sfence();
#endif
}

//: lanes_exchanged
template <int H, int... I> INLINE vreal lanes_exchanged(vreal x, lane_list<I...>) { return shuffled<(I ^ H)...>(x, x); }

//: folded
// One number from all lanes, by halves: the order does not depend on anything but LANES.
template <int H = LANES / 2, class F> INLINE real folded(F f, vreal x) {
    x = f(x, lanes_exchanged<H>(x, all_lanes()));
    if constexpr (H > 1) return folded<H / 2>(f, x);
    else return x[0];
}

//: hsum
INLINE real hsum(vreal x) { return folded([](vreal a, vreal b) { return a + b; }, x); }

//: hsum (cx)
INLINE cx<real> hsum(cx<vreal> z) { return {hsum(z.re), hsum(z.im)}; }

//: hprod
INLINE real hprod(vreal x) { return folded([](vreal a, vreal b) { return a * b; }, x); }

//: hprod (cx)
template <int H = LANES / 2> INLINE cx<real> hprod(cx<vreal> z) {
    z = z * cx<vreal>{lanes_exchanged<H>(z.re, all_lanes()), lanes_exchanged<H>(z.im, all_lanes())};
    if constexpr (H > 1) return hprod<H / 2>(z);
    else return {z.re[0], z.im[0]};
}

//: hmax
INLINE real hmax(vreal x) { return folded([](vreal a, vreal b) { return m_max(a, b); }, x); }

//: hmin
INLINE real hmin(vreal x) { return folded([](vreal a, vreal b) { return m_min(a, b); }, x); }

//: hsum hprod hmax hmin (vint)
#define INTEGER_FOLD(NAME, STEP) \
    INLINE i64 NAME(vint x) { \
        i64 r = x.v[0]; \
        for (int i = 1; i < LANES; i++) r = STEP; \
        return r; \
    }
INTEGER_FOLD(hsum, r + x.v[i])
INTEGER_FOLD(hprod, r * x.v[i])
INTEGER_FOLD(hmax, r > x.v[i] ? r : x.v[i])
INTEGER_FOLD(hmin, r < x.v[i] ? r : x.v[i])
#undef INTEGER_FOLD

//: hany hall
INLINE bool hany(vmask m) { return any_lane(m); }
INLINE bool hall(vmask m) { return !any_lane(~m); }

//: exchange_blocks
// Of blocks of H lanes, numbered from 0, the odd ones of a and the even ones of b change places.
template <int H, int... I> INLINE void exchange_blocks(vreal &a, vreal &b, lane_list<I...>) {
    vreal x = a, y = b;
    a = shuffled<((I & H) ? LANES + I - H : I)...>(x, y);
    b = shuffled<((I & H) ? LANES + I : I + H)...>(x, y);
}

//: transpose
// LANES rows of LANES, in registers: blocks of H x H change places, for H = 1, 2, 4, …
template <int H = 1> INLINE void transpose(vreal *rows) {
    for (int i = 0; i < LANES; i++)
        if (!(i & H)) exchange_blocks<H>(rows[i], rows[i + H], all_lanes());
    if constexpr (2 * H < LANES) transpose<2 * H>(rows);
}

//: hsums
// The sums of LANES rows side by side, for the price of a quarter of as many `hsum`. The rows are used up.
template <int H = 1> INLINE vreal hsums(vreal *rows) {
    for (int i = 0; i < LANES / H; i += 2) {
        exchange_blocks<H>(rows[i], rows[i + 1], all_lanes());
        rows[i / 2] = rows[i] + rows[i + 1];
    }
    if constexpr (2 * H < LANES) return hsums<2 * H>(rows);
    else return rows[0];
}

//: lanes_up
// x moved H lanes up; the first H are those of `before` at the end.
template <int H, int... I> INLINE vreal lanes_up(vreal x, vreal before, lane_list<I...>) {
    return shuffled<(I < H ? LANES + LANES - H + I : I - H)...>(x, before);
}
template <int H> INLINE vreal lanes_up(vreal x, vreal before) { return lanes_up<H>(x, before, all_lanes()); }

//: lane_scan
// h = a h + b along the lanes, beginning with h: gives every new h (1, 2, 4, … steps at once: Kogge and Stone 1973).
template <int H = 1> INLINE vreal lane_scan(vreal a, vreal b, real h) {
    b = b + a * lanes_up<H>(b, vreal{});
    a = a * lanes_up<H>(a, splat(real(1)));
    if constexpr (2 * H < LANES) return lane_scan<2 * H>(a, b, h);
    else return b + a * h;
}
