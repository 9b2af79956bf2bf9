// The call of a generated library from Python: keyword arguments to the words of signature.py, and back.
//
// A Kernel stands for one function of a library. Called, it reads addresses and strides off the tensors through torch's
// DLPack exchange table, allocates what is written, lets other Python threads run meanwhile, and gives
// (outputs, new state). Whatever is not as the library takes it (a dtype, a shape, a conjugate view, a subclass) is left
// to `slow`, a Python function of the same arguments, which converts or says what is wrong.

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <sys/mman.h>
#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

// --- DLPack 1.x, as published: the structures that cross the boundary to torch ---------------------------------------

struct DLDevice { int32_t type, id; };
struct DLDataType { uint8_t code, bits; uint16_t lanes; };
struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};
struct DLVersion { uint32_t major, minor; };
struct DLManaged {
    DLVersion version;
    void *context;
    void (*deleter)(DLManaged *);
    uint64_t flags;
    DLTensor tensor;
};
struct DLExchange {
    DLVersion version;
    void *older;
    int (*allocate)(DLTensor *, DLManaged **, void *, void (*)(void *, const char *, const char *));
    int (*managed_of)(void *, DLManaged **);
    int (*object_of)(DLManaged *, void **);
    int (*view_of)(void *, DLTensor *);
    int (*stream_of)(int32_t, int32_t, void **);
};
constexpr int CPU = 1, REAL = 2, COMPLEX = 5, BOOL = 6;  // the codes between are other floats

// --- memory of outputs -----------------------------------------------------------------------------------------------
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

// --- a kernel --------------------------------------------------------------------------------------------------------

constexpr int DIMS = 16, SLOTS = 128;
enum Role { PORT, STATE, GIVEN, OUTPUT, NEW_STATE, SAVED };
enum Special { SIZES, PER_BATCH, LENGTH, GIVEN_STATE, GIVEN_SAVED, OUT, SPECIALS };

// The size of a dimension: (value + add) / per, rounded up; `value` is of an axis, the batch, the length, or 0.
struct Dim { int index; int64_t add, per; };
struct Slot {
    PyObject *name;
    int role;
    DLDataType dtype;
    int ndim;
    Dim dims[DIMS];
};
struct Block {
    DLManaged managed;
    int64_t shape[DIMS], strides[DIMS];
    void *memory;
    std::size_t bytes;
};

using Function = int64_t (*)(const int64_t *);

struct Kernel {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Function run;
    const DLExchange *api;
    PyObject *slow, *keep, *tensor_type, *parameter_type, *failed, *is_neg, *is_conj;
    PyObject *names[SPECIALS + SLOTS];  // keywords: the special ones, then the ports in the order of their slots
    PyObject *axes[SLOTS];
    int64_t fixed[SLOTS];  // the one size of an axis that the library takes, or -1
    int name_count, port_count, axis_count, slot_count, timed;
    Slot *slots;
};

PyObject *t_name, *special_names[SPECIALS];
bool forked = false;

int64_t thread_count() {
#ifdef _OPENMP
    // an OpenMP runtime that has threads does not survive a fork
    return forked ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

void release(DLManaged *managed) {
    auto *block = static_cast<Block *>(managed->context);
    give(block->memory, block->bytes);
    std::free(block);
}

// A new contiguous tensor of a slot.
PyObject *fresh(const Kernel *self, const Slot &slot, const int64_t *shape, void **data) {
    auto *block = static_cast<Block *>(std::malloc(sizeof(Block)));
    if (!block) return PyErr_NoMemory();
    std::size_t bytes = slot.dtype.bits / 8;
    for (int d = slot.ndim; d-- > 0;) {
        block->shape[d] = shape[d];
        block->strides[d] = static_cast<int64_t>(bytes / (slot.dtype.bits / 8));
        // a tensor without elements has the strides torch would give it
        if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(shape[d] > 0 ? shape[d] : 1), &bytes)) {
            std::free(block);
            return PyErr_NoMemory();
        }
    }
    block->bytes = rounded(bytes);
    block->memory = take(block->bytes);
    if (!block->memory) {
        std::free(block);
        return PyErr_NoMemory();
    }
    block->managed = {self->api->version, block, release, 0,
                      {block->memory, {CPU, 0}, slot.ndim, slot.dtype, block->shape, block->strides, 0}};
    *data = block->memory;
    void *object = nullptr;
    if (self->api->object_of(&block->managed, &object)) return nullptr;
    return static_cast<PyObject *>(object);
}

