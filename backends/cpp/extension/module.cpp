// The call of a generated library from Python: keyword arguments to the words of signature.py, and back.
//
// A Kernel stands for one function of a library. Called, it reads addresses and strides off the tensors through torch's
// DLPack exchange table, allocates what is written, lets other Python threads run meanwhile, and gives
// (outputs, new state). Whatever is not as the library takes it (a dtype, a shape, a conjugate view, a subclass) is left
// to `slow`, a Python function of the same arguments, which converts or says what is wrong. A Public stands for the call
// that a user makes, and goes straight to a Kernel's library where that is known to be right.

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

#include "dlpack.hpp"
#include "memory.hpp"
#include "kernel.hpp"
#include "public.hpp"

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
    if (kernel_ready() || public_ready()) return nullptr;
    const char *names[SPECIALS] = {"sizes", "batch", "length", "state", "saved", "out"};
    for (int n = 0; n < SPECIALS; ++n)
        if (!(special_names[n] = PyUnicode_InternFromString(names[n]))) return nullptr;
    if (!(t_name = PyUnicode_InternFromString("t"))) return nullptr;
    pthread_atfork(nullptr, nullptr, in_child);
    PyObject *module = PyModule_Create(&definition);
    if (!module) return nullptr;
    if (PyModule_AddType(module, &KernelType) || PyModule_AddType(module, &PublicType)) Py_CLEAR(module);
    return module;
}
