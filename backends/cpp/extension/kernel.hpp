// One function of a library as a Python object.

constexpr int DIMS = 16, SLOTS = 512;
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

// A new contiguous tensor of a slot's element type, its address and its strides in `words`.
PyObject *fresh(const Kernel *self, const Slot &slot, int ndim, const int64_t *shape, int64_t *words) {
    auto *block = static_cast<Block *>(std::malloc(sizeof(Block)));
    if (!block) return PyErr_NoMemory();
    std::size_t bytes = slot.dtype.bits / 8;
    for (int d = ndim; d-- > 0;) {
        block->shape[d] = shape[d];
        words[1 + d] = block->strides[d] = static_cast<int64_t>(bytes / (slot.dtype.bits / 8));
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
                      {block->memory, {CPU, 0}, ndim, slot.dtype, block->shape, block->strides, 0}};
    words[0] = static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(block->memory));
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

// Whether `object` is a plain tensor of the slot's element type on the CPU; `view` is then what it looks like.
bool view_of(const Kernel *self, const Slot &slot, PyObject *object, DLTensor *view) {
    auto *type = reinterpret_cast<PyObject *>(Py_TYPE(object));
    if (type != self->tensor_type && type != self->parameter_type) return false;
    if (self->api->view_of(object, view)) {
        PyErr_Clear();
        return false;
    }
    if (view->device.type != CPU || view->dtype.code != slot.dtype.code || view->dtype.bits != slot.dtype.bits ||
        view->dtype.lanes != 1)
        return false;
    if (slot.dtype.code >= REAL && slot.dtype.code != BOOL && is_lazy(self->is_neg, object)) return false;
    return slot.dtype.code != COMPLEX || !is_lazy(self->is_conj, object);
}

int64_t address_of(const DLTensor &view) {
    return static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(view.data) + view.byte_offset);
}

// Whether `object` is a tensor just as the slot takes it; its address and strides are then in `words`.
bool read_tensor(const Kernel *self, const Slot &slot, const int64_t *shape, PyObject *object, int64_t *words) {
    DLTensor view;
    if (!view_of(self, slot, object, &view) || view.ndim != slot.ndim) return false;
    words[0] = address_of(view);
    for (int d = 0; d < slot.ndim; ++d) {
        if (view.shape[d] != shape[d]) return false;
        words[1 + d] = view.strides[d];
    }
    return true;
}

// The bytes [first, last) that a tensor reaches; `clean`: no element lies over another, as far as that is plain.
struct Reach { int64_t first, last; bool clean; };
Reach reach_of(const DLDataType &dtype, int ndim, const int64_t *shape, int64_t address, const int64_t *strides) {
    int64_t size = dtype.bits / 8, low = 0, high = 0, dense = 1;
    bool clean = true;
    for (int d = 0; d < ndim; ++d) {
        if (shape[d] <= 0) return {0, 0, true};
        (strides[d] < 0 ? low : high) += (shape[d] - 1) * strides[d];
        clean &= shape[d] == 1 || strides[d] != 0;
        dense *= shape[d];
    }
    return {address + low * size, address + (high + 1) * size, clean && high + 1 - low >= dense};
}

bool overlap(const Reach &x, const Reach &y) { return x.first < y.last && y.first < x.last; }

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

// The steps done, in `dict`. False where there is no memory.
bool add_steps(PyObject *dict, int64_t t) {
    PyObject *steps = dict ? PyLong_FromLongLong(t) : nullptr;
    bool good = steps && !PyDict_SetItem(dict, t_name, steps);
    Py_XDECREF(steps);
    return good;
}

// (outputs, new state), and what is saved where it is.
PyObject *result_of(const Kernel *self, PyObject *const *made, int64_t t) {
    bool saves = false;
    for (int s = 0; s < self->slot_count; ++s) saves |= self->slots[s].role == SAVED;
    PyObject *outputs = outputs_of(self, made), *state = PyDict_New(), *saved = saves ? PyDict_New() : nullptr;
    PyObject *result = nullptr;
    if (outputs && add_steps(state, t) && add_role(self, made, NEW_STATE, state) &&
        (!saves || add_role(self, made, SAVED, saved)))
        result = saves ? PyTuple_Pack(3, outputs, state, saved) : PyTuple_Pack(2, outputs, state);
    Py_XDECREF(outputs);
    Py_XDECREF(state);
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

// Run the library, and other Python threads beside it. False, with an exception, where it found no memory.
bool run(const Kernel *self, const int64_t *words) {
    int64_t status;
    Py_BEGIN_ALLOW_THREADS
    status = self->run(words);
    Py_END_ALLOW_THREADS
    if (status) Py_XDECREF(PyObject_CallNoArgs(self->failed));
    return !status;
}

PyObject *kernel_call(PyObject *object, PyObject *const *args, std::size_t nargsf, PyObject *kwnames) {
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
            reach[s] = reach_of(slot.dtype, slot.ndim, shape, words[at], words + at + 1);
            // a tensor that lies over itself, or over something read, is no place for an output
            for (int r = 0; slot.role == OUTPUT && r < s; ++r)
                if (self->slots[r].role <= OUTPUT && overlap(reach[r], reach[s])) return slow();
            if (slot.role == OUTPUT && !reach[s].clean) return slow();
        } else {
            held.made[s] = fresh(self, slot, slot.ndim, shape, words + at);
            if (!held.made[s]) return nullptr;
        }
        at += 1 + slot.ndim;
    }
    for (int a = 0; a < self->axis_count; ++a) words[at++] = values[a];
    words[at++] = batch;
    words[at++] = length;
    words[at++] = t;
    words[at++] = thread_count();

    if (!run(self, words)) return nullptr;
    return result_of(self, held.made, t + length);
}

// --- its type --------------------------------------------------------------------------------------------------------

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

PyObject *kernel_new(PyTypeObject *type, PyObject *args, PyObject *) {
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
    self->vectorcall = kernel_call;
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

int kernel_traverse(PyObject *object, visitproc visit, void *arg) {
    auto *self = reinterpret_cast<Kernel *>(object);
    Py_VISIT(self->slow);
    Py_VISIT(self->keep);
    Py_VISIT(self->failed);
    return 0;
}

int kernel_clear(PyObject *object) {
    auto *self = reinterpret_cast<Kernel *>(object);
    Py_CLEAR(self->slow);
    Py_CLEAR(self->keep);
    Py_CLEAR(self->failed);
    return 0;
}

void kernel_dealloc(PyObject *object) {
    auto *self = reinterpret_cast<Kernel *>(object);
    PyObject_GC_UnTrack(object);
    kernel_clear(object);
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
PyMemberDef kernel_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Kernel, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};


int kernel_ready() {
    KernelType.tp_name = "_ssmc_call.Kernel";
    KernelType.tp_basicsize = sizeof(Kernel);
    KernelType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
    KernelType.tp_vectorcall_offset = offsetof(Kernel, vectorcall);
    KernelType.tp_call = PyVectorcall_Call;
    KernelType.tp_new = kernel_new;
    KernelType.tp_traverse = kernel_traverse;
    KernelType.tp_clear = kernel_clear;
    KernelType.tp_dealloc = kernel_dealloc;
    KernelType.tp_members = kernel_members;
    KernelType.tp_doc = "A function of a generated library: keyword arguments as a generated module takes them.";
    return PyType_Ready(&KernelType);
}
