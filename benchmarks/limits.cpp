// The limits of a machine, each by the shortest loop that meets it. Built and called by limits.py.
#include <stddef.h>

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int ivec __attribute__((vector_size(LANES * 4)));

// Eight sums at once hide the latency of a fused product and sum; every lane is used at the end, so nothing is dropped.
extern "C" float fma_rate(long rounds, int threads) {
    float total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        vec sum[8], a, b;
        for (int i = 0; i < LANES; i++) a[i] = 0.999f + i * 1e-6f, b[i] = 1e-3f;
        for (int k = 0; k < 8; k++) sum[k] = b * (float)(k + 1);
        for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) sum[k] = sum[k] * a + b;
        }
        for (int k = 0; k < 8; k++)
            for (int i = 0; i < LANES; i++) total += sum[k][i];
    }
    return total;
}

// 2^x for |x| < 100: the integer part goes into the exponent's bits, the rest through a polynomial.
static inline vec exp2_of(vec x) {
    const vec magic = x * 0 + 12582912.f;
    vec whole = (x + magic) - magic;
    vec rest = x - whole;
    vec p = rest * 0 + 1.5403530e-4f;
    p = p * rest + 1.3333558e-3f;
    p = p * rest + 9.6181291e-3f;
    p = p * rest + 5.5504109e-2f;
    p = p * rest + 2.4022651e-1f;
    p = p * rest + 6.9314718e-1f;
    p = p * rest + 1.f;
    ivec bits = __builtin_convertvector(whole, ivec) << 23;
    return (vec)((ivec)p + bits);
}

extern "C" float exp_rate(long rounds, int threads) {
    float total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        vec x[8], sum[8];
        for (int k = 0; k < 8; k++)
            for (int i = 0; i < LANES; i++) x[k][i] = -0.01f * (i + k), sum[k][i] = 0;
        for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) {
                sum[k] += exp2_of(x[k]);
                x[k] -= 1e-7f;
            }
        }
        for (int k = 0; k < 8; k++)
            for (int i = 0; i < LANES; i++) total += sum[k][i];
    }
    return total;
}

#if defined(__AVX512F__)
#include <immintrin.h>
#define STREAM(to, x) _mm512_stream_ps((to), (__m512)(x))
#elif defined(__AVX2__)
#include <immintrin.h>
#define STREAM(to, x) _mm256_stream_ps((to), (__m256)(x))
#else
#define STREAM(to, x) (*(vec *)(to) = (x))
#endif

// `streamed`: stores that do not read the line first, where the machine has them. Both arrays begin on a vector.
extern "C" void copy(const float *from, float *to, long count, int streamed, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < count / LANES; i++) {
        vec x = *(const vec *)(from + i * LANES);
        if (streamed)
            STREAM(to + i * LANES, x);
        else
            *(vec *)(to + i * LANES) = x;
    }
}
