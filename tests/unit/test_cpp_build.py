"""The C++ compiler, the cache of what it made, and everything that can go wrong with the two."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ssmc.backends.cpp import cache, folders, library, toolchain

from ssmc.diagnostics import SpecError

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
#include <cstdint>
extern "C" std::int64_t ssmc_step(const std::int64_t *call) { return call[0] + %d; }
"""

needs_compiler = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")
pytestmark = needs_compiler


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own; it knows this machine's compiler already."""
    used = folders.folders().read
    monkeypatch.setenv("SSMC_CACHE_DIR", str(tmp_path / "cache"))
    fresh = folders.folders().store
    for folder in used:
        for known in folder.glob("toolchain-*.json"):
            (fresh / known.name).write_bytes(known.read_bytes())
    yield fresh
    toolchain._found.cache_clear()


def returned(entry: cache.Entry, word: int = 1) -> int:
    return library.Library(entry.library, ctypes.CDLL(str(entry.library))).function("ssmc_step")(  # type: ignore[misc]
        (ctypes.c_int64 * 1)(word)
    )


def code_of(wrong: pytest.ExceptionInfo[SpecError]) -> str:
    return wrong.value.diagnostics[0].code


def left_over(store: Path) -> list[str]:
    """What is in the cache besides entries, what is known of compilers, and locks."""
    known = ("toolchain-", ".lock-", "failed")
    return [p.name for p in store.iterdir() if not p.name.startswith(known) and not (p / "entry.json").is_file()]


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a shell script the compiler. It has `real` (the compiler), `$out` (where it writes) and `$@`.

    Questions about the version, macros and flags are the compiler's own to answer.
    """
    real = " ".join(toolchain.toolchain().command)

    def install(script: str) -> None:
        path = tmp_path / "c++-wrapped"
        path.write_text(
            "#!/bin/sh\n"
            f'real() {{ {real} "$@"; }}\n'
            'for word in "$@"; do last=$out; out=$word; done\n'
            'case "$*" in *--version*|*-dM*|*probe.cpp*) real "$@"; exit $?;; esac\n' + script + "\n",
            encoding="utf-8",
        )
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))
        toolchain._found.cache_clear()

    return install


# -- the compiler --------------------------------------------------------------------------------------------------


def test_the_toolchain_compiles_what_it_says(store: Path) -> None:
    tools = toolchain.toolchain()
    assert tools.vector_bytes in (16, 32, 64)
    assert tools.lanes("float") == 2 * tools.lanes("double")
    assert not any("fast-math" in flag for flag in tools.flags)
    assert returned(cache.compiled(TEXT % 1, "trial")) == 2


def test_a_later_process_starts_no_compiler(store: Path) -> None:
    cache.compiled(TEXT % 2, "trial")
    code = f"""
        import subprocess, time
        def run(*a, **k): raise AssertionError("a compiler was started")
        subprocess.run = run
        from ssmc.backends.cpp import cache
        before = time.perf_counter()
        print(cache.compiled({TEXT % 2!r}, "trial").key, time.perf_counter() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    key, took = done.stdout.split()
    assert (store / key / "lib.so").is_file()
    assert float(took) < 0.05


def test_no_compiler_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SpecError) as wrong:
        cache.compiled(TEXT % 3, "trial")
    assert code_of(wrong) == "E760"
    assert "no-such-compiler" in str(wrong.value)
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", "/nowhere")
    assert toolchain.unavailable() is not None


def test_a_compiler_that_compiles_nothing_is_told(store: Path, compiler: Callable[[str], None]) -> None:
    compiler("")
    os.environ["CXX"] = "false"  # the fixture puts it back
    toolchain._found.cache_clear()
    why = toolchain.unavailable()
    assert why is not None
    assert "`" in why.tried[0]


def test_a_damaged_record_of_the_compiler_is_made_again(store: Path) -> None:
    expected = toolchain.toolchain()
    (record,) = store.glob("toolchain-*.json")
    for broken in ("", "{", json.dumps(json.loads(record.read_text()) | {"flags": ["-O0"]})):
        record.write_text(broken)
        toolchain._found.cache_clear()
        assert toolchain.toolchain() == expected


