"""All workloads by name."""

from __future__ import annotations

from benchmarks.workloads.base import Workload
from benchmarks.workloads.w1 import W1A, W1B
from benchmarks.workloads.w2 import W2, W7
from benchmarks.workloads.w3 import W3
from benchmarks.workloads.w4 import W4
from benchmarks.workloads.w5 import W5
from benchmarks.workloads.w6 import W6
from benchmarks.workloads.w8 import W8

WORKLOADS: dict[str, Workload] = {w.name: w for w in (W1A, W1B, W2, W3, W4, W5, *W6, W7, W8)}
