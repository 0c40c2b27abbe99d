"""Long sessions of many shapes: drop compiled functions before the process runs out of memory maps."""

from __future__ import annotations

import gc
from pathlib import Path

import jax

MAPS, MOST_MAPS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


def release_compiled_functions(share: float = 1 / 3) -> bool:
    """Drop all that JAX has compiled when the process holds more than `share` of the memory maps that Linux grants.

    A compiled function holds about twenty, and a process that asks for more than the limit, usually 65530, dies: after
    some thousands of them. What is needed again is compiled again, or read from the compilation cache on disk. Says
    whether they were dropped; elsewhere than on Linux they never are.
    """
    try:
        most = int(MOST_MAPS.read_text())
        with MAPS.open("rb") as maps:
            held = sum(1 for _ in maps)
    except OSError:
        return False
    if held <= share * most:
        return False
    jax.clear_caches()
    gc.collect()
    return True
