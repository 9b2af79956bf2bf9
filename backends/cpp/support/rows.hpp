// Rows of tensors where a chunk of steps reads and writes them.

//: prefetch
INLINE void prefetch(const void *p) { __builtin_prefetch(p); }

//: prefetch_second
// Into the second cache: in the first, rows that are a power of two apart push each other out.
INLINE void prefetch_second(const void *p) { __builtin_prefetch(p, 0, 2); }

//: place
// LANES neighbours; past the caches, if they are to go there.
template <class T, class V> INLINE void place(T *p, V x, bool past) {
    if (past) stream(p, x);
    else store(p, x);
}

//: whole_vectors
// Whether every vector in a tensor of these strides begins at a multiple of its own size, if one does along the axis
// that is contiguous.
template <class T, class... I> INLINE bool whole_vectors(const T *p, I... strides) {
    return i64(p) % i64(LANES * sizeof(T)) == 0 && ((strides == 1 || strides % LANES == 0) && ...);
}

//: turning turn_in turn_out
// LANES x LANES elements, in registers: to[i * to_row + j] = from[j * from_row + i]. Those are there of which j < n.
template <class V> struct turning { static constexpr bool possible = false; };
template <> struct turning<vreal> {
    static constexpr bool possible = true;
    INLINE void all(vreal *rows) { transpose(rows); }
};
template <class T> INLINE void turn_in(T *to, i64 to_row, const T *from, i64 from_row, i64 n) {
    decltype(load(from)) rows[LANES] = {};
    if (n >= LANES)
        for (int j = 0; j < LANES; j++) rows[j] = load(from + j * from_row);
    else
        for (i64 j = 0; j < n; j++) rows[j] = load(from + j * from_row);
    turning<decltype(load(from))>::all(rows);
    for (int i = 0; i < LANES; i++) store(to + i * to_row, rows[i]);
}
template <class T> INLINE void turn_out(T *to, i64 to_row, const T *from, i64 from_row, i64 n, bool past) {
    decltype(load(from)) rows[LANES];
    for (int i = 0; i < LANES; i++) rows[i] = load(from + i * from_row);
    turning<decltype(load(from))>::all(rows);
    if (n >= LANES && past)
        for (int j = 0; j < LANES; j++) stream(to + j * to_row, rows[j]);
    else if (n >= LANES)
        for (int j = 0; j < LANES; j++) store(to + j * to_row, rows[j]);
    else
        for (i64 j = 0; j < n; j++) store(to + j * to_row, rows[j]);
}

//: turning turn_in turn_out (cx)
template <> struct turning<cx<vreal>> {
    static constexpr bool possible = true;
    INLINE void all(cx<vreal> *rows) {
        vreal re[LANES], im[LANES];
        for (int i = 0; i < LANES; i++) re[i] = rows[i].re, im[i] = rows[i].im;
        transpose(re), transpose(im);
        for (int i = 0; i < LANES; i++) rows[i] = {re[i], im[i]};
    }
};

//: laid_out put_back lay_rows back_rows each_row
// Rows of a tensor, copied so that what the lanes take are neighbours, and back. A row has `n` elements, `lane` apart in
// the tensor, and `width` in the tile: whole vectors. There are count[0] * count[1] * … rows, which are `inside` apart in
// the tile and `outside` apart in the tensor along each of these dimensions. What is `ahead` of them in the tensor is
// wanted next.

template <class T>
void lay_rows(T *tile, const T *from, i64 count, i64 inside, i64 outside, i64 lane, i64 n, i64 width, i64 ahead) {
    i64 turned_rows = 0;
    if constexpr (turning<decltype(load(from))>::possible)
        if (lane != 1 && outside == 1) {
            turned_rows = count / LANES * LANES;
            for (i64 j = 0; j < width; j += LANES)
                for (i64 s = 0; s < turned_rows; s += LANES) {
                    for (i64 k = j; k < j + LANES && k < n; k++) prefetch_second(from + s + k * lane + ahead);
                    turn_in(tile + s * inside + j, inside, from + s + j * lane, lane, n - j);
                }
        }
    for (i64 s = turned_rows; s < count; s++) {
        i64 j = 0;
        if (lane == 1)
            for (; j + LANES <= n; j += LANES) store(tile + s * inside + j, load(from + s * outside + j));
        for (; j < n; j++) tile[s * inside + j] = from[s * outside + j * lane];
        for (; j < width; j++) tile[s * inside + j] = T{};
    }
}
template <class T>
void back_rows(T *to, const T *tile, i64 count, i64 inside, i64 outside, i64 lane, i64 n, i64 width, bool past) {
    i64 turned_rows = 0;
    if constexpr (turning<decltype(load(tile))>::possible)
        if (lane != 1 && outside == 1) {
            turned_rows = count / LANES * LANES;
            for (i64 j = 0; j < width; j += LANES)
                for (i64 s = 0; s < turned_rows; s += LANES)
                    turn_out(to + s + j * lane, lane, tile + s * inside + j, inside, n - j, past);
        }
    for (i64 s = turned_rows; s < count; s++) {
        i64 j = 0;
        if (lane == 1)
            for (; j + LANES <= n; j += LANES) store(to + s * outside + j, load(tile + s * inside + j));
        for (; j < n; j++) to[s * outside + j * lane] = tile[s * inside + j];
    }
}

// f(where in the tile, where in the tensor, d) for the first row along dimension d of each set of the others; d is the
// one that is contiguous in the tensor, if one is.
template <int K, class F>
INLINE void each_row(const i64 (&count)[K], const i64 (&inside)[K], const i64 (&outside)[K], F f) {
    int d = 0;
    i64 sets = 1;
    for (int k = 0; k < K; k++) d = outside[k] == 1 ? k : d;
    for (int k = 0; k < K; k++) sets *= k == d ? 1 : count[k];
    for (i64 set = 0; set < sets; set++) {
        i64 in = 0, out = 0, rest = set;
        for (int k = K - 1; k >= 0; k--)
            if (k != d) in += rest % count[k] * inside[k], out += rest % count[k] * outside[k], rest /= count[k];
        f(in, out, d);
    }
}

template <int K, class T>
RARE T *laid_out(T *tile, const T *from, const i64 (&count)[K], const i64 (&inside)[K], const i64 (&outside)[K], i64 lane,
                 i64 n, i64 width, i64 ahead) {
    n = n < width ? n : width;
    each_row(count, inside, outside, [&](i64 in, i64 out, int d) {
        lay_rows(tile + in, from + out, count[d], inside[d], outside[d], lane, n, width, ahead);
    });
    return tile;
}
template <int K, class T>
RARE void put_back(T *to, const T *tile, const i64 (&count)[K], const i64 (&inside)[K], const i64 (&outside)[K], i64 lane,
                   i64 n, i64 width, bool past) {
    n = n < width ? n : width;
    each_row(count, inside, outside, [&](i64 in, i64 out, int d) {
        back_rows(to + out, tile + in, count[d], inside[d], outside[d], lane, n, width, past);
    });
}