// Whether a lazy view, of which the exchange table says nothing, is behind a tensor: one that negates or conjugates.
bool is_lazy(PyObject *method, PyObject *object) {
    PyObject *answer = PyObject_CallOneArg(method, object);
    if (!answer) PyErr_Clear();
    bool lazy = answer != Py_False;
    Py_XDECREF(answer);
    return lazy;
}

// Whether `object` is a tensor just as the slot takes it; its address and strides are then in `words`.
bool read_tensor(const Kernel *self, const Slot &slot, const int64_t *shape, PyObject *object, int64_t *words) {
    auto *type = reinterpret_cast<PyObject *>(Py_TYPE(object));
    if (type != self->tensor_type && type != self->parameter_type) return false;
    DLTensor view;
    if (self->api->view_of(object, &view)) {
        PyErr_Clear();
        return false;
    }
    if (view.device.type != CPU || view.ndim != slot.ndim || view.dtype.code != slot.dtype.code ||
        view.dtype.bits != slot.dtype.bits || view.dtype.lanes != 1)
        return false;
    if (slot.dtype.code >= REAL && slot.dtype.code != BOOL && is_lazy(self->is_neg, object)) return false;
    if (slot.dtype.code == COMPLEX && is_lazy(self->is_conj, object)) return false;
    words[0] = static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(view.data) + view.byte_offset);
    for (int d = 0; d < slot.ndim; ++d) {
        if (view.shape[d] != shape[d]) return false;
        words[1 + d] = view.strides[d];
    }
    return true;
}

// The bytes [first, last) that a tensor reaches.
struct Reach { int64_t first, last; };
Reach reach_of(const Slot &slot, const int64_t *shape, const int64_t *words) {
    int64_t size = slot.dtype.bits / 8, low = 0, high = 0;
    for (int d = 0; d < slot.ndim; ++d) {
        if (shape[d] <= 0) return {0, 0};
        (words[1 + d] < 0 ? low : high) += (shape[d] - 1) * words[1 + d];
    }
    return {words[0] + low * size, words[0] + (high + 1) * size};
}

bool as_int(PyObject *object, int64_t *value) {
    if (!object || !PyLong_CheckExact(object)) return false;
    *value = PyLong_AsLongLong(object);
    if (*value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return true;
}

// Sort the keyword arguments by the kernel's names. False where one is not known.
bool match(const Kernel *self, PyObject *const *args, PyObject *kwnames, PyObject **found) {
    Py_ssize_t count = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    int next = 0;
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        int place = -1;
        // callers keep to an order, and names are interned: the first comparison finds nearly all
        for (int n = 0, at = next; n < self->name_count && place < 0; ++n, at = at + 1 < self->name_count ? at + 1 : 0)
            if (self->names[at] == name) place = at;
        for (int at = 0; at < self->name_count && place < 0; ++at)
            if (PyUnicode_Compare(self->names[at], name) == 0) place = at;
        if (place < 0) return false;
        found[place] = args[i];
        next = place + 1 < self->name_count ? place + 1 : 0;
    }
    return true;
}

// The tensors of a role by name, added to `dict`, which is the caller's to release. False where there is no memory.
bool add_role(const Kernel *self, PyObject *const *made, int role, PyObject *dict) {
    bool good = dict != nullptr;
    for (int s = 0; s < self->slot_count && good; ++s)
        if (self->slots[s].role == role) good = !PyDict_SetItem(dict, self->slots[s].name, made[s]);
    return good;
}

PyObject *outputs_of(const Kernel *self, PyObject *const *made) {
    Py_ssize_t count = 0;
    for (int s = 0; s < self->slot_count; ++s) count += self->slots[s].role == OUTPUT;
    PyObject *tuple = PyTuple_New(count);
    if (!tuple) return nullptr;
    for (int s = 0, at = 0; s < self->slot_count; ++s) {
        if (self->slots[s].role != OUTPUT) continue;
        Py_INCREF(made[s]);
        PyTuple_SET_ITEM(tuple, at++, made[s]);
    }
    return tuple;
}

// (outputs, new state), and what is saved where it is.
PyObject *result_of(const Kernel *self, PyObject *const *made, int64_t t) {
    bool saves = false;
    for (int s = 0; s < self->slot_count; ++s) saves |= self->slots[s].role == SAVED;
    PyObject *outputs = outputs_of(self, made), *state = PyDict_New(), *steps = PyLong_FromLongLong(t);
    PyObject *saved = saves ? PyDict_New() : nullptr, *result = nullptr;
    if (outputs && state && steps && !PyDict_SetItem(state, t_name, steps) && add_role(self, made, NEW_STATE, state) &&
        (!saves || add_role(self, made, SAVED, saved)))
        result = saves ? PyTuple_Pack(3, outputs, state, saved) : PyTuple_Pack(2, outputs, state);
    Py_XDECREF(outputs);
    Py_XDECREF(state);
    Py_XDECREF(steps);
    Py_XDECREF(saved);
    return result;
}

