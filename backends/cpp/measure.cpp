// What this machine can do, each by the shortest loop that meets the limit. measure.py builds it, with the support code
// before it, calls it, and takes the time. A call is words: (count, threads, …); a result is stored, so that no loop is
// left out.

typedef const i64 *Call;

// Eight sums at once hide the latency of a fused product and sum.
extern "C" i64 measure_fma(Call call) {
    const i64 rounds = call[0], threads = call[1];
    real *const results = (real *)call[2];
#pragma omp parallel num_threads(threads)
    {
        vreal sum[8], a, b;
        for (int i = 0; i < LANES; i++) a[i] = real(0.999) + i * real(1e-6), b[i] = real(1e-3);
        for (int k = 0; k < 8; k++) sum[k] = b * real(k + 1);
        for (i64 r = 0; r < rounds; r++) {
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) sum[k] = sum[k] * a + b;
        }
        real total = 0;
        for (int k = 0; k < 8; k++)
            for (int i = 0; i < LANES; i++) total += sum[k][i];
        results[thread() * LANES] = total;
    }
    return 0;
}

extern "C" i64 measure_exp(Call call) {
    const i64 rounds = call[0], threads = call[1];
    real *const results = (real *)call[2];
#pragma omp parallel num_threads(threads)
    {
        vreal x[4], sum[4];
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < LANES; i++) x[k][i] = real(-0.01) * (i + k), sum[k][i] = 0;
        for (i64 r = 0; r < rounds; r++) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                sum[k] += m_exp(x[k]);
                x[k] -= real(1e-6);
            }
        }
        real total = 0;
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < LANES; i++) total += sum[k][i];
        results[thread() * LANES] = total;
    }
    return 0;
}

// `count` reals from one array to another that no cache holds; `streamed`: by stores that do not read the line first.
extern "C" i64 measure_copy(Call call) {
    const i64 count = call[0], threads = call[1], streamed = call[4];
    const real *const from = (const real *)call[2];
    real *const to = (real *)call[3];
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (i64 i = 0; i < count / LANES; i++) {
            const vreal x = *(const vreal *)(from + i * LANES);
            if (streamed) stream(to + i * LANES, x);
            else *(vreal *)(to + i * LANES) = x;
        }
        stream_end();
    }
    return 0;
}

// An array that is read and written again and again, as a state is by the steps of a recurrence.
extern "C" i64 measure_update(Call call) {
    const i64 count = call[0], rounds = call[1];
    real *const x = (real *)call[2];
    for (i64 r = 0; r < rounds; r++) {
#pragma GCC unroll 4
        for (i64 i = 0; i < count; i += LANES) *(vreal *)(x + i) = *(const vreal *)(x + i) * real(0.999) + real(1e-3);
        __asm__ volatile("" ::: "memory");  // one round after the other
    }
    return 0;
}

// Regions of threads that do nothing but begin and end.
extern "C" i64 measure_region(Call call) {
    const i64 rounds = call[0], threads = call[1];
    real *const results = (real *)call[2];
    for (i64 r = 0; r < rounds; r++) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (i64 i = 0; i < threads; i++) results[i * LANES] = real(r);
    }
    return 0;
}
