"""Calls of compiled libraries: hand-written C++ in the place of the printer's, against plain torch."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from ssmc.backends.cpp import build, call, library, toolchain
from ssmc.backends.cpp.module import CppModule
from ssmc.backends.cpp.signature import Printed, Signature, Slot
from ssmc.backends.cpp.values import NotPrintable
from torch import Tensor

import ssmc
from ssmc.diagnostics import SpecError
from ssmc.expr.nodes import BATCH, TIME
from ssmc.kernel.lower import lower
from ssmc.kernel.nodes import Program

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

# A leaky sum with a leak per channel. One input has the name of a keyword.
SPEC = """ssm leaky
axis   D
input  x[D], batch int
param  leak[D]
state  h[D] = 0.5
h = leak*h + x
output y[D] = h + batch
"""

TEXT = """
#include <cstdint>
#include <unistd.h>
typedef REAL real;
typedef STORED stored;
static std::int64_t threads;

static real as_real(stored x) { return static_cast<real>(x); }

template <bool TIMED>
static std::int64_t run(const std::int64_t *call) {
    auto next = [&](int dims) { const std::int64_t *slot = call; call += 1 + dims; return slot; };
    constexpr int T = TIMED;
    const std::int64_t *x = next(2 + T), *s = next(1 + T), *leak = next(1), *h = next(2);
    const std::int64_t *y = next(2 + T), *g = next(2);
    std::int64_t D = call[0], B = call[1], L = call[2];
    threads = call[4];
    WAIT
    for (std::int64_t b = 0; b < B; ++b)
        for (std::int64_t d = 0; d < D; ++d) {
            real a = reinterpret_cast<const real *>(leak[0])[d * leak[1]];
            real sum = reinterpret_cast<const real *>(h[0])[b * h[1] + d * h[2]];
            for (std::int64_t t = 0; t < L; ++t) {
                std::int64_t in = b * x[1] + (TIMED ? t * x[2] : 0) + d * x[2 + T];
                sum = a * sum + as_real(reinterpret_cast<const stored *>(x[0])[in]);
                std::int64_t mix = reinterpret_cast<const std::int64_t *>(s[0])[b * s[1] + (TIMED ? t * s[2] : 0)];
                std::int64_t out = b * y[1] + (TIMED ? t * y[2] : 0) + d * y[2 + T];
                reinterpret_cast<OUT *>(y[0])[out] = static_cast<OUT>(sum + static_cast<real>(mix));
            }
            reinterpret_cast<real *>(g[0])[b * g[1] + d * g[2]] = sum;
        }
    return RESULT;
}
extern "C" std::int64_t ssmc_sequence(const std::int64_t *call) { return run<true>(call); }
extern "C" std::int64_t ssmc_step(const std::int64_t *call) { return run<false>(call); }
extern "C" std::int64_t ssmc_threads(const std::int64_t *) { return threads; }
"""
C_TYPES = {"float": "float", "double": "double", "float16": "_Float16", "bfloat16": "__bf16"}


def printed(result: int = 0, wait: str = "", asked: list[Any] | None = None) -> build.Printer:
    """A printer that knows one program."""

    def print_program(
        program: Program,
        *,
        real: str,
        lanes: int,
        sizes: Mapping[str, int] | None,
        storage: Mapping[str, str],
        cache: int = 0,
    ) -> Printed:
        if asked is not None:
            asked.append((real, lanes, sizes, dict(storage)))
        text = TEXT
        given = {
            "REAL": real,
            "STORED": C_TYPES[storage.get("x", real)],
            "OUT": C_TYPES[storage.get("@output", real)],
            "RESULT": str(result),
            "WAIT": wait,
        }
        for name, code in given.items():
            text = text.replace(name, code)
        slots = (
            Slot("x", "x", "input", (BATCH, TIME, "D"), "real", dtype=storage.get("x", "")),
            Slot("mix", "batch", "input", (BATCH, TIME), "int"),
            Slot("leak", "leak", "param", ("D",), "real"),
            Slot("h", "h", "state", (BATCH, "D"), "real"),
            Slot("y", "y", "output", (BATCH, TIME, "D"), "real", dtype=storage.get("@output", "")),
            Slot("new_h", "h", "new_state", (BATCH, "D"), "real"),
        )
        return Printed(text, Signature(slots, ("D",)))

    return print_program


def module(specialise: bool = False, **how: Any) -> CppModule:
    program = lower(ssmc.compile(SPEC).plan({"D": 5}, form="recurrent"))
    made = build.program_module(program, printed(**how), specialise=specialise)
    assert isinstance(made, CppModule)
    return made


@pytest.fixture(params=["extension", "ctypes"])
def leaky(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CppModule:
    """The module, through either way of calling."""
    if request.param == "ctypes":
        monkeypatch.setattr(call, "extension", lambda: None)
    elif library.extension() is None:
        pytest.skip(library.why_no_extension())
    return module()


def expected(x: Tensor, state: Tensor, leak: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    ys = []
    for t in range(x.shape[1]):
        h = leak * h + x[:, t]
        ys.append(h + state[:, t, None])
    return torch.stack(ys, 1), h


def arguments(B: int = 3, L: int = 7, D: int = 5, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "x": torch.randn(B, L, D, dtype=dtype),
        "batch": torch.randint(-3, 3, (B, L)),
        "leak": torch.rand(D, dtype=dtype),
    }


def run(leaky: CppModule, given: Mapping[str, Tensor], h: Tensor | None = None, **more: Any) -> Any:
    B, L, D = given["x"].shape
    state = {"t": 3, "h": torch.zeros(B, D, dtype=given["leak"].dtype) if h is None else h}
    named = {leaky.ARGUMENTS.get(k, k): v for k, v in given.items()}
    return leaky.sequence(sizes={"D": D}, batch=B, length=L, state=state, **named, **more)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "sliced": lambda x: torch.cat([x, x, x], -1)[..., 1 : 1 + x.shape[-1]],
    "every second": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
    "expanded": lambda x: x[:, :1].expand(x.shape),
    "negated by a view": lambda x: torch.complex(x, x).conj().imag,
    "a parameter": lambda x: torch.nn.Parameter(x),
    "of a graph": lambda x: x.clone().requires_grad_() * 1,
    "as another dtype": lambda x: x.to(torch.int32),
}


@pytest.mark.parametrize("view", VIEWS)
def test_any_tensor_is_read_in_place_or_converted(leaky: CppModule, view: str) -> None:
    for _ in range(2):  # the second call is the extension's
        given = arguments()
        given["x"] = VIEWS[view](given["x"])
        before = given["x"].clone()
        (y,), after = run(leaky, given)
        want, h = expected(given["x"].detach().float(), given["batch"], given["leak"], torch.zeros(3, 5))
        torch.testing.assert_close(y, want)
        torch.testing.assert_close(after["h"], h)
        assert after["t"] == 10
        assert list(after) == ["t", "h"]
        assert torch.equal(given["x"], before)


def test_step_is_the_sequence(leaky: CppModule) -> None:
    given = arguments()
    (y,), after = run(leaky, given)
    state = {"t": 3, "h": torch.zeros(3, 5)}
    for t in range(7):
        (y_t,), state = leaky.step(
            sizes={"D": 5}, batch=3, state=state, x=given["x"][:, t], batch_=given["batch"][:, t], leak=given["leak"]
        )
        torch.testing.assert_close(y_t, y[:, t])
    assert state["t"] == after["t"]
    torch.testing.assert_close(state["h"], after["h"])


def test_no_steps_and_no_sequences(leaky: CppModule) -> None:
    for _ in range(2):
        (y,), after = run(leaky, arguments(L=0))
        assert y.shape == (3, 0, 5)
        assert torch.equal(after["h"], torch.zeros(3, 5))
        assert after["t"] == 3
        (y,), after = run(leaky, arguments(B=0))
        assert y.shape == (0, 7, 5)
        assert after["h"].shape == (0, 5)


def test_the_initial_state(leaky: CppModule) -> None:
    start = leaky.initial_state(sizes={"D": 4}, batch=2, like=torch.zeros(0, dtype=torch.float64), leak=torch.ones(4))
    assert start["t"] == 0
    assert torch.equal(start["h"], torch.full((2, 4), 0.5, dtype=torch.float64))


def test_what_no_call_takes(leaky: CppModule) -> None:
    for _ in range(2):
        given = arguments()
        with pytest.raises(ValueError, match="is expected"):
            run(leaky, given | {"leak": given["leak"][:4]})
        with pytest.raises(ValueError, match="is on meta"):
            run(leaky, given | {"leak": given["leak"].to("meta")})
        with pytest.raises(TypeError, match="takes"):
            run(leaky, given | {"other": given["leak"]})
        with pytest.raises(TypeError, match="lacks"):
            leaky.sequence(sizes={"D": 5}, batch=3, length=7, state={"t": 0}, x=given["x"], batch_=given["batch"],
                           leak=given["leak"])  # fmt: skip
        run(leaky, given)


def test_outputs_into_tensors_of_the_caller(leaky: CppModule) -> None:
    for _ in range(2):
        given = arguments()
        want, _ = expected(given["x"], given["batch"], given["leak"], torch.zeros(3, 5))
        out = torch.full((7, 3, 5), torch.nan).transpose(0, 1)
        (y,), _ = run(leaky, given, out=(out,))
        assert y is out
        torch.testing.assert_close(out, want)
        # over what is read, shifted by a step
        both = torch.zeros(3, 8, 5)
        both[:, :7] = given["x"]
        (y,), _ = run(leaky, given | {"x": both[:, :7]}, out=(both[:, 1:],))
        torch.testing.assert_close(both[:, 1:], want)
        with pytest.raises(ValueError, match="expected"):
            run(leaky, given, out=(torch.zeros(3, 7, 4),))


def test_precisions_have_libraries_of_their_own() -> None:
    asked: list[Any] = []
    leaky = module(asked=asked)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 1e-2)):
        given = arguments(dtype=dtype)
        for _ in range(2):
            h = torch.zeros(3, 5, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
            full = given | {"leak": given["leak"].to(h.dtype)} if dtype == torch.float16 else given
            (y,), after = run(leaky, full, h)
            want, last = expected(given["x"].to(h.dtype), given["batch"], full["leak"], h)
            torch.testing.assert_close(y.to(h.dtype), want, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(after["h"], last, rtol=tolerance, atol=tolerance)
            assert after["h"].dtype == h.dtype
    tools = toolchain.toolchain()
    single, double = tools.lanes("float"), tools.lanes("double")
    assert asked == [
        ("double", double, None, {}),
        ("float", single, None, {}),
        ("float", single, None, {"x": "float16"}),
    ]


def test_sizes_that_come_often_have_a_library_and_many_share_one() -> None:
    asked: list[Any] = []
    leaky = module(specialise=True, asked=asked)
    for D in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 3, 11):
        given = arguments(D=D)
        want, _ = expected(given["x"], given["batch"], given["leak"], torch.zeros(3, D))
        torch.testing.assert_close(run(leaky, given)[0][0], want)
    assert [sizes for _, _, sizes, _ in asked] == [{"D": D} for D in range(1, 9)] + [None]


def test_no_memory_is_told() -> None:
    failing = module(result=1)
    for _ in range(2):
        with pytest.raises(SpecError) as wrong:
            run(failing, arguments())
        assert wrong.value.diagnostics[0].code == "E765"


@pytest.mark.parametrize("way", ["extension", "ctypes"])
def test_other_threads_run_meanwhile(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "ctypes":
        monkeypatch.setattr(call, "extension", lambda: None)
    sleeping = module(wait="usleep(300000);")
    run(sleeping, arguments())
    caller = threading.Thread(target=lambda: run(sleeping, arguments()))
    caller.start()
    ticks = 0
    while caller.is_alive():
        ticks += 1
        time.sleep(0.01)
    assert ticks > 5


def test_what_a_thread_drops_from_the_state_lives_for_the_call() -> None:
    """The dictionary of the state is the caller's: it may lose its entries while the library reads them."""
    sleeping = module(wait="usleep(200000);")
    given = arguments()
    run(sleeping, given)
    state = {"t": 0, "h": torch.full((3, 5), 2.0)}
    results: list[Any] = []
    named = {sleeping.ARGUMENTS.get(k, k): v for k, v in given.items()}
    caller = threading.Thread(
        target=lambda: results.append(sleeping.sequence(sizes={"D": 5}, batch=3, length=7, state=state, **named))
    )
    caller.start()
    time.sleep(0.05)
    del state["h"]
    noise = [torch.full((3, 5), torch.nan) for _ in range(100)]
    caller.join()
    want, _ = expected(given["x"], given["batch"], given["leak"], torch.full((3, 5), 2.0))
    torch.testing.assert_close(results[0][0][0], want)
    assert len(noise) == 100