// What was read and made in a call, released when it ends, however it ends.
struct Held {
    PyObject *read[SLOTS], *made[SLOTS];
    int count;
    explicit Held(int slots) : count(slots) {
        for (int s = 0; s < count; ++s) read[s] = made[s] = nullptr;
    }
    ~Held() {
        for (int s = 0; s < count; ++s) {
            Py_XDECREF(read[s]);
            Py_XDECREF(made[s]);
        }
    }
};

PyObject *call(PyObject *object, PyObject *const *args, std::size_t nargsf, PyObject *kwnames) {
    auto *self = reinterpret_cast<Kernel *>(object);
    auto slow = [&] { return PyObject_Vectorcall(self->slow, args, nargsf, kwnames); };
    PyObject *found[SPECIALS + SLOTS];
    for (int n = 0; n < self->name_count; ++n) found[n] = nullptr;
    if (PyVectorcall_NARGS(nargsf) || !match(self, args, kwnames, found)) return slow();

    int64_t values[SLOTS + 4];
    int64_t &batch = values[self->axis_count], &length = values[self->axis_count + 1], t = 0;
    values[self->axis_count + 2] = 0;
    PyObject *sizes = found[SIZES], *state = found[GIVEN_STATE], *saved = found[GIVEN_SAVED], *out = found[OUT];
    if (out == Py_None) out = nullptr;
    if (!sizes || !PyDict_CheckExact(sizes) || !state || !PyDict_CheckExact(state)) return slow();
    if (saved && !PyDict_CheckExact(saved)) return slow();
    if (!as_int(found[PER_BATCH], &batch) || !as_int(PyDict_GetItem(state, t_name), &t)) return slow();
    length = 1;
    // no steps: the state stays what it is, and that is told in Python
    if (self->timed && (!as_int(found[LENGTH], &length) || length <= 0)) return slow();
    for (int a = 0; a < self->axis_count; ++a)
        if (!as_int(PyDict_GetItem(sizes, self->axes[a]), &values[a]) ||
            (self->fixed[a] >= 0 && self->fixed[a] != values[a]))
            return slow();

    int64_t words[SLOTS * (DIMS + 1)], shape[DIMS];
    Reach reach[SLOTS];
    Held held(self->slot_count);
    int at = 0, port = 0, output = 0;
    if (out && !PyTuple_CheckExact(out)) return slow();
    for (int s = 0; s < self->slot_count; ++s) {
        const Slot &slot = self->slots[s];
        for (int d = 0; d < slot.ndim; ++d) {
            const Dim &dim = slot.dims[d];
            shape[d] = (values[dim.index] + dim.add + dim.per - 1) / dim.per;
            if (shape[d] < 0) return slow();
        }
        PyObject *given = slot.role == PORT ? found[SPECIALS + port++]
                          : slot.role == STATE ? PyDict_GetItem(state, slot.name)
                          : slot.role == GIVEN ? (saved ? PyDict_GetItem(saved, slot.name) : nullptr)
                          : slot.role == OUTPUT && out && output < PyTuple_GET_SIZE(out) ? PyTuple_GET_ITEM(out, output++)
                                                                                         : nullptr;
        if (slot.role <= GIVEN || (slot.role == OUTPUT && out)) {
            if (!given) return slow();
            // another thread may change the dictionary of the state during the call
            Py_INCREF(given);
            (slot.role == OUTPUT ? held.made : held.read)[s] = given;
            if (!read_tensor(self, slot, shape, given, words + at)) return slow();
            reach[s] = reach_of(slot, shape, words + at);
            if (slot.role == OUTPUT) {
                // a tensor that lies over itself, or over something read, is no place for an output
                int64_t dense = slot.dtype.bits / 8;
                for (int d = 0; d < slot.ndim; ++d) dense *= shape[d];
                if (reach[s].last - reach[s].first < dense) return slow();
                for (int r = 0; r < s; ++r)
                    if (self->slots[r].role <= OUTPUT && reach[r].first < reach[s].last &&
                        reach[s].first < reach[r].last)
                        return slow();
                for (int d = 0; d < slot.ndim; ++d)
                    if (shape[d] > 1 && words[at + 1 + d] == 0) return slow();
            }
        } else {
            void *data = nullptr;
            held.made[s] = fresh(self, slot, shape, &data);
            if (!held.made[s]) return nullptr;
            words[at] = static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(data));
            int64_t stride = 1;
            for (int d = slot.ndim; d-- > 0;) {
                words[at + 1 + d] = stride;
                stride *= shape[d] > 0 ? shape[d] : 1;
            }
        }
        at += 1 + slot.ndim;
    }
    for (int a = 0; a < self->axis_count; ++a) words[at++] = values[a];
    words[at++] = batch;
    words[at++] = length;
    words[at++] = t;
    words[at++] = thread_count();

    int64_t status;
    Py_BEGIN_ALLOW_THREADS
    status = self->run(words);
    Py_END_ALLOW_THREADS
    if (status) return PyObject_CallNoArgs(self->failed);
    return result_of(self, held.made, t + length);
}

