// Memory of outputs: small ones from malloc, large ones in huge pages and used again.

// Small ones come from malloc. Large ones are mapped in huge pages, and kept for the next call when their tensor goes: to
// touch fresh memory costs more than to compute.

constexpr std::size_t LARGE = std::size_t{1} << 20, HUGE_PAGE = std::size_t{2} << 20, LINE = 64;

struct Free { void *memory; std::size_t bytes; };

std::mutex pool_lock;
std::vector<Free> &pool = *new std::vector<Free>;  // oldest first; never destroyed: tensors outlive the interpreter
std::size_t pool_bytes = 0, pool_most = std::size_t{256} << 20;
bool poisoned = false;  // tests: fresh memory is full of NaN

std::size_t rounded(std::size_t bytes) {
    if (bytes < LARGE) return (bytes + LINE - 1) / LINE * LINE + (bytes == 0) * LINE;
    std::size_t page = bytes < HUGE_PAGE ? 65536 : HUGE_PAGE;
    return (bytes + page - 1) / page * page;
}

void *map_pages(std::size_t bytes) {
    std::size_t whole = bytes + HUGE_PAGE;
    void *got = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return nullptr;
    auto start = reinterpret_cast<std::uintptr_t>(got);
    std::uintptr_t aligned = (start + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (aligned > start) munmap(got, aligned - start);
    std::size_t tail = start + whole - (aligned + bytes);
    if (tail) munmap(reinterpret_cast<void *>(aligned + bytes), tail);
#ifdef MADV_HUGEPAGE
    madvise(reinterpret_cast<void *>(aligned), bytes, MADV_HUGEPAGE);
#endif
    return reinterpret_cast<void *>(aligned);
}

void *take(std::size_t bytes) {
    void *memory = nullptr;
    if (bytes < LARGE) {
        if (posix_memalign(&memory, LINE, bytes)) return nullptr;
    } else {
        std::lock_guard<std::mutex> held(pool_lock);
        for (std::size_t i = pool.size(); i-- > 0 && !memory;) {
            if (pool[i].bytes == bytes) {
                memory = pool[i].memory;
                pool_bytes -= bytes;
                pool.erase(pool.begin() + static_cast<std::ptrdiff_t>(i));
            }
        }
    }
    if (!memory) memory = map_pages(bytes);
    if (memory && poisoned) std::memset(memory, 0xff, bytes);
    return memory;
}

void drop_oldest(std::size_t most) {
    std::size_t count = 0;
    while (count < pool.size() && pool_bytes > most) {
        munmap(pool[count].memory, pool[count].bytes);
        pool_bytes -= pool[count++].bytes;
    }
    pool.erase(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(count));
}

void give(void *memory, std::size_t bytes) {
    if (bytes < LARGE) {
        std::free(memory);
        return;
    }
    std::lock_guard<std::mutex> held(pool_lock);
    if (bytes > pool_most) {
        munmap(memory, bytes);
        return;
    }
    pool.push_back({memory, bytes});
    pool_bytes += bytes;
    drop_oldest(pool_most);
}

