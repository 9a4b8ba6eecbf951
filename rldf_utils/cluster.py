"""One function over many tasks: in this process, or on a Ray cluster with the same results."""

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType


def over(function: Callable, tasks: Iterable, address: str = "", gpu: bool = False) -> Iterator:
    """`function` of every task, in order.

    Args:
        function: one task to its result; a task may run more than once, since one whose worker or node is lost runs again.
        address: "" for this process; "local" for a Ray of its own on this machine, whatever else runs here; or a Ray
            cluster's address, host:port (extra `ray`).
        gpu: on Ray, whether a task needs a GPU of its own: every GPU gets one process, which does one task after the other and
            so keeps the model that it loaded.

    Raises:
        ModuleNotFoundError: an address without Ray.
        ValueError, ConnectionError: an address of another form, or one at which nobody answers; "local" in a process that is
            connected to a Ray already.
        RuntimeError: tasks that need a GPU, and a cluster that has none.
    """
    if not address:
        yield from map(function, tasks)
        return
    with _connected(address) as ray:
        yield from (_on_gpus if gpu else _on_cores)(ray, function, tasks, address)


def gpus(address: str) -> int:
    """How many GPUs a cluster has; see `over`."""
    with _connected(address) as ray:
        return int(ray.cluster_resources().get("GPU", 0))


@contextmanager
def _connected(address: str) -> Iterator[ModuleType]:
    """Ray, connected for as long as the block runs, or as it was already."""
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
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _on_cores(ray: ModuleType, function: Callable, tasks: Iterable, _: str) -> Iterator:
    pending, remote = deque(), ray.remote(max_retries=-1)(function)
    room = 4 * int(ray.cluster_resources().get("CPU", 1))  # a window: a million tasks need no memory
    try:
        for task in tasks:
            pending.append(remote.remote(task))
            if len(pending) >= room:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())
    finally:
        for task in pending:  # after an error nobody waits for the rest
            ray.cancel(task)


class Worker:
    """A process of its own that does tasks."""

    def __init__(self, function: Callable):
        self.function = function

    def begin(self) -> None:
        """Nothing; it has begun when this has run."""

    def do(self, task):
        return self.function(task)


def _on_gpus(ray: ModuleType, function: Callable, tasks: Iterable, address: str) -> Iterator:
    """One actor a GPU. Who is lost is replaced, once there is a GPU for it, and its task goes to whoever is free first."""
    if not (count := int(ray.cluster_resources().get("GPU", 0))):
        raise RuntimeError(f"the pictures are to be drawn on GPUs, and RAY_ADDRESS = {address!r} has none: start its nodes where GPUs are "
                           "in sight, or set RLDF_DEVICE=cpu")  # fmt: skip
    print(f"{count} GPU{'s' * (count > 1)} of the cluster, one process each")
    tasks, actor = enumerate(tasks), ray.remote(num_gpus=1)(Worker)
    begun, idle, again, done, upcoming, room = {}, deque(), deque(), {}, 0, 8 * count

    def hire() -> None:
        worker = actor.remote(function)
        begun[worker.begin.remote()] = worker, None

    try:
        for _ in range(count):
            hire()
        task = next(tasks, None)
        while task or again or any(item for _, item in begun.values()):
            while idle and (again or (task and len(done) < room)):
                worker = idle.popleft()
                item, task = (again.popleft(), task) if again else (task, next(tasks, None))
                begun[worker.do.remote(item[1])] = worker, item
            (ready, *_), _ = ray.wait(list(begun))
            worker, item = begun.pop(ready)
            try:
                result = ray.get(ready)
                idle.append(worker)
                done |= {item[0]: result} if item else {}
            except ray.exceptions.RayActorError as error:
                if error.actor_init_failed:  # it will not begin next time either
                    raise
                ray.kill(worker)  # who is only out of reach would keep its GPU
                again += [item] if item else []
                hire()
            while upcoming in done:
                yield done.pop(upcoming)
                upcoming += 1
    finally:
        for worker in (*idle, *(worker for worker, _ in begun.values())):
            ray.kill(worker)


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