// --- the type --------------------------------------------------------------------------------------------------------

int fill_slot(Slot &slot, PyObject *described) {
    PyObject *dims;
    int role, code, bits;
    PyObject *name;
    if (!PyArg_ParseTuple(described, "UiiiO!", &name, &role, &code, &bits, &PyTuple_Type, &dims)) return -1;
    if (PyTuple_GET_SIZE(dims) > DIMS) return PyErr_SetString(PyExc_ValueError, "too many dimensions"), -1;
    Py_INCREF(name);
    PyUnicode_InternInPlace(&name);
    slot.name = name;
    slot.role = role;
    slot.dtype = {static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1};
    slot.ndim = static_cast<int>(PyTuple_GET_SIZE(dims));
    for (int d = 0; d < slot.ndim; ++d) {
        long long add, per;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(dims, d), "iLL", &slot.dims[d].index, &add, &per)) return -1;
        slot.dims[d].add = add;
        slot.dims[d].per = per;
    }
    return 0;
}

PyObject *make(PyTypeObject *type, PyObject *args, PyObject *) {
    unsigned long long address;
    int timed;
    PyObject *slots, *axes, *api, *tensor, *parameter, *slow, *failed, *keep;
    if (!PyArg_ParseTuple(args, "KpO!O!OOOOOO", &address, &timed, &PyTuple_Type, &slots, &PyTuple_Type, &axes, &api,
                          &tensor, &parameter, &slow, &failed, &keep))
        return nullptr;
    Py_ssize_t slot_count = PyTuple_GET_SIZE(slots), axis_count = PyTuple_GET_SIZE(axes);
    if (slot_count > SLOTS || axis_count > SLOTS) {
        PyErr_SetString(PyExc_ValueError, "too many tensors");
        return nullptr;
    }
    auto *table = static_cast<const DLExchange *>(PyCapsule_GetPointer(api, "dlpack_exchange_api"));
    if (!table) return nullptr;
    if (table->version.major != 1 || !table->view_of || !table->object_of) {
        PyErr_SetString(PyExc_ValueError, "another version of DLPack");
        return nullptr;
    }
    auto *self = reinterpret_cast<Kernel *>(type->tp_alloc(type, 0));
    if (!self) return nullptr;
    self->slots = static_cast<Slot *>(std::calloc(static_cast<std::size_t>(slot_count) + 1, sizeof(Slot)));
    if (!self->slots) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->vectorcall = call;
    self->run = reinterpret_cast<Function>(static_cast<std::uintptr_t>(address));
    self->api = table;
    self->is_neg = PyObject_GetAttrString(tensor, "is_neg");
    self->is_conj = PyObject_GetAttrString(tensor, "is_conj");
    if (!self->is_neg || !self->is_conj) {
        Py_DECREF(self);
        return nullptr;
    }
    self->timed = timed;
    PyObject *kept[] = {slow, failed, keep, tensor, parameter};
    PyObject **places[] = {&self->slow, &self->failed, &self->keep, &self->tensor_type, &self->parameter_type};
    for (int i = 0; i < 5; ++i) {
        Py_INCREF(kept[i]);
        *places[i] = kept[i];
    }
    for (int n = 0; n < SPECIALS; ++n) {
        Py_INCREF(special_names[n]);
        self->names[self->name_count++] = special_names[n];
    }
    for (Py_ssize_t s = 0; s < slot_count; ++s) {
        Slot &slot = self->slots[self->slot_count++];
        if (fill_slot(slot, PyTuple_GET_ITEM(slots, s))) {
            Py_DECREF(self);
            return nullptr;
        }
        if (slot.role != PORT) continue;
        Py_INCREF(slot.name);
        self->names[self->name_count++] = slot.name;
    }
    for (Py_ssize_t a = 0; a < axis_count; ++a) {
        PyObject *name;
        long long fixed;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(axes, a), "UL", &name, &fixed)) {
            Py_DECREF(self);
            return nullptr;
        }
        Py_INCREF(name);
        PyUnicode_InternInPlace(&name);
        self->fixed[self->axis_count] = fixed;
        self->axes[self->axis_count++] = name;
    }
    return reinterpret_cast<PyObject *>(self);
}

