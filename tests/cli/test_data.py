"""Array files: what is read is what was written, and what cannot be read is said in a diagnostic."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from ssmc.cli.csvfile import arrays_of, read_table
from ssmc.cli.data import Names, read_inputs, write_arrays
from ssmc.cli.wav import WavError, read_wav
from ssmc.diagnostics import SpecError

NAMES = Names(
    inputs={"x": 1, "u": 0, "W": 2, "a_1": 1, "file": 0}, params={"A": 1, "b": 0}, states=("t", "h", "prev.x")
)
ONE = Names(inputs={"u": 0}, params={}, states=())


def code_of(error: pytest.ExceptionInfo[SpecError]) -> str:
    return error.value.diagnostics[0].code


# -- archives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_archives_come_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = {
        "x": torch.randn(5, 3, dtype=torch.float64),
        "file": torch.arange(4),
        "u": torch.tensor([True, False]),
        "A": torch.randn(2, dtype=torch.complex64).conj(),
        "state.h": torch.randn(2, 3).T,
        "state.t": torch.tensor(7),
        "state.prev.x": torch.zeros(0, 3),
    }
    assert write_arrays(path, arrays) == ()
    found = read_inputs((str(path),), NAMES)
    assert set(found.arguments) == {"x", "file", "u", "A"}
    assert set(found.state) == {"h", "t", "prev.x"}
    for name, array in arrays.items():
        read = found.arguments[name] if name in found.arguments else found.state[name.removeprefix("state.")]
        assert read.dtype == array.dtype
        assert torch.equal(read, array)


def test_two_names_for_one_memory_are_written(tmp_path: Path) -> None:
    same = torch.randn(3)
    write_arrays(tmp_path / "a.safetensors", {"u": same, "state.h": same})
    assert torch.equal(read_inputs((str(tmp_path / "a.safetensors"),), NAMES).state["h"], same)


def test_bfloat16_is_kept_by_safetensors_and_widened_by_npz(tmp_path: Path) -> None:
    array = {"u": torch.randn(5).bfloat16()}
    assert write_arrays(tmp_path / "a.safetensors", array) == ()
    assert read_inputs((str(tmp_path / "a.safetensors"),), NAMES).arguments["u"].dtype == torch.bfloat16
    notes = write_arrays(tmp_path / "a.npz", array)
    assert "u" in notes[0]
    assert torch.equal(read_inputs((str(tmp_path / "a.npz"),), NAMES).arguments["u"], array["u"].float())


def test_what_safetensors_cannot_hold_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        write_arrays(tmp_path / "a.safetensors", {"u": torch.zeros(2, dtype=torch.complex128)})
    assert code_of(error) == "E912"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_where_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(SpecError) as error:
        write_arrays(tmp_path / "a.npz", {"u": torch.zeros(2)})
    assert code_of(error) == "E902"
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "u.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "u.npz", u=np.array([None], dtype=object))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("u.npy", "u.npz", "text.npz"):
        with pytest.raises(SpecError) as error:
            read_inputs((str(tmp_path / name),), NAMES)
        assert code_of(error) == "E903"
        assert "does not hold plain arrays of numbers" in str(error.value)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors", ".wav", ".csv"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe garbage" * 9, b"PK\x03\x04 cut off", b"RIFF", b"\x93NUMPY\x01"]
)
def test_damaged_files_give_a_diagnostic(tmp_path: Path, suffix: str, content: bytes) -> None:
    if (suffix, content) == (".csv", b"RIFF"):
        pytest.skip("a table with a header and no rows")
    path = tmp_path / f"u{suffix}"
    path.write_bytes(content)
    with pytest.raises(SpecError) as error:
        read_inputs((f"u={path}",), NAMES)
    assert code_of(error) in {"E903", "E907", "E909"}
    assert str(path) in error.value.diagnostics[0].title


def test_a_truncated_archive_gives_a_diagnostic(tmp_path: Path) -> None:
    for suffix in (".npz", ".safetensors"):
        path = tmp_path / f"a{suffix}"
        write_arrays(path, {"u": torch.randn(1000)})
        whole = path.read_bytes()
        for keep in (1, 20, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:keep])
            with pytest.raises(SpecError) as error:
                read_inputs((str(path),), NAMES)
            assert code_of(error) == "E903"


# -- names -------------------------------------------------------------------------------------------------------


def test_an_array_gets_its_name_from_the_option_the_file_or_the_only_input(tmp_path: Path) -> None:
    for stem in ("u", "other"):
        np.save(tmp_path / f"{stem}.npy", np.arange(3.0))
    assert list(read_inputs((f"A={tmp_path}/other.npy",), NAMES).arguments) == ["A"]
    assert list(read_inputs((f"{tmp_path}/u.npy",), NAMES).arguments) == ["u"]
    assert list(read_inputs((f"{tmp_path}/other.npy",), ONE).arguments) == ["u"]
    assert list(read_inputs((f"state.h={tmp_path}/other.npy",), NAMES).state) == ["h"]
    with pytest.raises(SpecError) as error:
        read_inputs((f"{tmp_path}/other.npy",), NAMES)
    assert code_of(error) == "E905"


def test_a_path_may_have_an_equals_sign_and_a_colon(tmp_path: Path) -> None:
    odd = tmp_path / "lr=0.1"
    odd.mkdir()
    np.save(odd / "u.npy", np.arange(3.0))
    np.save(odd / "a:b.npy", np.arange(3.0))
    assert list(read_inputs((f"{odd}/u.npy",), NAMES).arguments) == ["u"]
    assert list(read_inputs((f"u={odd}/a:b.npy",), NAMES).arguments) == ["u"]


def test_one_array_of_an_archive_by_its_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", first=np.arange(3.0), second=np.ones(3))
    found = read_inputs((f"u={tmp_path}/a.npz:second",), NAMES)
    assert found.arguments["u"].tolist() == [1, 1, 1]
    with pytest.raises(SpecError) as error:
        read_inputs((f"u={tmp_path}/a.npz:secnod",), NAMES)
    assert code_of(error) == "E907"
    assert error.value.diagnostics[0].helps == ("did you mean `second`?",)


def test_unknown_and_doubled_names_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u=np.zeros(3))
    np.savez(tmp_path / "b.npz", state_h=np.zeros(3))
    with pytest.raises(SpecError) as error:
        read_inputs((f"{tmp_path}/a.npz", f"u={tmp_path}/a.npz"), NAMES)
    assert code_of(error) == "E908"
    with pytest.raises(SpecError) as error:
        read_inputs((f"{tmp_path}/b.npz",), NAMES)
    assert code_of(error) == "E906"
    assert error.value.diagnostics[0].helps == ("did you mean `state.h`?",)


def test_missing_files_and_unknown_suffixes_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_text("")
    for name, code in (
        ("gone.npz", "E901"),
        ("gone.csv", "E901"),
        ("gone.wav", "E901"),
        ("gone.mat", "E901"),
        ("a.mat", "E904"),
    ):
        with pytest.raises(SpecError) as error:
            read_inputs((f"u={tmp_path}/{name}",), NAMES)
        assert code_of(error) == code


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_disk_that_is_full_is_told(tmp_path: Path, suffix: str) -> None:
    """A process that may write no more than a kilobyte is the disk that is full."""
    code = f"""
