"""Classifiers that see a clone in training and the real thing in the test (section 4, Table 2)."""

import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import BatchNorm2d, Conv2d, Linear
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, interpolate
from torch.nn.init import kaiming_normal_, zeros_
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock

from rldf_utils import results
from rldf_utils.progress import Bar
from rldf_utils.results import write

MEAN, SPREAD = 118.0, 60.0  #: of ImageNet's pixels, roughly; one for all channels
STEMS = ("imagenet", "cifar")
SEEDING = threading.Lock()  #: torch's generator is one for all threads
OFTEN = 120  #: seconds from one checkpoint of a training to the next


@dataclass(frozen=True)
class Recipe:
    """How a ResNet-18 is trained: random resized crops and flips; the rate falls as a cosine after a short warm-up."""

    stem: str  #: "imagenet": 7x7, stride 2, max-pool (torchvision's); "cifar": 3x3, stride 1, no pool, 16 times the work
    size: int  #: edge in pixels, of training's last quarter and of the test
    epochs: int
    early: int | None = None  #: edge in pixels of training's first three quarters (progressive resizing); None: the same
    batch: int = 256
    crop: float = 0.35  #: least area of a random crop
    rate: float = 0.2  #: peak learning rate
    decay: float = 1e-4  #: weight decay
    optimizer: str = "sgd"  #: "sgd", with Nesterov momentum 0.9, or "adamw", which needs fewer steps to begin to learn
    width: int = 64  #: channels of the first stage; a ResNet-18 has 64


RECIPES = {
    "paper": Recipe("cifar", 224, 200),  # the recipe of the code that the paper cites as [1]
    "tiny": Recipe("imagenet", 40, 26, batch=32, crop=0.9, rate=6e-3, decay=0.02, optimizer="adamw", width=16),
    "smoke": Recipe("imagenet", 32, 2, batch=16, crop=0.85, rate=3e-3, decay=0.05, optimizer="adamw", width=16),
}


