// The call that a user makes, as a Python object: tensors by place or by name, with a batch or without, no sizes.
//
// It stands for what an earlier call was found to mean: these sizes, these element types, this library. A call that is
// of the same kind goes straight to the library, or, where autograd records it, to a function that does what it must for
// that with arguments that are settled; anything else goes to `slow`, which settles every call.

struct Public {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Kernel *kernel;
    PyObject *slow, *result_type;            // of one output: None
    PyObject *recorded;                      // for calls that autograd records, and no others; None: for the others
    PyObject *grad_enabled, *modes, *duals;  // whether autograd records; how many look on; the module of forward mode
    PyObject *starts;  // of each state, the bytes of the number that it is full of at the start; None where one is not
    PyObject *option_names[SLOTS], *option_values[SLOTS];
    int order[SLOTS];  // of the ports by place: their slots
    int order_count, option_count, wanted_count;  // wanted: options whose value is not the one that is left out
    int64_t sizes[SLOTS];  // of the kernel's axes
    int64_t batches[2], lengths[2];  // the least and the most that the library was chosen for
    Slot *slots;  // the kernel's
};

PyObject *grad_name, *level_name, *return_state_name;

// Whether tensors are watched beside autograd: by forward mode, or by a mode of dispatch such as a tracer's.
bool is_watched(const Public *self) {
    PyObject *level = PyObject_GetAttr(self->duals, level_name), *depth = PyObject_CallNoArgs(self->modes);
    bool plain = level && depth && PyLong_Check(level) && PyLong_Check(depth) && PyLong_AsLong(level) < 0 &&
                 PyLong_AsLong(depth) == 0;
    PyErr_Clear();
    Py_XDECREF(level);
    Py_XDECREF(depth);
    return !plain;
}

// Whether a question to Python is answered by anything but False.
bool may_be(PyObject *answer) {
    if (!answer) PyErr_Clear();
    bool yes = answer != Py_False;
    Py_XDECREF(answer);
    return yes;
}

struct Parsed {
    PyObject *given[SLOTS];  // by slot
    PyObject *state, *out;
    bool return_state;
};

// Sort the arguments. False where there is one that only `slow` knows, or a port lacks.
bool parse(const Public *self, PyObject *const *args, Py_ssize_t placed, PyObject *kwnames, Parsed *found) {
    const Kernel *kernel = self->kernel;
    int skip = kernel->timed ? 0 : 1;  // a step takes the state first
    for (int s = 0; s < kernel->slot_count; ++s) found->given[s] = nullptr;
    found->state = found->out = nullptr;
    found->return_state = !kernel->timed;
    if (placed < skip || placed - skip > self->order_count) return false;
    if (skip) found->state = args[0];
    for (Py_ssize_t i = skip; i < placed; ++i) found->given[self->order[i - skip]] = args[i];
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    int missing = self->wanted_count;
    for (Py_ssize_t i = 0; i < named; ++i) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i), *value = args[placed + i];
        int at = -1;
        for (int s = 0; s < self->order_count && at < 0; ++s)
            if (kernel->slots[self->order[s]].name == name) at = self->order[s];
        if (at >= 0) {
            if (found->given[at]) return false;
            found->given[at] = value;
        } else if (kernel->timed && name == special_names[GIVEN_STATE]) {
            found->state = value;
        } else if (kernel->timed && name == special_names[OUT]) {
            found->out = value == Py_None ? nullptr : value;
        } else if (kernel->timed && name == return_state_name && PyBool_Check(value)) {
            found->return_state = value == Py_True;
        } else {
            int option = 0;
            while (option < self->option_count && self->option_names[option] != name) ++option;
            if (option == self->option_count) return false;
            int same = PyObject_RichCompareBool(self->option_values[option], value, Py_EQ);
            if (same < 0) PyErr_Clear();
            if (same <= 0) return false;
            missing -= self->option_values[option] != Py_None;
        }
    }
    if (missing) return false;
    for (int i = 0; i < self->order_count; ++i)
        if (!found->given[self->order[i]]) return false;
    if (kernel->timed && (!found->state || found->state == Py_None)) {
        found->state = nullptr;
        return self->starts != Py_None;
    }
    return PyDict_CheckExact(found->state);
}

