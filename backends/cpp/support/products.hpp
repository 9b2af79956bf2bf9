// Products of matrices, a few rows and vectors of columns at a time.

//: products_tile
// Sums of ROWS rows and VECTORS vectors of columns, in registers.
template <int ROWS, int VECTORS>
static __attribute__((noinline)) void products_tile(
    i64 inner, const real *a, i64 a_row, i64 a_step, const real *b, i64 b_step, real *c, i64 c_row, bool added) {
    vreal sum[ROWS][VECTORS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) sum[r][v] = added ? load(c + r * c_row + v * LANES) : splat(real(0));
    for (i64 k = 0; k < inner; k++) {
        vreal column[VECTORS];
        for (int v = 0; v < VECTORS; v++) column[v] = load(b + k * b_step + v * LANES);
        for (int r = 0; r < ROWS; r++) {
            const vreal row = splat(a[r * a_row + k * a_step]);
            for (int v = 0; v < VECTORS; v++) sum[r][v] += row * column[v];
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) store(c + r * c_row + v * LANES, sum[r][v]);
}

//: products_rows
// ROWS rows, or, where there are fewer, those. Few rows take more columns at once, so that there are sums enough for the
// additions not to wait for each other.
template <int ROWS>
static void products_rows(
    i64 rows, i64 inner, i64 vectors, const real *a, i64 a_row, i64 a_step, const real *b, i64 b_step, real *c, i64 c_row,
    bool added) {
    if constexpr (ROWS > 1) {
        if (rows < ROWS)
            return products_rows<ROWS - 1>(rows, inner, vectors, a, a_row, a_step, b, b_step, c, c_row, added);
    }
    constexpr int AT_ONCE = ROWS > 4 ? 2 : 4;
    i64 v = 0;
    for (; v + AT_ONCE <= vectors; v += AT_ONCE)
        products_tile<ROWS, AT_ONCE>(inner, a, a_row, a_step, b + v * LANES, b_step, c + v * LANES, c_row, added);
    for (; v < vectors; v++)
        products_tile<ROWS, 1>(inner, a, a_row, a_step, b + v * LANES, b_step, c + v * LANES, c_row, added);
}

//: products
// c[r][j] = sum over k of a[r][k] * b[k][j], or `added` to what c holds: `rows` rows r, `inner` steps k, `vectors` vectors
// of j. `a_row` and `a_step` are what lies between the rows of a and between its k, and so on; the j lie side by side.
// Each vector of b is read once for as many rows as registers hold the sums of. A sum is added up in the order of k,
// however many rows there are.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int PRODUCT_ROWS = 8;
#else
constexpr int PRODUCT_ROWS = 6;  // of 16 registers
#endif
static void products(
    i64 rows, i64 inner, i64 vectors, const real *a, i64 a_row, i64 a_step, const real *b, i64 b_step, real *c, i64 c_row,
    bool added) {
    for (; rows > 0; rows -= PRODUCT_ROWS, a += PRODUCT_ROWS * a_row, c += PRODUCT_ROWS * c_row)
        products_rows<PRODUCT_ROWS>(rows, inner, vectors, a, a_row, a_step, b, b_step, c, c_row, added);
}
