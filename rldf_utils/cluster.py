"""One function over many tasks: in this process, or on a Ray cluster with the same results."""

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator


def over(function: Callable, tasks: Iterable, address: str = "", gpu: bool = False) -> Iterator:
    """`function` of every task, in order.

    Args:
        function: one task to its result; a task may run more than once, since one whose worker or node is lost runs again.
        address: "" for this process; "local" for a Ray of its own on this machine, whatever else runs here; or a Ray
            cluster's address, host:port (extra `ray`).
        gpu: on Ray, whether a task needs a GPU of its own.

    Raises:
        ModuleNotFoundError: an address without Ray.
        ValueError, ConnectionError: an address of another form, or one at which nobody answers; "local" in a process that is
            connected to a Ray already.
    """
    if not address:
        yield from map(function, tasks)
        return
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"RAY_ADDRESS = {address!r} needs Ray, which is not installed: make ray") from None
    ours = not ray.is_initialized()
    if address == "local" and not ours:
        raise ValueError("RAY_ADDRESS = 'local' starts a Ray of its own, but this process uses one; ray.shutdown() first")
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here reports to anyone unasked
        if address != "local":
            _answers(address)
        ray.init(address, log_to_driver=False)  # "local", said outright, also passes by RAY_ADDRESS of the environment
    pending = deque()
    try:
        remote = ray.remote(max_retries=-1, num_gpus=int(gpu))(function)
        room = 4 * int(ray.cluster_resources().get("CPU", 1))  # a window: a million tasks need no memory
        for task in tasks:
            pending.append(remote.remote(task))
            if len(pending) >= room:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())
    finally:
        if ours:
            ray.shutdown()
        else:  # after an error nobody waits for the rest
            for task in pending:
                ray.cancel(task)


def _answers(address: str) -> None:
    """Whether a gRPC server, as Ray's head is, answers at host:port; Ray itself would wait for minutes, or for ever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"RAY_ADDRESS = {address!r} is not legal; give 'local', or host:port of a cluster (ray start --head prints it)")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")  # HTTP/2's preface, empty SETTINGS
            if connection.recv(9)[3:4] != b"\4":  # its answer begins with SETTINGS too
                raise OSError("something other than Ray listens there")
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"RAY_ADDRESS = {address!r}: no Ray answers there ({error}); is the cluster up? (ray start --head)") from None
