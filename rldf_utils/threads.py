"""Small networks keep one core busy better than several: so each core gets a thread, and each thread work of its own."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


def spread(function: Callable, parts: Iterable[tuple], hands: int) -> Iterator:
    """`function(*part)` of every part, in order, on as many threads as there are hands, in each of which torch uses one core.

    One hand is the caller's own, with all cores that torch uses there. After an error no further part is begun.
    """
    if hands == 1:
        yield from (function(*part) for part in parts)
        return
    cores, waiting = torch.get_num_threads(), deque()
    pool = ThreadPoolExecutor(hands, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for part in parts:
            waiting.append(pool.submit(function, *part))
            if len(waiting) > hands:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
