"""How many threads BLAS takes: one, where its products are too short to share."""

from __future__ import annotations

import functools
from typing import Any


def one_blas_thread() -> Any:
    """A context, 10 microseconds to enter, in which BLAS works on the calling thread alone.

    On short products its threads wait for one another more than they work, and where other work is on the cores they
    take 5 to 20 times the time of one.
    """
    return blas().limit(limits=1, user_api="blas")


@functools.cache
def blas() -> Any:
    """The libraries that were loaded at the first call."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
