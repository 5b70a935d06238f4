"""How many threads torch uses while cells are solved."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch


class _OneThread:
    """How many are inside, and how many threads torch had before the first came."""

    lock = Lock()
    inside = 0
    before = 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Cells run side by side, each on one thread: sums in a fixed order give the same bits on any number of cores.

    The setting is put back when the last one leaves.
    """
    with _OneThread.lock:
        if _OneThread.inside == 0:
            _OneThread.before = torch.get_num_threads()
        _OneThread.inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _OneThread.lock:
            _OneThread.inside -= 1
            if _OneThread.inside == 0:
                torch.set_num_threads(_OneThread.before)