def test_a_process_after_a_fork_runs_on_one_thread() -> None:
    if library.extension() is None:
        pytest.skip(library.why_no_extension())
    leaky = module()
    run(leaky, arguments())
    threads = library.load(printed()(None, real="float", lanes=1, sizes=None, storage={}).text, "leaky").function(  # type: ignore[arg-type]
        "ssmc_threads"
    )
    assert threads is not None
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(leaky, arguments())
        assert threads(None) == 2
        child = os.fork()
        if child == 0:
            run(leaky, arguments())
            os._exit(threads(None))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    finally:
        torch.set_num_threads(before)


def test_large_outputs_are_used_again() -> None:
    extension = library.extension()
    if extension is None:
        pytest.skip(library.why_no_extension())
    leaky = module()
    given = arguments(B=1, L=1000, D=600)
    run(leaky, given)
    extension.keep(0)
    extension.keep(64 << 20)
    first = run(leaky, given)[0][0]
    address, copy = first.data_ptr(), first.clone()
    assert extension.kept() == 0
    view = first[:, 10:]
    del first
    assert extension.kept() == 0  # the view holds it
    second = run(leaky, given)[0][0]
    assert second.data_ptr() != address
    assert torch.equal(view, copy[:, 10:])
    del view, second
    assert extension.kept() == 2 * (4 << 20)
    assert run(leaky, given)[0][0].data_ptr() % (2 << 20) == 0
    extension.keep(0)
    assert extension.kept() == 0
    extension.keep(256 << 20)


