"""Small networks keep one core busy better than several: so each core gets a thread, and each thread work of its own."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

import torch

#: hands -> their threads, which are kept: torch prepares its kernels anew in every new thread
_pool = lru_cache(ThreadPoolExecutor)
os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not outlive a fork


def spread(function: Callable, parts: Iterable[tuple], hands: int) -> Iterator:
    """`function(*part)` of every part, in order, on as many threads as there are hands, in each of which torch uses one core.

    One hand is the caller's own, with all cores that torch uses there. After an error no further part is begun.
    """
    if hands == 1:
        yield from (function(*part) for part in parts)
        return

    def on_one_core(*part):
        torch.set_num_threads(1)  # of this thread, and of MKL in all
        return function(*part)

    cores, waiting = torch.get_num_threads(), deque()
    try:
        for part in parts:
            waiting.append(_pool(hands).submit(on_one_core, *part))
            if len(waiting) > hands:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for part in waiting:
            part.cancel()
        wait(waiting)
        torch.set_num_threads(cores)
