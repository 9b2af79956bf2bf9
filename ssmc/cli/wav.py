"""Sound files: RIFF/WAVE with PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64 bits.

The standard library reads no floats and no extensible headers, which recorders write; the format is short enough to
read here. Integers become floats in [-1, 1).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


class WavError(ValueError):
    """The bytes are not a sound file that can be read here; the text says why."""


def read_wav(data: bytes) -> tuple[NDArray[np.floating[Any]], int]:
    """The samples, `(L, channels)`, and the rate in samples a second.

    float32 for up to 24 bits and for 32-bit floats, which hold them exactly; float64 else. Raises WavError.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("it does not begin as a RIFF/WAVE file")
    header: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + size]
        if kind == b"fmt ":
            header = _header(body)
        elif kind == b"data":
            if header is None:
                raise WavError("the samples come before their description")
            # A recorder that was cut off leaves a size of 0xFFFFFFFF or too large: what is there is read.
            return _samples(body, *header[:3]), header[3]
        at += 8 + size + size % 2
    raise WavError("it has no samples")


def _header(body: bytes) -> tuple[int, int, int, int]:
    """(PCM or FLOAT, channels, bits, rate) of a `fmt ` chunk."""
    if len(body) < 16:
        raise WavError("the description of the samples is cut off")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if kind == EXTENSIBLE:
        if len(body) < 26:
            raise WavError("the description of the samples is cut off")
        (kind,) = struct.unpack_from("<H", body, 24)
    if kind not in (PCM, FLOAT):
        raise WavError(f"its samples are compressed (format {kind}); only plain numbers are read")
    if bits not in ((8, 16, 24, 32) if kind == PCM else (32, 64)):
        raise WavError(f"samples of {bits} bits are not read")
    if channels == 0:
        raise WavError("it has no channels")
    return kind, channels, bits, rate


def _samples(body: bytes, kind: int, channels: int, bits: int) -> NDArray[np.floating[Any]]:
    import numpy as np

    width = bits // 8
    count = len(body) // (width * channels) * channels
    raw = np.frombuffer(body, dtype=np.uint8, count=count * width)
    flat: NDArray[np.floating[Any]]
    if kind == FLOAT:
        flat = raw.view(f"<f{width}").astype(f"f{width}")
    elif bits == 8:
        flat = (raw.astype(np.float32) - 128) / 128
    elif bits == 16:
        flat = raw.view("<i2").astype(np.float32) / 2**15
    elif bits == 24:
        # Into the upper three bytes of a 32-bit integer: the sign comes right, and the scale is that of 32 bits.
        wide = np.zeros((count, 4), dtype=np.uint8)
        wide[:, 1:] = raw.reshape(count, 3)
        flat = (wide.reshape(-1).view("<i4") / 2.0**31).astype(np.float32)
    else:
        flat = raw.view("<i4") / 2.0**31
    return flat.reshape(-1, channels)