def test_flags_of_the_environment_are_added_and_are_part_of_the_key(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '#include <cstdint>\nextern "C" std::int64_t ssmc_step(const std::int64_t *) { return ADDED; }'
    keys = set()
    for value in (7, 8):
        monkeypatch.setenv("SSMC_CXXFLAGS", f"-DADDED={value}")
        entry = cache.compiled(text, "trial")
        keys.add(entry.key)
        assert returned(entry) == value
    assert len(keys) == 2


# -- entries -------------------------------------------------------------------------------------------------------


def test_an_entry_is_made_once(store: Path, compiler: Callable[[str], None], tmp_path: Path) -> None:
    compiler(f'echo run >> "{tmp_path}/runs"; real "$@"')
    assert cache.compiled(TEXT % 4, "trial") == cache.compiled(TEXT % 4, "trial")
    assert cache.compiled(TEXT % 5, "trial") != cache.compiled(TEXT % 4, "trial")
    assert (tmp_path / "runs").read_text().split() == ["run", "run"]
    assert left_over(store) == []


@pytest.mark.parametrize("damage", ["cut", "changed", "no library", "no checksum", "garbled checksum", "a file"])
def test_a_damaged_entry_is_made_again(store: Path, damage: str) -> None:
    entry = cache.compiled(TEXT % 6, "trial")
    content = entry.library.read_bytes()
    mark = entry.folder / "entry.json"
    match damage:
        case "cut":
            entry.library.write_bytes(content[: len(content) // 2])
        case "changed":
            entry.library.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
        case "no library":
            entry.library.unlink()
        case "no checksum":
            mark.unlink()
        case "garbled checksum":
            mark.write_text("[]")
        case "a file":
            for inside in entry.folder.iterdir():
                inside.unlink()
            entry.folder.rmdir()
            entry.folder.write_text("not a folder")
    assert cache.lookup(entry.key) is None
    again = cache.compiled(TEXT % 6, "trial")
    assert again.library.is_file()
    assert returned(again) == 7
    assert left_over(store) == []


def test_a_library_that_does_not_load_is_made_again(store: Path) -> None:
    entry = cache.compiled(TEXT % 7, "trial")
    entry.library.write_bytes(b"no library at all")
    mark = json.loads((entry.folder / "entry.json").read_text())
    (entry.folder / "entry.json").write_text(json.dumps(mark | {"checksum": cache.checksum(entry.library)}))
    assert cache.lookup(entry.key) is not None
    loaded = library.load(TEXT % 7, "trial")
    assert loaded.address("ssmc_step")
    assert loaded.function("ssmc_sequence") is None


def test_a_library_that_never_loads_is_told(store: Path, compiler: Callable[[str], None]) -> None:
    compiler('echo nonsense > "$out"')
    with pytest.raises(SpecError) as wrong:
        library.load(TEXT % 8, "trial")
    assert code_of(wrong) == "E764"


def test_the_least_recently_used_go_first(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [cache.compiled(TEXT % n, "trial") for n in (10, 11, 12)]
    for age, entry in zip((300, 200, 100), entries, strict=True):
        os.utime(entry.folder / "entry.json", (time.time() - age, time.time() - age))
    cache.compiled(TEXT % 10, "trial")  # now the most recent
    bytes_of_two = sum(h.bytes for h in cache.held(store)[:2])
    monkeypatch.setattr(cache, "most_bytes", lambda: bytes_of_two + 10)
    cache.evict(store)
    assert [cache.lookup(e.key) is not None for e in entries] == [True, False, True]
    assert left_over(store) == []


def test_code_that_does_not_compile_is_kept_and_told(store: Path) -> None:
    with pytest.raises(SpecError) as wrong:
        cache.compiled("int f() { return undeclared_name; }\n", "trial")
    assert code_of(wrong) == "E761"
    said = str(wrong.value)
    assert "undeclared_name" in said
    (kept,) = (store / "failed").glob("trial-*.cpp")
    assert str(kept) in said
    assert "undeclared_name" in kept.read_text()
    assert "undeclared_name" in kept.with_suffix(".log").read_text()
    assert left_over(store) == []


# -- what interferes -----------------------------------------------------------------------------------------------


def test_a_compiler_killed_half_way_leaves_nothing(store: Path, compiler: Callable[[str], None]) -> None:
    compiler('head -c 3000 /bin/sh > "$out"; kill -9 $$')
    with pytest.raises(SpecError) as wrong:
        cache.compiled(TEXT % 20, "trial")
    assert code_of(wrong) == "E762"
    assert "SIGKILL" in str(wrong.value)
    assert left_over(store) == []
    compiler('real "$@"')
    assert returned(cache.compiled(TEXT % 20, "trial")) == 21


def test_a_process_killed_half_way_leaves_nothing_that_counts(
    store: Path, compiler: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(f'head -c 3000 /bin/sh > "$out"; echo > "{tmp_path}/begun"; exec sleep 60')
    code = f"from ssmc.backends.cpp import cache; cache.compiled({TEXT % 21!r}, 'trial')"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_for(tmp_path / "begun")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [name for name in left_over(store) if not name.startswith(".tmp-")] == []
    assert left_over(store) != []
    compiler('real "$@"')
    # the lock of the dead is free
    assert returned(cache.compiled(TEXT % 21, "trial")) == 22
    monkeypatch.setattr(cache, "STALE_SECONDS", -1)
    cache.evict(store)
    assert left_over(store) == []


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_processes_that_compile_the_same_share_one_result(
    store: Path, compiler: Callable[[str], None], tmp_path: Path
) -> None:
    compiler(f'echo run >> "{tmp_path}/runs"; sleep 0.5; real "$@"')
    toolchain.toolchain()
    code = f"""
        import ctypes
        from ssmc.backends.cpp import library
        word = (ctypes.c_int64 * 1)(1)
        print(library.load({TEXT % 22!r}, "trial").function("ssmc_step")(word))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate()[0].strip() for p in both] == ["23", "23"]
    assert (tmp_path / "runs").read_text().split() == ["run"]
    assert left_over(store) == []


def test_without_locks_the_first_that_is_done_is_kept(store: Path, compiler: Callable[[str], None]) -> None:
    """Another process publishes while the compiler of this one runs."""
    compiler('real "$@"')
    text, tools = TEXT % 23, toolchain.toolchain()
    first = cache.compiled(text, "trial")
    before = first.library.stat().st_mtime_ns
    second = cache._make(text, "trial", tools, first.key, store, ())
    assert second == first
    assert first.library.stat().st_mtime_ns == before
    assert left_over(store) == []


@pytest.mark.parametrize("limit", [100, 4000], ids=["the text", "the library"])
def test_a_full_disk_is_told_and_leaves_nothing(store: Path, limit: int) -> None:
    """A limit on the size of files stands for the disk: with 100 bytes even the text does not fit."""
    code = f"""
        import resource, signal
        from ssmc.backends.cpp import cache, toolchain
        toolchain.toolchain()
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
        try:
            cache.compiled({TEXT % 24 + "// " + "x" * 200!r}, "trial")
        except cache.SpecError as wrong:
            print(wrong)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "E763" in done.stdout
    assert "full" in done.stdout
    assert str(store) in done.stdout
    assert left_over(store) == []
    assert cache.compiled(TEXT % 24, "trial").library.is_file()


def test_a_home_that_cannot_be_written_to_has_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "home"
    blocked.write_text("a file where a folder should be")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("SSMC_CACHE_DIR", str(blocked))
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path / "temporary"))
    found = folders.folders()
    assert found.store.parent == tmp_path / "temporary"
    assert str(blocked) in found.note
    assert stat.S_IMODE(found.store.stat().st_mode) == 0o700
    assert returned(cache.compiled(TEXT % 25, "trial")) == 26


def test_what_a_read_only_home_holds_is_used(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cache.compiled(TEXT % 26, "trial")
    make = folders.tempfile.mkstemp

    def refuse(*args: object, dir: object = None, **named: object) -> object:
        if dir == store:
            raise OSError(30, "Read-only file system")
        return make(*args, dir=dir, **named)  # type: ignore[call-overload]

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(folders.tempfile, "mkstemp", refuse)
    folders._folders.cache_clear()
    assert folders.folders().read[0] == store
    assert folders.folders().store != store
    assert cache.compiled(TEXT % 26, "trial") == entry
    assert cache.compiled(TEXT % 27, "trial").folder.parent == folders.folders().store
    folders._folders.cache_clear()


def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared" / "cpp"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("SSMC_CACHE_DIR", str(shared.parent))
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path / "temporary"))
    found = folders.folders()
    assert shared not in found.read
    assert "every user" in found.note


def test_an_interrupt_leaves_nothing(store: Path, compiler: Callable[[str], None], tmp_path: Path) -> None:
    compiler(f'head -c 3000 /bin/sh > "$out"; echo > "{tmp_path}/begun"; exec sleep 60')
    code = f"from ssmc.backends.cpp import cache; cache.compiled({TEXT % 28!r}, 'trial')"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    wait_for(tmp_path / "begun")
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate()[1]
    assert left_over(store) == []


def test_pytorch_runs_what_the_compiler_refuses_where_nobody_asked_for_cpp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from ssmc.backends.cpp import printer
    from ssmc.backends.cpp.signature import Printed

    import ssmc

    broken = printer.Printer.printed

    def printed(self: printer.Printer) -> Printed:
        made = broken(self)
        return Printed(made.text + "\nthis is not C++\n", made.signature)

    monkeypatch.setattr(printer.Printer, "printed", printed)
    monkeypatch.delenv("SSMC_BACKEND", raising=False)
    f = ssmc.compile("ssm refused_here\naxis D\ninput x[D]\nstate h[D] = 0\nh = 0.5 * h + x\noutput h\n")
    x = torch.ones(4, 2)
    with pytest.warns(UserWarning, match="runs with PyTorch"):
        y = f(x)
    assert torch.allclose(y, f(x, backend="torch"))
    with pytest.raises(SpecError, match="E761"):
        f(x, backend="cpp")