int traverse(PyObject *object, visitproc visit, void *arg) {
    auto *self = reinterpret_cast<Kernel *>(object);
    Py_VISIT(self->slow);
    Py_VISIT(self->keep);
    Py_VISIT(self->failed);
    return 0;
}

int clear(PyObject *object) {
    auto *self = reinterpret_cast<Kernel *>(object);
    Py_CLEAR(self->slow);
    Py_CLEAR(self->keep);
    Py_CLEAR(self->failed);
    return 0;
}

void destroy(PyObject *object) {
    auto *self = reinterpret_cast<Kernel *>(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    Py_XDECREF(self->tensor_type);
    Py_XDECREF(self->parameter_type);
    Py_XDECREF(self->is_neg);
    Py_XDECREF(self->is_conj);
    for (int n = 0; n < self->name_count; ++n) Py_XDECREF(self->names[n]);
    for (int a = 0; a < self->axis_count; ++a) Py_XDECREF(self->axes[a]);
    for (int s = 0; self->slots && s < self->slot_count; ++s) Py_XDECREF(self->slots[s].name);
    std::free(self->slots);
    Py_TYPE(object)->tp_free(object);
}

PyTypeObject KernelType = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Kernel, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyObject *set_poison(PyObject *, PyObject *on) {
    int truth = PyObject_IsTrue(on);
    if (truth < 0) return nullptr;
    poisoned = truth;
    Py_RETURN_NONE;
}

PyObject *set_kept(PyObject *, PyObject *most) {
    std::size_t bytes = PyLong_AsSize_t(most);
    if (PyErr_Occurred()) return nullptr;
    std::lock_guard<std::mutex> held(pool_lock);
    pool_most = bytes;
    drop_oldest(pool_most);
    Py_RETURN_NONE;
}

PyObject *kept(PyObject *, PyObject *) {
    std::lock_guard<std::mutex> held(pool_lock);
    return PyLong_FromSize_t(pool_bytes);
}

PyMethodDef functions[] = {
    {"poison", set_poison, METH_O, "Fill the memory of new tensors with NaN: for tests."},
    {"keep", set_kept, METH_O, "How many bytes of large outputs that are gone to keep for later calls."},
    {"kept", kept, METH_NOARGS, "How many bytes are kept now."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_ssmc_call", "Calls of generated libraries.", -1, functions,
                          nullptr, nullptr, nullptr, nullptr};

void in_child() { forked = true; }

}  // namespace

PyMODINIT_FUNC PyInit__ssmc_call() {
    KernelType.tp_name = "_ssmc_call.Kernel";
    KernelType.tp_basicsize = sizeof(Kernel);
    KernelType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
    KernelType.tp_vectorcall_offset = offsetof(Kernel, vectorcall);
    KernelType.tp_call = PyVectorcall_Call;
    KernelType.tp_new = make;
    KernelType.tp_traverse = traverse;
    KernelType.tp_clear = clear;
    KernelType.tp_dealloc = destroy;
    KernelType.tp_members = members;
    KernelType.tp_doc = "A function of a generated library: keyword arguments as a generated module takes them.";
    if (PyType_Ready(&KernelType)) return nullptr;
    const char *names[SPECIALS] = {"sizes", "batch", "length", "state", "saved", "out"};
    for (int n = 0; n < SPECIALS; ++n)
        if (!(special_names[n] = PyUnicode_InternFromString(names[n]))) return nullptr;
    if (!(t_name = PyUnicode_InternFromString("t"))) return nullptr;
    pthread_atfork(nullptr, nullptr, in_child);
    PyObject *module = PyModule_Create(&definition);
    if (!module) return nullptr;
    Py_INCREF(&KernelType);
    if (PyModule_AddObject(module, "Kernel", reinterpret_cast<PyObject *>(&KernelType))) {
        Py_DECREF(&KernelType);
        Py_DECREF(module);
        return nullptr;
    }
    return module;
}