import resource, signal, torch
from pathlib import Path
from ssmc.cli.data import write_arrays
from ssmc.diagnostics import SpecError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    write_arrays(Path("y{suffix}"), {{"y": torch.zeros(1000)}})
except SpecError as error:
    raise SystemExit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"E902] cannot write `y{suffix}`: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def mistake(given: str, names: Names = NAMES) -> str:
    with pytest.raises(SpecError) as error:
        read_inputs((given,), names)
    return str(error.value)


def test_a_misspelt_file_gets_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "price.csv").write_text("u\n1\n")
    assert "did you mean `price.csv`?" in mistake(f"u={tmp_path}/prise.csv")


def test_the_option_is_at_fault_and_not_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros(3))
    assert "`--input` names `v`, which is no input, param or state of the spec" in mistake(f"v={tmp_path}/v.npy")
    assert "no file is named" in mistake("u=")


def test_columns_must_fit_the_input(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("day,price\n1,2\n3,4\n")
    assert read_inputs((f"x={tmp_path}/t.csv",), NAMES).arguments["x"].tolist() == [[1, 2], [3, 4]]
    assert read_inputs((f"x={tmp_path}/t.csv:price",), NAMES).arguments["x"].tolist() == [[2], [4]]
    assert read_inputs((f"A={tmp_path}/t.csv:price",), NAMES).arguments["A"].tolist() == [2, 4]
    # two steps of two columns would also be two sequences of two steps
    told = mistake(f"u={tmp_path}/t.csv")
    assert "E916" in told
    assert "`day` and `price`" in told
    assert "E917" in mistake(f"W={tmp_path}/t.csv")


def test_two_columns_of_one_name_are_told_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("u,u,spare,spare\n1,2,3,4\n")
    assert "E918" in mistake(f"{tmp_path}/t.csv")
    assert "E918" in mistake(f"b={tmp_path}/t.csv:spare")
    (tmp_path / "t.csv").write_text("u,spare,spare\n1,2,3\n")
    assert read_inputs((f"{tmp_path}/t.csv",), NAMES).arguments["u"].tolist() == [1]


def test_a_cell_is_told_with_its_line_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("u\n\n1\n\n1,5\n".replace("1,5", '"1,5"'))
    told = mistake(f"{tmp_path}/t.csv")
    assert "line 5, column `u`" in told
    assert "write a decimal point: `1.5`" in told


def test_a_far_column_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("W_999999_999999\n1\n")
    assert "leave out `W_0_0`" in mistake(f"{tmp_path}/t.csv")


def test_big_endian_arrays_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "u.npy", np.arange(3, dtype=">f4"))
    assert read_inputs((f"{tmp_path}/u.npy",), NAMES).arguments["u"].tolist() == [0, 1, 2]


