// Memory of a call and of its cells.

//: allocated free
extern "C" void *aligned_alloc(std::size_t, std::size_t) noexcept;
extern "C" void free(void *) noexcept;
INLINE char *allocated(i64 bytes) { return (char *)aligned_alloc(64, (bytes + 127) / 64 * 64); }

//: thread
#ifdef _OPENMP
extern "C" int omp_get_thread_num(void) noexcept;
INLINE i64 thread() { return omp_get_thread_num(); }
#else
INLINE i64 thread() { return 0; }
#endif

//: vectors
INLINE i64 vectors(i64 n) { return (n + LANES - 1) / LANES; }

//: dealt
// Of how many of `whole` vectors a cell is made, `most` or fewer, so that threads get even shares: there are `others`
// cells beside each other for each part of them.
INLINE i64 dealt(i64 whole, i64 most, i64 others, i64 threads) {
    if (whole <= 0) return 1;
    i64 parts = (whole + most - 1) / most;
    while (parts < whole && others * parts < 4 * threads && others * parts % threads) parts++;
    return (whole + parts - 1) / parts;
}

//: room
// Bytes for `count` elements, with room to begin at a multiple of 64 and not at one of 4096.
INLINE i64 room(i64 count, i64 size) { return (count * size + 127) / 64 * 64; }

//: Scratch
// Memory given out piece by piece.
struct Scratch {
    char *at;
    template <class T> T *take(i64 count) {
        T *p = (T *)at;
        at += room(count, sizeof(T));
        return p;
    }
};

//: share
// How many of `count` a cell takes, at most `most`, of each of `others`: as many cells as leave no thread waiting.
INLINE i64 share(i64 count, i64 others, i64 threads, i64 most) {
    const i64 all = count * (others < 1 ? 1 : others), turns = (all + threads * most - 1) / (threads * most);
    const i64 rows = turns < 1 ? 1 : (all + threads * turns - 1) / (threads * turns);
    return rows < 1 ? 1 : rows < most ? rows : most;
}
