"""Work that makes many objects and no garbage in cycles, and that the garbage collector is kept away from."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector of the process; a decorator, too.

    Each time that a quarter more objects have survived, it would look at all of the process, so that the time for each
    source would grow with their number (benchmarks/growth.py); and no other thread runs meanwhile, the event loop of a
    triggerer included (benchmarks/waiting_growth.py). Nothing that waits for a server belongs in here.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