def test_text_is_no_number(tmp_path: Path) -> None:
    np.save(tmp_path / "u.npy", np.array(["a", "b"]))
    with pytest.raises(SpecError) as error:
        read_inputs((f"{tmp_path}/u.npy",), NAMES)
    assert code_of(error) == "E903"


# -- tables ------------------------------------------------------------------------------------------------------


def test_a_column_an_input_and_numbered_columns_an_axis() -> None:
    text = "time,u,x_1,x_0,W_0_0,W_0_1,W_1_0,W_1_1,a_1_0\nmonday,1,2,3,4,5,6,7,8\ntuesday,1.5,2e1,-3,.4,5,6,7,nan\n"
    arrays, unused = arrays_of(read_table("t.csv", text.encode()), NAMES.inputs)
    assert unused == ("time",)
    assert arrays["u"].tolist() == [1, 1.5]
    assert arrays["x"].tolist() == [[3, 2], [-3, 20]]
    assert arrays["W"].tolist() == [[[4, 5], [6, 7]], [[0.4, 5], [6, 7]]]
    assert arrays["a_1"].shape == (2, 1)
    assert np.isnan(arrays["a_1"][1, 0])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_ends_of_lines_and_a_byte_order_mark(separator: str, end: str) -> None:
    text = "﻿" + end.join(separator.join(row) for row in (("u", "x_0"), ("1", "2"), ("3", "4"))) + end
    arrays, unused = arrays_of(read_table("t.csv", text.encode()), NAMES.inputs)
    assert unused == ()
    assert arrays["u"].tolist() == [1, 3]