def test_fresh_memory_can_be_poisoned() -> None:
    extension = library.extension()
    if extension is None:
        pytest.skip(library.why_no_extension())
    nothing = module(wait="return 0;")
    run(nothing, arguments())
    extension.poison(True)
    try:
        (y,), after = run(nothing, arguments())
    finally:
        extension.poison(False)
    assert y.isnan().all()
    assert after["h"].isnan().all()


SAVING = """
#include <cstdint>
// x [batch, time], h [batch] -> h, saved [batch, chunks]; and back from them
extern "C" std::int64_t ssmc_sequence(const std::int64_t *call) {
    const std::int64_t *x = call, *h = call + 3, *g = call + 5, *saved = call + 7, B = call[10], L = call[11];
    for (std::int64_t b = 0; b < B; ++b) {
        float sum = reinterpret_cast<const float *>(h[0])[b * h[1]];
        for (std::int64_t t = 0; t < L; ++t) {
            if (t % 3 == 0) reinterpret_cast<float *>(saved[0])[b * saved[1] + t / 3 * saved[2]] = sum;
            sum += reinterpret_cast<const float *>(x[0])[b * x[1] + t * x[2]];
        }
        reinterpret_cast<float *>(g[0])[b * g[1]] = sum;
    }
    return 0;
}
"""
RESUMING = """
#include <cstdint>
// saved [batch, chunks] -> y [batch, time]: the state at the beginning of the chunk of each step
extern "C" std::int64_t ssmc_sequence(const std::int64_t *call) {
    const std::int64_t *saved = call, *y = call + 3, B = call[6], L = call[7];
    for (std::int64_t b = 0; b < B; ++b)
        for (std::int64_t t = 0; t < L; ++t)
            reinterpret_cast<float *>(y[0])[b * y[1] + t * y[2]] =
                reinterpret_cast<const float *>(saved[0])[b * saved[1] + t / 3 * saved[2]];
    return 0;
}
"""


