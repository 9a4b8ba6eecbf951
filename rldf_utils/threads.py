"""Small networks keep one core busy better than several: so each core gets a thread, and each thread work of its own."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

import torch

#: how many -> the threads, which are kept: torch prepares its kernels anew in every new thread
_pool = lru_cache(ThreadPoolExecutor)
os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not outlive a fork


def hands(device: str) -> int:
    """How many parts a device's work is best spread over: one for each core that torch uses here; one on a GPU."""
    return torch.get_num_threads() if device == "cpu" else 1


def spread(function: Callable, parts: Iterable[tuple], count: int) -> Iterator:
    """`function(*part)` of every part, in order, on so many threads (see `hands`), in each of which torch uses one core.

    One is the caller's own, with all cores that torch uses there. After an error no further part is begun.
    """
    if count == 1:
        yield from (function(*part) for part in parts)
        return

    def on_one_core(*part):
        torch.set_num_threads(1)  # of this thread, and of MKL in all
        return function(*part)

    cores, waiting = torch.get_num_threads(), deque()
    try:
        for part in parts:
            waiting.append(_pool(count).submit(on_one_core, *part))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for part in waiting:
            part.cancel()
        wait(waiting)
        torch.set_num_threads(cores)