def network(classes: int, stem: str = "imagenet", width: int = 64) -> torch.nn.Module:
    """torchvision's ResNet-18, untrained; images (n, 3, height, width) to logits (n, classes).

    Args:
        width: channels of the first stage, 64 in a ResNet-18; the later stages have 2, 4 and 8 times as many.
    """
    if stem not in STEMS:
        raise ValueError(f"stem {stem!r} is not known; choose one of {', '.join(STEMS)}")
    model = resnet18(num_classes=classes)
    for name, full in [*model.named_modules()] if width != 64 else []:
        if isinstance(full, Conv2d):
            first = full.in_channels == 3
            narrow = Conv2d(3 if first else full.in_channels * width // 64, full.out_channels * width // 64, full.kernel_size, full.stride,
                            full.padding, bias=False)  # fmt: skip
            kaiming_normal_(narrow.weight, mode="fan_out", nonlinearity="relu")
            model.set_submodule(name, narrow)
        elif isinstance(full, BatchNorm2d):
            model.set_submodule(name, BatchNorm2d(full.num_features * width // 64))
    model.fc = Linear(8 * width, classes)
    for block in model.modules():
        if isinstance(block, BasicBlock):  # each begins as the identity
            zeros_(block.bn2.weight)
    if stem == "cifar":
        model.conv1 = Conv2d(3, width, 3, padding=1, bias=False)
        kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = torch.nn.Identity()
    return model


def augment(pixels: torch.Tensor, size: int, rng: np.random.Generator, least: float = 0.35) -> torch.Tensor:
    """Random resized crops (area 0.35 to 1, aspect 3/4 to 4/3) and mirror images, all of a batch in one go.

    Args:
        pixels: float (n, 3, height, width).

    Returns:
        (n, 3, size, size); the same distribution of crops as torchvision's RandomResizedCrop.
    """
    n = len(pixels)
    area, aspect = rng.uniform(least, 1, n), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n))
    width, height = np.minimum(np.sqrt(area * aspect), 1), np.minimum(np.sqrt(area / aspect), 1)
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = width * rng.choice([-1, 1], n), height
    theta[:, 0, 2], theta[:, 1, 2] = rng.uniform(-1, 1, n) * (1 - width), rng.uniform(-1, 1, n) * (1 - height)
    if pixels.shape[-1] >= 2 * size:
        pixels = interpolate(pixels, (size, size), mode="area")
    grid = affine_grid(torch.from_numpy(theta).to(pixels.device), [n, 3, size, size], align_corners=False)
    return grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def train(pixels: np.ndarray, labels: np.ndarray, classes: int, recipe: Recipe, seed: int = 0, progress: str | None = None,
          device: str | None = None, keep: Path | None = None) -> torch.nn.Module:  # fmt: skip
    """A ResNet-18 trained from nothing, or from where an earlier run of the same training was killed.

    Args:
        pixels: uint8 (n, height, width, 3), may be mapped from disk, or `transfer.Rows`; labels: (n,), 0 to classes - 1.
        seed: of weights, order and crops.
        progress: label of a progress bar; None shows none.
        keep: a file for checkpoints, written at the end of an epoch every `OFTEN` seconds. What is there is gone on from,
            on a CPU to the same bits; it is of the same arguments, or the caller's mistake.

    Raises:
        ValueError: fewer than two images, or labels outside the classes.
    """
    if len(labels) != len(pixels) or len(labels) < 2 or not 0 <= min(labels) <= max(labels) < classes:
        raise ValueError(f"{len(pixels)} images with {len(labels)} labels in {min(labels)}..{max(labels)} cannot train {classes} classes")
    device = device or results.device()
    rng = np.random.default_rng(seed)
    with SEEDING, torch.random.fork_rng(devices=[]):  # on the CPU, and of its generator alone
        torch.default_generator.manual_seed(seed)
        model = network(classes, recipe.stem, recipe.width).to(device, memory_format=torch.channels_last).train()
    decayed, plain = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": recipe.decay}, {"params": plain, "weight_decay": 0}]
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, recipe.rate, momentum=0.9, nesterov=True, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, recipe.rate, betas=(0.9, 0.99), fused=True)
    per_epoch = max(1, len(labels) // recipe.batch)
    steps = recipe.epochs * per_epoch
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, steps, pct_start=0.15, cycle_momentum=False)
    begun, saved = 0, time.monotonic()
    if keep and keep.exists():
        kept = torch.load(keep, map_location=device, weights_only=True)
        begun, rng.bit_generator.state = kept["step"], kept["rng"]
        for part, state in zip((model, optimizer, scheduler), kept["states"], strict=True):
            part.load_state_dict(state)
    for step in Bar(range(begun, steps), desc=progress, unit="step", initial=begun, total=steps, disable=progress is None):
        if step % per_epoch == 0:
            if keep and step > begun and time.monotonic() - saved >= OFTEN:
                states, file = [part.state_dict() for part in (model, optimizer, scheduler)], io.BytesIO()
                torch.save({"step": step, "rng": rng.bit_generator.state, "states": states}, file)
                write(keep, file.getbuffer())
                saved = time.monotonic()
            order = rng.permutation(len(labels))
        part = np.sort(order[(step % per_epoch) * recipe.batch :][: recipe.batch])
        size = recipe.size if recipe.early is None or step >= 3 * steps // 4 else recipe.early
        x = augment(as_tensor(pixels[part], device), size, rng, recipe.crop).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = cross_entropy(model(x), torch.from_numpy(labels[part]).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return model.eval()


@torch.inference_mode()
def predict(model: torch.nn.Module, pixels: np.ndarray, size: int, batch: int = 256) -> np.ndarray:
    """The likeliest class of each image, int64 (n,); images uint8 (n, height, width, 3), scaled to `size`."""
    device = next(model.parameters()).device
    out = []
    for start in range(0, len(pixels), batch):
        x = as_tensor(pixels[start : start + batch], device)
        if x.shape[-1] != size:
            x = interpolate(x, (size, size), mode="bicubic", antialias=True)
        out.append(model(x.contiguous(memory_format=torch.channels_last)).argmax(1).cpu().numpy())
    return np.concatenate(out)


def accuracy(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Top-1 accuracy, 0 to 1."""
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


def as_tensor(pixels: np.ndarray, device: str) -> torch.Tensor:
    """uint8 (n, height, width, 3) to float (n, 3, height, width), centred and scaled."""
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float().sub(MEAN).div(SPREAD)


def head(features: np.ndarray, labels: np.ndarray, classes: int, penalty: float = 1.0) -> np.ndarray:
    """A linear classifier on frozen features by ridge regression to one-hot labels: a closed form, without steps or a seed.

    Args:
        features: (n, d); labels: (n,), 0 to classes - 1.
        penalty: on the squared weights of standardised features, in multiples of d.

    Returns:
        Weights, float64 (d + 1, classes); the last row is the bias. See `decide`.
    """
    z, hot = np.array(features, np.float64), np.eye(classes)[labels] - 1 / classes
    centre, spread = z.mean(0), z.std(0) + 1e-6
    z -= centre  # in place: at paper scale it has 300,000 rows
    z /= spread
    ridge = penalty * z.shape[1]
    if len(z) < z.shape[1]:
        weights = z.T @ np.linalg.solve(z @ z.T + ridge * np.eye(len(z)), hot)
    else:
        weights = np.linalg.solve(z.T @ z + ridge * np.eye(z.shape[1]), z.T @ hot)
    weights /= spread[:, None]
    return np.vstack([weights, hot.mean(0) - centre @ weights])


def decide(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The likeliest class of each row of features, (n, d), by the weights of `head`: int64 (n,)."""
    return (features @ weights[:-1] + weights[-1]).argmax(1)