@pytest.mark.parametrize("way", ["extension", "ctypes"])
def test_states_saved_for_a_backward_come_back_to_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "ctypes":
        monkeypatch.setattr(call, "extension", lambda: None)
    x, h = (Slot("x", "x", "input", (BATCH, TIME), "real"), Slot("h", "h", "state", (BATCH,), "real"))
    made = Slot("h_start", "h", "saved", (BATCH, TIME), "real", chunk=3)
    first = (x, h, Slot("new_h", "h", "new_state", (BATCH,), "real"), made)
    forward = CppModule("saving", lambda _: Printed(SAVING, Signature(first, ())), (x, h), object, saves=True)
    given = Slot("h_start", "h", "given", (BATCH, TIME), "real", chunk=3)
    second = (given, Slot("y", "y", "output", (BATCH, TIME), "real"))
    backward = CppModule("resuming", lambda _: Printed(RESUMING, Signature(second, ())), (given,), object)
    assert not hasattr(forward, "sequence")
    values = torch.randn(2, 7).t().contiguous().t()
    every = {"sizes": {}, "batch": 2, "length": 7}
    for _ in range(2):
        outputs, state, saved = forward.sequence_saving(**every, state={"t": 0, "h": torch.ones(2)}, x=values)  # type: ignore[attr-defined]
        before = 1 + values.cumsum(1) - values
        assert outputs == ()
        torch.testing.assert_close(state["h"], 1 + values.sum(1))
        assert list(saved) == ["h"]
        torch.testing.assert_close(saved["h"], before[:, ::3])
        (y,), _ = backward.sequence(**every, state={"t": 7}, saved=saved)  # type: ignore[attr-defined]
        torch.testing.assert_close(y, before[:, ::3].repeat_interleave(3, 1)[:, :7])
        with pytest.raises(TypeError, match="as given lacks"):
            backward.sequence(**every, state={"t": 7}, saved={})  # type: ignore[attr-defined]