// The sizes that a call has besides those of the axes: found in one tensor, compared with the others'.
struct Extent {
    int64_t batch = -1, length = -1;
    bool has_batch = false;
};

// Take in a tensor that is read. False where it does not go with the others.
bool take_in(const Public *self, const Slot &slot, const DLTensor &view, Extent *extent) {
    const Kernel *kernel = self->kernel;
    int axes = kernel->axis_count;
    bool batched = slot.ndim && slot.dims[0].index == axes;
    int dropped = batched && view.ndim == slot.ndim - 1;
    if (view.ndim + dropped != slot.ndim) return false;
    for (int d = dropped; d < slot.ndim; ++d) {
        const Dim &dim = slot.dims[d];
        int64_t size = view.shape[d - dropped];
        if (dim.index == axes) {
            extent->has_batch = true;
            if (size != 1 && extent->batch != 1 && extent->batch >= 0 && extent->batch != size) return false;
            if (size != 1 || extent->batch < 0) extent->batch = size;
        } else if (dim.index == axes + 1) {
            if (extent->length >= 0 && extent->length != size) return false;
            extent->length = size;
        } else if (size != ((dim.index < axes ? self->sizes[dim.index] : 0) + dim.add + dim.per - 1) / dim.per) {
            return false;
        }
    }
    return true;
}

// The call as autograd records it: (batch, length, t, whether the batch is the caller's, return_state, tensors).
PyObject *record(const Public *self, const Extent &extent, int64_t length, int64_t t, bool return_state,
                 PyObject *const *read) {
    const Kernel *kernel = self->kernel;
    Py_ssize_t count = 0;
    for (int s = 0; s < kernel->slot_count; ++s) count += kernel->slots[s].role <= STATE && read[s];
    PyObject *tensors = PyTuple_New(count);
    if (!tensors) return nullptr;
    for (int s = 0, at = 0; s < kernel->slot_count; ++s) {
        if (kernel->slots[s].role > STATE || !read[s]) continue;
        Py_INCREF(read[s]);
        PyTuple_SET_ITEM(tensors, at++, read[s]);
    }
    PyObject *result = PyObject_CallFunction(
        self->recorded, "LLLOOO", static_cast<long long>(extent.has_batch ? extent.batch : 1),
        static_cast<long long>(length), static_cast<long long>(t), extent.has_batch ? Py_True : Py_False,
        return_state ? Py_True : Py_False, tensors);
    Py_DECREF(tensors);
    return result;
}

// The words of a tensor that is read; along a batch that it lacks it is broadcast.
void words_of(const Kernel *kernel, const Slot &slot, const DLTensor &view, int64_t batch, int64_t *words) {
    int dropped = slot.ndim - view.ndim;
    words[0] = address_of(view);
    for (int d = 0; d < slot.ndim; ++d) {
        bool alone = slot.dims[d].index == kernel->axis_count && (d < dropped || view.shape[0] != batch);
        words[1 + d] = alone ? 0 : view.strides[d - dropped];
    }
}

