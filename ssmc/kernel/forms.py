"""The lowering of each form, by name."""

from __future__ import annotations

from ssmc.kernel.chunked import lower_chunked
from ssmc.kernel.conv import lower_conv
from ssmc.kernel.lower import Lowering
from ssmc.kernel.recurrent import lower_recurrent
from ssmc.kernel.scan import lower_scan

LOWERINGS: dict[str, Lowering] = {
    "recurrent": lower_recurrent,
    "scan": lower_scan,
    "chunked": lower_chunked,
    "conv": lower_conv,
}
