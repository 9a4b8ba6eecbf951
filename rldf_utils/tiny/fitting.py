"""The training loop of the tiny models: resumable, on a GPU as a CUDA graph.

A training is a pure function of (settings, step): step k's batch comes from generators seeded by k, so that a run resumed
from a checkpoint equals an uninterrupted one on the same machine.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

CHECKPOINT_SECONDS = 120  #: between checkpoints
Batch = tuple[torch.Tensor, ...]  #: of one step, on the CPU


class _Steps(torch.utils.data.Dataset):
    """Step k's batch, so that a DataLoader's workers can make it."""

    def __init__(self, data: Callable[[int], Batch]):
        self.data = data

    def __getitem__(self, k: int) -> Batch:
        return self.data(k)


class _Captured:
    """A training step as a CUDA graph: the first calls run as they are, the next is recorded, and all others are replayed.

    The tiny models' steps are many small kernels; a replay starts them at once.
    """

    def __init__(self, step: Callable[..., torch.Tensor], clear: Callable[[], None], eager: int = 3):
        self.step, self.clear, self.eager, self.graph = step, clear, eager, None

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        if self.eager:
            self.eager -= 1
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                value = self.step(*batch)
            torch.cuda.current_stream().wait_stream(stream)
            return value
        if self.graph is None:
            self.batch, self.graph = [part.clone() for part in batch], torch.cuda.CUDAGraph()
            self.clear()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # the loader's thread pins memory
                self.value = self.step(*self.batch)
        for mine, new in zip(self.batch, batch, strict=True):
            mine.copy_(new)
        self.graph.replay()
        return self.value


def fit(
    data: Callable[[int], Batch], loss: Callable[..., torch.Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float], steps: int, checkpoint: Path, note: str, average: torch.optim.swa_utils.AveragedModel | None = None,
    capture: bool = True,
) -> tuple[list[float], float]:  # fmt: skip
    """Descend the loss for `steps` steps, resuming from the checkpoint.

    Args:
        data: step number -> its batch; `loss` takes the batch, on the model's device.
        rate: step number -> learning rate.
        average: of the model over time, kept up with it.
        capture: whether a GPU, which other processes then make the batches for, may run the step as a CUDA graph.

    Returns:
        The losses, one per step, and the seconds spent, those before an interruption included.
    """
    state = {"model": model, "optimizer": optimizer} | ({"average": average} if average else {})
    first, losses, before, begun = 0, [], 0.0, time.monotonic()
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, thing in state.items():
            thing.load_state_dict(saved[name])
        first, losses, before = saved["step"], saved["losses"], saved["seconds"]
    device = next(model.parameters()).device
    workers = os.cpu_count() if device.type == "cuda" else 0

    def step(*batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(*batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return value.detach()

    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        step = _Captured(step, optimizer.zero_grad) if capture else step
        for group in optimizer.param_groups:  # a graph reads it where it lies
            group["lr"], group["capturable"] = torch.tensor(0.0, device=device), True
    loader = torch.utils.data.DataLoader(_Steps(data), batch_size=None, sampler=range(first, steps), num_workers=workers,
                                         prefetch_factor=8 if workers else None, pin_memory=device.type == "cuda")  # fmt: skip
    last = time.monotonic()
    bar = tqdm(loader, initial=first, total=steps, desc=note, mininterval=5)
    for k, batch in enumerate(bar, first):
        torch.manual_seed(k)
        for group in optimizer.param_groups:
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(rate(k))
            else:
                group["lr"] = rate(k)
        losses.append(step(*(part.to(device, non_blocking=True) for part in batch)).item())
        if average:
            average.update_parameters(model)
        if len(losses) % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-200:]):.4f}")
        if time.monotonic() - last > CHECKPOINT_SECONDS or k == steps - 1:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            partial = checkpoint.with_suffix(".partial")
            record = {"step": k + 1, "losses": losses, "seconds": before + time.monotonic() - begun}
            torch.save({name: thing.state_dict() for name, thing in state.items()} | record, partial)
            os.replace(partial, checkpoint)
            last = time.monotonic()
    return losses, before + time.monotonic() - begun


def schedule(k: int, steps: int, peak: float, warmup: int = 200, decay: float = 0.5) -> float:
    """Learning rate: linear warm-up, constant, linear decay to zero over the last `decay` of the steps."""
    return peak * min(1.0, (k + 1) / warmup, (steps - k) / (decay * steps))