PyObject *public_call(PyObject *object, PyObject *const *args, std::size_t nargsf, PyObject *kwnames) {
    auto *self = reinterpret_cast<Public *>(object);
    const Kernel *kernel = self->kernel;
    auto slow = [&] { return PyObject_Vectorcall(self->slow, args, nargsf, kwnames); };
    Parsed found;
    int64_t t = 0;
    if (!parse(self, args, PyVectorcall_NARGS(nargsf), kwnames, &found) || is_watched(self)) return slow();
    if (found.state && !as_int(PyDict_GetItem(found.state, t_name), &t)) return slow();
    bool records = may_be(PyObject_CallNoArgs(self->grad_enabled)), wanted = false;
    if (self->recorded != Py_None && (!records || found.out)) return slow();

    Held held(kernel->slot_count);
    DLTensor views[SLOTS];
    Extent extent;
    Py_ssize_t entries = 1, outputs = 0;
    for (int s = 0; s < kernel->slot_count; ++s) {
        const Slot &slot = kernel->slots[s];
        outputs += slot.role == OUTPUT;
        if (slot.role > STATE || (slot.role == STATE && !found.state)) continue;
        PyObject *given = slot.role == STATE ? PyDict_GetItem(found.state, slot.name) : found.given[s];
        entries += slot.role == STATE;
        if (!given) return slow();
        // another thread may change the dictionary of the state during the call
        Py_INCREF(given);
        held.read[s] = given;
        if (!view_of(kernel, slot, given, &views[s])) return slow();
        if (records && !wanted && may_be(PyObject_GetAttr(given, grad_name))) wanted = true;
        if (wanted && self->recorded == Py_None) return slow();
        if (!take_in(self, slot, views[s], &extent)) return slow();
    }
    if (found.state && PyDict_GET_SIZE(found.state) != entries) return slow();
    int64_t batch = extent.has_batch ? extent.batch : 1, length = kernel->timed ? extent.length : 1;
    if (batch < self->batches[0] || batch > self->batches[1] || length < self->lengths[0] || length > self->lengths[1])
        return slow();
    if (self->recorded != Py_None) {
        // one batch for all: to broadcast is left to where autograd sees it
        bool plain = wanted;
        for (int s = 0; s < kernel->slot_count && plain; ++s) {
            const Slot &slot = kernel->slots[s];
            bool batched = held.read[s] && slot.ndim && slot.dims[0].index == kernel->axis_count;
            if (batched && extent.has_batch) plain = views[s].ndim == slot.ndim && views[s].shape[0] == batch;
        }
        PyObject *result = plain ? record(self, extent, length, t, found.return_state, held.read) : Py_NotImplemented;
        if (result != Py_NotImplemented) return result;
        if (plain) Py_DECREF(result);
        return slow();
    }
    if (found.out && outputs != 1 && (!PyTuple_CheckExact(found.out) || PyTuple_GET_SIZE(found.out) != outputs))
        return slow();

    int64_t words[SLOTS * (DIMS + 1)], shape[DIMS];
    Reach reach[SLOTS];
    int at = 0, output = 0, begun = 0;
    for (int s = 0; s < kernel->slot_count; ++s) {
        const Slot &slot = kernel->slots[s];
        if (slot.role == STATE && !found.state) {
            std::memset(words + at, 0, sizeof(int64_t) * static_cast<std::size_t>(1 + slot.ndim));
            const char *number = PyBytes_AS_STRING(PyTuple_GET_ITEM(self->starts, begun++));
            words[at] = static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(number));
            reach[s] = {0, 0, true};
        } else if (slot.role <= STATE) {
            const DLTensor &view = views[s];
            words_of(kernel, slot, view, batch, words + at);
            reach[s] = reach_of(slot.dtype, view.ndim, view.shape, words[at], view.strides);
        } else {
            int dropped = slot.ndim && slot.dims[0].index == kernel->axis_count && !extent.has_batch;
            for (int d = dropped; d < slot.ndim; ++d) {
                const Dim &dim = slot.dims[d];
                int64_t value = dim.index < kernel->axis_count        ? self->sizes[dim.index]
                                : dim.index == kernel->axis_count     ? batch
                                : dim.index == kernel->axis_count + 1 ? length
                                                                      : 0;
                shape[d - dropped] = (value + dim.add + dim.per - 1) / dim.per;
            }
            int ndim = slot.ndim - dropped;
            int64_t own[DIMS + 1];
            if (slot.role == OUTPUT && found.out) {
                PyObject *target = outputs == 1 && !PyTuple_CheckExact(found.out) ? found.out
                                   : PyTuple_CheckExact(found.out) && PyTuple_GET_SIZE(found.out) == outputs
                                       ? PyTuple_GET_ITEM(found.out, output)
                                       : nullptr;
                ++output;
                DLTensor view;
                if (!target || !view_of(kernel, slot, target, &view) || view.ndim != ndim) return slow();
                if (may_be(PyObject_GetAttr(target, grad_name))) return slow();
                own[0] = address_of(view);
                for (int d = 0; d < ndim; ++d) {
                    if (view.shape[d] != shape[d]) return slow();
                    own[1 + d] = view.strides[d];
                }
                reach[s] = reach_of(slot.dtype, ndim, shape, own[0], own + 1);
                for (int r = 0; r < s; ++r)
                    if (kernel->slots[r].role <= OUTPUT && overlap(reach[r], reach[s])) return slow();
                if (!reach[s].clean) return slow();
                Py_INCREF(target);
                held.made[s] = target;
            } else {
                held.made[s] = fresh(kernel, slot, ndim, shape, own);
                if (!held.made[s]) return nullptr;
            }
            words[at] = own[0];
            if (dropped) words[at + 1] = 0;
            for (int d = 0; d < ndim; ++d) words[at + 1 + dropped + d] = own[1 + d];
        }
        at += 1 + slot.ndim;
    }
    for (int a = 0; a < kernel->axis_count; ++a) words[at++] = self->sizes[a];
    words[at++] = batch;
    words[at++] = length;
    words[at++] = t;
    words[at++] = thread_count();
    if (!run(kernel, words)) return nullptr;

    PyObject *made[SLOTS], *result;
    int count = 0;
    for (int s = 0; s < kernel->slot_count; ++s)
        if (kernel->slots[s].role == OUTPUT) made[count++] = held.made[s];
    if (self->result_type == Py_None) {
        Py_INCREF(made[0]);
        result = made[0];
    } else {
        result = PyObject_Vectorcall(self->result_type, made, static_cast<std::size_t>(count), nullptr);
    }
    if (!result || !found.return_state) return result;
    PyObject *after = PyDict_New(), *both = nullptr;
    if (after && add_role(kernel, held.made, NEW_STATE, after) && add_steps(after, t + length))
        both = PyTuple_Pack(2, result, after);
    Py_DECREF(result);
    Py_XDECREF(after);
    return both;
}

