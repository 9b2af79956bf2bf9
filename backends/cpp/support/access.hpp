// Elements of a tensor as lanes: LANES of them from p on, `stride` apart, of which `left` are there.

//: fetch
template <class T> RARE auto fetch_rest(const T *p, i64 stride, i64 left) {
    T row[LANES] = {};
    for (i64 i = 0; i < LANES && i < left; i++) row[i] = p[i * stride];
    return load(row);
}
template <class T> INLINE auto fetch(const T *p, i64 stride, i64 left) {
    if (__builtin_expect(stride == 1 && left >= LANES, 1)) return load(p);
    return fetch_rest(p, stride, left);
}

//: put
template <class T, class V> RARE void put_rest(T *p, i64 stride, i64 left, V x) {
    T row[LANES];
    store(row, x);
    for (i64 i = 0; i < LANES && i < left; i++) p[i * stride] = row[i];
}
template <class T, class V> INLINE void put(T *p, i64 stride, i64 left, V x) {
    if (__builtin_expect(stride == 1 && left >= LANES, 1)) store(p, x);
    else put_rest(p, stride, left, x);
}

//: put_added
template <class T, class V> INLINE void put_added(T *p, i64 stride, i64 left, V x) {
    put(p, stride, left, fetch(p, stride, left) + x);
}

//: cleared
template <class T> INLINE void cleared(T *p, i64 n) {
    for (i64 i = 0; i < n; i++) p[i] = T{};
}

//: among
// The lanes that are there.
INLINE vmask among(i64 left) {
    vmask lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < bits(left < LANES ? left : LANES);
}

//: first
// The lanes of x that are there, and `rest` in the others.
INLINE vreal first(vreal x, i64 left, real rest) { return among(left) ? x : splat(rest); }
INLINE vmask first(vmask x, i64 left, bool rest) { return among(left) ? x : splat(rest); }

//: first (cx)
INLINE cx<vreal> first(cx<vreal> x, i64 left, cx<real> rest) {
    return {first(x.re, left, rest.re), first(x.im, left, rest.im)};
}

//: lanes_from (vint)
// x, x + 1, x + 2, …
INLINE vint lanes_from(i64 x) {
    vi64 lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return {lane + x};
}

//: first (vint)
INLINE vint first(vint x, i64 left, i64 rest) {
    for (int i = 0; i < LANES; i++) x.v[i] = i < left ? x.v[i] : rest;
    return x;
}