def test_a_table_without_names(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("1\n2\n3\n")
    assert read_inputs((str(path),), ONE).arguments["u"].tolist() == [1, 2, 3]
    path.write_text("1,2\n3,4\n")
    assert read_inputs((f"x={path}",), NAMES).arguments["x"].tolist() == [[1, 2], [3, 4]]
    assert read_inputs((f"u={path}:1",), NAMES).arguments["u"].tolist() == [2, 4]


def test_a_column_by_its_name_and_a_note_of_the_unread(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("timer,hr,u\n0,5,9\n1,6,9\n")
    assert read_inputs((f"u={path}:hr",), NAMES).arguments["u"].tolist() == [5, 6]
    assert "`timer`, `hr`" in read_inputs((str(path),), NAMES).notes[0]


def test_a_header_alone_is_no_time_at_all(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("u,x_0,x_1\n")
    found = read_inputs((str(path),), NAMES)
    assert found.arguments["u"].shape == (0,)
    assert found.arguments["x"].shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("u\n1\nx\n", "E909", "line 3, column `u`: `x`"),
        ("u,x_0\n1,\n", "E909", "an empty cell"),
        ("u,x_0\n1,2\n3\n", "E910", "line 3: 1 cells, and 2"),
        ("x_0,x_2\n1,2\n", "E911", "`x_1`"),
        ('u\n"1\n', "E903", "csv"),
    ],
)
def test_wrong_tables(text: str, code: str, part: str) -> None:
    with pytest.raises(SpecError) as error:
        arrays_of(read_table("t.csv", text.encode()), NAMES.inputs)
    assert code_of(error) == code
    assert part in error.value.diagnostics[0].title


# -- sounds ------------------------------------------------------------------------------------------------------


def pcm(samples: list[int], width: int, channels: int = 1) -> bytes:
    """A sound by the standard library's writer."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(b"".join(s.to_bytes(width, "little", signed=width > 1) for s in samples))
    return out.getvalue()


def floats(samples: list[float], code: str, *, extensible: bool = False) -> bytes:
    """A sound of floats, built by hand."""
    width = struct.calcsize(code)
    body = struct.pack(f"<{len(samples)}{code}", *samples)
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else 3, 1, 44100, 44100 * width, width, 8 * width)
    if extensible:
        head += struct.pack("<HHIH", 22, 8 * width, 0, 3) + bytes(14)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("width", [2, 3, 4])
def test_integers_of_a_sound_are_scaled_to_one(width: int) -> None:
    top = 2 ** (8 * width - 1)
    samples, rate = read_wav(pcm([0, 1, -1, top - 1, -top, 12345 % top], width))
    assert rate == 8000
    assert samples.dtype == (np.float64 if width == 4 else np.float32)
    assert samples[:, 0].tolist() == [s / top for s in (0, 1, -1, top - 1, -top, 12345 % top)]


def test_eight_bits_are_unsigned() -> None:
    assert read_wav(pcm([128, 0, 255], 1))[0].tolist() == [[0], [-1], [127 / 128]]


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("code", ["f", "d"])
def test_floats_of_a_sound_stay(code: str, extensible: bool) -> None:
    samples, rate = read_wav(floats([0.5, -0.25, 3.0], code, extensible=extensible))
    assert samples[:, 0].tolist() == [0.5, -0.25, 3.0]
    assert rate == 44100
    assert samples.itemsize == struct.calcsize(code)


def test_channels_are_an_axis(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(pcm([0, 16384, -16384, 0], 2, channels=2))
    assert read_inputs((f"{tmp_path}/x.wav",), NAMES).arguments["x"].tolist() == [[0, 0.5], [-0.5, 0]]


def test_a_cut_off_recording_gives_what_is_there() -> None:
    assert read_wav(pcm([1, 2, 3], 2)[:-3])[0].shape == (1, 1)


def test_compressed_sounds_are_refused() -> None:
    data = bytearray(pcm([1, 2], 2))
    data[20] = 6
    with pytest.raises(WavError, match="format 6"):
        read_wav(bytes(data))