// --- its type --------------------------------------------------------------------------------------------------------

bool fill_public(Public *self, PyObject *order, PyObject *sizes, PyObject *options) {
    Kernel *kernel = self->kernel;
    if (PyTuple_GET_SIZE(options) > SLOTS || PyTuple_GET_SIZE(order) > SLOTS) {
        PyErr_SetString(PyExc_ValueError, "too many arguments");
        return false;
    }
    for (int a = 0; a < kernel->axis_count; ++a) {
        bool known = as_int(PyDict_GetItem(sizes, kernel->axes[a]), &self->sizes[a]);
        if (!known || (kernel->fixed[a] >= 0 && kernel->fixed[a] != self->sizes[a])) {
            PyErr_SetString(PyExc_ValueError, "not the sizes of the library");
            return false;
        }
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(order); ++i) {
        int at = -1;
        for (int s = 0; s < kernel->slot_count; ++s)
            if (kernel->slots[s].role == PORT && !PyUnicode_Compare(kernel->slots[s].name, PyTuple_GET_ITEM(order, i)))
                at = s;
        if (at < 0) {
            PyErr_SetString(PyExc_ValueError, "no such port");
            return false;
        }
        self->order[self->order_count++] = at;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(options); ++i) {
        PyObject *name, *value;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(options, i), "UO", &name, &value)) return false;
        Py_INCREF(name);
        Py_INCREF(value);
        PyUnicode_InternInPlace(&name);
        self->option_names[self->option_count] = name;
        self->option_values[self->option_count++] = value;
        self->wanted_count += value != Py_None;
    }
    return true;
}

int public_traverse(PyObject *object, visitproc visit, void *arg) {
    auto *self = reinterpret_cast<Public *>(object);
    Py_VISIT(self->kernel);
    Py_VISIT(self->slow);
    Py_VISIT(self->result_type);
    Py_VISIT(self->recorded);
    for (int i = 0; i < self->option_count; ++i) Py_VISIT(self->option_values[i]);
    return 0;
}

int public_clear(PyObject *object) {
    auto *self = reinterpret_cast<Public *>(object);
    Py_CLEAR(self->slow);
    Py_CLEAR(self->result_type);
    Py_CLEAR(self->recorded);
    return 0;
}