def test_what_cannot_be_printed_is_left_to_torch() -> None:
    def refuse(*args: Any, **named: Any) -> Printed:
        raise NotPrintable("a trial")

    made = build.program_module(lower(ssmc.compile(SPEC).plan({"D": 5}, form="recurrent")), refuse)
    given = arguments()
    want, h = expected(given["x"], given["batch"], given["leak"], torch.zeros(3, 5))
    for _ in range(2):
        (y,), after = run(made, given)
        torch.testing.assert_close(y, want)
        torch.testing.assert_close(after["h"], h)
        out = torch.zeros(3, 7, 5)
        assert run(made, given, out=(out,))[0][0] is out
        torch.testing.assert_close(out, want)
    now = {"x": given["x"][:, 0], "batch_": given["batch"][:, 0], "leak": given["leak"]}
    (y,), _ = made.step(sizes={"D": 5}, batch=3, state={"t": 0, "h": torch.zeros(3, 5)}, **now)
    torch.testing.assert_close(y, want[:, 0])


def test_a_state_that_grows_is_left_to_torch() -> None:
    spec = ssmc.compile("ssm all\naxis T\ninput x\noutput y = sum[T](past[T](x))\n")
    made = build.program_module(lower(spec.plan(form="recurrent")), printed())
    assert not isinstance(made, CppModule)
    assert made.sequence is not None


def test_words_are_what_the_signature_says() -> None:
    signature = printed()(None, real="float", lanes=1, sizes=None, storage={}).signature  # type: ignore[arg-type]
    assert signature.words == (4 + 3 + 2 + 3 + 4 + 3) + 1 + 4
    assert signature.for_step().words == (3 + 2 + 2 + 3 + 3 + 3) + 1 + 4
    assert ctypes.sizeof(ctypes.c_int64) == 8