void public_dealloc(PyObject *object) {
    auto *self = reinterpret_cast<Public *>(object);
    PyObject_GC_UnTrack(object);
    public_clear(object);
    Py_XDECREF(self->kernel);
    Py_XDECREF(self->starts);
    Py_XDECREF(self->grad_enabled);
    Py_XDECREF(self->modes);
    Py_XDECREF(self->duals);
    for (int i = 0; i < self->option_count; ++i) {
        Py_XDECREF(self->option_names[i]);
        Py_XDECREF(self->option_values[i]);
    }
    Py_TYPE(object)->tp_free(object);
}

PyTypeObject PublicType = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyMemberDef public_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Public, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

// Whether there are the bytes of a number for each state.
bool good_starts(const Kernel *kernel, PyObject *starts) {
    Py_ssize_t at = 0;
    bool good = PyTuple_Check(starts);
    for (int s = 0; s < kernel->slot_count && good; ++s) {
        if (kernel->slots[s].role != STATE) continue;
        PyObject *one = at < PyTuple_GET_SIZE(starts) ? PyTuple_GET_ITEM(starts, at++) : nullptr;
        good = one && PyBytes_Check(one) && PyBytes_GET_SIZE(one) == kernel->slots[s].dtype.bits / 8;
    }
    if (!good) PyErr_SetString(PyExc_ValueError, "the bytes of a number for each state");
    return good;
}

PyObject *public_new(PyTypeObject *type, PyObject *args, PyObject *) {
    PyObject *kernel, *slow, *result_type, *recorded, *starts, *grad_enabled, *modes, *duals, *order, *sizes, *options;
    long long batches[2], lengths[2];
    if (!PyArg_ParseTuple(args, "O!OOOOOOOO!O!O!(LL)(LL)", &KernelType, &kernel, &slow, &result_type, &recorded,
                          &starts, &grad_enabled, &modes, &duals, &PyTuple_Type, &order, &PyDict_Type, &sizes, &PyTuple_Type,
                          &options, &batches[0], &batches[1], &lengths[0], &lengths[1]))
        return nullptr;
    if (starts != Py_None && !good_starts(reinterpret_cast<Kernel *>(kernel), starts)) return nullptr;
    auto *self = reinterpret_cast<Public *>(type->tp_alloc(type, 0));
    if (!self) return nullptr;
    PyObject *held[] = {kernel, slow, result_type, recorded, starts, grad_enabled, modes, duals};
    for (PyObject *one : held) Py_INCREF(one);
    self->vectorcall = public_call;
    self->kernel = reinterpret_cast<Kernel *>(kernel);
    self->slow = slow;
    self->result_type = result_type;
    self->recorded = recorded;
    self->starts = starts;
    self->grad_enabled = grad_enabled;
    self->modes = modes;
    self->duals = duals;
    for (int i = 0; i < 2; ++i) {
        self->batches[i] = batches[i];
        self->lengths[i] = lengths[i];
    }
    if (!fill_public(self, order, sizes, options)) Py_CLEAR(self);
    return reinterpret_cast<PyObject *>(self);
}

int public_ready() {
    grad_name = PyUnicode_InternFromString("requires_grad");
    level_name = PyUnicode_InternFromString("_current_level");
    return_state_name = PyUnicode_InternFromString("return_state");
    if (!grad_name || !level_name || !return_state_name) return -1;
    PublicType.tp_name = "_ssmc_call.Public";
    PublicType.tp_basicsize = sizeof(Public);
    PublicType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
    PublicType.tp_vectorcall_offset = offsetof(Public, vectorcall);
    PublicType.tp_call = PyVectorcall_Call;
    PublicType.tp_new = public_new;
    PublicType.tp_traverse = public_traverse;
    PublicType.tp_clear = public_clear;
    PublicType.tp_dealloc = public_dealloc;
    PublicType.tp_members = public_members;
    PublicType.tp_doc = "The call of a spec, of the kind that an earlier call was of.";
    return PyType_Ready(&PublicType);
}
